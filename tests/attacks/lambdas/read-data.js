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
  seen['command by the control socket'] = await attempt(() => new Promise((resolve, reject) => {
    const socket = net.connect(`${data}/control.sock`)
    socket.write('GET /api/accounts HTTP/1.1\r\nHost: control\r\n\r\n')
    socket.on('data', (text) => {
      socket.destroy()
      if (String(text).startsWith('HTTP/1.1 200')) resolve()
      else reject(new Error('refused'))
    }).on('close', () => { reject(new Error('refused')) }).on('error', (e) => { reject(e.code === 'EPIPE' || e.code === 'ECONNRESET' ? new Error('refused') : e) })
  }))
  callback(null, seen)
}
