// fetch and WebSocket through the egress proxy. Node reads them (undici) when one of
// them is first used, which takes as long as half the start of a process: so they
// are covered then.

import { AsyncLocalStorage } from 'node:async_hooks';
import { Socket } from 'node:net';
import tls from 'node:tls';
import type { Refused } from './egress.ts';
import { current } from './invocation.ts';
import { clearTimer, isArray, NativeError, pin, setTimer, startsWith, string, then } from './primordials.ts';
import { denied, MESSAGE, type EgressProxy, type Refusal, refusalOf, RULE, tunnel, wayTo } from './tunnel.ts';

const MAX_CONNECTIONS = 64; // to one host
const MAX_SESSIONS = 100;
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

/** The WebSocket that a connection is made for: its own error event says nothing. */
const dialling = pin(new AsyncLocalStorage<{ refusal: Refusal | undefined }>(), 'run', 'getStore');

let prepare: (() => void) | undefined;

/**
 * Sends through the proxy what a copy of undici would send by an agent that it made
 * when it was read. For those who have just read a package that may hold one.
 */
export function adoptDispatcher(): void {
  if (shared[NEWER] !== undefined || shared[OLDER] !== undefined) prepare?.();
}

/** Covers fetch and WebSocket. */
export function coverFetch(proxy: EgressProxy, refused: Refused): void {
  const open = globalThis.fetch;
  let ours: Dispatcher | undefined;
  prepare = (): void => {
    ours ??= throughProxy(agentClass(open), proxy, refused);
    if (isDefault(shared[NEWER] ?? shared[OLDER])) share(ours);
  };
  // An async function, so that the stack of an error goes on to its caller.
  const covered = async (input: string | URL | Request, init?: RequestInit): Promise<Response> => {
    prepare!();
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
  coverWebSocket();
}

/** The agent that copies of undici make for themselves, as opposed to one that user code has chosen. */
function isDefault(dispatcher: Dispatcher | undefined): boolean {
  return dispatcher === undefined || dispatcher.constructor.name === 'Agent';
}

function share(dispatcher: Dispatcher): void {
  for (const symbol of [OLDER, NEWER]) {
    Object.defineProperty(shared, symbol, { value: dispatcher, writable: true, enumerable: false, configurable: false });
  }
}

/** The class of Node's own agents: Node makes one when it reads undici and finds none. */
function agentClass(open: typeof fetch): AgentClass {
  const there = shared[OLDER];
  if (there !== undefined) shared[OLDER] = undefined;
  void then(open(''), undefined, () => undefined); // it is read, and the address is refused
  const made = shared[OLDER] ?? there ?? shared[NEWER];
  return made!.constructor as AgentClass;
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
    const call = dialling.getStore();
    const told = (refusal: Refusal): void => {
      refused(invocation, refusal);
      if (call !== undefined) call.refusal = refusal;
    };
    const portNumber = port === '' ? (secure ? 443 : 80) : +port;
    tunnel(proxy, hostname, portNumber, told, (error, socket) => {
      if (error !== null) callback(error, null);
      else if (!secure) callback(null, socket);
      else shakeHands(socket, servername ?? hostname, sessions, callback);
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

/** Makes "fetch failed" say why, where the proxy was in the way. */
function explained(error: unknown): Refusal | undefined {
  const { cause, message, stack } = error as { cause?: Error & Partial<Refusal> & { code?: unknown }; message: string; stack?: string };
  if (typeof cause?.code !== 'string' || !startsWith(cause.code, 'EGRESS_')) return undefined;
  const { code, host, rule } = cause;
  Object.defineProperty(error, 'message', { value: cause.message, writable: true, configurable: true, enumerable: false });
  Object.defineProperty(error, 'stack', { value: stack?.replace(message, () => cause.message), writable: true, configurable: true, enumerable: false });
  Object.assign(error as object, { code, host, rule });
  return host === undefined || rule === undefined ? undefined : { host, rule, message: cause.message };
}

/** Makes a WebSocket whose error event says what was refused. */
function construct(Base: typeof WebSocket, args: unknown[], target: unknown): WebSocket {
  prepare!();
  const call: { refusal: Refusal | undefined } = { refusal: undefined };
  const socket = dialling.run(call, () => Reflect.construct(Base, args, target as typeof WebSocket) as WebSocket);
  socket.addEventListener('error', (event) => {
    if (call.refusal === undefined) return;
    const error = denied(call.refusal);
    Object.defineProperty(event, 'message', { value: error.message, configurable: true });
    Object.defineProperty(event, 'error', { value: error, configurable: true });
  });
  return socket;
}

function coverWebSocket(): void {
  const property = Object.getOwnPropertyDescriptor(globalThis, 'WebSocket');
  if (property === undefined) return;
  let covered: unknown;
  const make = (): unknown => {
    const Base = (property.get === undefined ? property.value : Reflect.apply(property.get, globalThis, [])) as typeof globalThis.WebSocket;
    return new Proxy(Base, { construct });
  };
  Object.defineProperty(globalThis, 'WebSocket', {
    get: () => (covered ??= make()),
    set: (value: unknown) => {
      covered = value;
    },
    enumerable: false,
    configurable: true,
  });
}
