// A small Salesforce on loopback: its OAuth, and the REST that lambdas use.

import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';

export interface Seen {
  method: string;
  host: string;
  url: string;
  headers: IncomingMessage['headers'];
  body: string;
}

interface Answer {
  status: number;
  body?: unknown;
  type?: string;
}

type Row = { Id: string; [field: string]: unknown };

const DATA = '/services/data/v50.0';
const PAGE = 2;

export class Salesforce {
  readonly seen: Seen[] = [];
  readonly tokens = new Set(['good']);
  readonly refreshTokens = new Set(['renew']);
  readonly contacts: Row[] = ['Ada', 'Grace', 'Joan'].map((Name, i) => ({ Id: `003${i}`, Name }));
  /** Answers that come before any other. */
  readonly next: Answer[] = [];
  url = '';
  /** The address that a token's answer names; by default this one. */
  instance: string | undefined;
  private issued = 0;

  /** Starts one that speaks TLS if it gets a certificate. */
  static async start(t: TestContext, tls?: { key: string; cert: string }): Promise<Salesforce> {
    const it = new Salesforce();
    const handle = (request: IncomingMessage, response: import('node:http').ServerResponse): void => void it.receive(request, response);
    const server: Server = tls ? createTlsServer(tls, handle) : createServer(handle);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => { server.closeAllConnections(); server.close(); });
    it.url = `${tls ? 'https' : 'http'}://127.0.0.1:${(server.address() as AddressInfo).port}`;
    return it;
  }

  get port(): number {
    return Number(new URL(this.url).port);
  }

  private async receive(request: IncomingMessage, response: import('node:http').ServerResponse): Promise<void> {
    let body = '';
    for await (const part of request) body += part;
    const seen = { method: request.method!, host: request.headers.host ?? '', url: request.url!, headers: request.headers, body };
    this.seen.push(seen);
    const { status, body: answer, type = 'application/json;charset=UTF-8' } = this.next.shift() ?? this.answer(seen);
    response.writeHead(status, answer === undefined ? {} : { 'content-type': type, 'sforce-limit-info': 'api-usage=7/15000' });
    response.end(answer === undefined ? '' : typeof answer === 'string' ? answer : JSON.stringify(answer));
  }

  private answer({ method, url, headers, body }: Seen): Answer {
    if (url === '/services/oauth2/token') return this.token(new URLSearchParams(body));
    if (url === '/services/oauth2/revoke') return this.tokens.delete(new URLSearchParams(body).get('token')!) ? { status: 200 } : { status: 400, body: 'error=unsupported_token_type&error_description=this%20token%20is%20unknown', type: 'application/x-www-form-urlencoded' };
    if (url === '/services/Soap/u/50.0') return this.soap(body);
    if (!this.tokens.has((headers.authorization ?? '').replace('Bearer ', ''))) {
      return { status: 401, body: [{ message: 'Session expired or invalid', errorCode: 'INVALID_SESSION_ID' }] };
    }
    const { pathname, searchParams } = new URL(url, this.url);
    const path = pathname.replace(DATA, '');
    if (path === '/query' || path === '/tooling/query') return this.query(searchParams.get('q')!, path);
    if (path.startsWith('/query/')) return { status: 200, body: this.page(Number(path.split('-')[1])) };
    if (path.startsWith('/sobjects')) return this.sobjects(method, path.split('/').slice(2), body);
    if (path === '/composite/sobjects') return { status: 200, body: this.many(method, searchParams, body) };
    if (path.startsWith('/services/apexrest/')) return { status: 200, body: { path, method, echo: body === '' ? null : JSON.parse(body) } };
    if (path === '/search') return { status: 200, body: { searchRecords: [this.contacts[0]] } };
    if (path === '/limits') return { status: 200, body: { DailyApiRequests: { Max: 15000, Remaining: 14993 } } };
    if (path === '') return { status: 200, body: { identity: `${this.url}/id/00D/005` } };
    if (path === '/id/00D/005') return { status: 200, body: { id: `${this.url}/id/00D/005`, user_id: '005', organization_id: '00D', username: 'ada' } };
    return { status: 404, body: [{ message: 'The requested resource does not exist', errorCode: 'NOT_FOUND' }] };
  }

  private token(form: URLSearchParams): Answer {
    const grant = form.get('grant_type');
    const fits = grant === 'refresh_token' ? this.refreshTokens.has(form.get('refresh_token')!) : grant === 'password' && form.get('password') === 'right';
    if (form.get('client_id') !== 'app') return { status: 400, body: { error: 'invalid_client_id', error_description: 'client identifier invalid' } };
    if (!fits) return { status: 400, body: { error: 'invalid_grant', error_description: 'expired access/refresh token' } };
    const token = `issued-${++this.issued}`;
    this.tokens.add(token);
    return { status: 200, body: { access_token: token, instance_url: this.instance ?? this.url, id: `${this.url}/id/00D/005`, token_type: 'Bearer', issued_at: '1' } };
  }

  private soap(body: string): Answer {
    if (!body.includes('<password>right</password>')) return { status: 500, type: 'text/xml', body: '<faultstring>INVALID_LOGIN: Invalid username</faultstring>' };
    return { status: 200, type: 'text/xml', body: `<serverUrl>${this.url}/services/Soap/u/50.0/00D</serverUrl><sessionId>good</sessionId><userId>005</userId><organizationId>00D</organizationId>` };
  }

  private query(soql: string, path: string): Answer {
    if (!soql.startsWith('SELECT ')) return { status: 400, body: [{ message: `unexpected token: ${soql.split(' ')[0]}`, errorCode: 'MALFORMED_QUERY' }] };
    if (path.startsWith('/tooling')) return { status: 200, body: { totalSize: 1, done: true, records: [{ Name: 'ApexClass' }] } };
    if (soql.includes('count()')) return { status: 200, body: { totalSize: this.contacts.length, done: true, records: [] } };
    const name = /Name = '(\w+)'/.exec(soql)?.[1];
    if (name !== undefined) {
      const records = this.contacts.filter((c) => c['Name'] === name);
      return { status: 200, body: { totalSize: records.length, done: true, records } };
    }
    return { status: 200, body: this.page(0) };
  }

  private page(from: number): object {
    const to = from + PAGE;
    const done = to >= this.contacts.length;
    return { totalSize: this.contacts.length, done, records: this.contacts.slice(from, to), ...(done ? {} : { nextRecordsUrl: `${DATA}/query/01g-${to}` }) };
  }

  private sobjects(method: string, [type, id, external]: string[], body: string): Answer {
    const none: Answer = { status: 404, body: [{ message: 'The requested resource does not exist', errorCode: 'NOT_FOUND' }] };
    if (type === undefined) return { status: 200, body: { sobjects: [{ name: 'Contact' }] } };
    if (type !== 'Contact') return none;
    if (id === 'describe') return { status: 200, body: { name: 'Contact', fields: [{ name: 'Id' }, { name: 'Name' }] } };
    if (id === undefined) return { status: 201, body: { id: this.add(JSON.parse(body)), success: true, errors: [] } };
    if (id === 'Ext__c') {
      const found = this.contacts.find((c) => c['Ext__c'] === external);
      if (found) return (Object.assign(found, JSON.parse(body)), { status: 204 });
      return { status: 201, body: { id: this.add({ ...JSON.parse(body), Ext__c: external }), success: true, errors: [] } };
    }
    const at = this.contacts.findIndex((c) => c.Id === id);
    if (at < 0) return none;
    if (method === 'GET') return { status: 200, body: this.contacts[at] };
    if (method === 'DELETE') this.contacts.splice(at, 1);
    else Object.assign(this.contacts[at]!, JSON.parse(body));
    return { status: 204 };
  }

  private add(row: object): string {
    const Id = `003${this.contacts.length + 100}`;
    this.contacts.push({ ...row, Id });
    return Id;
  }

  private many(method: string, search: URLSearchParams, body: string): object[] {
    if (method === 'DELETE') return search.get('ids')!.split(',').map((id) => ({ id, success: true, errors: [] }));
    return JSON.parse(body).records.map((row: Row & { id?: string }) => ({ id: row.id ?? this.add(row), success: true, errors: [] }));
  }
}
