// Fills the heap, after it has raised the limit that V8 was given.
function lambda() {
  require('v8').setFlagsFromString('--max-old-space-size=65536')
  const all = []
  for (;;) all.push(new Array(131072).fill(all.length))
}
