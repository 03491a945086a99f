// Reads the gateway's data folder: passwords, keys, the state of all accounts.
const fs = require('fs')
const net = require('net')

async function lambda(input, callback) {
  const { data } = input.payload
  const seen = { 'list the folder': await attempt(() => fs.readdirSync(data).length) }
  for (const name of ['dev.json', 'demo.json', 'secrets.key', 'sluice.lock']) {
    seen['read ' + name] = await attempt(() => fs.readFileSync(`${data}/${name}`).length)
  }
  seen['list etcd'] = await attempt(() => fs.readdirSync(`${data}/etcd`).length)
  seen['write into it'] = await attempt(() => fs.writeFileSync(`${data}/planted`, 'x'))
  seen['speak to the control socket'] = await attempt(() => new Promise((resolve, reject) => {
    const socket = net.connect(`${data}/control.sock`)
    socket.on('connect', () => { resolve(); socket.destroy() }).on('error', reject)
  }))
  callback(null, seen)
}
