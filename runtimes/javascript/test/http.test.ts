// The HTTPClient against real servers: what request-promise documents, and where it
// harms, what it should have done.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createHttps } from 'node:https';
import { type AddressInfo, createServer as createTcp, type Server as TcpServer } from 'node:net';
import { Readable } from 'node:stream';
import { after, before, test } from 'node:test';
import { deflateSync, gzipSync } from 'node:zlib';
import { CookieJar, parseCookie } from '../src/toolbelt/http/cookies.ts';
import { type HttpClient, httpErrors, makeHttpClient } from '../src/toolbelt/http/index.ts';
import type { HttpOptions, HttpResponse } from '../src/toolbelt/http/types.ts';
import type { Kit } from '../src/toolbelt/secret.ts';
import { certificate } from './certificate.ts';

const { RequestError, StatusCodeError, TransformError } = httpErrors;
const warnings: string[] = [];
const kit = { warn: (message: string) => warnings.push(message) } as unknown as Kit;
const client: HttpClient = makeHttpClient(kit);

interface Seen {
  method: string;
  url: string;
  headers: { [name: string]: string };
  body: string;
}

const servers: TcpServer[] = [];
async function listen<S extends TcpServer>(server: S): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  servers.push(server);
  return (server.address() as AddressInfo).port;
}

let base = '';
let other = '';
let secure = '';
const { key, cert } = certificate('localhost', '127.0.0.1');
const routes: { [path: string]: (request: IncomingMessage, response: ServerResponse, seen: Seen) => void } = {};

function answer(request: IncomingMessage, response: ServerResponse): void {
  let body = '';
  request.setEncoding('latin1').on('data', (b: string) => (body += b)).on('end', () => {
    const seen = { method: request.method!, url: request.url!, headers: request.headers as Seen['headers'], body };
    const route = routes[request.url!.split('?')[0]!];
    if (route !== undefined) route(request, response, seen);
    else response.end(JSON.stringify(seen));
  });
}

before(async () => {
  process.env['BRAND_ID'] = 'le4711';
  process.env['LAMBDA_UUID'] = 'u-1';
  base = `http://127.0.0.1:${await listen(createServer(answer))}`;
  other = `http://localhost:${await listen(createServer(answer))}`;
  secure = `https://localhost:${await listen(createHttps({ key, cert }, answer))}`;
});
after(() => {
  for (const server of servers) {
    server.close();
    (server as Server).closeAllConnections?.();
  }
});

/** What the server sees of a request. */
async function seen(options: HttpOptions | string, send: (o: any) => Promise<unknown> = client): Promise<Seen> {
  const body = await send(typeof options === 'string' ? base + options : { uri: `${base}/x`, ...options });
  return (typeof body === 'string' ? JSON.parse(body) : body) as Seen;
}

async function rejected(promise: Promise<unknown>): Promise<any> {
  return promise.then((value) => assert.fail(`resolved with ${String(value)}`), (error: unknown) => error);
}

// Calls

test('all forms of a call mean the same', async () => {
  const url = `${base}/x`;
  const full = { resolveWithFullResponse: true };
  for (const promise of [
    client(url, full), client(new URL(url), full), client({ uri: url, ...full }), client({ url, ...full }), client({ ...full }, { uri: url }),
    client({ baseUrl: base, uri: '/x', ...full }), client({ baseUrl: `${base}/`, uri: 'x', ...full }), client({ baseUrl: url, uri: '', ...full }),
    client({ uri: { href: url } as URL, ...full }), client.get(url, full), client(url, full).promise(),
  ]) {
    const { request, statusCode } = await promise as HttpResponse;
    assert.deepEqual([request.href, request.method, statusCode], [url, 'GET', 200]);
  }
});

test('each verb has its method', async () => {
  const { get, post, put, patch, del, options } = client;
  const methods = await Promise.all([get, post, put, patch, del, client.delete, options].map(async (verb) => (await seen({}, verb)).method));
  assert.deepEqual(methods, ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'DELETE', 'OPTIONS']);
  assert.equal((await seen({ method: 'post' })).method, 'POST');
  const headers = await client.head(`${base}/x`) as { date: string };
  assert.ok(headers.date);
  assert.equal((await client.head(`${base}/x`, { resolveWithFullResponse: true }) as HttpResponse).statusCode, 200);
});

test('a callback hears error, response and body, with any status', async () => {
  routes['/missing'] = (_, response) => response.writeHead(404).end('no');
  const call = (...args: any[]): Promise<any[]> => new Promise((resolve) => {
    (client as any)(...args, (...heard: unknown[]) => { resolve(heard); });
  });
  const [error, response, body] = await call(`${base}/missing`);
  assert.deepEqual([error, response.statusCode, body], [null, 404, 'no']);
  assert.equal((await call({ uri: `${base}/missing` }))[2], 'no');
  assert.equal((await call(`${base}/missing`, { encoding: 'utf8' }))[2], 'no');
  assert.equal((await new Promise((resolve) => { void client({ uri: `${base}/missing`, callback: (...a) => { resolve(a); } }); }) as unknown[])[2], 'no');
  assert.equal((await call('http://127.0.0.1:1/'))[0].code, 'ECONNREFUSED');
});

