// Fills the host's disk and memory by files, wherever it can write: some stand here for all there are.
const fs = require('fs')

const MIB = Buffer.alloc(1 << 20, 1)

async function lambda(input, callback) {
  const { mark, mib } = input.payload
  const seen = {}
  for (const folder of ['/tmp', home(), '/dev/shm', '/var/tmp', '/run', '/']) {
    const path = `${folder === '/' ? '' : folder}/${mark}`
    seen[`${mib} MiB in ${folder === home() ? 'its own folder' : folder}`] = await attempt(() => {
      const fd = fs.openSync(path, 'w')
      try {
        for (let i = 0; i < mib; i++) fs.writeSync(fd, MIB)
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
  seen['300 sockets in its own folder'] = await attempt(async () => {
    const net = require('net')
    const servers = []
    try {
      for (let i = 0; i < 300; i++) {
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
