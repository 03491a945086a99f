// Takes rights: another user, other modes, another owner, another root.
const fs = require('fs')

const priority = (pid, level) => {
  try { require('os').setPriority(pid, level) } catch (e) { throw { code: e.info?.code ?? e.code } }
}

async function lambda(input, callback) {
  const { mark } = input.payload
  callback(null, {
    'be root': await attempt(() => {
      if (process.getuid() !== 0 && process.geteuid() !== 0) process.setuid(0)
      if (process.getuid() !== 0) throw new Error('not root')
    }),
    'open its folder for others': await attempt(() => { fs.chmodSync(home(), 0o777) }),
    'give its folder away': await attempt(() => { fs.chownSync(home(), process.getuid() + 1, 12345) }),
    'make a setuid file': await attempt(() => {
      const path = `/tmp/${mark}-setuid`
      fs.writeFileSync(path, '')
      try { fs.chmodSync(path, 0o4777) } finally { fs.rmSync(path) }
    }),
    'raise its priority': await attempt(() => { priority(process.pid, -20) }),
    'raise the priority of others': await attempt(() => { priority(input.payload.gateway, -1) }),
    'join groups': await attempt(() => { process.setgroups([0, 12345]) }),
    'become another group': await attempt(() => { process.setgid(process.getgid() + 12345) }),
    'become another user': await attempt(() => { process.setuid(process.getuid() + 12345) }),
  })
}