test('defaults are merged, names and values one by one, and nest', async () => {
  const one = client.defaults({ headers: { a: '1', b: '1' }, qs: { p: 1 }, json: true, method: 'PUT' });
  const two = one.defaults({ headers: { B: '2' }, auth: { user: 'u', pass: 'p' } });
  const { method, url, headers } = await two(`${base}/x`, { headers: { c: '3' }, qs: { q: 2 } }) as Seen;
  assert.deepEqual([method, url, headers['a'], headers['b'], headers['c'], headers['authorization']], ['PUT', '/x?p=1&q=2', '1', '2', '3', 'Basic dTpw']);
  assert.equal((await two.get(`${base}/x`, { method: undefined as never }) as Seen).method, 'GET');
});

// Answers

test('the whole answer has what request gave it', async () => {
  routes['/full'] = (_, response) => {
    response.writeHead(201, 'Made', [['Set-Cookie', 'a=1'], ['Set-Cookie', 'b=2'], ['X-Name', 'v']]).end('{"a":1}');
  };
  const response = await client.post(`${base}/full?q=1#h`, { resolveWithFullResponse: true, json: { x: 1 } }) as HttpResponse & { caseless: any };
  assert.deepEqual([response.statusCode, response.statusMessage, response.httpVersion, response.body], [201, 'Made', '1.1', { a: 1 }]);
  assert.deepEqual([response.headers['set-cookie'], response.headers['x-name'], response.rawHeaders.includes('X-Name')], [['a=1', 'b=2'], 'v', true]);
  assert.deepEqual([response.caseless.has('X-NAME'), response.caseless.get('X-name'), response.caseless.has('none')], [true, 'v', false]);
  const { uri } = response.request;
  assert.deepEqual([uri.pathname, uri.search, uri.query, uri.hash, uri.path, uri.hostname, uri.auth], ['/full', '?q=1', 'q=1', '#h', '/full?q=1', '127.0.0.1', null]);
  const shown = JSON.parse(JSON.stringify(response));
  assert.deepEqual([Object.keys(shown), Object.keys(shown.request)], [['statusCode', 'body', 'headers', 'request'], ['uri', 'method', 'headers']]);
});

test('a status outside 2xx rejects, unless simple is false', async () => {
  routes['/odd'] = (_, response) => response.writeHead(418).end('{"why":"tea"}');
  const options = { uri: `${base}/odd`, json: true, foreign: 7 };
  const error = await rejected(client(options));
  assert.ok(error instanceof StatusCodeError && error instanceof Error);
  assert.deepEqual([error.name, error.message, error.statusCode, error.error], ['StatusCodeError', '418 - {"why":"tea"}', 418, { why: 'tea' }]);
  assert.deepEqual([error.options['uri'], error.options['foreign'], error.options.simple, (error.response as HttpResponse).statusCode], [options.uri, 7, true, 418]);
  assert.deepEqual(Object.keys(error).sort(), ['error', 'message', 'name', 'options', 'response', 'statusCode']);
  assert.equal((await rejected(client(`${base}/missing`))).message, '404 - "no"');
  assert.deepEqual(await client({ ...options, simple: false }), { why: 'tea' });
  assert.equal((await client({ ...options, simple: false, resolveWithFullResponse: true }) as HttpResponse).statusCode, 418);
  const odd = await rejected(client({ ...options, jsonReviver: (_, v: unknown) => (v === 'tea' ? 1n : v) }));
  assert.equal(odd.message, '418 - [object Object]');
});

test('what keeps an answer from coming is a RequestError', async () => {
  const error = await rejected(client('http://127.0.0.1:1/'));
  assert.ok(error instanceof RequestError);
  assert.deepEqual([error.name, error.message, error.cause === error.error, (error.cause as any).code], ['RequestError', 'Error: connect ECONNREFUSED 127.0.0.1:1', true, 'ECONNREFUSED']);
  assert.deepEqual([error.options['uri'], error.response], ['http://127.0.0.1:1/', undefined]);
  const denied = new RequestError(Object.assign(new Error('m'), { code: 'EGRESS_DENIED', host: 'h', rule: 'r' }), {}) as any;
  assert.deepEqual([denied.code, denied.host, denied.rule], ['EGRESS_DENIED', 'h', 'r']);
  assert.equal(new RequestError(undefined, {}).message, 'undefined');
});

test('catch takes the class of the errors that it catches', async () => {
  const status = (e: Error): string => e.name;
  assert.equal(await (client(`${base}/missing`) as any).catch(StatusCodeError, status), 'StatusCodeError');
  assert.equal((await rejected((client(`${base}/missing`) as any).catch(RequestError, status))).name, 'StatusCodeError');
  assert.equal(await client(`${base}/missing`).catch(status), 'StatusCodeError');
  assert.equal(await client(`${base}/missing`).then(undefined, status), 'StatusCodeError');
  let last = 0;
  await client(`${base}/x`).finally(() => { last = 1; });
  assert.equal(last, 1);
});

