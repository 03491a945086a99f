// Breaks the language under the runtime's feet: what it replaces, the runtime might use for the next call.
const patches = {
  'Object.prototype setters'() {
    for (const name of ['id', 'open', 'answered', 'callId', 'payload', 'then', 'level', 'message', 'get', 'set', 'value', 'writable', 'code', 'stack']) {
      Object.defineProperty(Object.prototype, name, { configurable: true, get() { return undefined }, set() { throw new Error('polluted') } })
    }
  },
  'Object.prototype values'() { for (const name of ['id', 'debug', 'cancelled', 'fail', 'error', 'enumerable', 'toJSON', 'highWaterMark', 'encoding', 'signal']) Object.prototype[name] = 1 },
  'JSON'() { JSON.parse = JSON.stringify = () => { throw new Error('polluted') } },
  'Array.prototype'() { for (const name of ['push', 'pop', 'shift', 'unshift', 'slice', 'splice', 'map', 'forEach', 'join', 'concat', 'indexOf', 'filter']) Array.prototype[name] = () => { throw new Error('polluted') } },
  'Array iteration'() { Array.prototype[Symbol.iterator] = () => { throw new Error('polluted') } },
  'an array index setter'() { Object.defineProperty(Array.prototype, '0', { configurable: true, get() { return undefined }, set() { throw new Error('polluted') } }) },
  'Promise.prototype.then'() { Promise.prototype.then = () => { throw new Error('polluted') }; Promise.resolve = Promise.reject = () => { throw new Error('polluted') } },
  'Map and Set'() { for (const of of [Map, Set, WeakMap]) for (const name of ['get', 'set', 'has', 'delete', 'add']) if (of.prototype[name]) of.prototype[name] = () => { throw new Error('polluted') } },
  'Buffer'() { for (const name of ['from', 'alloc', 'allocUnsafe', 'concat', 'byteLength', 'isBuffer', 'allocUnsafeSlow']) Buffer[name] = () => { throw new Error('polluted') }; for (const name of ['write', 'copy', 'slice', 'subarray', 'toString', 'utf8Write', 'utf8Slice', 'latin1Slice', 'readUInt32BE', 'readUInt8', 'writeUInt32BE', 'set', 'fill']) Buffer.prototype[name] = () => { throw new Error('polluted') } },
  'Uint8Array'() { const of = Object.getPrototypeOf(Uint8Array.prototype); for (const name of ['set', 'subarray', 'slice', 'fill']) of[name] = () => { throw new Error('polluted') } },
  'EventEmitter'() { const of = require('events').prototype; for (const name of ['emit', 'on', 'once', 'addListener', 'removeListener', 'listenerCount']) of[name] = () => { throw new Error('polluted') } },
  'process.emit'() { process.emit = () => { throw new Error('polluted') } },
  'timers'() { for (const name of ['setImmediate', 'setTimeout', 'setInterval', 'clearTimeout', 'queueMicrotask']) globalThis[name] = () => { throw new Error('polluted') } ; process.nextTick = () => { throw new Error('polluted') } },
  'Symbol.species'() { Object.defineProperty(Array, Symbol.species, { get() { throw new Error('polluted') } }); Object.defineProperty(Promise, Symbol.species, { get() { throw new Error('polluted') } }) },
  'Function.prototype'() { for (const name of ['call', 'apply', 'bind']) Function.prototype[name] = () => { throw new Error('polluted') } },
  'String.prototype'() { for (const name of ['charCodeAt', 'slice', 'split', 'startsWith', 'includes', 'endsWith', 'toLowerCase', 'trim', 'replace', 'match']) String.prototype[name] = () => { throw new Error('polluted') } },
  'Math and Date'() { for (const name of ['min', 'max', 'floor']) Math[name] = () => NaN; Date.now = () => -1e15; performance.now = () => -1 },
  'AsyncLocalStorage'() { const of = require('async_hooks').AsyncLocalStorage.prototype; for (const name of ['run', 'getStore', 'enterWith', 'exit']) of[name] = () => { throw new Error('polluted') } },
  'streams'() { const s = require('stream'); for (const of of [s.Duplex.prototype, s.Readable.prototype, s.Writable.prototype]) for (const name of ['write', 'read', 'push', 'end', 'destroy', 'emit', 'on', 'resume']) of[name] = () => { throw new Error('polluted') } },
  'http2'() { const h = require('http2'); for (const name of Object.keys(h)) try { h[name] = null } catch {}; const n = require('net'); for (const name of ['write', 'end', 'destroy', 'connect']) n.Socket.prototype[name] = () => { throw new Error('polluted') } },
  'fs'() { for (const name of Object.keys(require('fs'))) try { require('fs')[name] = () => { throw new Error('polluted') } } catch {} },
  'globals'() { for (const name of ['Object', 'Array', 'Promise', 'Error', 'Buffer', 'JSON', 'Map', 'process', 'console', 'String', 'Number', 'Symbol', 'Function']) globalThis[name] = undefined },
  'everything frozen'() { for (const of of [Object, Array, Promise, Map, Function, Error, require('events'), Buffer, Uint8Array]) Object.freeze(of.prototype) },
}

let polluted = false

function lambda(input, callback) {
  const { variant, echo } = input.payload
  // The answer of this call is the call's own; what counts is that it and the next arrive.
  if (!polluted) { polluted = true; patches[variant]() }
  callback(null, echo)
}
