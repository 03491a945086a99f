// Leaves a process behind that outlives it, in a session of its own.
const child = require('child_process')

async function lambda(input, callback) {
  const start = (command, args) => new Promise((resolve, reject) => {
    const c = child.spawn(command, args, { detached: true, stdio: 'ignore' })
    c.on('error', reject).on('spawn', resolve)
    c.unref()
  })
  callback(null, {
    'setsid': await attempt(() => start('/bin/sh', ['-c', 'setsid sleep 300 & exit 0'])),
    'detached': await attempt(() => start('/bin/sleep', ['300'])),
  })
  setTimeout(() => process.exit(1), 100)
}
