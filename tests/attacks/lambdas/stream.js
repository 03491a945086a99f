// Writes to the socket on which the runtime talks with the gateway, past the runtime: user code shares its process.
const fs = require('fs')

// The descriptors that are sockets; the session's is among them.
const sockets = () => {
  const found = []
  for (let fd = 3; fd < 100; fd++) {
    try { if (fs.fstatSync(fd).isSocket()) found.push(fd) } catch {}
  }
  return found
}

const write = async (fd, bytes) => {
  for (let at = 0; at < bytes.length;) {
    try { at += fs.writeSync(fd, bytes, at) } catch (e) {
      if (e.code !== 'EAGAIN') return e.code
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
  }
}

// An HTTP/2 frame, and in it a message of gRPC.
const frame = (type, flags, stream, body) => {
  const head = Buffer.alloc(9)
  head.writeUIntBE(body.length, 0, 3)
  head[3] = type
  head[4] = flags
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, body])
}
const message = (body) => {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(body.length, 1)
  return Buffer.concat([head, body])
}

// RuntimeFrame, by hand.
const varint = (n) => { const out = []; for (; n > 127; n = Math.floor(n / 128)) out.push((n % 128) | 128); return Buffer.from([...out, n]) }
const field = (number, body) => Buffer.concat([varint(number << 3 | 2), varint(body.length), body])
const result = (id, json) => field(1, Buffer.concat([Buffer.from([8]), varint(id), field(2, Buffer.from(json))]))
const record = (id, text) => field(2, Buffer.concat([Buffer.from([8]), varint(id), Buffer.from([16, 2]), field(3, Buffer.from(text))]))

// The session is one of the first streams of its connection.
const STREAMS = [1, 3, 5, 7, 9, 11, 13, 15]
const onAll = (body) => Buffer.concat(STREAMS.map((stream) => frame(0, 0, stream, message(body))))

const floods = {
  garbage: () => Buffer.from('\xff\xfe garbage '.repeat(4096), 'latin1'),
  'frames of garbage': () => onAll(Buffer.from('\xff\xff\xff not protobuf', 'latin1')),
  'results for calls that never were': () => onAll(result(999999, '"forged"')),
  'results for every call': () => onAll(Buffer.concat(Array.from({ length: 1000 }, (_, i) => result(i + 1, '"forged"')))),
  'a huge frame': () => frame(0, 0, 7, Buffer.concat([Buffer.from([0, 0x7f, 0xff, 0xff, 0xff]), Buffer.alloc(16000)])),
  'an impossible length': () => Buffer.concat([Buffer.from([0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 7]), Buffer.alloc(16000)]),
  'logs for calls that never were': () => onAll(record(999999, 'forged')),
  'an end of every stream': () => Buffer.concat(STREAMS.map((stream) => frame(3, 0, stream, Buffer.alloc(4)))),
  'settings without end': () => Buffer.concat(Array.from({ length: 10000 }, () => frame(4, 0, 0, Buffer.alloc(0)))),
  'pings without end': () => Buffer.concat(Array.from({ length: 10000 }, () => frame(6, 0, 0, Buffer.alloc(8)))),
  'empty frames without end': () => Buffer.concat(Array.from({ length: 10000 }, () => frame(0, 0, 7, Buffer.alloc(0)))),
  'a goodbye': () => frame(7, 0, 0, Buffer.alloc(8)),
}

async function lambda(input, callback) {
  const bytes = floods[input.payload.variant]()
  let written = 0
  const end = Date.now() + 1000
  do {
    for (const fd of sockets()) {
      if (await write(fd, bytes) === undefined) written += bytes.length
    }
  } while (Date.now() < end)
  callback(null, { written })
}
