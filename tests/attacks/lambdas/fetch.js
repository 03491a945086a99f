// Fetches what is not on the account's whitelist, and what no whitelist opens: this host itself, by every name it has.
const http = require('http')

async function lambda(input, callback) {
  const { ports } = input.payload
  const { variant } = input.payload
  const seen = {}
  const hosts = ['127.0.0.1', 'localhost', '0.0.0.0', '0', '127.1', '2130706433', '0x7f000001', '0177.0.0.1', '[::1]', '[::]', '[::ffff:127.0.0.1]', '[::ffff:7f00:1]', '[64:ff9b::7f00:1]', '127.0.0.1.', 'LOCALHOST', 'attack.localhost']
  for (const host of hosts) {
    const url = `http://${host}:${ports.web}/secret`
    seen[`fetch ${host}`] = await attempt(async () => {
      const answer = await fetch(url, { signal: AbortSignal.timeout(2500) })
      if (answer.status !== 200) throw new Error(`${answer.status}`)
      return answer.text()
    })
  }
  seen['http.get'] = await attempt(() => new Promise((resolve, reject) => {
    http.get(`http://127.0.0.1:${ports.web}/secret`, (answer) => {
      answer.resume()
      answer.statusCode === 200 ? resolve() : reject(new Error(`${answer.statusCode}`))
    }).on('error', reject)
  }))
  seen['http.get without a proxy'] = await attempt(() => new Promise((resolve, reject) => {
    http.get({ host: '127.0.0.1', port: ports.web, path: '/secret', agent: new http.Agent({ proxyEnv: {} }) }, (answer) => {
      answer.resume()
      answer.statusCode === 200 ? resolve() : reject(new Error(`${answer.statusCode}`))
    }).on('error', reject)
  }))
  seen['https'] = await attempt(async () => { await fetch(`https://127.0.0.1:${ports.https}/`, { signal: AbortSignal.timeout(2500) }) })
  seen['WebSocket'] = await attempt(() => new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://127.0.0.1:${ports.web}/`)
    socket.onopen = () => { resolve() }
    socket.onerror = () => { reject(new Error('refused')) }
  }))
  callback(null, seen)
}
