// The way out of a process: everything goes through the proxy, and what it refuses
// is told plainly.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer as createHttp } from 'node:http';
import { createServer as createHttps } from 'node:https';
import { type AddressInfo, createServer as createTcp, type Server } from 'node:net';
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
  const runtime = await Runtime.start(t, { SLUICE_EGRESS: egress, NODE_EXTRA_CA_CERTS: keep(folder, cert), ...environment });
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
