// The two samples of the user guide and the templates made of them, in lambdas that
// leave by the proxy; the hosts are servers on loopback.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { certificate, keep } from './certificate.ts';
import { messageOf, ProxyServer } from './proxy.ts';
import { dist, eventually, Runtime, type Session } from './runtime.ts';
import { Salesforce } from './salesforce.ts';

/** The guide's text, where Toolbelt is written "Toolbet" and => is written "==>". */
const SALESFORCE = `const { Toolbelt } = require('lp-faas-toolbelt');
const sfClient = Toolbelt.SFClient(); // for API docs look @ hhtps://jsforce.github.io/

//This will establish a connection with SF. And leverage Access Token / Refresh Token to login
const con = sfClient.connectToSalesforce({
	loginUrl: "https://test.salesforce.com",
	accessToken: "PROVIDE_YOUR_ACCESS_TOKEN", //Obtain it from Secret Store
	refreshToken: "PROVIDE_YOUR_REFRESH_TOKEN" // Obtain it from Secret Store
});

con.query(query, function(err, queryResult) {

});
`;

const HTTP = `const { Toolbelt } = require("lp-faas-toolbelt");
//Obtain an HTTPClient instance from the Toolbelt
const httpClient = Toolbelt.HTTPClient(); // For API Docs look @ https:/www.npmjs.com/package/request-promise

const URL = "https://fancycssl.hbeock.de/";

httpClient(URL, {
	method: "GET", //HTTP VERB
	headers: {}, //Your Headers
	simple: false, //IF true => Status Code != 2xx & 3xx will throw
	resolveWithFullResponse: true //IF true => Includes Status Code, Headers etc.
})
	.then(response => {

	})
`;

const QUERY = 'SELECT Id, Name FROM Contact';

interface World {
  salesforce: Salesforce;
  asked: string[];
  session: Session;
}

const HOSTS = ['test.salesforce.com', 'fancycssl.hbeock.de', 'www.example.com'];

/** A lambda's process whose way out is the proxy, by TCP or by a socket file. */
async function world(t: TestContext, source: string, hosts: string[], unix = false): Promise<World> {
  const folder = mkdtempSync(join(tmpdir(), 's'));
  t.after(() => { rmSync(folder, { recursive: true }); });
  const tls = certificate(...HOSTS);
  const salesforce = await Salesforce.start(t, tls);
  salesforce.tokens.add('PROVIDE_YOUR_ACCESS_TOKEN');
  const socket = join(folder, 'egress.sock');
  const proxy = await ProxyServer.start(t, unix ? socket : undefined);
  for (const host of hosts) proxy.hosts[`${host}:443`] = { port: salesforce.port };
  const runtime = await Runtime.start(t, { SLUICE_EGRESS: unix ? `unix:${socket}` : `tcp:127.0.0.1:${proxy.port}`, NODE_EXTRA_CA_CERTS: keep(folder, tls.cert) });
  const built = await (await Runtime.start(t)).build(source);
  assert.deepEqual(built.diagnostics, []);
  assert.equal(await runtime.load(built.artifact), null);
  return { salesforce, asked: proxy.asked, session: runtime.session() };
}

const within = (sample: string): string => `function lambda(input, callback) {\nconst query = ${JSON.stringify(QUERY)};\n${sample}\n}`;
const before = 'setTimeout(() => callback(null, "done"), 0);\n';

test('the guide\'s sample for Salesforce asks Salesforce', async (t) => {
  const { salesforce, asked, session } = await world(t, within(before + SALESFORCE), ['test.salesforce.com']);
  assert.deepEqual((await session.call().outcome).result, 'done');
  const seen = await eventually('the query', () => salesforce.seen[0]);
  assert.deepEqual([seen.method, seen.host, new URLSearchParams(seen.url.split('?')[1]).get('q'), seen.headers.authorization], ['GET', 'test.salesforce.com', QUERY, 'Bearer PROVIDE_YOUR_ACCESS_TOKEN']);
  assert.deepEqual(asked, ['CONNECT test.salesforce.com:443']);
  assert.deepEqual(session.retires, []);
  assert.deepEqual(session.logs, []);
});

test('the guide\'s sample for Salesforce has its callback called', async (t) => {
  const filled = SALESFORCE.replace('{\n\n}', '{\ncallback(err, queryResult && queryResult.records);\n}');
  const { salesforce, session } = await world(t, within(filled), ['test.salesforce.com']);
  assert.deepEqual((await session.call().outcome).result, [{ Id: '0030', Name: 'Ada' }, { Id: '0031', Name: 'Grace' }]);
  salesforce.tokens.clear();
  const { failure } = await session.call().outcome;
  assert.match(failure!.message, /Add oauth2: \{ clientId, clientSecret \}/);
  assert.deepEqual(session.retires, []);
});

