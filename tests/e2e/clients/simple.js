'use strict'
// Drives a gateway through simple-oauth2 as a small website does.
//
// usage: simple.js '{"sentinel", "gateway", "accountId", "lambda", "user", "clientId", "clientSecret", "redirectURI", "authentication"}'
const { AuthorizationCode } = require('simple-oauth2')
const { logIn, invoke, report } = require('./person')

report(async (setup) => {
  const base = `/sentinel/api/account/${setup.accountId}`
  const client = new AuthorizationCode({
    client: { id: setup.clientId, secret: setup.clientSecret },
    auth: {
      tokenHost: setup.sentinel,
      tokenPath: `${base}/token?v=2.0`,
      revokePath: `${base}/token/revoke?v=1.0`,
      authorizePath: `${base}/authorize?v=1.0`,
    },
    options: { authorizationMethod: setup.authentication },
  })
  const back = await logIn(client.authorizeURL({ redirect_uri: setup.redirectURI, state: 'a state' }), setup.user)
  const first = await client.getToken({ code: back.searchParams.get('code'), redirect_uri: setup.redirectURI })
  const called = await invoke(setup, first.token.access_token)
  const second = await first.refresh()
  const calledAgain = await invoke(setup, second.token.access_token)
  await second.revokeAll()
  const refused = await second.refresh().then(
    () => ({ error: 'none' }),
    (error) => ({ error: error.data.payload.error, status: error.output.statusCode }),
  )
  return {
    state: back.searchParams.get('state'),
    expired: first.expired(),
    rotated: first.token.refresh_token !== second.token.refresh_token,
    called,
    calledAgain,
    afterRevocation: await invoke(setup, second.token.access_token),
    refreshAfterRevocation: refused,
  }
})
