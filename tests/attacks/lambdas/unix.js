// Connects to the unix sockets of other programs on the host.
const net = require('net')

const connect = (path) => new Promise((resolve, reject) => {
  const socket = net.connect(path)
  socket.on('connect', () => { resolve(); socket.destroy() }).on('error', reject)
})

async function lambda(input, callback) {
  const { sockets } = input.payload
  callback(null, {
    'by path': await attempt(() => connect(sockets.path)),
    'abstract': await attempt(() => connect('\0' + sockets.abstract)),
    'by a way round': await attempt(() => connect('/proc/self/root' + sockets.path)),
  })
}