test('transform makes the result, of every status or of 2xx alone', async () => {
  const transform = (body: unknown, response: HttpResponse, full: boolean): unknown => [body, response.statusCode, full];
  routes['/ok'] = (_, response) => response.end('ok');
  assert.deepEqual(await client(`${base}/ok`, { transform }), ['ok', 200, false]);
  assert.deepEqual(await client(`${base}/ok`, { transform: async (body: unknown) => Promise.resolve(body), resolveWithFullResponse: true }), 'ok');
  assert.deepEqual((await rejected(client(`${base}/missing`, { transform }))).response, ['no', 404, false]);
  assert.equal((await rejected(client(`${base}/missing`, { transform, transform2xxOnly: true }))).response.statusCode, 404);
  assert.deepEqual(await client(`${base}/missing`, { transform, simple: false, transform2xxOnly: true }), 'no');
  assert.deepEqual(await client(`${base}/missing`, { transform, simple: false }), ['no', 404, false]);
  for (const uri of ['/ok', '/missing']) {
    const error = await rejected(client(base + uri, { transform: () => { throw new Error('broken'); } }));
    assert.ok(error instanceof TransformError);
    assert.deepEqual([error.name, error.message, (error.cause as Error).message, error.error === error.cause, error.response.body], ['TransformError', 'Error: broken', 'broken', true, uri === '/ok' ? 'ok' : 'no']);
  }
});

test('encoding and json decide how the body is read', async () => {
  routes['/bytes'] = (_, response) => response.end(Buffer.from('\uFEFF{"ä":1}'));
  routes['/empty'] = (_, response) => response.writeHead(204).end();
  const url = `${base}/bytes`;
  assert.equal(await client(url), '{"ä":1}');
  assert.deepEqual(await client(url, { encoding: null }), Buffer.from('\uFEFF{"ä":1}'));
  assert.equal(await client(url, { encoding: 'hex' }), Buffer.from('\uFEFF{"ä":1}').toString('hex'));
  assert.deepEqual(await client(url, { json: true }), { ä: 1 });
  assert.deepEqual(await client(url, { json: true, encoding: null }), { ä: 1 });
  assert.deepEqual(await client(url, { json: true, jsonReviver: (_, v: unknown) => (v === 1 ? 2 : v) }), { ä: 2 });
  assert.equal(await client(url, { json: false }), '{"ä":1}');
  assert.equal(await client(`${base}/missing`, { json: true, simple: false }), 'no');
  assert.deepEqual(await client(`${base}/missing`, { json: true, simple: false, encoding: null }), Buffer.from('no'));
  assert.deepEqual([await client(`${base}/empty`), await client(`${base}/empty`, { json: true }), await client(`${base}/empty`, { encoding: null })], ['', undefined, Buffer.alloc(0)]);
  assert.match((await rejected(client(url, { encoding: 'nonsense' as never }))).message, /Unknown encoding: nonsense/);
});

test('gzip asks for a compressed answer and unpacks it; without it bytes stay as they are', async () => {
  const text = 'x'.repeat(1000);
  let encoding = 'gzip';
  let packed = gzipSync(text);
  let asked: string | undefined;
  routes['/gzip'] = (request, response) => {
    asked = request.headers['accept-encoding'] as string | undefined;
    response.writeHead(200, { 'content-encoding': encoding }).end(packed);
  };
  const get = (options: HttpOptions): Promise<unknown> => client(`${base}/gzip`, options);
  assert.equal(await get({ gzip: true }), text);
  assert.equal(asked, 'gzip, deflate');
  assert.deepEqual(await get({ encoding: null }), packed);
  assert.equal(asked, undefined);
  packed = packed.subarray(0, -8);
  assert.equal(await get({ gzip: true }), text, 'the end may be missing');
  packed = Buffer.from('this is no gzip');
  assert.equal((await rejected(get({ gzip: true }))).cause.code, 'Z_DATA_ERROR');
  assert.deepEqual(await client.head(`${base}/gzip`, { gzip: true, transform: (b: unknown) => b }), '');
  [encoding, packed] = ['deflate', deflateSync(text)];
  assert.equal(await get({ gzip: true }), text);
  [encoding, packed] = ['identity', Buffer.from('plain')];
  assert.equal(await get({ gzip: true }), 'plain');
});

test('an answer beyond the limit is refused, packed or not', async () => {
  const large = Buffer.alloc(33 << 20);
  routes['/large'] = (request, response) => {
    response.on('error', () => undefined);
    if (request.headers['accept-encoding'] === undefined) response.end(large);
    else response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(large));
  };
  for (const gzip of [false, true]) {
    assert.match((await rejected(client(`${base}/large`, { gzip }))).message, /^Error: The response of 127.0.0.1:\d+ has more than the limit of 33554432 bytes. Ask for less of it at once$/);
  }
});

test('time says how long what took', async () => {
  for (let i = 0; i < 2; i++) {
    const response = await client(`${base}/x`, { time: true, resolveWithFullResponse: true }) as any;
    assert.deepEqual(Object.keys(response.timings), ['socket', 'lookup', 'connect', 'response', 'end']);
    assert.deepEqual(Object.keys(response.timingPhases), ['wait', 'dns', 'tcp', 'firstByte', 'download', 'total']);
    assert.ok(response.elapsedTime >= 0 && response.timingStart <= response.responseStartTime && response.timingPhases.total >= response.timingPhases.firstByte);
  }
  const named = await client(`${other}/x`, { time: true, resolveWithFullResponse: true }) as any;
  assert.ok(named.timings.lookup <= named.timings.connect);
});

