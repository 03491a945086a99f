// The SFClient: connections of jsforce 3 with what lambdas expect of them, which was
// written for jsforce 1: methods that call back, a refresh token alone, no
// instance's address. jsforce is read when the first connection is asked for.

import type { Kit } from './secret.ts';

/** What connectToSalesforce takes: the ConnectionConfig of jsforce, and the client's id and secret also outside of oauth2. */
export interface ConnectionParameters {
  loginUrl?: string;
  instanceUrl?: string;
  serverUrl?: string;
  accessToken?: string;
  refreshToken?: string;
  clientId?: string;
  clientSecret?: string;
  redirectUri?: string;
  oauth2?: { clientId?: string; [option: string]: unknown };
  refreshFn?: (connection: unknown, callback: (error?: unknown, accessToken?: string) => void) => void;
  [option: string]: unknown;
}

export interface SalesforceClient {
  connectToSalesforce(parameters?: ConnectionParameters): object;
}

type Method = (this: unknown, ...args: unknown[]) => unknown;
type Callback = (error: unknown, result?: unknown) => void;

interface Request {
  url: string;
  headers?: Record<string, string>;
}

/** A promise that jsforce can also read as a stream. */
type Answer = Promise<unknown> & { stream(): unknown };

interface Transport {
  httpRequest(request: Request, options?: Record<string, unknown>): Answer;
}

interface Connection {
  instanceUrl: string;
  loginUrl: string;
  _transport: Transport;
  oauth2: { _transport: Transport };
}

interface Jsforce {
  Connection: new (config: object) => Connection;
  OAuth2: new (config: object) => object;
}

/** jsforce repeats requests that failed for a while: so often, and not beyond the end of the call. */
const MAX_RETRIES = 2;

const CANNOT_REFRESH =
  'Salesforce does not take the access token, and nothing was given to get another one with the refresh token. ' +
  'Add oauth2: { clientId, clientSecret } of your connected app to the parameters of connectToSalesforce, or a refreshFn.';

/** Makes the client. Its method needs no this. */
export function salesforceClient(kit: Kit): SalesforceClient {
  return {
    connectToSalesforce(parameters = {}) {
      if (!isObject(parameters)) {
        throw new TypeError('The argument of connectToSalesforce must be an object, such as { loginUrl, accessToken, refreshToken }');
      }
      return connect(kit, parameters);
    },
  };
}

function connect(kit: Kit, parameters: ConnectionParameters): object {
  const jsforce = kit.jsforce() as Jsforce;
  const connection = new jsforce.Connection(configOf(parameters, jsforce));
  // Without an instance's address jsforce 3 asks nobody; who logs in or refreshes gets to know it.
  const assumed = connection.instanceUrl === '' ? connection.loginUrl.replace(/\/+$/, '') : undefined;
  if (assumed !== undefined) connection.instanceUrl = assumed;
  connection._transport = transport(kit, connection._transport, (url) => relocated(url, assumed, connection.instanceUrl));
  if (!(parameters.oauth2 instanceof jsforce.OAuth2)) {
    connection.oauth2._transport = transport(kit, connection.oauth2._transport, (url) => url);
  }
  return withCallbacks(connection);
}

/** The parameters as jsforce 3 wants them. */
function configOf(parameters: ConnectionParameters, jsforce: Jsforce): ConnectionParameters {
  const { clientId, clientSecret, redirectUri, ...config } = parameters;
  // The way out is the process's own: a proxy of the author's could not be reached.
  delete config['httpProxy'];
  delete config['proxyUrl'];
  if (clientId !== undefined && !(config.oauth2 instanceof jsforce.OAuth2)) {
    const own = { loginUrl: config.loginUrl, clientId, clientSecret, redirectUri };
    config.oauth2 = { ...defined(own), ...config.oauth2 };
  }
  if (config.refreshToken && !config.refreshFn && !config.oauth2?.clientId) {
    config.refreshFn = (_, callback) => {
      callback(new Error(CANNOT_REFRESH));
    };
  }
  return config;
}

function defined(object: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));
}

/** A request to the address that was assumed goes to the instance, once that is known. */
function relocated(url: string, assumed: string | undefined, instance: string): string {
  if (assumed === undefined || !instance || instance === assumed || !url.startsWith(`${assumed}/services/`)) return url;
  return instance + url.slice(assumed.length);
}

/** Sends requests within the call's time, and says whose they are. */
function transport(kit: Kit, inner: Transport, address: (url: string) => string): Transport {
  return {
    httpRequest(request, options) {
      const timeout = Math.max(Math.floor(kit.remaining()), 1);
      const limits = { timeout, retry: { maxRetries: MAX_RETRIES } };
      const headers = { ...defined({ 'LP-URL': kit.environment['BRAND_ID'], 'User-Agent': agent(kit) }), ...request.headers } as Record<string, string>;
      const sent = inner.httpRequest({ ...request, url: address(request.url), headers }, { ...limits, ...options });
      const answered = sent.catch((error: unknown) => {
        if (isAbort(error)) throw late(timeout, error);
        throw error;
      });
      return Object.assign(answered, { stream: () => sent.stream() });
    },
  };
}

