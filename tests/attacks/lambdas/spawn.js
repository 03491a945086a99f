// Starts a program, in every way that Node knows.
const child = require('child_process')
const fs = require('fs')

const ended = (start) => new Promise((resolve, reject) => start((error, out) => (error ? reject(error) : resolve(out))))
const exited = (c) => new Promise((resolve, reject) => c.on('error', reject).on('exit', (code, signal) => (code === 0 ? resolve() : reject(new Error(`exit ${code ?? signal}`)))))

async function lambda(input, callback) {
  const { mark } = input.payload
  const seen = {
    'exec': await attempt(() => ended((done) => child.exec('echo started', done))),
    'execFile': await attempt(() => ended((done) => child.execFile('/bin/sh', ['-c', 'echo started'], done))),
    'execSync': await attempt(() => child.execSync('echo started', { stdio: 'pipe' })),
    'execFileSync': await attempt(() => child.execFileSync('/bin/sh', ['-c', 'echo started'], { stdio: 'pipe' })),
    'spawn': await attempt(() => exited(child.spawn('/bin/sh', ['-c', 'exit 0']))),
    'spawn without a pipe': await attempt(() => exited(child.spawn('/bin/sh', ['-c', 'exit 0'], { stdio: 'ignore' }))),
    'spawnSync': await attempt(() => { const r = child.spawnSync('/bin/sh', ['-c', 'exit 0']); if (r.error) throw r.error }),
    'itself again': await attempt(() => { const r = child.spawnSync(process.execPath, ['-e', '0'], { stdio: 'ignore' }); if (r.error) throw r.error }),
    'fork': await attempt(() => exited(child.fork('/dev/null', { execPath: process.execPath, silent: true }))),
    'cluster': await attempt(() => {
      const cluster = require('cluster')
      cluster.setupPrimary({ exec: '/dev/null', silent: true })
      const { process: child } = cluster.fork()
      return new Promise((resolve, reject) => child.on('error', reject).on('spawn', () => { child.kill('SIGKILL'); resolve() }))
    }),
    'the binding': await attempt(() => {
      const { spawn } = process.binding('spawn_sync')
      const r = spawn({ file: '/bin/sh', args: ['sh', '-c', 'exit 0'], stdio: [{ type: 'ignore' }, { type: 'ignore' }, { type: 'ignore' }] })
      if (r.error) throw { code: require('util').getSystemErrorName(r.error) }
    }),
    'from a worker': await attempt(() => new Promise((resolve, reject) => {
      const { Worker } = require('worker_threads')
      const worker = new Worker(`
        const r = require('child_process').spawnSync('/bin/sh', ['-c', 'exit 0'])
        require('worker_threads').parentPort.postMessage(r.error ? r.error.code : '')`, { eval: true })
      worker.on('message', (code) => { void worker.terminate(); code === '' ? resolve() : reject({ code }) }).on('error', reject)
    })),
    'a file of its own': await attempt(() => {
      const path = `/tmp/${mark}.sh`
      fs.writeFileSync(path, '#!/bin/sh\nexit 0\n', { mode: 0o755 })
      try { child.execFileSync(path, { stdio: 'ignore' }) } finally { fs.rmSync(path) }
    }),
  }
  callback(null, seen)
}
