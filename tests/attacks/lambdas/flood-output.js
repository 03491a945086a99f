// Floods stdout and stderr, which are the gateway's to read: text, no line's end, and what looks like its own log.
const fs = require('fs')

async function lambda(input, callback) {
  const line = Buffer.from('{"@level":"error","@message":{"x":1},"level":"panic"}\n'.repeat(1000))
  const text = Buffer.alloc(1 << 20, 0x78)
  for (const fd of [1, 2]) {
    for (let i = 0; i < 40; i++) {
      for (const bytes of [line, text]) {
        try { fs.writeSync(fd, bytes) } catch (e) { if (e.code !== 'EAGAIN') throw e; await new Promise((resolve) => setTimeout(resolve, 1)) }
      }
    }
  }
  callback(null, { 'print 80 MB': 'kept out' })
}
