// The function that every server of the benchmark runs.
function lambda(input, callback) {
  callback(null, { message: 'Hello, ' + input.payload.name + '!' })
}

module.exports = lambda
