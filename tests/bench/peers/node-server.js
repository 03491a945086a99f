'use strict'
// The yardstick: a plain Node server around the same function, without
// authentication, isolation, limits, logs or metrics.
//
// usage: node-server.js ADDRESS PORT [CERTIFICATE KEY]
const fs = require('node:fs')
const lambda = require('./hello.js')

const [address, port, certificate, key] = process.argv.slice(2)

function answer(response, status, body) {
  const text = JSON.stringify(body)
  response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) })
  response.end(text)
}

function serve(request, response) {
  const chunks = []
  request.on('data', (chunk) => chunks.push(chunk))
  request.on('end', () => {
    let input
    try {
      input = JSON.parse(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks))
    } catch {
      return answer(response, 400, { error: 'bad JSON' })
    }
    lambda(input, (error, result) => {
      if (error) return answer(response, 500, { error: error.message })
      answer(response, 200, result)
    })
  })
}

const server = certificate
  ? require('node:https').createServer({ cert: fs.readFileSync(certificate), key: fs.readFileSync(key) }, serve)
  : require('node:http').createServer(serve)

server.listen(Number(port), address)
