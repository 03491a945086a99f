// Looks for descriptors of the gateway's that were left open in its process.
const fs = require('fs')

async function lambda(input, callback) {
  const { data } = input.payload
  callback(null, {
    'find a file or a folder of the host': await attempt(() => {
      const found = []
      for (let fd = 0; fd < 1024; fd++) {
        let s
        try { s = fs.fstatSync(fd) } catch { continue }
        let name = ''
        try { name = fs.readlinkSync(`/proc/self/fd/${fd}`) } catch {}
        const harmless = s.isFIFO() || s.isSocket() || s.isCharacterDevice() || /^(anon_inode|\/memfd:|\/dev\/null|\/proc\/|$)/.test(name) || s.mode === 0o600
        if (!harmless || name.startsWith(data)) found.push(`${fd} ${name}`)
      }
      if (found.length === 0) throw new Error('none')
      return found
    }),
  })
}
