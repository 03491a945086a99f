// Looks at the host's network and names, by netlink and system calls.
const os = require('os')

async function lambda(input, callback) {
  const { host } = input.payload
  callback(null, {
    'list interfaces': await attempt(() => {
      const beyond = Object.keys(os.networkInterfaces()).filter((name) => name !== 'lo')
      if (beyond.length === 0) throw new Error('none but lo')
      return beyond
    }),
    "learn the host's name": await attempt(() => {
      if (os.hostname() !== host) throw new Error('another name')
    }),
    'learn who runs it': await attempt(() => {
      const { username } = os.userInfo()
      if (username === 'lambda') throw new Error('its own')
      return username
    }),
    "the report's host name": await attempt(() => {
      process.report.excludeNetwork = true
      if (process.report.getReport().header.host !== host) throw new Error('another name')
    }),
  })
}
