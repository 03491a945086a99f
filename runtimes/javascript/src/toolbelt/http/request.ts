// One request of the HTTPClient: what its options mean, its redirects, and what
// its answer looks like.

import type { Kit } from '../secret.ts';
import { type Credentials, answerTo, authorization, credentialsOf } from './auth.ts';
import { arrayFormat, bodyOf } from './body.ts';
import { CookieJar } from './cookies.ts';
import { type Abort, type Agents, type Answer, exchange } from './exchange.ts';
import { Headers, textOf } from './headers.ts';
import { withQuery } from './query.ts';
import type { HttpOptions, HttpResponse, SentRequest, Uri } from './types.ts';

const MAX_REDIRECTS = 10;
const MAX_TIMER = 0x7fffffff;

/** What the requests of a process share. */
export interface Shared {
  readonly kit: Kit;
  readonly agents: Agents;
  /** The jar of the option jar: true. */
  readonly jar: CookieJar;
  /** Options that the author has been warned of. */
  readonly warned: Set<string>;
}

const INSECURE = 'certificates are always checked. Give ca if a server has one of its own authority';
const PROXIED = 'all requests go through the proxy of the platform, which decides';
const POOLED = 'connections are kept and used again as it is';

/** Options of request that have no effect here, and why. */
const IGNORED: Readonly<Record<string, string>> = {
  proxy: PROXIED, tunnel: PROXIED, proxyHeaderWhiteList: PROXIED, proxyHeaderExclusiveList: PROXIED, localAddress: PROXIED,
  rejectUnauthorized: INSECURE, strictSSL: INSECURE,
  agent: POOLED, agentClass: POOLED, agentOptions: POOLED, pool: POOLED, forever: POOLED,
};

/** Options of request without which the request would be another one. */
const UNSUPPORTED: Readonly<Record<string, string>> = {
  multipart: 'use formData, or make the body yourself', har: 'use the other options',
  oauth: 'use LpClient, or require oauth-1.0a and set the header', aws: 'set the header yourself', hawk: 'set the header yourself', httpSignature: 'set the header yourself',
};

/** The options that TLS takes as they are. */
const TLS = ['ca', 'cert', 'key', 'pfx', 'passphrase', 'ciphers', 'servername'];

export class Request {
  private readonly shared: Shared;
  private readonly options: HttpOptions;
  private method: string;
  private url!: URL;
  private headers!: Headers;
  private body: Buffer | undefined;
  private credentials: Credentials | undefined;
  private asked = false;
  private redirects = 0;
  private stop: Abort | undefined;
  private aborted = false;
  private readonly started = Date.now();

  constructor(shared: Shared, options: HttpOptions) {
    this.shared = shared;
    this.options = options;
    this.method = textOf(options.method ?? 'GET').toUpperCase();
  }

  /** Ends it: what send returned stays open. */
  abort(): void {
    this.aborted = true;
    this.stop?.();
  }

  /** Sends it, and again where an answer asks for that. */
  async send(): Promise<HttpResponse> {
    this.check();
    this.url = addressOf(this.options);
    this.headers = this.firstHeaders();
    this.body = await bodyOf(this.options, this.headers);
    for (;;) {
      const sent = this.sent();
      const answer = await this.exchange(sent);
      this.keepCookies(answer);
      const response = responseOf(answer, sent, this.options, this.started);
      if (!this.goesOn(response)) return response;
    }
  }

  private check(): void {
    const { kit, warned } = this.shared;
    for (const name of Object.keys(this.options)) {
      const value = this.options[name];
      if (value === undefined || value === null) continue;
      if (Object.hasOwn(UNSUPPORTED, name)) throw new Error(`The option ${name} is not supported: ${UNSUPPORTED[name]!}`);
      if (!Object.hasOwn(IGNORED, name) || warned.has(name) || (value === true && IGNORED[name] === INSECURE)) continue;
      warned.add(name);
      kit.warn(`The option ${name} of HTTPClient has no effect: ${IGNORED[name]!}.`);
    }
  }

  private firstHeaders(): Headers {
    const { auth, gzip } = this.options;
    const headers = new Headers(this.options.headers);
    const { BRAND_ID, LAMBDA_UUID } = process.env;
    if (BRAND_ID !== undefined) headers.offer('LP-URL', BRAND_ID);
    if (LAMBDA_UUID !== undefined) headers.offer('User-Agent', `LP-Lambda-${LAMBDA_UUID}`);
    if (gzip === true) headers.offer('accept-encoding', 'gzip, deflate');
    const { username, password } = this.url;
    if (auth !== undefined && auth !== null) {
      this.credentials = credentialsOf(auth);
      if (this.credentials.atOnce) headers.set('authorization', authorization(this.credentials));
    } else if (username !== '' || password !== '') {
      headers.offer('authorization', authorization(credentialsOf({ user: decodeURIComponent(username), pass: decodeURIComponent(password) })));
    }
    return headers;
  }

