'use strict'
// The same function on @google-cloud/functions-framework.
const lambda = require('./hello.js')

exports.hello = (request, response) => {
  lambda(request.body, (error, result) => {
    if (error) return response.status(500).json({ error: error.message })
    response.json(result)
  })
}
