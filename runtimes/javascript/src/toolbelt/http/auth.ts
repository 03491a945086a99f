// The Authorization header: Basic and Bearer, and Digest (RFC 7616) when a server
// asks for it.

import { createHash, randomBytes } from 'node:crypto';
import type { AuthOptions } from './types.ts';

/** Who asks, once the options are read. */
export interface Credentials {
  readonly user: string;
  readonly pass: string;
  readonly bearer: string | undefined;
  /** The header goes with the first request, not only when a server asks for it. */
  readonly atOnce: boolean;
}

export function credentialsOf(auth: AuthOptions): Credentials {
  const { user, username, pass, password, bearer, sendImmediately } = auth;
  const name = user ?? username;
  const token = typeof bearer === 'function' ? bearer() : bearer;
  if (token === undefined && typeof name !== 'string') throw new Error('options.auth needs user and pass, or bearer');
  const secret = pass ?? password ?? '';
  if (typeof secret !== 'string') throw new Error('options.auth.pass must be a string');
  return { user: name ?? '', pass: secret, bearer: token, atOnce: sendImmediately !== false };
}

/** The header that needs no question. */
export function authorization({ user, pass, bearer }: Credentials): string {
  if (bearer !== undefined) return `Bearer ${bearer}`;
  return `Basic ${Buffer.from(`${user}:${pass}`).toString('base64')}`;
}

/** The header that answers a server's WWW-Authenticate; undefined if there is none that does. */
export function answerTo(challenge: string, credentials: Credentials, method: string, path: string): string | undefined {
  const scheme = challenge.split(' ', 1)[0]!.toLowerCase();
  if (scheme === 'digest') return credentials.bearer === undefined ? digest(challenge, credentials, method, path) : undefined;
  if (scheme === (credentials.bearer === undefined ? 'basic' : 'bearer')) return authorization(credentials);
  return undefined;
}

function digest(challenge: string, { user, pass }: Credentials, method: string, path: string): string | undefined {
  const asked: Record<string, string> = {};
  for (const [, name, quoted, plain] of challenge.matchAll(/([a-z0-9_-]+)=(?:"([^"]*)"|([a-z0-9_-]+))/gi)) {
    asked[name!.toLowerCase()] = quoted ?? plain!;
  }
  const { realm = '', nonce = '', opaque, algorithm = 'MD5' } = asked;
  const [kind = '', session] = algorithm.toLowerCase().split('-sess');
  const name = { 'md5': 'md5', 'sha-256': 'sha256' }[kind];
  if (name === undefined) return undefined;
  const hash = (text: string): string => createHash(name).update(text).digest('hex');
  const qop = (asked['qop'] ?? '').split(/\s*,\s*/).includes('auth') ? 'auth' : undefined;
  const cnonce = randomBytes(16).toString('hex');
  const count = '00000001';
  let first = hash(`${user}:${realm}:${pass}`);
  if (session !== undefined) first = hash(`${first}:${nonce}:${cnonce}`);
  const second = hash(`${method}:${path}`);
  const response = hash(qop === undefined ? `${first}:${nonce}:${second}` : `${first}:${nonce}:${count}:${cnonce}:${qop}:${second}`);
  const parts = [`username="${user.replace(/["\\]/g, '\\$&')}"`, `realm="${realm}"`, `nonce="${nonce}"`, `uri="${path}"`, `response="${response}"`, `algorithm=${algorithm}`];
  if (qop !== undefined) parts.push(`qop=${qop}`, `nc=${count}`);
  if (qop !== undefined || session !== undefined) parts.push(`cnonce="${cnonce}"`);
  if (opaque !== undefined) parts.push(`opaque="${opaque}"`);
  return `Digest ${parts.join(', ')}`;
}