function isAbort(error: unknown): boolean {
  return (error as Error | undefined)?.name === 'AbortError';
}

/** jsforce itself speaks of 30 minutes, which is what it waits for otherwise. */
function late(timeout: number, cause: unknown): Error {
  const error = new Error(`Salesforce has not answered: the time of the call was over after ${String(timeout)} ms`, { cause });
  error.name = 'TimeoutError';
  return error;
}

function agent(kit: Kit): string | undefined {
  const lambda = kit.environment['LAMBDA_UUID'];
  return lambda === undefined ? undefined : `LP-Lambda-${lambda}`;
}

// Callbacks

/** Methods whose functions are no callbacks of theirs. */
const OTHER: ReadonlySet<string> = new Set([
  'constructor', 'then', 'catch', 'finally', 'promise', 'stream', 'pipe', 'subscribe', 'unsubscribe', 'createClient', 'toString', 'filter', 'map',
]);

/** Properties by which objects of jsforce that send requests are known: they refer to what sends them. */
const REFERENCES = ['_conn', '_bulk', '_query', '_meta', '_report', '_chatter'];

const given = new WeakSet();

/**
 * Gives the methods of an object of jsforce, and of what they return, a callback as
 * their last argument, as in jsforce 1: it is called with an error, or null and the
 * result. The promise that is returned as well then needs nobody to handle it.
 */
function withCallbacks<T extends object>(object: T): T {
  if (given.has(object)) return object;
  given.add(object);
  for (const [name, property] of properties(object)) {
    if ('get' in property) wrapGetter(object, name, property);
    else if (typeof property.value === 'function') wrapMethod(object, name, property.value as Method);
  }
  return object;
}

/** The public properties of an object, its own and inherited ones, up to Node's classes. */
function properties(object: object): Map<string, PropertyDescriptor> {
  const found = new Map<string, PropertyDescriptor>();
  for (let at: object | null = object; at !== null && !isNodes(at); at = Object.getPrototypeOf(at) as object | null) {
    for (const name of Object.getOwnPropertyNames(at)) {
      if (name.startsWith('_') || OTHER.has(name) || found.has(name)) continue;
      found.set(name, Object.getOwnPropertyDescriptor(at, name)!);
    }
  }
  return found;
}

const NODES: ReadonlySet<unknown> = new Set(['Object', 'EventEmitter', 'Stream', 'Readable', 'Writable', 'Duplex', 'Transform', 'PassThrough', 'Promise']);

function isNodes(prototype: object): boolean {
  return Object.hasOwn(prototype, 'constructor') && NODES.has((prototype as { constructor: { name: unknown } }).constructor.name);
}

/** The parts of a connection, such as tooling and apex. They cannot be set. */
function wrapGetter(object: object, name: string, property: PropertyDescriptor): void {
  // eslint-disable-next-line @typescript-eslint/unbound-method -- it is called with its object
  const { get = () => undefined } = property;
  Object.defineProperty(object, name, { configurable: true, enumerable: true, get: () => part(Reflect.apply(get, object, []) as unknown) });
}

function wrapMethod(object: object, name: string, method: Method): void {
  const wrapped = function (this: unknown, ...args: unknown[]): unknown {
    const callback = args.at(-1);
    if (typeof callback !== 'function' || isMapping(name, args)) return part(Reflect.apply(method, this, args));
    try {
      return deliver(part(Reflect.apply(method, this, args.slice(0, -1))), callback as Callback);
    } catch (error) {
      return deliver(rejected(error), callback as Callback);
    }
  };
  Object.defineProperty(object, name, { configurable: true, writable: true, enumerable: false, value: Object.assign(wrapped, method) });
}

/** query.update(record => …): the function says how to change a record. */
function isMapping(name: string, args: unknown[]): boolean {
  return name === 'update' && args.length === 1;
}

/** An object of jsforce that sends requests gets callbacks as well. */
function part(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  for (const name of REFERENCES) if (Object.hasOwn(value, name)) return withCallbacks(value);
  return value;
}

function rejected(error: unknown): Promise<never> {
  // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- whatever was thrown
  return Promise.reject(error);
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null;
}

function deliver(result: unknown, callback: Callback): unknown {
  if (typeof (result as { then?: unknown } | undefined)?.then !== 'function') {
    callback(null, result);
    return result;
  }
  void (result as PromiseLike<unknown>).then(
    (value) => {
      callback(null, value);
    },
    (error: unknown) => {
      callback(error);
    },
  );
  return result;
}
