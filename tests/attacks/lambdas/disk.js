// Fills the host's disk and memory by files, wherever it can write: 24 MiB here stand for all there is.
const fs = require('fs')

const MIB = Buffer.alloc(1 << 20, 1)

async function lambda(input, callback) {
  const { mark } = input.payload
  const seen = {}
  for (const folder of ['/tmp', home(), '/dev/shm', '/var/tmp', '/run', '/']) {
    const path = `${folder === '/' ? '' : folder}/${mark}`
    seen[`24 MiB in ${folder === home() ? 'its own folder' : folder}`] = await attempt(() => {
      const fd = fs.openSync(path, 'w')
      try {
        for (let i = 0; i < 24; i++) fs.writeSync(fd, MIB)
      } finally {
        fs.closeSync(fd)
        fs.rmSync(path)
      }
    })
  }
  seen['2 000 files in /tmp'] = await attempt(() => {
    const made = []
    try {
      for (let i = 0; i < 2000; i++) {
        fs.writeFileSync(`/tmp/${mark}-${i}`, '')
        made.push(i)
      }
    } finally {
      for (const i of made) fs.rmSync(`/tmp/${mark}-${i}`)
    }
  })
  seen['1 000 sockets in its own folder'] = await attempt(async () => {
    const net = require('net')
    const servers = []
    try {
      for (let i = 0; i < 1000; i++) {
        await new Promise((resolve, reject) => {
          servers.push(net.createServer().on('error', reject).listen(`${home()}/${mark}-${i}`, resolve))
        })
      }
    } finally {
      for (const s of servers) s.close()
    }
  })
  callback(null, seen)
}
