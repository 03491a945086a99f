// Holds the process for ever.
const ways = {
  loop() { for (;;); },
  microtasks() { (async () => { for (;;) await null })() },
  ticks() { process.nextTick(ways.ticks) },
  immediates() { setImmediate(ways.immediates) },
  wait() { Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0) },
  regex() { /^(a+)+$/.test('a'.repeat(64) + 'b') },
  bigint() { 3n ** (10n ** 9n) },
  json() { const deep = {}; deep.toJSON = () => deep; for (;;) JSON.stringify(deep) },
  compile() { for (;;) new (require('vm').Script)('x = ' + '['.repeat(2000) + ']'.repeat(2000)) },
  wasm() {
    const code = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 9, 1, 7, 0, 3, 64, 12, 0, 11, 11)
    new WebAssembly.Instance(new WebAssembly.Module(code)).exports.f()
  },
}

function lambda(input, callback) {
  try { ways[input.payload.variant]() } catch (e) { callback(null, { hold: String(e.code ?? e) }) }
}
