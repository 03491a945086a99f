// Goes for files by WASI, whose folders it chooses itself.
const { WASI } = require('node:wasi')

async function lambda(input, callback) {
  const { data } = input.payload
  const open = (folder) => { new WASI({ version: 'preview1', preopens: { '/': folder } }) }
  callback(null, {
    "the host's settings": await attempt(() => open('/root')),
    'the data folder': await attempt(() => open(data)),
    "the host's home": await attempt(() => open('/home')),
  })
}
