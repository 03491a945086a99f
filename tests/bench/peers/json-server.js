'use strict'
// The yardstick for lists: a plain Node server that has what FILE says in memory
// and writes it as JSON for every request.
//
// usage: json-server.js FILE ADDRESS PORT
const fs = require('node:fs')

const [file, address, port] = process.argv.slice(2)
const list = JSON.parse(fs.readFileSync(file, 'utf8'))

require('node:http')
  .createServer((_request, response) => {
    const text = Buffer.from(JSON.stringify(list))
    response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': text.length })
    response.end(text)
  })
  .listen(Number(port), address)
