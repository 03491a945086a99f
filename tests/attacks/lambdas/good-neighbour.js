// No attack: the lambda of another account, which answers as ever whatever the others do.
process.title = 'neighbour'

function lambda(input, callback) {
  callback(null, { number: input.payload.number, message: 'good morning' })
}
