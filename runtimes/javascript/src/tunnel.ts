// Connections to the egress proxy, and tunnels through it (CONNECT) to other hosts.

import type { EventEmitter } from 'node:events';
import { Socket, type SocketConnectOpts } from 'node:net';
import { Duplex } from 'node:stream';
import {
  clearTimer, includes, indexOf, latin1Slice, lowerCase, NativeError, setTimer, slice, split, startsWith, string, trim, unbound,
} from './primordials.ts';

/** Where the proxy is: the address that programs know, and where that leads. */
export interface EgressProxy {
  readonly host: string;
  readonly port: number;
  /** The socket file that stands for the address; undefined if there is none. */
  readonly path: string | undefined;
}

/** A request that the proxy refused. */
export interface Refusal {
  readonly host: string;
  readonly rule: string;
  /** One line that names the host, the rule and the remedy. */
  readonly message: string;
}

/** The headers in which the proxy says why it refuses. */
export const RULE = 'x-sluice-egress';
export const MESSAGE = 'x-sluice-egress-message';

const MAX_HEAD = 16 << 10; // characters of the proxy's answer
const MAX_WAIT = 60_000; // ms until the proxy has reached the host

type Listener = (argument: never) => void;
const { prototype } = Socket;
const on = unbound<EventEmitter, [event: string, listener: Listener], unknown>(prototype.on as never);
const off = unbound<EventEmitter, [event: string, listener: Listener], unknown>(prototype.removeListener as never);
const connect = unbound<Socket, [options: SocketConnectOpts], Socket>(prototype.connect);
const read = unbound<Socket, [], Buffer | null>(prototype.read as never);
const write = unbound<Socket, [data: Buffer | string, done?: (error?: Error | null) => void], boolean>(prototype.write);
const end = unbound<Socket, [], unknown>(prototype.end);
const pause = unbound<Socket, [], unknown>(prototype.pause);
const resume = unbound<Socket, [], unknown>(prototype.resume);
const destroy = unbound<Socket, [], unknown>(prototype.destroy);

/** The error of a request that was refused. */
export function denied({ host, rule, message }: Refusal): Error {
  const error = new NativeError(message) as Error & { code: string; host: string; rule: string };
  error.code = 'EGRESS_DENIED';
  error.host = host;
  error.rule = rule;
  return error;
}

/** The error of a request that did not get as far as the proxy's verdict. */
function blocked(message: string): Error {
  const error = new NativeError(message) as Error & { code: string };
  error.code = 'EGRESS_FAILED';
  return error;
}

/** What the proxy's headers say; undefined if the answer is not the proxy's. */
export function refusalOf(host: string, rule: unknown, message: unknown): Refusal | undefined {
  if (typeof rule !== 'string' || rule === '') return undefined;
  return { host, rule, message: typeof message === 'string' && message !== '' ? message : `Access to ${host} was refused: ${rule}` };
}

/** How a socket gets to the proxy. */
export function wayTo({ host, port, path }: EgressProxy): SocketConnectOpts {
  return path === undefined ? { host, port, noDelay: true } as SocketConnectOpts : { path };
}

export type Tunnelled = (error: Error | null, socket: Socket) => void;

/** Opens a tunnel. What goes into the socket after done comes out at the host. */
export function tunnel(proxy: EgressProxy, host: string, port: number, refused: (refusal: Refusal) => void, done: Tunnelled): Socket {
  const authority = `${includes(host, ':') ? `[${host}]` : host}:${string(port)}`;
  const socket = new Socket();
  let head = '';
  const finish = (error: Error | null): void => {
    clearTimer(timer);
    off(socket, 'connect', connected);
    off(socket, 'readable', readable);
    off(socket, 'end', ended);
    off(socket, 'error', failed);
    if (error !== null) {
      on(socket, 'error', nothing);
      destroy(socket);
    }
    done(error, socket);
  };
  const fail = (why: string): void => {
    finish(blocked(`The way out to ${authority} could not be opened: ${why}`));
  };
  const connected = (): void => {
    write(socket, `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
  };
  const readable = (): void => {
    for (let chunk = read(socket); chunk !== null; chunk = read(socket)) {
      head += latin1Slice(chunk, 0, chunk.length);
      const length = indexOf(head, '\r\n\r\n');
      if (length >= 0) {
        answered(slice(head, 0, length));
        return;
      }
      if (head.length > MAX_HEAD) {
        fail('the proxy answers with too long a header');
        return;
      }
    }
  };
  const answered = (text: string): void => {
    const lines = split(text, '\r\n');
    if (split(lines[0]!, ' ')[1] === '200') {
      finish(null);
      return;
    }
    const refusal = refusalOf(host, headerOf(lines, RULE), headerOf(lines, MESSAGE));
    if (refusal === undefined) {
      fail(`the proxy answers ${lines[0]!}`);
      return;
    }
    refused(refusal);
    finish(denied(refusal));
  };
  const ended = (): void => {
    fail('the proxy closed the connection');
  };
  const failed = ({ message }: Error): void => {
    fail(`the proxy of the platform does not answer (${message})`);
  };
  const timer = setTimer(fail, MAX_WAIT, `no answer of the proxy within ${string(MAX_WAIT)} ms`);
  on(socket, 'connect', connected);
  on(socket, 'readable', readable);
  on(socket, 'end', ended);
  on(socket, 'error', failed);
  connect(socket, wayTo(proxy));
  return socket;
}

function headerOf(lines: string[], name: string): string | undefined {
  for (let i = 1; i < lines.length; i++) {
    const line = lines[i]!;
    const colon = indexOf(line, ':');
    if (colon > 0 && lowerCase(slice(line, 0, colon)) === name) return trim(slice(line, colon + 1));
  }
  return undefined;
}

function nothing(): void {
  // What comes after the answer interests nobody.
}

/** A tunnel that is there at once, for those who cannot wait until it is open. */
export class TunnelStream extends Duplex {
  private readonly open: (done: Tunnelled) => Socket;
  private socket: Socket | undefined;

  constructor(open: (done: Tunnelled) => Socket) {
    super();
    this.open = open;
  }

  override _construct(done: (error?: Error | null) => void): void {
    this.socket = this.open((error, socket) => {
      if (error === null) this.join(socket);
      done(error);
    });
  }

  override _read(): void {
    resume(this.socket!);
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    write(this.socket!, chunk, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    end(this.socket!);
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (this.socket !== undefined) destroy(this.socket);
    done(error);
  }

  private join(socket: Socket): void {
    on(socket, 'data', (chunk: Buffer) => {
      if (!this.push(chunk)) pause(socket);
    });
    on(socket, 'end', () => {
      this.push(null);
    });
    on(socket, 'error', (error: Error) => {
      this.destroy(error);
    });
    on(socket, 'close', () => {
      this.destroy();
    });
  }
}

/** Whether an address is this machine's own, which needs no proxy. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || startsWith(host, '127.');
}
