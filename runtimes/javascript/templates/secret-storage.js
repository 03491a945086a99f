/**
 * Secret Storage: reads a secret, and writes it back when it has to be renewed.
 *
 * An admin creates the secret: here "partner-token", an object with token and
 * expiresAt. A lambda can change its value, and neither create nor delete it.
 */
const { randomUUID } = require('crypto');
const { Toolbelt } = require('lp-faas-toolbelt');

const SECRET = 'partner-token';
const ONE_DAY = 24 * 60 * 60 * 1000;

async function lambda(input, callback) {
  const secretClient = Toolbelt.SecretClient();
  try {
    const secret = await secretClient.readSecret(SECRET);

    const renew = !(secret.value.expiresAt > Date.now());
    if (renew) {
      secret.value = await newToken();
      await secretClient.updateSecret(secret);
      console.info('The token has been renewed', { expiresAt: secret.value.expiresAt });
    }

    // Use secret.value.token here, and let neither the result nor the log have it.
    callback(null, { key: secret.key, renewed: renew });
  } catch (error) {
    // There is no such secret, for example.
    console.error('The secret could not be used', { code: error.code, reason: error.message });
    callback(error);
  }
}

/** Put the request in here that gets you a token. */
async function newToken() {
  return { token: randomUUID(), expiresAt: Date.now() + ONE_DAY };
}
