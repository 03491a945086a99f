// Looks what variables are set, in process.env and in the process itself.
const fs = require('fs')

async function lambda(input, callback) {
  callback(null, { env: process.env, flags: process.execArgv, real: await attempt(() => fs.readFileSync('/proc/self/environ', 'utf8').replaceAll('\0', ' ').length) })
}
