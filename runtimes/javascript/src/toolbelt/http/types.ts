// What the HTTPClient takes and gives.

import type { CookieJar } from './cookies.ts';

/** The options of request-promise. What is not named here has no effect and is kept for errors. */
export interface HttpOptions {
  uri?: string | URL | null;
  url?: string | URL | null;
  baseUrl?: string;
  method?: string;
  headers?: Readonly<Record<string, unknown>>;
  qs?: object | null;
  qsStringifyOptions?: { arrayFormat?: string; skipNulls?: boolean };
  useQuerystring?: boolean;
  body?: unknown;
  json?: unknown;
  jsonReplacer?: (this: unknown, key: string, value: unknown) => unknown;
  jsonReviver?: (this: unknown, key: string, value: unknown) => unknown;
  form?: unknown;
  formData?: Readonly<Record<string, unknown>>;
  auth?: AuthOptions | null;
  simple?: boolean;
  resolveWithFullResponse?: boolean;
  transform?: (body: unknown, response: HttpResponse, resolveWithFullResponse: boolean) => unknown;
  transform2xxOnly?: boolean;
  followRedirect?: boolean | ((response: HttpResponse) => unknown);
  followAllRedirects?: boolean;
  followOriginalHttpMethod?: boolean;
  maxRedirects?: number;
  removeRefererHeader?: boolean;
  timeout?: number;
  encoding?: BufferEncoding | null;
  gzip?: boolean;
  jar?: boolean | CookieJar;
  time?: boolean;
  callback?: HttpCallback;
  ca?: unknown;
  cert?: unknown;
  key?: unknown;
  pfx?: unknown;
  passphrase?: string;
  [option: string]: unknown;
}

export interface AuthOptions {
  user?: string;
  username?: string;
  pass?: string;
  password?: string;
  bearer?: string | (() => string);
  sendImmediately?: boolean;
}

export type HttpCallback = (error: unknown, response?: HttpResponse, body?: unknown) => void;

/** The parts of an address, as Node's url.parse names them. */
export interface Uri {
  protocol: string;
  slashes: true;
  auth: string | null;
  host: string;
  port: string | null;
  hostname: string;
  hash: string | null;
  search: string | null;
  query: string | null;
  pathname: string;
  path: string;
  href: string;
}

export interface SentRequest {
  readonly uri: Uri;
  readonly href: string;
  readonly method: string;
  readonly headers: Record<string, unknown>;
}

export interface HttpResponse {
  statusCode: number;
  statusMessage: string;
  httpVersion: string;
  /** Names are in lower case; set-cookie is an array. */
  headers: Record<string, string | string[] | undefined>;
  rawHeaders: string[];
  body: unknown;
  request: SentRequest;
  toJSON(): object;
  /** With the option time, milliseconds. */
  elapsedTime?: number;
  responseStartTime?: number;
  timingStart?: number;
  timings?: object;
  timingPhases?: object;
}
