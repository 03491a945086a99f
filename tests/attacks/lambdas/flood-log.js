// Floods the log, by all its levels, from within the call and after it.
async function lambda(input, callback) {
  for (let i = 0; i < 100000; i++) console.error('flood', i, 'x'.repeat(100))
  callback(null, { 'log 100 000 lines': 'kept out' })
  for (let i = 0; i < 100000; i++) console.warn('after the answer', i)
}
