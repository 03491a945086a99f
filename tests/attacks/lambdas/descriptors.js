// Opens descriptors until there are no more, and keeps them.
const fs = require('fs')

const kept = []

async function lambda(input, callback) {
  callback(null, {
    'open 20 000 files': await attempt(() => {
      while (kept.length < 20000) kept.push(fs.openSync('/dev/null'))
    }),
  })
}
