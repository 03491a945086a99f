// Reads what belongs to the host: its users, their passwords, its folders.
const fs = require('fs')

async function lambda(input, callback) {
  const seen = {}
  for (const path of ['/etc/passwd', '/etc/shadow', '/proc/self/root/etc/passwd', '/proc/self/cwd/../../../../../../../../etc/passwd', '/usr/lib/../../etc/passwd']) {
    seen['read ' + path] = await attempt(() => {
      const text = fs.readFileSync(path, 'utf8')
      if (text.startsWith('lambda:')) throw new Error('its own')
      return text.slice(0, 20)
    })
  }
  for (const path of ['/root', '/home', '/var/log', '/sys/kernel', '/boot']) {
    seen['list ' + path] = await attempt(() => fs.readdirSync(path).length)
  }
  callback(null, seen)
}