  /** The request as it goes out now. */
  private sent(): SentRequest {
    const { method, url } = this;
    const headers = new Headers(this.headers.object());
    const cookies = this.jar()?.getCookieString(url) ?? '';
    if (cookies !== '') headers.set('cookie', headers.has('cookie') ? `${headers.text('cookie')}; ${cookies}` : cookies);
    if (this.body !== undefined) headers.offer('content-length', this.body.length);
    else if (method !== 'GET') headers.offer('content-length', 0);
    const uri = uriOf(url);
    return { uri, href: uri.href, method, headers: headers.object() };
  }

  private exchange({ method, headers }: SentRequest): Promise<Answer> {
    const { timeout, gzip } = this.options;
    const milliseconds = typeof timeout === 'number' && timeout > 0 ? Math.min(timeout, MAX_TIMER) : 0;
    const tls: Record<string, unknown> = {};
    for (const name of TLS) if (this.options[name] !== undefined) tls[name] = this.options[name];
    return new Promise((resolve, reject) => {
      if (this.aborted) return;
      const message = { method, url: this.url, headers, body: this.body, timeout: milliseconds, unpack: gzip === true, tls };
      this.stop = exchange(this.shared.agents, message, (error, answer) => {
        if (answer === undefined) reject(error!);
        else resolve(answer);
      });
    });
  }

  private jar(): CookieJar | undefined {
    const { jar } = this.options;
    if (jar === true) return this.shared.jar;
    return jar instanceof CookieJar ? jar : undefined;
  }

  private keepCookies(answer: Answer): void {
    const jar = this.jar();
    for (const cookie of (jar && answer.headers['set-cookie']) ?? []) jar!.setCookie(cookie, this.url);
  }

  /** Whether the answer asks for another request, which is then prepared. */
  private goesOn(response: HttpResponse): boolean {
    return response.statusCode === 401 ? this.authenticate(response) : this.redirect(response);
  }

  /** The answer to a server that asks who it is; only once. */
  private authenticate({ headers }: HttpResponse): boolean {
    const { credentials } = this;
    if (credentials === undefined || credentials.atOnce || this.asked) return false;
    this.asked = true;
    const challenge = headers['www-authenticate'];
    const value = typeof challenge === 'string' ? answerTo(challenge, credentials, this.method, this.url.pathname + this.url.search) : undefined;
    if (value !== undefined) this.headers.set('authorization', value);
    return value !== undefined;
  }

  private redirect(response: HttpResponse): boolean {
    const { location } = response.headers;
    if (response.statusCode < 300 || response.statusCode > 399 || typeof location !== 'string' || !this.follows(response)) return false;
    const { maxRedirects } = this.options;
    const from = this.url;
    if (this.redirects++ >= (typeof maxRedirects === 'number' ? maxRedirects : MAX_REDIRECTS)) {
      throw new Error(`Exceeded maxRedirects. Probably stuck in a redirect loop ${from.href}`);
    }
    this.url = parse(location, from);
    this.url.hash ||= from.hash;
    this.changeMethod(response.statusCode);
    if (this.url.host !== from.host || (from.protocol === 'https:' && this.url.protocol !== from.protocol)) this.forget();
    this.headers.remove('host');
    if (this.options.removeRefererHeader === true || (from.protocol === 'https:' && this.url.protocol === 'http:')) this.headers.remove('referer');
    else this.headers.set('referer', hrefOf(from).split('#', 1)[0]);
    return true;
  }

  private follows(response: HttpResponse): boolean {
    const { followRedirect, followAllRedirects } = this.options;
    const wanted = followAllRedirects === true || (followRedirect !== false && (this.method === 'GET' || this.method === 'HEAD' || this.method === 'OPTIONS'));
    return wanted && (typeof followRedirect !== 'function' || Boolean(followRedirect(response)));
  }

  /** 307 and 308 keep the method and the body; 303 never does; the others as the author wants it. */
  private changeMethod(statusCode: number): void {
    if (this.method === 'HEAD' || statusCode === 307 || statusCode === 308) return;
    if (statusCode !== 303 && this.options.followOriginalHttpMethod === true) return;
    if (this.method !== 'OPTIONS' || statusCode === 303) this.method = 'GET';
    this.body = undefined;
    this.headers.remove('content-type', 'content-length', 'transfer-encoding');
  }

  /** Another host gets none of what is for the first one. */
  private forget(): void {
    this.credentials = undefined;
    this.headers.remove('authorization', 'cookie', 'proxy-authorization');
  }
}

