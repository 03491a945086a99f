'use strict'
// Drives a gateway through openid-client as a website does that wants to know all:
// PKCE, state, nonce, the age of the login, and the signature of the id_token.
//
// usage: openid.js '{"sentinel", "gateway", "accountId", "lambda", "user", "clientId", "clientSecret", "redirectURI", "authentication"}'
const oidc = require('openid-client')
const { logIn, invoke, report } = require('./person')

report(async (setup) => {
  const base = `${setup.sentinel}/sentinel/api/account/${setup.accountId}`
  const config = new oidc.Configuration(
    {
      issuer: 'Sentinel',
      authorization_endpoint: `${base}/authorize?v=1.0`,
      token_endpoint: `${base}/token?v=2.0`,
      revocation_endpoint: `${base}/token/revoke?v=1.0`,
      jwks_uri: `${setup.sentinel}/sentinel/well-known/jwks`,
    },
    setup.clientId,
    {},
    oidc[setup.authentication](setup.clientSecret),
  )
  oidc.enableNonRepudiationChecks(config)

  const verifier = oidc.randomPKCECodeVerifier()
  const checks = {
    pkceCodeVerifier: verifier,
    expectedState: oidc.randomState(),
    expectedNonce: oidc.randomNonce(),
    maxAge: 600,
    idTokenExpected: true,
  }
  const url = oidc.buildAuthorizationUrl(config, {
    redirect_uri: setup.redirectURI,
    scope: 'openid profile offline_access',
    state: checks.expectedState,
    nonce: checks.expectedNonce,
    max_age: String(checks.maxAge),
    prompt: 'login',
    code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
  })
  const back = await logIn(url, setup.user)

  const first = await oidc.authorizationCodeGrant(config, back, checks)
  const called = await invoke(setup, first.access_token)
  const second = await oidc.refreshTokenGrant(config, first.refresh_token)
  const calledAgain = await invoke(setup, second.access_token)

  // Whoever still has the first refresh token is refused, and everybody is out.
  const refused = async (token) => {
    try {
      await oidc.refreshTokenGrant(config, token)
      return { error: 'none' }
    } catch (error) {
      return { error: error.error, status: error.status }
    }
  }
  const replayed = await refused(first.refresh_token)
  const afterReplay = await invoke(setup, second.access_token)

  const third = await oidc.authorizationCodeGrant(
    config,
    await logIn(oidc.buildAuthorizationUrl(config, { redirect_uri: setup.redirectURI, scope: 'openid' }), setup.user),
    {},
  )
  await oidc.tokenRevocation(config, third.refresh_token)
  return {
    callback: back.origin + back.pathname,
    tokenType: first.token_type,
    expiresIn: first.expires_in,
    claims: first.claims(),
    refreshedClaims: second.claims(),
    called,
    calledAgain,
    replayed,
    afterReplay,
    afterRevocation: await invoke(setup, third.access_token),
    refreshAfterRevocation: await refused(third.refresh_token),
  }
})
