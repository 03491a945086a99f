// Fills memory outside the heap, without a pause.
function lambda() {
  const all = []
  for (;;) all.push(Buffer.alloc(16 << 20, 1))
}
