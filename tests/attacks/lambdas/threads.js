// Starts threads until there are no more.
const { Worker } = require('worker_threads')

async function lambda(input, callback) {
  let running = 0
  let refused
  const all = []
  for (let i = 0; i < 300 && refused === undefined; i++) {
    try {
      const worker = new Worker('setInterval(() => {}, 1000)', { eval: true, resourceLimits: { maxOldGenerationSizeMb: 2, maxYoungGenerationSizeMb: 1, stackSizeMb: 1 } })
      worker.on('online', () => { running++ }).on('error', (e) => { refused = e.code ?? e.message })
      all.push(worker)
    } catch (e) { refused = e.code ?? e.message }
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  callback(null, { 'start 300 threads': refused ?? `done: ${running}` })
}