// Requests

test('the platform\'s headers are added, and the author\'s own are kept', async () => {
  const { headers } = await seen({});
  assert.deepEqual([headers['lp-url'], headers['user-agent']], ['le4711', 'LP-Lambda-u-1']);
  assert.equal((await seen({ headers: { 'USER-agent': 'mine', gone: undefined } })).headers['user-agent'], 'mine');
  delete process.env['BRAND_ID'];
  delete process.env['LAMBDA_UUID'];
  const bare = await seen({});
  assert.deepEqual([bare.headers['lp-url'], bare.headers['user-agent']], [undefined, undefined]);
});

test('bodies', async () => {
  const sent = async (options: HttpOptions): Promise<unknown[]> => {
    const { body, headers } = await seen({ method: 'POST', ...options });
    return [Buffer.from(body, 'latin1').toString(), headers['content-type'], headers['accept'], headers['content-length']];
  };
  assert.deepEqual(await sent({}), ['', undefined, undefined, '0']);
  assert.deepEqual(await sent({ body: 'tä' }), ['tä', undefined, undefined, '3']);
  assert.deepEqual(await sent({ body: Buffer.from('b') }), ['b', undefined, undefined, '1']);
  assert.deepEqual(await sent({ body: new Uint8Array([65]) }), ['A', undefined, undefined, '1']);
  assert.deepEqual(await sent({ body: ['a', Buffer.from('b')] }), ['ab', undefined, undefined, '2']);
  assert.deepEqual(await sent({ body: Readable.from(['s', 't']) }), ['st', undefined, undefined, '2']);
  assert.deepEqual(await sent({ body: new URLSearchParams({ a: '1 2' }) }), ['a=1+2', undefined, undefined, '5']);
  const json = 'application/json';
  assert.deepEqual(await sent({ json: true }), ['', undefined, json, '0']);
  assert.deepEqual(await sent({ json: true, body: { a: 1 } }), ['{"a":1}', json, json, '7']);
  assert.deepEqual(await sent({ json: { a: 1 }, headers: { 'Content-Type': 'x/y', accept: 'z' } }), ['{"a":1}', 'x/y', 'z', '7']);
  assert.deepEqual(await sent({ json: { a: 1 }, jsonReplacer: (k, v: unknown) => (k === 'a' ? 2 : v) }), ['{"a":2}', json, json, '7']);
  assert.deepEqual(await sent({ json: true, body: 'text' }), ['"text"', json, json, '6']);
  const form = 'application/x-www-form-urlencoded';
  assert.deepEqual(await sent({ form: { a: ['1', { b: '!' }], c: null } }), ['a%5B0%5D=1&a%5B1%5D%5Bb%5D=%21&c=', form, undefined, '33']);
  assert.deepEqual(await sent({ form: 'a=(1)' }), ['a=%281%29', form, undefined, '9']);
  assert.deepEqual(await sent({ form: { a: 1 }, json: true }), ['a=1', form, json, '3']);
  assert.equal((await sent({ form: { a: 1 }, headers: { 'content-type': `${form}; charset=utf-8` } }))[1], `${form}; charset=utf-8`);
  const get = await seen({ json: { query: 1 } });
  assert.deepEqual([get.method, get.body], ['GET', '{"query":1}']);
});

test('forms with files', async () => {
  const { body, headers } = await seen({
    method: 'POST',
    formData: {
      text: 'v', count: 2, yes: true, list: ['a', 'b'], bytes: Buffer.from('B'), stream: Readable.from(['S']),
      'a"b\r\n': { value: 'F', options: { filename: 'f".txt', contentType: 'text/plain\r\nX: 1' } }, plain: { value: 'P', options: { filepath: 'p' } }, bare: { value: 'Q' },
    },
  });
  const boundary = /^multipart\/form-data; boundary=(.*)$/.exec(headers['content-type']!)![1]!;
  const parts = body.split(`--${boundary}`).slice(1, -1).map((p) => p.replace(/^\r\n|\r\n$/g, '').replaceAll('Content-Disposition: form-data; ', ''));
  assert.deepEqual(parts, [
    'name="text"\r\n\r\nv', 'name="count"\r\n\r\n2', 'name="yes"\r\n\r\ntrue', 'name="list"\r\n\r\na', 'name="list"\r\n\r\nb', 'name="bytes"\r\n\r\nB', 'name="stream"\r\n\r\nS',
    'name="a%22b%0D%0A"; filename="f%22.txt"\r\nContent-Type: text/plain  X: 1\r\n\r\nF', 'name="plain"; filename="p"\r\nContent-Type: application/octet-stream\r\n\r\nP', 'name="bare"\r\n\r\nQ',
  ]);
  const own = await seen({ method: 'POST', formData: { a: '1' }, headers: { 'content-type': 'multipart/related; boundary="mine"' } });
  assert.match(own.body, /^--mine\r\n.*--mine--\r\n$/s);
});

