'use strict'
// Preloaded (node --require) before a public client: sends connections to the
// names and ports that are compiled into it to a gateway on this machine. The
// client stays as it was published; Host headers and TLS server names too.
//
// CONNECT_MAP is JSON: { "host:port": "address:port", … }. A connection to
// any other place is refused, so that no test ever leaves the machine.
const net = require('node:net')

const map = new Map(Object.entries(JSON.parse(process.env.CONNECT_MAP)))
const connect = net.Socket.prototype.connect

net.Socket.prototype.connect = function (...args) {
  // net.connect hands over [options, callback] as one array already.
  const list = Array.isArray(args[0]) ? args[0] : args
  const options = list[0]
  const from = `${options.host}:${options.port}`
  const to = map.get(from)
  if (to === undefined) throw new Error(`no connection to ${from} is expected`)
  const colon = to.lastIndexOf(':')
  list[0] = { ...options, host: to.slice(0, colon), port: Number(to.slice(colon + 1)) }
  return connect.apply(this, args)
}
