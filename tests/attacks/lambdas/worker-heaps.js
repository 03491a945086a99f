// Fills the heaps of many threads, each of which has a limit of its own.
const { Worker } = require('worker_threads')

async function lambda() {
  for (let i = 0; i < 64; i++) {
    const worker = new Worker('const all = []; for (;;) all.push(new Array(65536).fill(all.length))', { eval: true, resourceLimits: { maxOldGenerationSizeMb: 4096 } })
    worker.on('error', () => {})
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