test('the guide\'s sample for HTTP asks the server', async (t) => {
  const { salesforce, asked, session } = await world(t, within(before + HTTP), ['fancycssl.hbeock.de']);
  assert.deepEqual((await session.call().outcome).result, 'done');
  const seen = await eventually('the request', () => salesforce.seen[0]);
  assert.deepEqual([seen.method, seen.host, seen.url], ['GET', 'fancycssl.hbeock.de', '/']);
  assert.deepEqual(asked, ['CONNECT fancycssl.hbeock.de:443']);
  assert.deepEqual(session.retires, []);
});

test('the guide\'s sample for HTTP has the whole response, whatever its status', async (t) => {
  const filled = HTTP.replace('{\n\n\t}', '{\ncallback(null, [response.statusCode, response.headers["content-type"], response.body]);\n\t}');
  const { salesforce, session } = await world(t, within(filled), ['fancycssl.hbeock.de']);
  salesforce.next.push({ status: 404, body: '<p>none</p>', type: 'text/html' });
  assert.deepEqual((await session.call().outcome).result, [404, 'text/html', '<p>none</p>']);
});

// Templates

const template = (name: string): string => readFileSync(join(dist, 'templates', name), 'utf8');

test('the template HTTP answers, and says when it cannot', async (t) => {
  const { salesforce, session } = await world(t, template('http.js'), ['www.example.com']);
  salesforce.next.push({ status: 200, body: '<h1>Example</h1>', type: 'text/html' });
  const { result, failure, logs } = await session.call().outcome;
  assert.equal(failure, undefined);
  assert.deepEqual(result, { statusCode: 200, body: '<h1>Example</h1>' });
  assert.deepEqual(logs.map((l) => [l.level, l.message]), [['LEVEL_INFO', 'The server has answered']]);
});

test('the template HTTP fails where the host is not on the whitelist', async (t) => {
  const { session } = await world(t, template('http.js'), []);
  const { failure, logs } = await session.call().outcome;
  assert.ok(failure!.message.includes(messageOf('www.example.com', 'not-listed')), failure!.message);
  assert.deepEqual(logs.map((l) => l.message).slice(0, 2), [messageOf('www.example.com', 'not-listed'), 'The server could not be asked']);
});

test('the template Salesforce reads its tokens and answers with contacts', async (t) => {
  const { session } = await world(t, template('salesforce.js'), ['test.salesforce.com']);
  session.serve = ({ key }) => key === 'salesforce-tokens' ? { secret: { key, value: { accessToken: 'good', refreshToken: 'r' } } } : { error: { code: 'c', message: `no ${key}` } };
  const { result, logs } = await session.call().outcome;
  assert.deepEqual((result as { Name: string }[]).map((r) => r.Name), ['Ada', 'Grace']);
  assert.deepEqual(logs.map((l) => [l.level, l.message, l.extras]), [['LEVEL_INFO', 'Salesforce has answered', [{ records: 3 }]]]);
});

test('Salesforce is reached by a socket file as well', async (t) => {
  const { session, asked } = await world(t, template('salesforce.js'), ['test.salesforce.com'], true);
  session.serve = ({ key }) => ({ secret: { key, value: { accessToken: 'good', refreshToken: 'r' } } });
  assert.equal(((await session.call().outcome).result as object[]).length, 2);
  assert.deepEqual(asked, ['CONNECT test.salesforce.com:443']);
});

test('a Salesforce that is not on the whitelist is refused once, with the remedy', async (t) => {
  const { session, asked } = await world(t, template('salesforce.js'), []);
  session.serve = ({ key }) => ({ secret: { key, value: { accessToken: 'good', refreshToken: 'r' } } });
  const { failure, logs } = await session.call().outcome;
  assert.ok(failure!.message.includes(messageOf('test.salesforce.com', 'not-listed')), failure!.message);
  assert.equal(logs[0]!.message, messageOf('test.salesforce.com', 'not-listed'));
  assert.deepEqual(asked, ['CONNECT test.salesforce.com:443']);
});

test('the template Salesforce tells what Salesforce refuses', async (t) => {
  const { session } = await world(t, template('salesforce.js'), ['test.salesforce.com']);
  session.serve = ({ key }) => ({ secret: { key, value: { accessToken: 'old', refreshToken: 'r' } } });
  const { failure, logs } = await session.call().outcome;
  assert.match(failure!.message, /Unable to refresh session.*Add oauth2/);
  assert.equal(logs[0]!.message, 'Salesforce refused the query');
});
