// Closes all descriptors of the process, the session's and the event loop's among them.
const fs = require('fs')

function lambda(input, callback) {
  for (let fd = 0; fd < 200; fd++) try { fs.closeSync(fd) } catch {}
  callback(null, { 'close them': 'kept out' })
}
