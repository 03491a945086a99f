// Loads native code: an addon that it brings along, from each place that it can write to, past the switch that forbids addons.
const fs = require('fs')

async function lambda(input, callback) {
  const { mark, addon, extension } = input.payload
  const code = Buffer.from(addon, 'base64')
  const seen = {}
  const places = { '/tmp': `/tmp/${mark}.so`, 'its own folder': `${home()}/${mark}.so`, '/dev/shm': `/dev/shm/${mark}.so` }
  // What it inherited as memory is a file, too.
  for (let fd = 3; fd < 30; fd++) {
    try { if (fs.fstatSync(fd).isFile() && fs.readlinkSync(`/proc/self/fd/${fd}`).startsWith('/memfd:')) places[`inherited memory`] = `/proc/self/fd/${fd}` } catch {}
  }
  places['inherited memory'] ??= '/proc/self/fd/3'
  for (const [name, path] of Object.entries(places)) {
    seen[`write it to ${name}`] = await attempt(() => {
      const fd = fs.openSync(path, path.startsWith('/proc') ? 'r+' : 'w')
      fs.writeSync(fd, code, 0, code.length, 0)
      fs.closeSync(fd)
    })
    const short = (e) => { throw new Error(/disabled|not permitted|failed to map|cannot open|No such|Permission|invalid ELF|file too short|denied|not authorized|no such/i.exec(e.message)?.[0].toLowerCase() ?? e.message) }
    seen[`load it from ${name}`] = await attempt(() => {
      const module = { exports: {} }
      try { process.dlopen(module, path) } catch (e) { short(e) }
      return module.exports.attack
    })
    seen[`load it from ${name} in a worker`] = await attempt(() => new Promise((resolve, reject) => {
      const { Worker } = require('worker_threads')
      const worker = new Worker(`
        const { parentPort } = require('worker_threads')
        const module = { exports: {} }
        try { process.dlopen(module, ${JSON.stringify(path)}); parentPort.postMessage({ got: module.exports.attack }) } catch (e) { parentPort.postMessage({ error: e.message }) }`,
        { eval: true, execArgv: ['--addons'] })
      worker.on('error', reject).on('message', (m) => {
        void worker.terminate()
        if (m.error === undefined) return resolve(m.got)
        try { short(new Error(m.error)) } catch (e) { reject(e) }
      })
    }))
    // What is loaded must not be written over.
    if (path.startsWith('/proc') && Object.keys(seen).some((k) => k.includes(name) && k.startsWith('load') && seen[k].startsWith('done'))) continue
    const other = path.startsWith('/proc') ? path : `${path}-2.so`
    seen[`load it from ${name} as an extension of SQLite`] = await attempt(() => {
      const fd = fs.openSync(other, path.startsWith('/proc') ? 'r+' : 'w')
      const bytes = Buffer.from(extension, 'base64')
      fs.writeSync(fd, bytes, 0, bytes.length, 0)
      fs.closeSync(fd)
      const { DatabaseSync } = require('node:sqlite')
      const db = new DatabaseSync(':memory:', { allowExtension: true })
      try { db.loadExtension(other) } catch (e) { short(e) }
    })
    if (!path.startsWith('/proc')) for (const file of [path, other]) try { fs.rmSync(file) } catch {}
  }
  seen['an engine of OpenSSL'] = await attempt(() => { require('crypto').setEngine('/tmp/none.so') })
  callback(null, seen)
}
