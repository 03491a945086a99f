// Goes for the process of another account's lambda: its folder, socket, environment, files and memory.
const fs = require('fs')
const net = require('net')

async function lambda(input, callback) {
  const { run, neighbour } = input.payload
  callback(null, {
    'list the run folder': await attempt(() => fs.readdirSync(run).length),
    'list its folder': await attempt(() => fs.readdirSync(neighbour.folder).length),
    'call its socket': await attempt(() => new Promise((resolve, reject) => {
      const socket = net.connect(neighbour.socket)
      socket.on('connect', () => { resolve(); socket.destroy() }).on('error', reject)
    })),
    'read its environment': await attempt(() => fs.readFileSync(`/proc/${neighbour.pid}/environ`).length),
    'read its command': await attempt(() => fs.readFileSync(`/proc/${neighbour.pid}/cmdline`).length),
    'list its descriptors': await attempt(() => fs.readdirSync(`/proc/${neighbour.pid}/fd`).length),
    'open its memory': await attempt(() => fs.openSync(`/proc/${neighbour.pid}/mem`, 'r+') && undefined),
    'enter its root': await attempt(() => fs.readdirSync(`/proc/${neighbour.pid}/root/`).length),
  })
}
