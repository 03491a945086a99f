// fetch and WebSocket through the egress proxy. Node reads them (undici) when one of
// them is first used, which takes as long as half the start of a process: so they
// are covered then.

import { Socket } from 'node:net';
import tls from 'node:tls';
import type { Refused } from './egress.ts';
import { current } from './invocation.ts';
import { captureStack, clearTimer, defineProperty, includes, isArray, isError, NativeError, pin, setTimer, startsWith, string, then, unbound } from './primordials.ts';
import { denied, MESSAGE, type EgressProxy, type Refusal, refusalOf, RULE, tunnel, wayTo } from './tunnel.ts';

const MAX_CONNECTIONS = 64; // to one host
const MAX_SESSIONS = 100;
const MAX_REFUSALS = 100;
const MAX_HANDSHAKE = 10_000; // ms

/** Where copies of undici find the dispatcher that they use: Node's own and older ones, and newer ones. */
const OLDER = Symbol.for('undici.globalDispatcher.1');
const NEWER = Symbol.for('undici.globalDispatcher.2');
const shared = globalThis as unknown as Record<symbol, Dispatcher | undefined>;

interface Dispatcher {
  dispatch(options: DispatchOptions, handler: object): boolean;
}

interface DispatchOptions {
  origin: string | URL;
  path: string;
  upgrade?: unknown;
  headers?: unknown;
}

interface ConnectOptions {
  hostname: string;
  protocol: string;
  port: string;
  servername?: string | null;
}

type Connected = (error: Error | null, socket: Socket | null) => void;
type Connector = (options: ConnectOptions, callback: Connected) => void;
type AgentClass = new (options: object) => Dispatcher;

/** The latest refusals by host, for WebSockets: their own error events say nothing. */
const refusals = pin(new Map<string, Refusal>(), 'get', 'set', 'delete', 'clear');

let prepared = (): void => undefined;

/**
 * Makes ready for a source before it is run. The first WebSocket of a process is on its
 * way as soon as it is made, so what may make one has undici read beforehand.
 */
export function expectSource(source: string): void {
  if (source.includes('WebSocket')) prepared();
}

/** Covers fetch and WebSocket, and what packages send by an undici of their own. */
export function coverFetch(proxy: EgressProxy, refused: Refused): void {
  const open = globalThis.fetch;
  let ours: Dispatcher | undefined;
  const prepare = (): void => {
    if (ours !== undefined && shared[NEWER] === ours && shared[OLDER] === ours) return;
    const there = shared[NEWER] ?? shared[OLDER];
    const made = ours === undefined ? defaultAgent(open) : undefined;
    const through = (ours ??= throughProxy(made!.constructor as AgentClass, proxy, refused));
    if (!isDefault(there)) return;
    // Also what has one of them in its hands already goes through the proxy.
    for (const agent of [there, made]) if (agent !== undefined) agent.dispatch = (options, handler) => through.dispatch(options, handler);
    share(through);
  };
  prepared = prepare;
  // A copy of undici looks for a dispatcher when it is read, before anything is sent.
  let seen = false;
  const seek = (): undefined => {
    if (!seen) {
      seen = true;
      queueMicrotask(() => {
        prepare();
        coverWebSocket();
      });
    }
  };
  for (const symbol of [OLDER, NEWER]) Object.defineProperty(shared, symbol, { get: seek, configurable: true });
  // An async function, so that the stack of an error goes on to its caller.
  const covered = async (input: string | URL | Request, init?: RequestInit): Promise<Response> => {
    prepare();
    const invocation = current();
    try {
      const response = await open(input, init);
      const refusal = refusalIn(response);
      if (refusal !== undefined) refused(invocation, refusal);
      return response;
    } catch (error) {
      const refusal = explained(error);
      if (refusal !== undefined) refused(invocation, refusal);
      throw error;
    }
  };
  Object.defineProperty(covered, 'name', { value: 'fetch', configurable: true });
  globalThis.fetch = covered;
}

/** The agent that copies of undici make for themselves, as opposed to one that user code has chosen. */
function isDefault(dispatcher: Dispatcher | undefined): boolean {
  return dispatcher === undefined || dispatcher.constructor.name === 'Agent';
}

function share(dispatcher: Dispatcher | undefined): void {
  for (const symbol of [OLDER, NEWER]) {
    Object.defineProperty(shared, symbol, { value: dispatcher, writable: true, enumerable: false, configurable: false });
  }
}

/** The agent that Node makes when it reads undici and finds none. */
function defaultAgent(open: typeof fetch): Dispatcher {
  const there = shared[OLDER];
  if (there !== undefined) share(undefined);
  void then(open(''), undefined, () => undefined); // it is read, and the address is refused
  const made = shared[OLDER] ?? there!;
  if (there !== undefined && made !== there) shared[OLDER] = there;
  return made;
}

function throughProxy(Agent: AgentClass, proxy: EgressProxy, refused: Refused): Dispatcher {
  const origin = `http://${proxy.host}:${string(proxy.port)}`;
  class ProxiedAgent extends Agent {
    /** Plain HTTP is asked of the proxy; what is upgraded, like a WebSocket, takes a tunnel as TLS does. */
    override dispatch(options: DispatchOptions, handler: object): boolean {
      const target = string(options.origin);
      if (!startsWith(target, 'http:') || (options.upgrade ?? null) !== null) return super.dispatch(options, handler);
      const headers = withHost(options.headers, new URL(target).host);
      return super.dispatch({ ...options, origin, path: `${target}${options.path}`, headers }, handler);
    }
  }
  Object.defineProperty(ProxiedAgent, 'name', { value: 'ProxiedAgent' });
  return new ProxiedAgent({ connections: MAX_CONNECTIONS, connect: connectorTo(proxy, refused) });
}

