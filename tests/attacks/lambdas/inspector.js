// Opens a debugger's port, by the module and by the signal.
const inspector = require('node:inspector')

async function lambda(input, callback) {
  const { ports } = input.payload
  const seen = { 'open a port': await attempt(() => { inspector.open(ports.free, '127.0.0.1'); return inspector.url() }) }
  seen['by a signal'] = await attempt(async () => {
    inspector.close()
    process.kill(process.pid, 'SIGUSR1')
    await new Promise((resolve) => setTimeout(resolve, 300))
    if (inspector.url() === undefined) throw new Error('no port')
  })
  seen['open one again'] = await attempt(() => { inspector.open(ports.free, '127.0.0.1'); return inspector.url() })
  callback(null, seen)
}