test('queries', async () => {
  const url = async (options: HttpOptions): Promise<string> => (await seen(options)).url;
  assert.equal(await url({ qs: { a: 1, b: [1, [2]], c: { d: 'x y&', e: true }, f: null, g: undefined, h: () => 1, i: Symbol('s'), j: new Date(0), k: 3n, l: Buffer.from('B') } }),
    '/x?a=1&b%5B0%5D=1&b%5B1%5D%5B0%5D=2&c%5Bd%5D=x%20y%26&c%5Be%5D=true&f=&j=1970-01-01T00%3A00%3A00.000Z&k=3&l=B');
  assert.equal(await url({ uri: `${base}/x?a=1&b=2&a=3&&c%5Bd%5D=4&%zz=5`, qs: { b: '!', c: 6 } }), '/x?a=1&a=3&%zz=5&b=%21&c=6');
  assert.equal(await url({ qs: { a: [1, 2], b: { c: 3 } }, useQuerystring: true }), '/x?a=1&a=2&b%5Bc%5D=3');
  assert.equal(await url({ qs: { a: [1, 2], b: null }, qsStringifyOptions: { arrayFormat: 'brackets', skipNulls: true } }), '/x?a%5B%5D=1&a%5B%5D=2');
  assert.equal(await url({ uri: `${base}/x?a=1`, qs: {} }), '/x?a=1');
  assert.equal(await url({ uri: `${base}/x?a=1`, qs: null as never }), '/x?a=1');
  assert.equal(await url({ qs: { a: '\ud800' } }), '/x?a=%EF%BF%BD');
});

test('options that cannot be are refused by name, before anything is sent', async () => {
  const cycle: { self?: unknown } = {};
  cycle.self = cycle;
  const large = 'x'.repeat((32 << 20) + 1);
  const half = 'x'.repeat(17 << 20);
  const cases: [HttpOptions, RegExp][] = [
    [{ uri: undefined as never }, /options.uri is a required argument/], [{ uri: '' }, /options.uri is a required argument/],
    [{ uri: 'no url' }, /Invalid URI "no url"/], [{ uri: 'ftp://x/' }, /Invalid protocol: ftp:/], [{ uri: 7 as never }, /options.uri must be a string or a URL/],
    [{ baseUrl: 7 as never }, /options.baseUrl must be a string/], [{ baseUrl: base, uri: new URL(base) }, /options.uri must be a string when using options.baseUrl/],
    [{ baseUrl: base, uri: '//x' }, /options.uri must be a path when using options.baseUrl/], [{ baseUrl: base, uri: 'http://x' }, /options.uri must be a path/],
    [{ qs: 'a' as never }, /options.qs must be an object/], [{ qs: { cycle } }, /options.qs has more than 50 levels, or it contains itself/],
    [{ form: { cycle } }, /options.form has more than 50 levels/], [{ body: { a: 1 } }, /options.body must be a string, a Buffer, a stream or an array of strings and Buffers. Set json: true/],
    [{ body: 7 }, /options.body must be/], [{ body: [7] }, /options.body must consist of strings and Buffers/],
    [{ body: large }, /options.body has more than the limit of 33554432 bytes/], [{ body: [half, half] }, /options.body has more/],
    [{ formData: { f: {} } }, /options.formData.f must be a string/], [{ formData: { f: half, g: half } }, /options.formData has more/],
    [{ auth: {} }, /options.auth needs user and pass, or bearer/], [{ auth: { user: 'u', pass: 7 as never } }, /options.auth.pass must be a string/],
    [{ multipart: [] }, /The option multipart is not supported: use formData/], [{ oauth: {} }, /The option oauth is not supported: use LpClient/],
    [{ json: cycle }, /circular structure/], [{ headers: { 'a b': '1' } }, /Header name must be a valid HTTP token/],
  ];
  for (const [options, text] of cases) {
    const error = await rejected(client({ uri: `${base}/x`, ...options }));
    assert.ok(error instanceof RequestError);
    assert.match(error.message, text);
  }
});

test('options without effect are warned of once', async () => {
  warnings.length = 0;
  for (let i = 0; i < 2; i++) await seen({ proxy: 'http://p', tunnel: true, rejectUnauthorized: false, strictSSL: true, agentOptions: {}, pool: undefined as never });
  assert.deepEqual(warnings.map((w) => /^The option (\w+) of HTTPClient has no effect: /.exec(w)![1]), ['proxy', 'tunnel', 'rejectUnauthorized', 'agentOptions']);
});

// Who asks