// Addresses

function addressOf(options: HttpOptions): URL {
  const { uri, url, baseUrl, qs } = options;
  const given = uri ?? url;
  if (given === undefined || given === null || (given === '' && baseUrl === undefined)) throw new Error('options.uri is a required argument');
  const address = parse(baseUrl === undefined ? hrefIn(given) : joined(baseUrl, given));
  if (qs === undefined || qs === null) return address;
  if (typeof qs !== 'object') throw new Error('options.qs must be an object');
  const style = { arrayFormat: arrayFormat(options), skipNulls: options.qsStringifyOptions?.skipNulls };
  address.search = withQuery(address.search.slice(1), qs, style);
  return address;
}

/** An address as text: a string, a URL, or what Node's url.parse gives. */
function hrefIn(uri: unknown): string {
  if (typeof uri === 'string') return uri;
  const { href } = uri as { href?: unknown };
  if (typeof href !== 'string') throw new Error('options.uri must be a string or a URL');
  return href;
}

function joined(base: unknown, path: unknown): string {
  if (typeof base !== 'string') throw new Error('options.baseUrl must be a string');
  if (typeof path !== 'string') throw new Error('options.uri must be a string when using options.baseUrl');
  if (path.startsWith('//') || path.includes('://')) throw new Error('options.uri must be a path when using options.baseUrl');
  if (path === '') return base;
  return `${base.replace(/\/$/, '')}/${path.replace(/^\//, '')}`;
}

function parse(text: string, base?: URL): URL {
  let url: URL;
  try {
    url = new URL(text, base);
  } catch {
    throw new Error(`Invalid URI ${JSON.stringify(text)}`);
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw new Error(`Invalid protocol: ${url.protocol}`);
  return url;
}

/** Without the name and the password in it. */
function hrefOf(url: URL): string {
  const plain = new URL(url);
  plain.username = plain.password = '';
  return plain.href;
}

function uriOf(url: URL): Uri {
  const { protocol, username, password, host, port, hostname, hash, search, pathname, href } = url;
  const auth = username === '' && password === '' ? null : `${username}:${password}`;
  return {
    protocol, slashes: true, auth, host, port: orNull(port), hostname, hash: orNull(hash), search: orNull(search),
    query: orNull(search.slice(1)), pathname, path: pathname + search, href,
  };
}

function orNull(text: string): string | null {
  return text === '' ? null : text;
}

// Answers

function responseOf(answer: Answer, request: SentRequest, options: HttpOptions, started: number): HttpResponse {
  const { statusCode, statusMessage, httpVersion, headers, rawHeaders } = answer;
  const response: HttpResponse = { statusCode, statusMessage, httpVersion, headers, rawHeaders, body: contentOf(answer, options), request, toJSON };
  Object.defineProperty(response, 'toJSON', { enumerable: false });
  Object.defineProperty(response, 'caseless', { value: caseless(response), enumerable: false });
  if (options.time === true) Object.assign(response, timing(answer, started));
  return response;
}

/** What console and JSON.stringify show of an answer. */
function toJSON(this: HttpResponse): object {
  const { statusCode, body, headers, request: { uri, method, headers: sent } } = this;
  return { statusCode, body, headers, request: { uri, method, headers: sent } };
}

function caseless({ headers }: HttpResponse): object {
  return {
    has: (name: string) => headers[name.toLowerCase()] !== undefined,
    get: (name: string) => headers[name.toLowerCase()],
  };
}

function contentOf({ bytes }: Answer, { encoding, json, jsonReviver }: HttpOptions): unknown {
  const decodes = json !== undefined && json !== null && json !== false;
  if (encoding === null && !decodes) return bytes;
  if (bytes.length === 0) return decodes ? undefined : '';
  const text = bytes.toString(encoding ?? 'utf8');
  if (decodes) {
    try {
      return JSON.parse(text.replace(/^\uFEFF/, ''), jsonReviver) as unknown;
    } catch {
      // Not JSON: as it came.
    }
  }
  return encoding === null ? bytes : text.replace(/^\uFEFF/, '');
}

function timing({ times }: Answer, started: number): object {
  const { start, socket, lookup, connect, response, end } = times;
  const since = (time: number): number => time - start;
  return {
    elapsedTime: Math.round(since(end)),
    responseStartTime: started + Math.round(since(response)),
    timingStart: started,
    timings: { socket: since(socket), lookup: since(lookup), connect: since(connect), response: since(response), end: since(end) },
    timingPhases: { wait: since(socket), dns: lookup - socket, tcp: connect - lookup, firstByte: response - connect, download: end - response, total: since(end) },
  };
}