function withHost(headers: unknown, host: string): unknown {
  if (isArray(headers)) return hasHost(headers.filter((_, i) => i % 2 === 0)) ? headers : [...headers as unknown[], 'host', host];
  if (typeof headers !== 'object' || headers === null) return { host };
  if (Symbol.iterator in headers) {
    const all = [...headers as Iterable<[string, string]>];
    return hasHost(all.map(([name]) => name)) ? all.flat() : [...all.flat(), 'host', host];
  }
  return hasHost(Object.keys(headers)) ? headers : { ...headers, host };
}

function hasHost(names: unknown[]): boolean {
  return names.some((name) => string(name).toLowerCase() === 'host');
}

function connectorTo(proxy: EgressProxy, refused: Refused): Connector {
  const sessions = pin(new Map<string, Buffer>(), 'get', 'set', 'clear');
  return ({ hostname, protocol, port, servername }, callback) => {
    const secure = protocol === 'https:';
    if (!secure && hostname === proxy.host && +port === proxy.port) {
      toProxy(proxy, callback);
      return;
    }
    const invocation = current();
    const told = (refusal: Refusal): void => {
      refused(invocation, refusal);
      if (refusals.size >= MAX_REFUSALS) refusals.clear();
      refusals.set(hostname, refusal);
    };
    const portNumber = port === '' ? (secure ? 443 : 80) : +port;
    tunnel(proxy, hostname, portNumber, told, (error, socket) => {
      if (error !== null) {
        callback(error, null);
        return;
      }
      refusals.delete(hostname); // what fails from here on fails for another reason
      if (secure) shakeHands(socket, servername ?? hostname, sessions, callback);
      else callback(null, socket);
    });
  };
}

function toProxy(proxy: EgressProxy, callback: Connected): void {
  const socket = new Socket();
  settle(socket, 'connect', callback);
  socket.connect(wayTo(proxy));
}

function shakeHands(socket: Socket, servername: string, sessions: Map<string, Buffer>, callback: Connected): void {
  const session = sessions.get(servername);
  const secure = tls.connect({ socket, servername, ALPNProtocols: ['http/1.1'], ...(session === undefined ? {} : { session }) });
  secure.on('session', (fresh) => {
    if (sessions.size >= MAX_SESSIONS) sessions.clear();
    sessions.set(servername, fresh);
  });
  settle(secure, 'secureConnect', callback);
}

/** Calls back when the socket is ready, or cannot be. */
function settle(socket: Socket, ready: string, callback: Connected): void {
  let over = false;
  const finish: Connected = (error, result) => {
    if (over) return;
    over = true;
    clearTimer(timer);
    callback(error, result);
  };
  const timer = setTimer(() => {
    socket.destroy(new NativeError(`No ${ready} within ${string(MAX_HANDSHAKE)} ms`));
  }, MAX_HANDSHAKE);
  socket.once(ready, () => {
    finish(null, socket);
  });
  socket.on('error', (error: Error) => {
    finish(error, null);
  });
}

// What fetch and WebSocket say

/** The proxy's own answer to a plain request. */
function refusalIn(response: Response): Refusal | undefined {
  if (response.status < 400 || !startsWith(response.url, 'http:')) return undefined;
  return refusalOf(new URL(response.url).hostname, response.headers.get(RULE), response.headers.get(MESSAGE));
}

/** Makes "fetch failed" say why, where the proxy was in the way, and where it was called. */
function explained(error: unknown): Refusal | undefined {
  if (!isError(error)) return undefined; // what an abort gives as its reason
  const { cause, stack } = error as { cause?: Error & Partial<Refusal> & { code?: unknown }; stack?: unknown };
  const isOurs = typeof cause?.code === 'string' && startsWith(cause.code, 'EGRESS_');
  if (isOurs) defineProperty(error, 'message', { value: cause.message, writable: true, configurable: true, enumerable: false });
  if (isOurs || (typeof stack === 'string' && !includes(stack, '\n    at '))) captureStack(error);
  if (!isOurs) return undefined;
  const { code, host, rule } = cause;
  Object.assign(error, { code, host, rule });
  return host === undefined || rule === undefined ? undefined : { host, rule, message: cause.message };
}

/** Makes the error event of a WebSocket say what was refused. */
function coverWebSocket(): void {
  const prototype = globalThis.WebSocket.prototype as unknown as { dispatchEvent: (event: Event) => boolean };
  const dispatch = unbound(prototype.dispatchEvent);
  prototype.dispatchEvent = function (this: WebSocket, event: Event): boolean {
    const refusal = event.type === 'error' ? refusals.get(new URL(this.url).hostname) : undefined;
    if (refusal !== undefined) {
      const error = denied(refusal);
      Object.defineProperty(event, 'message', { value: error.message, configurable: true });
      Object.defineProperty(event, 'error', { value: error, configurable: true });
    }
    return dispatch(this, event);
  };
}
