// The way out of a process: everything goes through the proxy, and what it refuses
// is told plainly.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer as createHttp } from 'node:http';
import { createServer as createHttps } from 'node:https';
import { type AddressInfo, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { certificate, keep } from './certificate.ts';
import { FORBIDDEN, messageOf, ProxyServer } from './proxy.ts';
import { Runtime, type Session } from './runtime.ts';

const HOST = 'api.allowed.test';
const OTHER = 'other.refused.test';

async function listen(t: TestContext, server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.close();
    (server as { closeAllConnections?: () => void }).closeAllConnections?.();
  });
  return (server.address() as AddressInfo).port;
}

interface Way {
  proxy: ProxyServer;
  session: Session & { runtime: Runtime };
}

/** A process behind the proxy, with a lambda whose body is given; HOST answers there by HTTP and HTTPS. */
async function start(t: TestContext, body: string, { mode = 'tcp', raw = false, environment = {} } = {}): Promise<Way> {
  const folder = mkdtempSync(join(tmpdir(), 's'));
  t.after(() => {
    rmSync(folder, { recursive: true });
  });
  const proxy = await ProxyServer.start(t, mode === 'unix' ? join(folder, 'egress.sock') : undefined);
  const { key, cert } = certificate('*.allowed.test');
  const answer: Parameters<typeof createHttp>[1] = (request, response) => {
    let text = '';
    request.on('data', (b: Buffer) => (text += b.toString()));
    request.on('end', () => {
      if (request.url === '/moved') response.writeHead(302, { location: `https://${OTHER}/` });
      response.end(JSON.stringify({ method: request.method, url: request.url, host: request.headers.host, text }));
    });
  };
  const upgrade = (request: { headers: { [name: string]: string | string[] | undefined } }, socket: { write(text: string | Buffer): void }): void => {
    const accept = createHash('sha1').update(`${String(request.headers['sec-websocket-key'])}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
    socket.write(Buffer.from([0x81, 5, ...Buffer.from('hello')]));
  };
  const secure = createHttps({ key, cert }, answer).on('upgrade', upgrade);
  const plain = createHttp(answer).on('upgrade', upgrade);
  proxy.hosts[`${HOST}:443`] = { port: await listen(t, secure) };
  proxy.hosts[`${HOST}:80`] = { port: await listen(t, plain) };
  const egress = mode === 'unix' ? `unix:${join(folder, 'egress.sock')}` : `tcp:127.0.0.1:${proxy.port}`;
  const known = `http://127.0.0.1:${mode === 'unix' ? 3128 : proxy.port}`;
  const runtime = await Runtime.start(t, { HTTP_PROXY: known, HTTPS_PROXY: known, http_proxy: known, https_proxy: known, NO_PROXY: '', SLUICE_EGRESS: egress, NODE_EXTRA_CA_CERTS: keep(folder, cert), ...environment });
  const source = raw ? body : `
    const http = require('http'), https = require('https'), net = require('net'), tls = require('tls'), dns = require('dns');
    const client = require('lp-faas-toolbelt').Toolbelt.HTTPClient();
    const told = (e) => ({ name: e.name, message: e.message, code: e.code, host: e.host, rule: e.rule, cause: e.cause && e.cause.code });
    const get = (url, options = {}) => new Promise((resolve, reject) => {
      const req = (url.startsWith('https') ? https : http).get(url, options, (res) => {
        let body = ''; res.on('data', (b) => body += b); res.on('end', () => resolve({ status: res.statusCode, body }));
      }).on('error', reject);
    });
    async function lambda({ payload }, callback) {
      try { callback(null, await (async () => { ${body} })()); } catch (e) { callback(null, told(e)); }
    }`;
  const failure = await runtime.load(source);
  assert.equal(failure, null);
  return { proxy, session: Object.assign(runtime.session(), { runtime }) };
}

async function call({ session }: Way, payload: unknown = {}): Promise<any> {
  const { result, failure } = await session.call(payload).outcome;
  assert.equal(failure, undefined);
  return result;
}

/** What the lambda answers with, and what the call logged. */
async function logged({ session }: Way, payload: unknown = {}): Promise<{ result: any; logs: [string, string][] }> {
  const { result, logs } = await session.call(payload).outcome;
  return { result, logs: logs.map((l) => [l.level, l.message]) };
}

const refusal = { message: messageOf(OTHER, 'not-listed'), code: 'EGRESS_DENIED', host: OTHER, rule: 'not-listed' };
const warning = [['LEVEL_WARN', refusal.message]];

for (const mode of ['tcp', 'unix']) {
  test(`every client goes through the proxy, by ${mode}`, async (t) => {
    const way = await start(t, `
      const https1 = await get('https://${HOST}/a');
      const http1 = await get('http://${HOST}/b');
      const own = await get('https://${HOST}/c', { agent: new https.Agent({ keepAlive: true }) });
      const ownPlain = await get('http://${HOST}/d', { agent: new http.Agent() });
      const none = await get('http://${HOST}/e', { agent: false });
      const f = await (await fetch('https://${HOST}/f', { method: 'POST', body: 'x' })).json();
      const g = await (await fetch('http://${HOST}/g')).json();
      const h = await client('https://${HOST}/h', { json: true });
      const i = await client('http://${HOST}/i', { json: true });
      return [https1, http1, own, ownPlain, none].map((r) => JSON.parse(r.body)).concat([f, g, h, i]).map((r) => [r.method, r.url, r.host, r.text]);`, { mode });
    const expected = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i'].map((p) => [p === 'f' ? 'POST' : 'GET', `/${p}`, HOST, p === 'f' ? 'x' : '']);
    assert.deepEqual(await call(way), expected);
    const connects = way.proxy.asked.filter((a) => a === `CONNECT ${HOST}:443`);
    assert.deepEqual(way.proxy.asked.filter((a) => a.startsWith('GET')), ['b', 'd', 'e', 'g', 'i'].map((p) => `GET http://${HOST}/${p}`));
    assert.equal(connects.length, 4);
  });
}

test('a host that is refused is an error that names it, and one record of the call', async (t) => {
  const way = await start(t, `
    switch (payload) {
      case 'fetch': return await fetch('https://${OTHER}/');
      case 'https': return await get('https://${OTHER}/');
      case 'own': return await get('https://${OTHER}/', { agent: new https.Agent() });
      case 'client': return await client('https://${OTHER}/');
      case 'moved': return await fetch('https://${HOST}/moved');
      case 'tls': return await new Promise((resolve, reject) => tls.connect(443, '${OTHER}', resolve).on('error', reject));
      case 'socket': return await new Promise((resolve) => { const ws = new WebSocket('wss://${OTHER}/'); ws.onerror = (e) => resolve({ ...told(e.error), event: e.message }); });
    }`);
  assert.deepEqual(await logged(way, 'fetch'), { result: { name: 'TypeError', ...refusal, cause: 'EGRESS_DENIED' }, logs: warning });
  assert.deepEqual(await logged(way, 'https'), { result: { name: 'Error', ...refusal }, logs: warning });
  assert.deepEqual(await logged(way, 'own'), { result: { name: 'Error', ...refusal }, logs: warning });
  assert.deepEqual(await logged(way, 'client'), { result: { name: 'RequestError', ...refusal, message: `Error: ${refusal.message}`, cause: 'EGRESS_DENIED' }, logs: warning });
  assert.deepEqual(await logged(way, 'moved'), { result: { name: 'TypeError', ...refusal, cause: 'EGRESS_DENIED' }, logs: warning });
  assert.deepEqual(await logged(way, 'tls'), { result: { name: 'Error', ...refusal }, logs: warning });
  assert.deepEqual(await logged(way, 'socket'), { result: { name: 'Error', ...refusal, event: refusal.message }, logs: warning });
});

test('a plain request that is refused has the answer of the contract, and one record', async (t) => {
  const way = await start(t, `
    switch (payload) {
      case 'fetch': { const r = await fetch('http://${OTHER}/'); return { status: r.status, body: await r.text() }; }
      case 'http': return await get('http://${OTHER}/');
      case 'client': return await client('http://${OTHER}/').catch((e) => ({ name: e.name, status: e.statusCode, body: e.error }));
    }`);
  assert.deepEqual(await logged(way, 'fetch'), { result: { status: 403, body: FORBIDDEN }, logs: warning });
  assert.deepEqual(await logged(way, 'http'), { result: { status: 403, body: FORBIDDEN }, logs: warning });
  assert.deepEqual(await logged(way, 'client'), { result: { name: 'StatusCodeError', status: 403, body: FORBIDDEN }, logs: warning });
});

test('a refusal is told once in a call, to the call that asked, and not without end', async (t) => {
  const way = await start(t, `
    if (payload.many) { for (let i = 0; i < 30; i++) await fetch('https://h' + i + '.refused.test').catch(() => 0); return; }
    await Promise.all([1, 2, 3].map(() => Promise.allSettled([fetch('https://' + payload.host), get('https://' + payload.host), get('http://' + payload.host)])));`);
  const hosts = Array.from({ length: 8 }, (_, i) => `n${i}.refused.test`);
  const all = await Promise.all(hosts.map((host) => logged(way, { host })));
  assert.deepEqual(all.map((l) => l.logs), hosts.map((host) => [['LEVEL_WARN', messageOf(host, 'not-listed')]]));
  const { logs } = await logged(way, { many: true });
  assert.equal(logs.length, 10);
});

test('each rule of the proxy is told as it is', async (t) => {
  const way = await start(t, `return await fetch('https://${OTHER}');`);
  const rules: [number, string][] = [[403, 'private-address'], [429, 'rate'], [502, 'unresolved'], [502, 'unreachable']];
  for (const [status, rule] of rules) {
    way.proxy.hosts[`${OTHER}:443`] = { status, rule };
    const { result } = await logged(way);
    assert.deepEqual([result.rule, result.message], [rule, messageOf(OTHER, rule)]);
  }
});

test('an uncaught refusal is the failure of the call, with its text', async (t) => {
  const way = await start(t, `async function lambda() {
  await fetch('https://${OTHER}');
}`, { raw: true });
  const { failure } = await way.session.call().outcome;
  assert.deepEqual([failure!.kind, failure!.message], ['FAILURE_KIND_RUNTIME_EXCEPTION', refusal.message]);
  assert.equal(failure!.stack, `TypeError: ${refusal.message}\n    at async lambda (lambda.js:2:3)`);
});

test('WebSockets go through a tunnel, plain ones too, also when nothing was fetched before', async (t) => {
  const way = await start(t, `
    const open = (url) => new Promise((resolve, reject) => { const ws = new WebSocket(url); ws.onmessage = (e) => { resolve(e.data); ws.close(); }; ws.onerror = (e) => reject(new Error(url + e.error)); });
    return [await open('ws://${HOST}/'), await open('wss://${HOST}/'), WebSocket.name];`);
  assert.deepEqual(await call(way), ['hello', 'hello', 'WebSocket']);
  assert.deepEqual(way.proxy.asked, [`CONNECT ${HOST}:80`, `CONNECT ${HOST}:443`]);
});

test('what goes past the proxy fails, and says how there is a way', async (t) => {
  const remedy = 'a lambda reaches other hosts by HTTP and HTTPS only, with fetch, http, https or HTTPClient, which go through the proxy of the platform';
  const way = await start(t, `
    const failed = (options) => new Promise((resolve) => net.connect(options).on('error', resolve));
    const lookup = (name, options, callback) => payload === 'dns'
      ? callback(Object.assign(new Error('getaddrinfo EAI_AGAIN ' + name), { code: 'EAI_AGAIN', syscall: 'getaddrinfo' }))
      : options.all ? callback(null, [{ address: '127.0.0.1', family: 4 }]) : callback(null, '127.0.0.1', 4);
    const long = 'x'.repeat(70) + '.test'; // too long for the resolver to ask anybody
    const e = await failed({ host: '${OTHER}', port: 1, lookup });
    const own = await failed({ host: '127.0.0.1', port: 1 });
    const names = [await new Promise((resolve) => dns.lookup(long, resolve)), await dns.promises.lookup(long).catch((e) => e), await new Promise((resolve) => dns.resolve4(long, resolve))];
    return [e, own, ...names].map((x) => [x.code, x.message]);`);
  const [refused, own, ...names] = await call(way);
  assert.deepEqual(refused, ['ECONNREFUSED', `connect ECONNREFUSED 127.0.0.1:1: ${remedy}`]);
  assert.deepEqual(own, ['ECONNREFUSED', 'connect ECONNREFUSED 127.0.0.1:1']);
  for (const [, message] of names) assert.ok(message.endsWith(`: ${remedy}`), message);
  assert.deepEqual((await call(way, 'dns'))[0], ['EAI_AGAIN', `getaddrinfo EAI_AGAIN ${OTHER}: ${remedy}`]);
  assert.deepEqual(way.proxy.asked, []);
});

test('an address of the proxy that a library was given leads there in both modes', async (t) => {
  const way = await start(t, `
    return await new Promise((resolve, reject) => http.get({ host: '127.0.0.1', port: 3128, path: 'http://${HOST}/x', headers: { host: '${HOST}' } }, (r) => {
      let body = ''; r.on('data', (b) => body += b); r.on('end', () => resolve(JSON.parse(body).url));
    }).on('error', reject));`, { mode: 'unix' });
  assert.equal(await call(way), '/x');
});

test('a proxy that fails is an error that says so', async (t) => {
  const way = await start(t, `
    if (payload.stop) return await fetch('https://gone.allowed.test');
    if (payload.timeout) return await new Promise((resolve, reject) => { let timedOut = false;
      https.get('https://${OTHER}', { timeout: 100 }).on('timeout', () => timedOut = true).on('error', (e) => resolve([timedOut, e.code])); });
    return await get('https://${OTHER}');`);
  const host = way.proxy.hosts[`${OTHER}:443`] = { raw: 'HTTP/1.1 500 Broken\r\n\r\n' };
  const text = `The way out to ${OTHER}:443 could not be opened: the proxy`;
  const failed = async (raw: string): Promise<string> => {
    host.raw = raw;
    const { message, code } = await call(way);
    assert.equal(code, 'EGRESS_FAILED');
    return message;
  };
  assert.equal(await failed('HTTP/1.1 500 Broken\r\n\r\n'), `${text} answers HTTP/1.1 500 Broken`);
  assert.equal(await failed(''), `${text} closed the connection`);
  assert.equal(await failed(`HTTP/1.1 200 OK\r\nX: ${'x'.repeat(20_000)}`), `${text} answers with too long a header`);
  assert.equal(await failed('HTTP/1.1 403 No\r\nnothing\r\nX-SLUICE-egress:  mine \r\n\r\n').catch((e: Error) => e.message.includes('EGRESS_DENIED')), true);
  way.proxy.hosts[`${OTHER}:443`] = { silent: true };
  assert.deepEqual(await call(way, { timeout: true }), [true, 'ERR_PROXY_TUNNEL']);
  way.proxy.server.close();
  way.proxy.server.closeAllConnections();
  const { name, message, code } = await call(way, { stop: true });
  assert.deepEqual([name, code], ['TypeError', 'EGRESS_FAILED']);
  assert.match(message, /^The way out to gone.allowed.test:443 could not be opened: the proxy of the platform does not answer \(connect ECONNREFUSED/);
});

test('user code that replaces built-ins still has a way out', async (t) => {
  const way = await start(t, `
    const boom = () => { throw new Error('poisoned') };
    String.prototype.indexOf = String.prototype.split = String.prototype.slice = String.prototype.startsWith = boom;
    String.prototype.trim = boom;
    WeakMap.prototype.get = WeakMap.prototype.set = Map.prototype.get = boom;
    net.Socket.prototype.connect = tls.connect = boom;
    require('async_hooks').AsyncLocalStorage.prototype.getStore = boom;
    globalThis.Error = globalThis.setTimeout = globalThis.clearTimeout = boom;
    const agent = new https.Agent();
    return await new Promise((resolve) => agent.createConnection({ host: '${OTHER}', port: 443 }, (e) => resolve([e.code, e.message])));`);
  const { result, logs } = await logged(way);
  assert.deepEqual([result, logs], [['EGRESS_DENIED', refusal.message], warning]);
});

test('undici of a package goes through the proxy too', async (t) => {
  const way = await start(t, `
    const { createRequire } = require('module');
    const undici = createRequire(${JSON.stringify(import.meta.filename)})('undici');
    await null;
    const read = async (r) => (await r.body.json()).url;
    return [await read(await undici.request('http://${HOST}/a')), await read(await undici.request('https://${HOST}/b')),
      await read(await undici.request('https://${HOST}/c', { dispatcher: new undici.Agent() })), (await (await fetch('http://${HOST}/d')).json()).url,
      await undici.request('https://${OTHER}/', { dispatcher: new undici.Agent() }).catch((e) => e.message)];`);
  assert.deepEqual(await call(way), ['/a', '/b', '/c', '/d', refusal.message]);
});

test('what SLUICE_EGRESS must be is said', async (t) => {
  const runtime = await Runtime.start(t, { SLUICE_EGRESS: '127.0.0.1:3128' });
  assert.equal(runtime.handshake, '');
  assert.match(runtime.stderr, /SLUICE_EGRESS is 127.0.0.1:3128: it must be tcp:HOST:PORT or unix:\/PATH/);
});

test('without SLUICE_EGRESS a process goes out directly', async (t) => {
  const port = await listen(t, createHttp((_, response) => response.end('direct')));
  const way = await start(t, `return await (await fetch('http://127.0.0.1:' + payload)).text();`, { environment: { SLUICE_EGRESS: '' } });
  assert.equal(await call(way, port), 'direct');
  assert.deepEqual(way.proxy.asked, []);
});
