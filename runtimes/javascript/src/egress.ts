// The way out: everything that speaks HTTP or TLS goes through the gateway's egress
// proxy, whoever made the client, and what the proxy refuses is told in plain words.
//
// Node's own switch for that (--use-env-proxy) reads all of undici when a process
// starts, covers no client that user code makes itself, and hides why the proxy
// refused. So the runtime does it: in the agents of http and https, in tls.connect,
// and in fetch when it is first used.
//
// This is not what keeps a lambda in: the sandbox is. User code can undo it, and
// then reaches nothing.

import { subscribe } from 'node:diagnostics_channel';
import dns from 'node:dns';
import http from 'node:http';
import https from 'node:https';
import net, { Socket } from 'node:net';
import tls from 'node:tls';
import { coverFetch } from './fetch.ts';
import { current, type Invocation } from './invocation.ts';
import { clearTimer, includes, isArray, NativeError, number, pin, setTimer, slice, startsWith, string, unbound } from './primordials.ts';
import { isLoopback, MESSAGE, type EgressProxy, type Refusal, refusalOf, RULE, tunnel, TunnelStream, wayTo } from './tunnel.ts';

/** Logs for the author, in the call that asked. */
export type Note = (invocation: Invocation | undefined, message: string) => void;

/** The address under which programs know the proxy, where a socket file stands for it. */
const ADDRESS = { host: '127.0.0.1', port: 3128 };

const REMEDY = 'a lambda reaches other hosts by HTTP and HTTPS only, with fetch, http, https or HTTPClient, which go through the proxy of the platform';

/** What the kernel and the resolver are asked when another host is wanted. */
const LOOKING = 'connect getaddrinfo queryAny queryA queryAaaa ';

/** Refusals that are logged in one call. */
const MAX_NOTES = 10;

/** Sends what user code sends through the proxy that SLUICE_EGRESS names; without one it goes out directly. */
export function openWayOut(egress: string | undefined, note: Note): void {
  if (egress === undefined || egress === '') return;
  const proxy = proxyOf(egress);
  const refused = teller(note);
  coverHttp(proxy, refused);
  coverTls(proxy, refused);
  coverSockets(proxy);
  coverNames();
  coverFetch(proxy, refused);
}

function proxyOf(egress: string): EgressProxy {
  if (startsWith(egress, 'unix:/')) return { ...ADDRESS, path: slice(egress, 'unix:'.length) };
  const [, host, port] = /^tcp:([^:]+):(\d+)$/.exec(egress) ?? [];
  if (host === undefined) throw new Error(`SLUICE_EGRESS is ${egress}: it must be tcp:HOST:PORT or unix:/PATH`);
  return { host, port: Number(port), path: undefined };
}

// What was refused

export type Refused = (invocation: Invocation | undefined, refusal: Refusal) => void;

/** Tells each refusal once in a call, and not more of them than help. */
function teller(note: Note): Refused {
  const told = pin(new WeakMap<object, string[]>(), 'get', 'set');
  const outside = {};
  return (invocation, { host, rule, message }) => {
    const key = invocation ?? outside;
    let list = told.get(key);
    if (list === undefined) told.set(key, (list = []));
    const name = `${rule} ${host}`;
    for (let i = 0; i < list.length; i++) if (list[i] === name) return;
    if (list.length >= MAX_NOTES) return;
    list[list.length] = name;
    note(invocation, message);
  };
}

// http and https

type Callback = (error: Error | null, socket?: unknown) => void;
type Options = Record<string, unknown>;

/** What of Node's agents is needed: kProxyConfig makes a client write whole addresses, as a proxy wants them. */
interface ProxyConfig {
  proxyConnectionOptions: object;
  shouldUseProxy(host: unknown, port: unknown): boolean;
}

function coverHttp(proxy: EgressProxy, refused: Refused): void {
  const { host, port } = proxy;
  const agent = new http.Agent({ proxyEnv: { HTTP_PROXY: `http://${host}:${string(port)}` } });
  const symbol = Object.getOwnPropertySymbols(agent).find((s) => s.description === 'kProxyConfig');
  if (symbol === undefined) throw new Error(`Node.js ${process.version} cannot send HTTP through a proxy. Use Node.js 24.5 or later`);
  const config = (agent as unknown as Record<symbol, ProxyConfig>)[symbol]!;
  config.proxyConnectionOptions = wayTo(proxy);
  config.shouldUseProxy = (to, at) => !isProxy(proxy, to, at); // a library that was given its address speaks to it itself
  define(http.Agent.prototype, symbol, config);
  define(https.Agent.prototype, symbol, null); // it goes through a tunnel of ours
  const agents = https.Agent.prototype as unknown as { createConnection: (...args: unknown[]) => unknown };
  const direct = unbound(agents.createConnection);
  define(agents, 'createConnection', function createConnection(this: https.Agent, ...args: unknown[]): unknown {
    const [options, callback] = args as [Options | null, Callback | undefined];
    if (typeof options !== 'object' || options === null || !isRemote(options) || typeof callback !== 'function') return direct(agents, ...args);
    openFor(proxy, options, refused, this.options.timeout, (error, socket) => {
      if (error === null) callback(null, direct(this, { ...options, socket }));
      else callback(error);
    });
    return undefined;
  });
  subscribe('http.client.response.finish', (message) => {
    const { request, response } = message as { request: http.ClientRequest; response: http.IncomingMessage };
    if (response.statusCode! < 400 || request.protocol !== 'http:') return;
    const refusal = refusalOf(request.host, response.headers[RULE], response.headers[MESSAGE]);
    if (refusal !== undefined) refused(current(), refusal);
  });
}

