// Connects by TCP, past the proxy: to the gateway's own ports, to a server beside it, and by the bindings below net.
const net = require('net')

const connect = (port, host) => new Promise((resolve, reject) => {
  const socket = net.connect({ port, host })
  socket.on('connect', () => { resolve(); socket.destroy() }).on('error', reject)
})

async function lambda(input, callback) {
  const { ports } = input.payload
  callback(null, {
    'the gateway, HTTPS': await attempt(() => connect(ports.https, '127.0.0.1')),
    'the gateway, HTTP': await attempt(() => connect(ports.http, '127.0.0.1')),
    'the gateway, admin': await attempt(() => connect(ports.admin, '127.0.0.1')),
    'a server on loopback': await attempt(() => connect(ports.tcp, '127.0.0.1')),
    'as 0.0.0.0': await attempt(() => connect(ports.tcp, '0.0.0.0')),
    'as IPv6': await attempt(() => connect(ports.tcp, '::ffff:127.0.0.1')),
    'without a callback': await attempt(() => {
      const { TCP, TCPConnectWrap, constants } = process.binding('tcp_wrap')
      const socket = new TCP(constants.SOCKET)
      return new Promise((resolve, reject) => {
        const request = new TCPConnectWrap()
        const name = (code) => Object.assign(new Error(), { code: require('util').getSystemErrorName(code) })
        request.oncomplete = (status) => { socket.close(); status === 0 ? resolve() : reject(name(status)) }
        const now = socket.connect(request, '127.0.0.1', ports.tcp)
        if (now !== 0) reject(name(now))
      })
    }),
    'from a worker': await attempt(() => new Promise((resolve, reject) => {
      const { Worker } = require('worker_threads')
      const worker = new Worker(`
        const { parentPort } = require('worker_threads')
        require('net').connect(${ports.tcp}, '127.0.0.1')
          .on('connect', () => parentPort.postMessage('')).on('error', (e) => parentPort.postMessage(e.code))`, { eval: true })
      worker.on('message', (code) => { void worker.terminate(); code === '' ? resolve() : reject({ code }) }).on('error', reject)
    })),
  })
}