test('auth', async () => {
  const header = async (options: HttpOptions): Promise<string | undefined> => (await seen(options)).headers['authorization'];
  assert.equal(await header({ auth: { user: 'u', pass: 'ä' } }), `Basic ${Buffer.from('u:ä').toString('base64')}`);
  assert.equal(await header({ auth: { username: 'u', password: 'p' }, headers: { Authorization: 'old' } }), 'Basic dTpw');
  assert.equal(await header({ auth: { user: 'u' } }), 'Basic dTo=');
  assert.equal(await header({ auth: { bearer: 't' } }), 'Bearer t');
  assert.equal(await header({ auth: { bearer: () => 't2' } }), 'Bearer t2');
  assert.equal(await header({ uri: `${base.replace('//', '//a%20b:c@')}/x` }), `Basic ${Buffer.from('a b:c').toString('base64')}`);
  assert.equal(await header({ uri: `${base.replace('//', '//a@')}/x`, headers: { authorization: 'mine' } }), 'mine');
  assert.equal(await header({ auth: { user: 'u', pass: 'p', sendImmediately: false } }), undefined);
});

test('a server that asks who it is gets an answer once', async () => {
  let challenge: string | undefined;
  routes['/who'] = (_, response, { headers }) => {
    if (headers['authorization'] === undefined || headers['authorization'].includes('wrong')) response.writeHead(401, challenge === undefined ? {} : { 'www-authenticate': challenge });
    response.end(headers['authorization'] ?? 'nobody');
  };
  const ask = (auth: object): Promise<unknown> => client(`${base}/who?q=1`, { auth: { sendImmediately: false, ...auth }, simple: false });
  challenge = 'Basic realm="r"';
  assert.equal(await ask({ user: 'u', pass: 'p' }), 'Basic dTpw');
  assert.equal(await ask({ bearer: 'b' }), 'nobody');
  assert.equal(await client(`${base}/who`, { simple: false }), 'nobody');
  challenge = 'Bearer realm="r"';
  assert.equal(await ask({ bearer: 'b' }), 'Bearer b');
  assert.equal(await ask({ bearer: 'wrong' }), 'Bearer wrong');
  challenge = undefined;
  assert.equal(await ask({ user: 'u', pass: 'p' }), 'nobody');
  const hash = (name: string, ...parts: string[]): string => createHash(name).update(parts.join(':')).digest('hex');
  for (const [algorithm, name, qop] of [['MD5', 'md5', 'auth'], ['SHA-256', 'sha256', 'auth,auth-int'], ['MD5-sess', 'md5', 'auth'], [undefined, 'md5', undefined]] as const) {
    challenge = `Digest realm="r", nonce="n", opaque="o"${qop === undefined ? '' : `, qop="${qop}"`}${algorithm === undefined ? '' : `, algorithm=${algorithm}`}`;
    const given = await ask({ user: 'u"', pass: 'p' }) as string;
    const value = (key: string): string => new RegExp(`${key}="?((?:[^"\\\\,]|\\\\.)*)`).exec(given)![1]!;
    let first = hash(name, 'u"', 'r', 'p');
    if (algorithm === 'MD5-sess') first = hash(name, first, 'n', value('cnonce'));
    const second = hash(name, 'GET', '/who?q=1');
    assert.equal(value('response'), qop === undefined ? hash(name, first, 'n', second) : hash(name, first, 'n', '00000001', value('cnonce'), 'auth', second));
    assert.deepEqual([value('username'), value('opaque'), value('uri')], ['u\\"', 'o', '/who?q=1']);
  }
  for (const c of ['Digest nonce="n", algorithm=SHA-512', 'Digest nonce="n"', 'Negotiate']) {
    challenge = c;
    const known = c === 'Digest nonce="n"';
    assert.equal((await ask({ user: 'u', pass: 'p' }) as string).startsWith(known ? 'Digest' : 'nobody'), true, c);
    assert.equal(await ask({ bearer: 'b' }), 'nobody');
  }
});

// Redirects

test('redirects are followed as request followed them, and bodies and methods as HTTP has it', async () => {
  let status = 302;
  let target = '/x';
  routes['/moved'] = (_, response) => response.writeHead(status, { location: target }).end('moved');
  const go = async (options: HttpOptions): Promise<unknown[]> => {
    const body = await client({ uri: `${base}/moved`, simple: false, ...options }) as string;
    if (!body.startsWith('{')) return [body];
    const { method, url, body: sent, headers } = JSON.parse(body) as Seen;
    return [method, url, sent, headers['content-type'], headers['referer']];
  };
  const from = `${base}/moved`;
  assert.deepEqual(await go({}), ['GET', '/x', '', undefined, from]);
  assert.deepEqual(await go({ removeRefererHeader: true, headers: { referer: 'r' } }), ['GET', '/x', '', undefined, undefined]);
  assert.deepEqual(await go({ followRedirect: false }), ['moved']);
  assert.deepEqual(await go({ followRedirect: (r) => r.headers['location'] !== '/x' }), ['moved']);
  assert.deepEqual(await go({ followRedirect: () => true }), ['GET', '/x', '', undefined, from]);
  assert.deepEqual(await go({ method: 'OPTIONS' }), ['OPTIONS', '/x', '', undefined, from]);
  const post: HttpOptions = { method: 'POST', json: { a: 1 }, followAllRedirects: true, transform: (body: unknown) => (typeof body === 'string' ? body : JSON.stringify(body)) };
  assert.deepEqual(await go({ ...post, followAllRedirects: false }), ['moved']);
  const json = 'application/json';
  for (const [code, original, method] of [[301, false, 'GET'], [302, false, 'GET'], [303, false, 'GET'], [303, true, 'GET'], [302, true, 'POST'], [307, false, 'POST'], [308, false, 'POST']] as const) {
    status = code;
    assert.deepEqual(await go({ ...post, followOriginalHttpMethod: original }), [method, '/x', method === 'GET' ? '' : '{"a":1}', method === 'GET' ? undefined : json, from]);
  }
  assert.deepEqual((await client.head(`${base}/moved`, { resolveWithFullResponse: true }) as HttpResponse).request.method, 'HEAD');
  target = 'ftp://x/';
  assert.equal((await rejected(client(`${base}/moved`))).message, 'Error: Invalid protocol: ftp:');
  target = '/moved';
  assert.equal((await rejected(client(`${base}/moved`))).message, `Error: Exceeded maxRedirects. Probably stuck in a redirect loop ${from}`);
  assert.match((await rejected(client(`${base}/moved`, { maxRedirects: 0 }))).message, /Exceeded maxRedirects/);
  routes['/nowhere'] = (_, response) => response.writeHead(304).end();
  assert.equal((await client(`${base}/nowhere`, { simple: false, resolveWithFullResponse: true }) as HttpResponse).statusCode, 304);
});

