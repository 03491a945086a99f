// OAuth 1.0a (RFC 5849) with HMAC-SHA1: the header that LivePerson's APIs want.

import { createHmac, randomBytes } from 'node:crypto';
import OAuth from 'oauth-1.0a';

/** An API key, as a secret holds it. */
export interface AppKey {
  consumerKey: string;
  consumerSecret: string;
  token: string;
  tokenSecret: string;
}

const PARTS = ['consumerKey', 'consumerSecret', 'token', 'tokenSecret'] as const;

/** Checks what a secret holds. Throws an Error that names what is missing, and no value. */
export function appKeyOf(name: string, value: unknown): AppKey {
  const missing = PARTS.filter((part) => typeof (value as Partial<AppKey> | null)?.[part] !== 'string');
  if (missing.length === 0) return value as AppKey;
  throw new Error(`the secret ${name} must be an object with ${PARTS.join(', ')}, all of them text; ${missing.join(', ')} ${missing.length > 1 ? 'are' : 'is'} missing`);
}

/**
 * The Authorization header of a request. The parameters of a form are signed with
 * those of the URL, as the RFC says; other bodies are not.
 */
export function sign(key: AppKey, method: string, url: URL, form = ''): string {
  const oauth = new OAuth({
    consumer: { key: key.consumerKey, secret: key.consumerSecret },
    signature_method: 'HMAC-SHA1',
    hash_function: (base, secret) => createHmac('sha1', secret).update(base).digest('base64'),
  });
  oauth.getNonce = () => randomBytes(16).toString('hex'); // its own one can be guessed
  // The library reads a query by its letters, without + and =, so it gets the parameters.
  const data = Object.create(null) as Record<string, string | string[]>;
  for (const parameters of [url.searchParams, new URLSearchParams(form)]) {
    for (const [name, value] of parameters) {
      const before = data[name];
      data[name] = before === undefined ? value : typeof before === 'string' ? [before, value] : [...before, value];
    }
  }
  const request = { method, url: `${url.origin}${url.pathname}`, data };
  return oauth.toHeader(oauth.authorize(request, { key: key.token, secret: key.tokenSecret })).Authorization;
}
