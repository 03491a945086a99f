// A platform on loopback for the toolbelt's clients: an HTTPS server that speaks what
// the real services do.

import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TestContext } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { certificate } from './certificate.ts';

export const ACCOUNT = '12345678';
/** Those of the server, of the client that it knows, and of one that nobody knows. */
export const identity = certificate('localhost', '*.platform.test');
export const client = certificate('client.test');
export const stranger = certificate('localhost');

export interface Seen {
  method: string;
  /** Path and query as they were sent. */
  url: string;
  path: string;
  query: URLSearchParams;
  headers: { [name: string]: string };
  body: string;
  /** The name in the client's certificate. */
  client: string | undefined;
}

export interface Reply {
  status?: number;
  headers?: { [name: string]: string };
  /** Text as it is, anything else as JSON. */
  body?: unknown;
}

type Handler = (seen: Seen) => Reply | Promise<Reply>;

/** One server for all services; the Domain API says that each of them is there. */
export class Platform {
  readonly seen: Seen[] = [];
  /** By method and path; the longest beginning counts. */
  readonly routes = new Map<string, Handler>();
  readonly sockets = new Set<Duplex>();
  readonly server: Server;
  services = ['msgHist', 'smt', 'swift', 'faasGW', 'sentinel', 'contextService', 'agentVep'];

  private constructor(clientCertificates: boolean) {
    const asking = clientCertificates ? { ca: client.cert, requestCert: true, rejectUnauthorized: true } : {};
    this.server = createServer({ ...identity, ...asking }, (request, response) => {
      void this.answer(request).then(({ status = 200, headers = {}, body }) => {
        const text = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
        response.writeHead(status, { ...(typeof body === 'object' && { 'content-type': 'application/json' }), ...headers });
        response.end(text);
      }, () => response.destroy());
    });
    this.server.on('connection', (socket) => {
      this.sockets.add(socket);
      socket.on('close', () => this.sockets.delete(socket));
    });
    this.route(`GET /api/account/${ACCOUNT}/service/baseURI.json`, () => ({
      body: { baseURIs: this.services.map((service) => ({ service, account: ACCOUNT, baseURI: this.hostOf(service) })) },
    }));
  }

  static async start(t: TestContext, { clientCertificates = false } = {}): Promise<Platform> {
    const platform = new Platform(clientCertificates);
    platform.server.listen(0, '127.0.0.1');
    await once(platform.server, 'listening');
    t.after(() => platform.stop());
    return platform;
  }

  async stop(): Promise<void> {
    if (!this.server.listening) return;
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
    await once(this.server, 'close');
  }

  /** Where a service is told to be; a name of platform.test needs the proxy. */
  hostOf: (service: string) => string = () => this.host;

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get host(): string {
    return `localhost:${this.port}`;
  }

  route(start: string, handler: Handler): this {
    this.routes.set(start, handler);
    return this;
  }

  /** What was asked of paths that begin so. */
  asked(start: string): Seen[] {
    return this.seen.filter(({ method, path }) => `${method} ${path}`.startsWith(start));
  }

  private async answer(request: IncomingMessage): Promise<Reply> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const url = new URL(request.url!, `https://${this.host}`);
    const peer = (request.socket as TLSSocket).getPeerCertificate();
    const seen: Seen = {
      method: request.method!, url: request.url!, path: url.pathname, query: url.searchParams,
      headers: request.headers as { [name: string]: string }, body: Buffer.concat(chunks).toString('latin1'), client: peer.subjectaltname,
    };
    this.seen.push(seen);
    const line = `${seen.method} ${seen.path}`;
    const [match] = [...this.routes.keys()].filter((start) => line.startsWith(start)).toSorted((a, b) => b.length - a.length);
    return match === undefined ? { status: 404, body: { message: `nothing at ${line}` } } : this.routes.get(match)!(seen);
  }
}

/** Checks the signature of a request as RFC 5849 says, without the library that has made it. Returns the parameters of the header. */
export function checkOAuth(seen: Seen, scheme: string, host: string, consumerSecret: string, tokenSecret: string): { [name: string]: string } {
  const header = seen.headers['authorization'] ?? '';
  if (!header.startsWith('OAuth ')) throw new Error(`no OAuth header: ${header}`);
  const oauth: { [name: string]: string } = {};
  for (const [, name, value] of header.slice(6).matchAll(/([^=\s,]+)="([^"]*)"/g)) oauth[decodeURIComponent(name!)] = decodeURIComponent(value!);
  const { oauth_signature: signature, ...signed } = oauth;
  // §3.4.1.3: from the query, the header and the form, decoded.
  const pairs: [string, string][] = Object.entries(signed).filter(([name]) => name !== 'realm');
  const raw = [seen.url.split('?')[1] ?? ''];
  if (seen.headers['content-type']?.startsWith('application/x-www-form-urlencoded')) raw.push(seen.body);
  for (const pair of raw.flatMap((text) => text.split('&')).filter((p) => p !== '')) {
    const at = pair.indexOf('=');
    const decode = (text: string): string => decodeURIComponent(text.replaceAll('+', ' '));
    pairs.push(at < 0 ? [decode(pair), ''] : [decode(pair.slice(0, at)), decode(pair.slice(at + 1))]);
  }
  const encode = (text: string): string => [...Buffer.from(text)].map((b) => {
    const c = String.fromCharCode(b);
    return /[A-Za-z0-9\-._~]/.test(c) ? c : `%${b.toString(16).toUpperCase().padStart(2, '0')}`;
  }).join('');
  const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
  const normal = pairs.map(([n, v]) => [encode(n), encode(v)] as const).sort((a, b) => compare(a[0], b[0]) || compare(a[1], b[1]));
  const base = [seen.method, encode(`${scheme}://${host}${seen.path}`), encode(normal.map(([n, v]) => `${n}=${v}`).join('&'))].join('&');
  const expected = createHmac('sha1', `${encode(consumerSecret)}&${encode(tokenSecret)}`).update(base).digest('base64');
  if (signature !== expected) throw new Error(`the signature ${signature} is not ${expected}, of ${base}`);
  return oauth;
}
