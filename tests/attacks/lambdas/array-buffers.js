// Fills memory outside the heap slowly, so that nothing looks sudden, by shared memory and WebAssembly.
async function lambda() {
  const all = []
  for (;;) {
    new Uint8Array(all[all.push(new SharedArrayBuffer(8 << 20)) - 1]).fill(1)
    new Uint8Array(all[all.push(new WebAssembly.Memory({ initial: 128 }).buffer) - 1]).fill(1)
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
}
