// The HTTPClient: the surface of request-promise over Node's own http and https.
// Its answer is a promise; the stream that request itself was is not offered.

import type { Kit } from '../secret.ts';
import { type Cookie, CookieJar, parseCookie } from './cookies.ts';
import { RequestError, StatusCodeError, TransformError } from './errors.ts';
import { Agents } from './exchange.ts';
import { Request, type Shared } from './request.ts';
import type { HttpCallback, HttpOptions, HttpResponse } from './types.ts';

export type { HttpCallback, HttpOptions, HttpResponse } from './types.ts';

/** What request-promise/errors exports. */
export const httpErrors = { RequestError, StatusCodeError, TransformError };

/** A promise with what request-promise has besides. */
export interface HttpPromise extends Promise<unknown> {
  promise(): Promise<unknown>;
  /** Ends the request; the promise stays open. */
  abort(): void;
  cancel(): void;
}

type Send = (uri: string | URL | HttpOptions, options?: HttpOptions | HttpCallback | null, callback?: HttpCallback) => HttpPromise;

export interface HttpClient extends Send {
  get: Send;
  post: Send;
  put: Send;
  patch: Send;
  del: Send;
  delete: Send;
  head: Send;
  options: Send;
  /** A client whose requests have these options unless they say otherwise. */
  defaults(options: HttpOptions): HttpClient;
  jar(): CookieJar;
  cookie(text: string): Cookie | undefined;
}

const VERBS = ['get', 'post', 'put', 'patch', 'del', 'delete', 'head', 'options'] as const;

export function makeHttpClient(kit: Kit): HttpClient {
  return clientWith({ kit, agents: new Agents(), jar: new CookieJar(), warned: new Set() }, {});
}

function clientWith(shared: Shared, defaults: HttpOptions): HttpClient {
  const sender = (method?: string): Send => (uri, options, callback) => {
    const merged = merge(defaults, given(uri, options, callback)) as HttpOptions;
    return start(shared, method === undefined ? merged : { ...merged, method });
  };
  const client = sender() as HttpClient;
  for (const verb of VERBS) client[verb] = sender(verb === 'del' ? 'DELETE' : verb.toUpperCase());
  client.defaults = (options) => clientWith(shared, merge(defaults, options) as HttpOptions);
  client.jar = () => new CookieJar();
  client.cookie = parseCookie;
  return client;
}

/** The options of a call in any of its forms. */
function given(uri: string | URL | HttpOptions, options?: HttpOptions | HttpCallback | null, callback?: HttpCallback): HttpOptions {
  const heard = typeof options === 'function' ? options : callback;
  const all: HttpOptions = isAddress(uri) ? { ...optionsOf(options), uri } : { ...uri, ...optionsOf(options) };
  if (heard !== undefined) all.callback = heard;
  return all;
}

function optionsOf(options: HttpOptions | HttpCallback | null | undefined): HttpOptions {
  return typeof options === 'object' && options !== null ? options : {};
}

function isAddress(uri: unknown): uri is string | URL {
  return typeof uri === 'string' || uri instanceof URL;
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

const MERGED = new Set(['headers', 'qs', 'form', 'auth', 'formData', 'qsStringifyOptions']);

/** Options over defaults; of those that hold names and values, each one by itself. */
function merge(defaults: HttpOptions, options: HttpOptions): object {
  const merged: Record<string, unknown> = { ...defaults };
  for (const name of Object.keys(options)) {
    const value = options[name];
    if (value === undefined) continue;
    merged[name] = MERGED.has(name) && isObject(value) && isObject(merged[name]) ? { ...merged[name], ...value } : value;
  }
  return merged;
}

function start(shared: Shared, given: HttpOptions): HttpPromise {
  const options = { ...given };
  if (typeof options.simple !== 'boolean') options.simple = true;
  if (typeof options.resolveWithFullResponse !== 'boolean') options.resolveWithFullResponse = false;
  if (typeof options.transform2xxOnly !== 'boolean') options.transform2xxOnly = false;
  if (typeof options.method === 'string') options.method = options.method.toUpperCase();
  if (options.method === 'HEAD') options.transform ??= headersOf;
  const request = new Request(shared, options);
  const sent = request.send();
  const settled = settle(sent, options);
  if (typeof options.callback === 'function') {
    tell(sent, options.callback);
    settled.catch(() => undefined); // the callback has heard of it
  }
  return extended(settled, request);
}

/** The default of request-promise: a HEAD request gives the headers. */
function headersOf(_body: unknown, response: HttpResponse, full: boolean): unknown {
  return full ? response : response.headers;
}

/** What becomes of the promise. */
async function settle(sent: Promise<HttpResponse>, options: HttpOptions): Promise<unknown> {
  const { simple, transform, transform2xxOnly, resolveWithFullResponse } = options;
  let response: HttpResponse;
  try {
    response = await sent;
  } catch (error) {
    throw new RequestError(error, options);
  }
  const { statusCode, body } = response;
  const good = statusCode >= 200 && statusCode < 300;
  const refused = simple === true && !good;
  const asIs = resolveWithFullResponse === true ? response : body;
  let made: unknown = refused ? response : asIs;
  if (typeof transform === 'function' && (good || transform2xxOnly !== true)) {
    try {
      made = await transform(body, response, resolveWithFullResponse === true);
    } catch (error) {
      throw new TransformError(error, options, response);
    }
  }
  if (refused) throw new StatusCodeError(statusCode, body, options, made);
  return made;
}

/** Calls back as request does: with any status, and with the error that kept an answer from coming. */
function tell(sent: Promise<HttpResponse>, callback: HttpCallback): void {
  // Outside the promise: what the callback throws is an uncaught exception, and no rejection.
  sent.then(
    (response) => { setImmediate(callback, null, response, response.body); },
    (error: unknown) => { setImmediate(callback, error); },
  );
}

/** catch also takes the class of the errors that it catches first, as Bluebird's did. */
function extended(promise: Promise<unknown>, request: Request): HttpPromise {
  const plain = promise.catch.bind(promise);
  const abort = (): void => {
    request.abort();
  };
  const caught = (...handlers: unknown[]): Promise<unknown> => {
    const [type, handler] = handlers;
    if (handlers.length < 2 || typeof type !== 'function' || typeof handler !== 'function') return plain(type as undefined);
    return plain((error: unknown) => {
      if (error instanceof type) return (handler as (error: unknown) => unknown)(error);
      throw error;
    });
  };
  return Object.defineProperties(promise, {
    promise: { value: () => promise, configurable: true, writable: true },
    abort: { value: abort, configurable: true, writable: true },
    cancel: { value: abort, configurable: true, writable: true },
    catch: { value: caught, configurable: true, writable: true },
  }) as HttpPromise;
}