/** Opens a tunnel for a request; its own timeout ends the wait as Node's own proxy tunnels do. */
function openFor(proxy: EgressProxy, options: Options, refused: Refused, idle: number | undefined, done: Callback): void {
  const { host, port, timeout } = options as { host: string; port?: number | string; timeout?: number };
  const invocation = current();
  let over = false;
  const once: Callback = (error, socket) => {
    if (over) return;
    over = true;
    clearTimer(timer);
    done(error, socket);
  };
  const socket = tunnel(proxy, host, +(port ?? 443), (refusal) => {
    refused(invocation, refusal);
  }, once);
  const late = (): void => {
    const text = `The way out to ${host} was not open within ${string(timeout)} ms`;
    once(Object.assign(new NativeError(text), { code: 'ERR_PROXY_TUNNEL', proxyTunnelTimeout: timeout }));
    socket.destroy();
  };
  const timer = timeout !== undefined && timeout > 0 && timeout !== idle ? setTimer(late, timeout) : undefined;
}

/** Whether TLS goes to another host over a connection that is not there yet. */
function isRemote({ host, socket, path, socketPath }: Options): boolean {
  return (socket ?? path ?? socketPath ?? null) === null && typeof host === 'string' && host !== '';
}

// TLS of any client, like the agents of undici that a package makes for itself

function coverTls(proxy: EgressProxy, refused: Refused): void {
  const direct = tls.connect as (...args: unknown[]) => tls.TLSSocket;
  define(tls, 'connect', function connect(...args: unknown[]): tls.TLSSocket {
    const { options, callback } = tlsArguments(args);
    if (!isRemote(options) || isLoopback(options['host'] as string)) return direct(...args);
    const invocation = current();
    const socket = new TunnelStream((done) =>
      tunnel(proxy, options['host'] as string, number(options['port']), (refusal) => {
        refused(invocation, refusal);
      }, done),
    );
    return direct({ ...options, socket }, callback);
  });
}

/** connect(options), connect(port, options) and connect(port, host, options), each with a callback or none. */
function tlsArguments(args: unknown[]): { options: Options; callback: unknown } {
  let options: Options = {};
  let callback: unknown;
  for (let i = 0; i < args.length; i++) {
    const argument = args[i];
    if (typeof argument === 'object' && argument !== null) options = { ...options, ...argument };
    else if (typeof argument === 'function') callback = argument;
    else if (i === 0) options['port'] = argument;
    else if (typeof argument === 'string') options['host'] = argument;
  }
  return { options, callback };
}

// Sockets

type Normalized = [options: Options, callback: unknown];

function coverSockets(proxy: EgressProxy): void {
  const { _normalizeArgs: normalize } = net as unknown as { _normalizeArgs: (args: unknown[]) => Normalized };
  const sockets = Socket.prototype as unknown as { connect: (...args: unknown[]) => Socket };
  const direct = unbound(sockets.connect);
  define(sockets, 'connect', function connect(this: Socket, ...args: unknown[]): Socket {
    const normalized = (isArray(args[0]) ? args[0] : normalize(args)) as Normalized;
    const [{ host, port, path }, callback] = normalized;
    if (typeof path === 'string') return direct(this, ...args);
    if (isProxy(proxy, host, port)) return direct(this, ...(proxy.path === undefined ? args : [{ path: proxy.path }, callback]));
    if (typeof host === 'string' && !isLoopback(host)) explainErrors(this, `${host}:${string(port)}`);
    return direct(this, ...args);
  });
}

function isProxy(proxy: EgressProxy, host: unknown, port: unknown): boolean {
  return host === proxy.host && number(port) === proxy.port;
}

/** The errors of a connection that leads nowhere say how there is a way. */
function explainErrors(socket: Socket, address: string): void {
  // eslint-disable-next-line @typescript-eslint/unbound-method -- it is given its this
  const destroy = unbound(socket.destroy);
  define(socket, 'destroy', function (this: Socket, error?: Error): Socket {
    explain(error, address);
    return destroy(this, error);
  });
}

/** Adds the remedy to an error of the kernel or of a look-up. */
function explain(error: unknown, what: string): void {
  const { code, message, syscall, errors } = (error ?? {}) as Partial<Record<'code' | 'message' | 'syscall' | 'errors', unknown>>;
  if (typeof code !== 'string' || typeof message !== 'string' || includes(message, REMEDY)) return;
  if (typeof syscall === 'string' ? !includes(LOOKING, `${syscall} `) : !isArray(errors)) return;
  define(error as Error, 'message', `${message === '' ? `connect ${code} ${what}` : message}: ${REMEDY}`);
}

// Names

/** Names are resolved by the proxy. What asks for addresses itself hears that. */
function coverNames(): void {
  for (const name of ['lookup', 'resolve', 'resolve4', 'resolve6'] as const) {
    const direct = dns[name] as (...args: unknown[]) => unknown;
    define(dns, name, function (...args: unknown[]): unknown {
      const last = args.length - 1;
      const callback = args[last];
      if (typeof callback === 'function') {
        args[last] = (error: unknown, ...found: unknown[]): void => {
          explain(error, string(args[0]));
          (callback as (...args: unknown[]) => void)(error, ...found);
        };
      }
      return direct(...args);
    });
    const promised = dns.promises[name] as (...args: unknown[]) => Promise<unknown>;
    define(dns.promises, name, async function (...args: unknown[]): Promise<unknown> {
      try {
        return await promised(...args);
      } catch (error) {
        explain(error, string(args[0]));
        throw error;
      }
    });
  }
}

/** Sets a property as an assignment would, also where a setter or a constant is in the way. */
function define(object: object, name: string | symbol, value: unknown): void {
  Object.defineProperty(object, name, { value, writable: true, configurable: true, enumerable: false });
}
