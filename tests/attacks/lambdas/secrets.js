// Asks for the secrets of another account: the gateway, not the runtime, knows whose lambda it is.
async function lambda(input, callback) {
  const { SecretClient } = require('lp-faas-toolbelt').Toolbelt ? { SecretClient: require('lp-faas-toolbelt').Toolbelt.SecretClient } : {}
  const secrets = SecretClient()
  const { theirs } = input.payload
  const seen = {}
  for (const key of [theirs.key, `../${theirs.account}/${theirs.key}`, `${theirs.account}/${theirs.key}`, `%2e%2e/${theirs.account}/${theirs.key}`, '', '*']) {
    seen[`read ${key === '' ? 'nothing' : key.replaceAll(theirs.account, 'ACCOUNT')}`] = await attempt(async () => (await secrets.readSecret(key)).value)
  }
  seen['change it'] = await attempt(async () => { await secrets.updateSecret({ key: theirs.key, value: 'changed' }) })
  callback(null, seen)
}
