// Makes its environment and its title as large as it can.
async function lambda(input, callback) {
  const big = 'x'.repeat(1 << 20)
  for (let i = 0; i < 30; i++) process.env['BIG_' + i] = big
  process.title = big
  callback(null, { 'fill the environment': 'kept out' })
}
