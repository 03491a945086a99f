// One request over the wire and its answer, without redirects.

import * as http from 'node:http';
import * as https from 'node:https';
import { constants, createGunzip, createInflate } from 'node:zlib';
import { MAX_BODY } from './body.ts';

/** Connections are kept for the next request to the same host. */
const AGENT = { keepAlive: true, maxSockets: 64, maxFreeSockets: 8, timeout: 5000 };

/** What one lambda's requests share. */
export class Agents {
  readonly http = new http.Agent(AGENT);
  readonly https = new https.Agent(AGENT);
}

export interface Message {
  readonly method: string;
  readonly url: URL;
  readonly headers: Record<string, unknown>;
  readonly body: Buffer | undefined;
  /** Milliseconds; 0 is none. */
  readonly timeout: number;
  /** Whether a compressed answer is unpacked. */
  readonly unpack: boolean;
  /** The caller's certificate and what it trusts. */
  readonly tls: object;
}

/** An answer as it came. */
export interface Answer {
  readonly statusCode: number;
  readonly statusMessage: string;
  readonly httpVersion: string;
  readonly headers: http.IncomingHttpHeaders;
  readonly rawHeaders: string[];
  readonly bytes: Buffer;
  readonly times: Times;
}

/** When what happened, on the clock of performance.now(). */
export interface Times {
  start: number;
  socket: number;
  lookup: number;
  connect: number;
  response: number;
  end: number;
}

/** Ends an exchange: nothing of it is heard any more. */
export type Abort = () => void;

type Done = (error: Error | null, answer?: Answer) => void;

/** Methods that may be sent again when a kept connection turns out to be closed. */
const REPEATABLE = new Set(['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS', 'TRACE']);

/** Sends a message; done is called once, unless the exchange is aborted. */
export function exchange(agents: Agents, message: Message, done: Done): Abort {
  let abort!: Abort;
  let over = false;
  const once: Done = (error, answer) => {
    if (over) return;
    over = true;
    done(error, answer);
  };
  const attempt = (again: boolean): void => {
    abort = send(agents, message, (error, answer, stale) => {
      if (stale && again && REPEATABLE.has(message.method)) attempt(false);
      else once(error, answer);
    });
  };
  attempt(true);
  return () => {
    over = true;
    abort();
  };
}

function send(agents: Agents, message: Message, done: (error: Error | null, answer: Answer | undefined, stale: boolean) => void): Abort {
  const { method, url, headers, body, timeout, tls } = message;
  const secure = url.protocol === 'https:';
  const start = performance.now();
  const times: Times = { start, socket: start, lookup: start, connect: start, response: start, end: start };
  const request = (secure ? https : http).request({
    ...tls,
    agent: secure ? agents.https : agents.http,
    protocol: url.protocol,
    hostname: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port,
    path: url.pathname + url.search,
    method,
    headers: headers as http.OutgoingHttpHeaders,
  });
  let connected = false;
  let answered = false;
  const timer = new Timer(timeout, () => {
    fail(answered ? late('ESOCKETTIMEDOUT', false) : late('ETIMEDOUT', !connected));
  });
  const finish = (error: Error | null, answer?: Answer): void => {
    timer.stop();
    const stale = error !== null && !answered && request.reusedSocket && (error as { code?: unknown }).code === 'ECONNRESET';
    done(error, answer, stale);
  };
  const fail = (error: Error): void => {
    finish(error);
    request.destroy();
  };
  request.on('socket', (socket) => {
    times.socket = times.lookup = times.connect = performance.now();
    connected = !socket.connecting;
    if (connected) return;
    socket.once('lookup', () => (times.lookup = performance.now()));
    socket.once('connect', () => {
      times.connect = performance.now();
      connected = true;
    });
  });
  request.on('error', finish);
  request.on('response', (response) => {
    answered = true;
    times.response = performance.now();
    timer.restart();
    receive(response, message, timer, times, finish, fail);
  });
  request.end(body);
  return () => {
    timer.stop();
    request.on('error', () => undefined);
    request.destroy();
  };
}

function receive(response: http.IncomingMessage, message: Message, timer: Timer, times: Times, finish: Done, fail: (error: Error) => void): void {
  const chunks: Buffer[] = [];
  let length = 0;
  const content = message.unpack && hasBody(message.method, response.statusCode!) ? unpacked(response) : response;
  response.on('data', () => {
    timer.restart();
  });
  response.on('error', fail);
  content.on('error', fail);
  content.on('data', (chunk: Buffer) => {
    length += chunk.length;
    if (length > MAX_BODY) fail(new Error(`The response of ${message.url.host} has more than the limit of ${String(MAX_BODY)} bytes. Ask for less of it at once`));
    else chunks.push(chunk);
  });
  content.on('end', () => {
    times.end = performance.now();
    const { statusCode, statusMessage, httpVersion, headers, rawHeaders } = response;
    finish(null, { statusCode: statusCode!, statusMessage: statusMessage!, httpVersion, headers, rawHeaders, bytes: Buffer.concat(chunks, length), times });
  });
}

function hasBody(method: string, statusCode: number): boolean {
  return method !== 'HEAD' && statusCode !== 204 && statusCode !== 304;
}

/** What a compressed answer contains. One that ends too soon gives what was there. */
function unpacked(response: http.IncomingMessage): NodeJS.ReadableStream {
  const options = { flush: constants.Z_SYNC_FLUSH, finishFlush: constants.Z_SYNC_FLUSH };
  switch (response.headers['content-encoding']?.trim().toLowerCase()) {
    case 'gzip':
    case 'x-gzip':
      return response.pipe(createGunzip(options));
    case 'deflate':
      return response.pipe(createInflate(options));
    default:
      return response;
  }
}

function late(code: string, connect: boolean): Error {
  return Object.assign(new Error(code), { code, connect });
}

/** Calls late unless it is restarted or stopped in time. */
class Timer {
  private timer: NodeJS.Timeout | undefined;

  constructor(milliseconds: number, late: () => void) {
    if (milliseconds > 0) this.timer = setTimeout(late, milliseconds);
  }

  restart(): void {
    this.timer?.refresh();
  }

  stop(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }
}
