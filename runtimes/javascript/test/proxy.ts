// A real HTTP proxy that speaks as the gateway's does: CONNECT and whole addresses,
// names that only it resolves, and refusals with their headers.

import { createServer, request, type IncomingMessage, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import type { TestContext } from 'node:test';

export interface Rule {
  /** The port of loopback that stands for the host. */
  port?: number;
  status?: number;
  rule?: string;
  message?: string;
  /** Answers a CONNECT with these bytes. */
  raw?: string;
  /** Answers nothing. */
  silent?: boolean;
}

export const FORBIDDEN = 'You do not have access to the page or resource you are trying to reach\n';

export class ProxyServer {
  /** What was asked: CONNECT host:port, or GET http://… */
  readonly asked: string[] = [];
  readonly headers: IncomingMessage['headers'][] = [];
  /** Rules by host:port; a host that has none is not listed. */
  readonly hosts: { [authority: string]: Rule } = {};
  readonly server: Server;
  private readonly sockets = new Set<Socket>();

  constructor() {
    this.server = createServer((incoming, outgoing) => {
      this.asked.push(`${incoming.method!} ${incoming.url!}`);
      this.headers.push(incoming.headers);
      const { host, hostname, pathname, search } = new URL(incoming.url!);
      const rule = this.ruleOf(host.includes(':') ? host : `${host}:80`, hostname);
      if (rule.silent) return;
      if (rule.port === undefined) {
        outgoing.writeHead(rule.status ?? 403, { 'X-Sluice-Egress': rule.rule!, 'X-Sluice-Egress-Message': rule.message! });
        outgoing.end(FORBIDDEN);
        return;
      }
      const headers = { ...incoming.headers };
      delete headers['proxy-connection'];
      const upstream = request({ port: rule.port, method: incoming.method, path: pathname + search, headers, agent: false }, (answer) => {
        outgoing.writeHead(answer.statusCode!, answer.headers);
        answer.pipe(outgoing);
      });
      incoming.pipe(upstream);
      upstream.on('error', () => outgoing.destroy());
    });
    this.server.on('connection', (socket: Socket) => {
      this.sockets.add(socket);
      socket.on('close', () => this.sockets.delete(socket));
    });
    this.server.on('connect', (incoming: IncomingMessage, socket: Socket) => {
      this.asked.push(`CONNECT ${incoming.url!}`);
      const rule = this.ruleOf(incoming.url!, incoming.url!.replace(/:\d+$/, ''));
      socket.on('error', () => undefined);
      if (rule.silent) return;
      if (rule.raw !== undefined) {
        socket.end(rule.raw);
      } else if (rule.port === undefined) {
        socket.end(`HTTP/1.1 ${rule.status ?? 403} Refused\r\nX-Sluice-Egress: ${rule.rule}\r\nX-Sluice-Egress-Message: ${rule.message}\r\nContent-Length: 0\r\n\r\n`);
      } else {
        const upstream = connect(rule.port, '127.0.0.1', () => socket.write('HTTP/1.1 200 Connection Established\r\n\r\n'));
        this.sockets.add(upstream);
        upstream.on('error', () => socket.destroy());
        socket.on('close', () => upstream.destroy());
        upstream.on('close', () => socket.destroy());
        socket.pipe(upstream).pipe(socket);
      }
    });
  }

  private ruleOf(authority: string, host: string): Rule {
    const rule = this.hosts[authority] ?? {};
    const name = rule.rule ?? 'not-listed';
    return { ...rule, rule: name, message: rule.message ?? messageOf(host, name) };
  }

  /** Listens; where is a socket file, or nothing for a port of loopback. */
  static async start(t: TestContext, where?: string): Promise<ProxyServer> {
    const proxy = new ProxyServer();
    await new Promise<void>((resolve) => {
      if (where === undefined) proxy.server.listen(0, '127.0.0.1', resolve);
      else proxy.server.listen(where, resolve);
    });
    t.after(() => {
      proxy.server.close();
      for (const socket of proxy.sockets) socket.destroy();
    });
    return proxy;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get address(): string {
    return `http://127.0.0.1:${this.port}`;
  }
}

export function messageOf(host: string, rule: string): string {
  return `Access to ${host} was refused: ${rule}. Ask an admin to add it under Settings, Domains.`;
}
