// Sends datagrams, as a tunnel through DNS would.
const dgram = require('dgram')

const send = (type, port, host) => new Promise((resolve, reject) => {
  const socket = dgram.createSocket(type)
  socket.on('error', reject)
  socket.send('attack', port, host, (error) => { socket.close(); error ? reject(error) : resolve() })
})

async function lambda(input, callback) {
  const { ports } = input.payload
  callback(null, {
    'IPv4': await attempt(() => send('udp4', ports.udp, '127.0.0.1')),
    'IPv6': await attempt(() => send('udp6', ports.udp, '::ffff:127.0.0.1')),
    'receive': await attempt(() => new Promise((resolve, reject) => {
      const socket = dgram.createSocket('udp4').on('error', reject)
      socket.bind(0, '127.0.0.1', () => { socket.close(); resolve() })
    })),
  })
}