test('another host gets neither credentials nor cookies, and no plain one an address of a secure one', async () => {
  let target = '';
  routes['/away'] = (_, response) => response.writeHead(307, { location: target }).end();
  const go = async (start: string, options: HttpOptions = {}): Promise<Seen['headers']> => (await client(`${start}/away`, {
    method: 'PUT', body: 'b', followAllRedirects: true, headers: { cookie: 'c=1', 'Proxy-Authorization': 'p', authorization: 'secret', host: new URL(start).host }, ca: cert, json: true, ...options,
  }) as Seen).headers;
  target = `${base}/x`;
  const same = await go(base);
  assert.deepEqual([same['authorization'], same['cookie']], ['secret', 'c=1']);
  for (const [start, to] of [[base, other], [secure, base], [secure, secure.replace('https', 'http').replace(/\d+$/, new URL(other).port)]] as const) {
    target = `${to}/x`;
    for (const auth of [undefined, { user: 'u', pass: 'p' }]) {
      const headers = await go(start, auth === undefined ? {} : { auth });
      assert.deepEqual([headers['authorization'], headers['cookie'], headers['proxy-authorization'], headers['host']], [undefined, undefined, undefined, new URL(to).host]);
      assert.equal(headers['referer'], start === secure ? undefined : `${start}/away`);
    }
  }
  const both = createTcp((socket) => {
    socket.once('readable', () => {
      const first = socket.read() as Buffer;
      socket.unshift(first);
      (first[0] === 0x16 ? createHttps({ key, cert }, answer) : createServer(answer)).emit('connection', socket);
    });
  });
  const port = await listen(both);
  target = `http://localhost:${port}/x`;
  const plain = await go(`https://localhost:${port}`);
  assert.deepEqual([plain['host'], plain['authorization'], plain['referer']], [`localhost:${port}`, undefined, undefined], 'the same host, but in plain text');
  const named = base.replace('//', '//u:p@');
  target = '/x#f';
  assert.equal((await seen({ uri: `${named}/away` })).headers['referer'], `${base}/away`, 'no password in it');
});

// TLS

test('certificates are checked, against ca where it is given', async () => {
  const error = await rejected(client(`${secure}/x`, { rejectUnauthorized: false }));
  assert.equal(error.cause.code, 'DEPTH_ZERO_SELF_SIGNED_CERT');
  assert.equal(JSON.parse(await client(`${secure}/x`, { ca: cert }) as string).url, '/x');
});

// Cookies

test('a jar keeps cookies and sends them where they belong', async () => {
  routes['/login'] = (_, response) => response.writeHead(302, { location: '/x', 'set-cookie': ['s=1; HttpOnly', 't=2; Path=/other', 'bad'] }).end();
  const jar = client.jar();
  const first = await client(`${base}/login`, { jar, json: true }) as Seen;
  assert.equal(first.headers['cookie'], 's=1');
  assert.equal((await seen({ jar, headers: { cookie: 'own=0' } })).headers['cookie'], 'own=0; s=1');
  assert.equal((await seen({})).headers['cookie'], undefined);
  await client(`${base}/login`, { jar: true });
  assert.equal((await seen({ jar: true })).headers['cookie'], 's=1');
  assert.equal((await seen({ jar: {} as never })).headers['cookie'], undefined);
  const cookie = client.cookie('k=v')!;
  jar.setCookie(cookie, base);
  assert.equal(jar.getCookieString(base), 's=1; k=v');
  assert.deepEqual([cookie.key, cookie.value, String(cookie)], ['k', 'v', 'k=v']);
});

