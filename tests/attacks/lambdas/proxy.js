// Speaks with the proxy itself, as no well-behaved client would, to wear it out or to get through by a trick.
const net = require('net')

const dial = () => new Promise((resolve, reject) => {
  const socket = net.connect(3128, '127.0.0.1')
  socket.on('error', reject).on('connect', () => resolve(socket))
})

// say sends text and gives the first line of what comes back.
const say = async (text) => {
  const socket = await dial()
  return new Promise((resolve, reject) => {
    let heard = ''
    socket.on('error', reject).on('close', () => resolve(heard.split('\r\n')[0]))
    socket.on('data', (bytes) => { heard += bytes; if (heard.includes('\r\n')) { socket.destroy(); resolve(heard.split('\r\n')[0]) } })
    socket.write(text)
  })
}
const through = async (text) => {
  const line = await say(text)
  if (!/^HTTP\/1\.[01] 200/.test(line)) throw new Error(line === '' ? 'closed' : line.split(' ')[1])
}

const kept = []

const ways = {
  async tricks({ ports }) {
    const at = `127.0.0.1:${ports.web}`
    const seen = {}
    for (const [name, text] of Object.entries({
      CONNECT: `CONNECT ${at} HTTP/1.1\r\nHost: ${at}\r\n\r\n`,
      'CONNECT with the Host of another': `CONNECT ${at} HTTP/1.1\r\nHost: attack.test:443\r\n\r\n`,
      'GET with the Host of another': `GET http://${at}/secret HTTP/1.1\r\nHost: attack.test\r\n\r\n`,
      'GET with a path only': `GET /secret HTTP/1.1\r\nHost: ${at}\r\n\r\n`,
      'a user in the address': `GET http://attack.test@${at}/secret HTTP/1.1\r\nHost: ${at}\r\n\r\n`,
      'two Hosts': `GET http://${at}/secret HTTP/1.1\r\nHost: attack.test\r\nHost: ${at}\r\n\r\n`,
      'another scheme': `GET ftp://${at}/secret HTTP/1.1\r\nHost: ${at}\r\n\r\n`,
      'a file': `GET file:///etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n`,
      'HTTP/2 at once': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
      'nothing that is HTTP': '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n',
      'a length and chunks': `POST http://${at}/secret HTTP/1.1\r\nHost: ${at}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      'CONNECT to no port': 'CONNECT 127.0.0.1 HTTP/1.1\r\nHost: x\r\n\r\n',
    })) seen[name] = await attempt(() => through(text))
    return seen
  },
  async connections() {
    let open = 0
    for (let i = 0; i < 3000; i++) {
      const socket = net.connect(3128, '127.0.0.1')
      socket.on('connect', () => { open++ }).on('error', () => {})
      kept.push(socket)
      if (i % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 10))
    }
    await new Promise((resolve) => setTimeout(resolve, 500))
    return { '3000 connections': 'kept out', open }
  },
  async 'slow headers'() {
    for (let i = 0; i < 200; i++) {
      dial().then((socket) => {
        kept.push(socket)
        socket.on('error', () => {})
        const text = 'GET http://attack.test/ HTTP/1.1\r\nX: '
        let at = 0
        setInterval(() => { if (!socket.destroyed) socket.write(text[at++ % text.length]) }, 50).unref()
      }, () => {})
    }
    await new Promise((resolve) => setTimeout(resolve, 1500))
    return { '200 slow requests': 'kept out' }
  },
  async 'huge headers'() {
    return { 'a header of 16 MB': await attempt(() => through('GET http://attack.test/ HTTP/1.1\r\nX: ' + 'x'.repeat(16e6) + '\r\n\r\n')) }
  },
  async 'half-open'({ ports }) {
    for (let i = 0; i < 300; i++) {
      dial().then((socket) => {
        kept.push(socket)
        socket.on('error', () => {})
        socket.write(`CONNECT 127.0.0.1:${ports.web} HTTP/1.1\r\n`)
        if (i % 2) socket.end()
      }, () => {})
    }
    await new Promise((resolve) => setTimeout(resolve, 1000))
    return { '300 halves of requests': 'kept out' }
  },
  async requests() {
    const counts = {}
    await Promise.all(Array.from({ length: 2000 }, async () => {
      const outcome = await attempt(() => through('GET http://attack.test/ HTTP/1.1\r\nHost: attack.test\r\nConnection: close\r\n\r\n'), 10000)
      counts[outcome] = (counts[outcome] ?? 0) + 1
    }))
    return { '2000 requests at once': Object.keys(counts).some((k) => k.startsWith('done')) ? 'done' : 'kept out', counts }
  },
}

async function lambda(input, callback) {
  callback(null, await ways[input.payload.variant](input.payload))
}
