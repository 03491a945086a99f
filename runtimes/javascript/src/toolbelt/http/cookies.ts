// Cookies (RFC 6265), as far as a client of APIs needs them. There is no list of
// public suffixes: a jar belongs to one lambda, so a cookie for a whole top-level
// domain harms nobody else; one for a name without a dot is not taken.

import { isIP } from 'node:net';

const MAX_COOKIES = 300;
const MAX_PER_HOST = 50;
const MAX_LENGTH = 4096; // characters of a Set-Cookie

export interface Cookie {
  key: string;
  value: string;
  /** undefined is: for ever, or until the process ends. */
  expires: Date | undefined;
  domain: string;
  /** It is for that host alone, not for those below it. */
  hostOnly: boolean;
  path: string;
  secure: boolean;
  httpOnly: boolean;
  /** As the Cookie header has it. */
  cookieString(): string;
  toString(): string;
}

/** Reads the text of a Set-Cookie; undefined if it is none. Without Domain and Path they are filled in by the jar. */
export function parseCookie(text: unknown): Cookie | undefined {
  if (typeof text !== 'string' || text.length > MAX_LENGTH) return undefined;
  const [pair, ...attributes] = text.split(';');
  const equals = pair!.indexOf('=');
  const key = pair!.slice(0, equals < 0 ? 0 : equals).trim();
  if (key === '') return undefined;
  const cookie: Cookie = {
    key, value: pair!.slice(equals + 1).trim(), expires: undefined, domain: '', hostOnly: true, path: '', secure: false, httpOnly: false,
    cookieString: () => `${cookie.key}=${cookie.value}`,
    toString: () => text,
  };
  let maxAge: number | undefined;
  for (const attribute of attributes) {
    const [name = '', ...rest] = attribute.split('=');
    const value = rest.join('=').trim();
    switch (name.trim().toLowerCase()) {
      case 'domain':
        cookie.domain = value.replace(/^\./, '').toLowerCase();
        break;
      case 'path':
        if (value.startsWith('/')) cookie.path = value;
        break;
      case 'expires':
        if (!Number.isNaN(Date.parse(value))) cookie.expires = new Date(value);
        break;
      case 'max-age':
        if (/^-?\d+$/.test(value)) maxAge = Number(value);
        break;
      case 'secure':
        cookie.secure = true;
        break;
      case 'httponly':
        cookie.httpOnly = true;
    }
  }
  if (maxAge !== undefined) cookie.expires = new Date(Math.min(Date.now() + maxAge * 1000, 8.64e15));
  return cookie;
}

/** Keeps cookies and says which of them a request carries. The oldest go when there are too many. */
export class CookieJar {
  private cookies: Cookie[] = [];

  /** Takes a cookie that an answer of that address set. One that the address must not set is not taken. */
  setCookie(cookie: string | Cookie, uri: string | URL): Cookie | undefined {
    const parsed = typeof cookie === 'string' ? parseCookie(cookie) : cookie;
    const url = new URL(uri);
    if (parsed === undefined || !this.accept(parsed, url)) return undefined;
    this.cookies = this.cookies.filter((c) => c.key !== parsed.key || c.domain !== parsed.domain || c.path !== parsed.path);
    if (isOver(parsed)) return parsed;
    this.cookies.push(parsed);
    const same = this.cookies.filter((c) => c.domain === parsed.domain);
    const surplus = same.length > MAX_PER_HOST ? same[0] : this.cookies.length > MAX_COOKIES ? this.cookies[0] : undefined;
    if (surplus !== undefined) this.cookies.splice(this.cookies.indexOf(surplus), 1);
    return parsed;
  }

  /** The cookies of a request to that address, those with the longest paths first. */
  getCookies(uri: string | URL): Cookie[] {
    const { protocol, hostname, pathname } = new URL(uri);
    this.cookies = this.cookies.filter((c) => !isOver(c));
    return this.cookies
      .filter((c) => (protocol === 'https:' || !c.secure) && isFor(c, hostname) && isBelow(pathname, c.path))
      .sort((a, b) => b.path.length - a.path.length);
  }

  /** The value of the Cookie header; empty when there is none. */
  getCookieString(uri: string | URL): string {
    return this.getCookies(uri).map((c) => c.cookieString()).join('; ');
  }

  private accept(cookie: Cookie, { hostname, pathname }: URL): boolean {
    if (cookie.path === '') cookie.path = pathname.slice(0, Math.max(1, pathname.lastIndexOf('/')));
    if (cookie.domain === '' || cookie.domain === hostname) {
      cookie.hostOnly = cookie.domain === '' || !cookie.domain.includes('.');
      cookie.domain = hostname;
      return true;
    }
    cookie.hostOnly = false;
    return cookie.domain.includes('.') && isFor(cookie, hostname);
  }
}

function isOver({ expires }: Cookie): boolean {
  return expires !== undefined && expires.getTime() <= Date.now();
}

function isFor({ domain, hostOnly }: Cookie, hostname: string): boolean {
  if (domain === hostname) return true;
  return !hostOnly && hostname.endsWith(`.${domain}`) && isIP(hostname) === 0;
}

function isBelow(pathname: string, path: string): boolean {
  return pathname === path || (pathname.startsWith(path) && (path.endsWith('/') || pathname[path.length] === '/'));
}