test('which cookies are sent where', () => {
  const at = 'https://www.example.test/a/b';
  const sent = (text: string, to: string, from = at): string => {
    const jar = new CookieJar();
    jar.setCookie(text, from);
    return jar.getCookieString(to);
  };
  const cases: [string, string, boolean][] = [
    ['a=1', 'https://www.example.test/a/c', true], ['a=1', 'https://www.example.test/', false], ['a=1', 'https://sub.www.example.test/a/', false],
    ['a=1; Path=/', 'https://www.example.test/', true], ['a=1; Path=x', 'https://www.example.test/a/', true], ['a=1; path=/a/b', 'https://www.example.test/a/bc', false],
    ['a=1; path=/a/', 'https://www.example.test/a/x', true], ['a=1; Domain=.Example.test; Path=/', 'https://other.example.test/', true],
    ['a=1; Domain=example.test; Path=/', 'https://notexample.test/', false], ['a=1; Domain=other.test; Path=/', 'https://other.test/', false],
    ['a=1; Domain=test; Path=/', at, false], ['a=1; Domain=www.example.test; Path=/', 'https://x.www.example.test/', true],
    ['a=1; Secure; Path=/', 'http://www.example.test/', false], ['a=1; Secure; Path=/', at, true],
    ['a=1; Max-Age=0; Path=/', at, false], ['a=1; Max-Age=60; Path=/', at, true], ['a=1; Max-Age=x; Path=/', at, true], ['a=1; Max-Age=99999999999999999; Path=/', at, true],
    ['a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/', at, false], ['a=1; Expires=never; Path=/', at, true], ['a=1; Other; Path=/', at, true],
    ['=1', at, false], ['a', at, false], [`a=${'x'.repeat(5000)}`, at, false],
  ];
  for (const [text, to, expected] of cases) assert.equal(sent(text, to) !== '', expected, `${text} to ${to}`);
  assert.equal(sent('a=1; Domain=127.0.0.1; Path=/', 'http://127.0.0.1/', 'http://127.0.0.1/'), 'a=1');
  assert.equal(sent('a=1; Domain=0.0.1; Path=/', 'http://127.0.0.1/', 'http://127.0.0.1/'), '');
  assert.equal(parseCookie(7), undefined);
  const jar = new CookieJar();
  for (const text of ['a=1; Path=/', 'b=2; Path=/a', 'a=3; Path=/']) jar.setCookie(text, at);
  assert.equal(jar.getCookieString(at), 'b=2; a=3', 'the longer path first, and the newer value');
  jar.setCookie('a=; Max-Age=0; Path=/', at);
  assert.equal(jar.getCookieString(at), 'b=2');
  for (let i = 0; i < 60; i++) jar.setCookie(`k${i}=1; Path=/`, at);
  assert.equal(jar.getCookies(at).length, 50);
  for (let i = 0; i < 400; i++) jar.setCookie(`k=1; Path=/`, `https://h${i}.test/`);
  assert.deepEqual([jar.getCookies(at).length, jar.getCookies('https://h399.test/').length], [0, 1]);
});

// Time and connections

test('a timeout ends the wait for the answer and for its parts', async () => {
  routes['/silent'] = () => undefined;
  routes['/stuck'] = (_, response) => { response.write('a'); };
  const silent = await rejected(client(`${base}/silent`, { timeout: 50 }));
  assert.deepEqual([silent.message, silent.cause.code, silent.cause.connect], ['Error: ETIMEDOUT', 'ETIMEDOUT', false]);
  assert.equal((await rejected(client(`${base}/stuck`, { timeout: 50 }))).cause.code, 'ESOCKETTIMEDOUT');
  assert.equal((await seen({ timeout: 5000 })).url, '/x');
  assert.equal((await seen({ timeout: -1 })).url, '/x');
  assert.equal((await seen({ timeout: '5' as never })).url, '/x');
});

test('an answer that breaks off is an error', async () => {
  routes['/cut'] = (_, response) => {
    response.writeHead(200, { 'content-length': '10' }).write('abc');
    setTimeout(() => response.destroy(), 20);
  };
  assert.equal((await rejected(client(`${base}/cut`))).cause.code, 'ECONNRESET');
});

test('a request that is ended is heard of no more', async () => {
  let arrived: () => void = () => undefined;
  const there = new Promise<void>((resolve) => (arrived = resolve));
  let gone = false;
  routes['/wait'] = (request) => {
    request.socket.on('close', () => (gone = true));
    arrived();
  };
  let settled = false;
  const promise = client(`${base}/wait`);
  const early = client(`${base}/wait`);
  early.abort();
  for (const p of [promise, early]) p.then(() => (settled = true), () => (settled = true));
  await there;
  promise.cancel();
  promise.abort();
  while (!gone) await new Promise((resolve) => setTimeout(resolve, 5));
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(settled, false);
});

test('a kept connection that the server has closed is replaced, where that does no harm', async () => {
  let connections = 0;
  let kept = 0;
  const port = await listen(createTcp((socket) => {
    connections++;
    let requests = 0;
    socket.on('error', () => undefined).on('data', () => {
      if (requests++ === 0) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1');
      else {
        kept++;
        socket.destroy();
      }
    });
  }));
  const own = makeHttpClient(kit);
  const url = `http://127.0.0.1:${port}/`;
  assert.equal(await own(url), '1');
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(await own(url), '1');
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual([connections, kept], [2, 1]);
  assert.equal((await rejected(own.post(url))).cause.code, 'ECONNRESET');
  assert.deepEqual([connections, kept], [2, 2]);
});
