// The SFClient against a server that speaks Salesforce's OAuth and REST.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { test, type TestContext } from 'node:test';
import { lambda, type Outcome, type Session } from './runtime.ts';
import { Salesforce } from './salesforce.ts';

/** A lambda that gets a connection and runs the body, which may await and returns the result; called(…) makes a promise of a callback. */
const source = (body: string): string => `const { Toolbelt } = require('lp-faas-toolbelt');
const called = (start) => new Promise((resolve) => { start((error, ...result) => resolve(error ? { error: error.message, name: error.name, code: error.errorCode } : result.length === 1 ? result[0] : result)); });
const told = (promise) => Promise.resolve(promise).then((value) => ({ value }), (error) => ({ error: error.message, code: error.errorCode }));
async function lambda({ payload }, callback) {
  const connect = (more) => Toolbelt.SFClient().connectToSalesforce({ loginUrl: payload.url, ...more });
  (async () => { ${body} })().then((r) => callback(null, r), callback);
}`;

async function run(t: TestContext, body: string, salesforce?: Salesforce, options: { timeoutMs?: number; environment?: { [name: string]: string } } = {}): Promise<Outcome & { session: Session; salesforce: Salesforce }> {
  const at = salesforce ?? (await Salesforce.start(t));
  const { environment, ...call } = options;
  const session = await lambda(t, source(body), environment ? { environment } : {});
  const outcome = await session.call({ url: at.url }, call).outcome;
  assert.deepEqual(session.retires, []);
  return Object.assign(outcome, { session, salesforce: at });
}

test('query calls back, as in the guide, and makes a promise as well', async (t) => {
  const { result, failure } = await run(t, `
    const con = connect({ accessToken: 'good', refreshToken: 'renew' });
    const back = await called((cb) => con.query('SELECT Name FROM Contact', cb));
    const later = await con.query('SELECT Name FROM Contact');
    const more = await called((cb) => con.queryMore(back.nextRecordsUrl, cb));
    const wrong = await called((cb) => con.query('DELETE', function (err, result) { cb(err, result); }));
    const rejected = await told(con.query('DELETE'));
    return { back: [back.totalSize, back.done, back.records.map((r) => r.Name), back.nextRecordsUrl.slice(-5)], same: JSON.stringify(back) === JSON.stringify(later), more: [more.done, more.records.map((r) => r.Name)], wrong, rejected, limit: con.limitInfo };`);
  assert.equal(failure, undefined);
  assert.deepEqual(result, {
    back: [3, false, ['Ada', 'Grace'], '01g-2'], same: true, more: [true, ['Joan']],
    wrong: { error: 'unexpected token: DELETE', name: 'MALFORMED_QUERY', code: 'MALFORMED_QUERY' }, rejected: { error: 'unexpected token: DELETE', code: 'MALFORMED_QUERY' },
    limit: { apiUsage: { used: 7, limit: 15000 } },
  });
});

test('records are made, found, changed and removed, by callback', async (t) => {
  const { result, failure } = await run(t, `
    const con = connect({ accessToken: 'good' }), contact = con.sobject('Contact');
    const r = {};
    r.created = await called((cb) => contact.create({ Name: 'Edith' }, cb));
    r.insert = await called((cb) => con.insert('Contact', { Name: 'Mary' }, cb));
    r.retrieved = (await called((cb) => contact.retrieve(r.created.id, cb))).Name;
    r.updated = await called((cb) => contact.update({ Id: r.created.id, Name: 'Edith C.' }, cb));
    r.again = (await called((cb) => con.sobject('Contact').record(r.created.id).retrieve(cb))).Name;
    r.noId = await called((cb) => contact.update({ Name: 'x' }, cb));
    r.upserted = await called((cb) => contact.upsert({ Ext__c: 'e', Name: 'Ext' }, 'Ext__c', cb));
    r.upsertedAgain = await called((cb) => con.upsert('Contact', { Ext__c: 'e', Name: 'Ext2' }, 'Ext__c', cb));
    r.many = (await called((cb) => con.create('Contact', [{ Name: 'A' }, { Name: 'B' }], cb))).map((x) => x.success);
    r.found = (await called((cb) => contact.find({ Name: 'Ada' }, 'Id, Name', cb))).map((x) => x.Id);
    r.executed = (await called((cb) => contact.find({ Name: 'Ada' }).limit(1).execute(cb))).map((x) => x.Id);
    r.one = (await called((cb) => contact.findOne({ Name: 'Grace' }, cb))).Id;
    r.count = await called((cb) => contact.count({}, cb));
    r.destroyed = await called((cb) => contact.destroy(r.created.id, cb));
    r.del = (await called((cb) => con.del('Contact', ['1', '2'], cb))).length;
    r.gone = await called((cb) => contact.retrieve(r.created.id, cb));
    return r;`);
  assert.equal(failure, undefined);
  const { created, insert, upserted, ...rest } = result as { [name: string]: { id: string; success: boolean } };
  for (const made of [created, insert, upserted]) assert.equal(made!.success, true);
  assert.deepEqual(rest, {
    retrieved: 'Edith', updated: { id: created!.id, success: true, errors: [] }, again: 'Edith C.', noId: { error: 'Record id is not found in record.', name: 'Error' },
    upsertedAgain: { success: true, errors: [] }, many: [true, true], found: ['0030'], executed: ['0030'], one: '0031', count: 8,
    destroyed: { id: created!.id, success: true, errors: [] }, del: 2, gone: { error: 'The requested resource does not exist', name: 'NOT_FOUND', code: 'NOT_FOUND' },
  });
});

test('the other methods and parts of a connection call back, too', async (t) => {
  const { result, failure } = await run(t, `
    const con = connect({ accessToken: 'good' });
    const r = {};
    r.describe = (await called((cb) => con.sobject('Contact').describe(cb))).fields.length;
    r.describe2 = (await called((cb) => con.describe('Contact', cb))).name;
    r.cached = (await called((cb) => con.describe$('Contact', cb))).name;
    r.global = (await called((cb) => con.describeGlobal(cb))).sobjects[0].name;
    r.identity = (await called((cb) => con.identity(cb))).username;
    r.request = (await called((cb) => con.request('/limits', cb))).DailyApiRequests.Max;
    r.get = (await called((cb) => con.requestGet('/limits', cb))).DailyApiRequests.Max;
    r.limits = (await called((cb) => con.limits(cb))).DailyApiRequests.Remaining;
    r.search = (await called((cb) => con.search('FIND {a}', cb))).searchRecords.length;
    r.tooling = (await called((cb) => con.tooling.query('SELECT Name FROM ApexClass', cb))).records[0].Name;
    r.apexGet = (await called((cb) => con.apex.get('/x', cb))).method;
    r.apexPost = (await called((cb) => con.apex.post('/x', { a: 1 }, cb))).echo;
    r.same = [con.tooling === con.tooling, con.sobject('Contact') === con.sobject('Contact'), con instanceof require('jsforce').Connection];
    const records = [];
    await new Promise((resolve, reject) => con.query('SELECT Name FROM Contact').on('record', (x) => records.push(x.Name)).on('end', resolve).on('error', reject).run({ autoFetch: true }));
    r.records = records;
    r.logout = (await called((cb) => con.logout(cb))) ?? null;
    r.out = [con.accessToken];
    return r;`);
  assert.equal(failure, undefined);
  assert.deepEqual(result, {
    describe: 2, describe2: 'Contact', cached: 'Contact', global: 'Contact', identity: 'ada', request: 15000, get: 15000, limits: 14993, search: 1,
    tooling: 'ApexClass', apexGet: 'GET', apexPost: { a: 1 }, same: [true, true, true], records: ['Ada', 'Grace', 'Joan'], logout: null, out: [null],
  });
});

test('the package jsforce itself stays as it is', async (t) => {
  const { result } = await run(t, `
    connect({ accessToken: 'good' });
    const jsforce = require('jsforce'), con = new jsforce.Connection({ instanceUrl: payload.url, accessToken: 'good' });
    return [(await con.query('SELECT Name FROM Contact')).totalSize, Object.hasOwn(con, 'query'), jsforce.Connection.prototype.query.length];`);
  assert.deepEqual(result, [3, false, 2]);
});

test('login calls back: by OAuth with a client, by SOAP without', async (t) => {
  const { result, salesforce } = await run(t, `
    const oauth = connect({ clientId: 'app', clientSecret: 's' }), soap = connect({}), wrong = connect({ oauth2: { clientId: 'app', clientSecret: 's' } });
    const r = { oauth: await called((cb) => oauth.login('ada', 'right', cb)), soap: await called((cb) => soap.login('ada', 'right', cb)),
      wrong: await called((cb) => wrong.login('ada', 'wrong', cb)), wrongSoap: await called((cb) => connect({}).login('ada', 'wrong', cb)) };
    r.queried = [(await oauth.query('SELECT Name FROM Contact')).totalSize, (await soap.query('SELECT Name FROM Contact')).totalSize];
    return r;`);
  const info = { id: '005', organizationId: '00D', url: `${salesforce.url}/id/00D/005` };
  assert.deepEqual(result, {
    oauth: info, soap: info, queried: [3, 3],
    wrong: { error: 'expired access/refresh token', name: 'invalid_grant' }, wrongSoap: { error: 'INVALID_LOGIN: Invalid username', name: 'Error' },
  });
});

// Tokens

test('a token that has run out is renewed, once for all that need it, and the request repeated', async (t) => {
  const { result, salesforce } = await run(t, `
    const con = connect({ accessToken: 'old', refreshToken: 'renew', oauth2: { clientId: 'app', clientSecret: 's' } });
    const tokens = [];
    con.on('refresh', (token) => tokens.push(token));
    const all = await Promise.all([1, 2, 3].map(() => called((cb) => con.query('SELECT Name FROM Contact', cb))));
    return [all.map((r) => r.totalSize), tokens, con.accessToken];`);
  assert.deepEqual(result, [[3, 3, 3], ['issued-1'], 'issued-1']);
  const form = new URLSearchParams(salesforce.seen.find((s) => s.url === '/services/oauth2/token')!.body);
  assert.deepEqual(Object.fromEntries(form), { grant_type: 'refresh_token', refresh_token: 'renew', client_id: 'app', client_secret: 's' });
});

test('a refresh token alone is no fault until it is needed; then the error says what to add', async (t) => {
  const { result } = await run(t, `
    const good = connect({ accessToken: 'good', refreshToken: 'renew' }), old = connect({ accessToken: 'old', refreshToken: 'renew' });
    return [(await good.query('SELECT Name FROM Contact')).totalSize, await called((cb) => old.query('SELECT Name FROM Contact', cb)), await told(old.sobject('Contact').retrieve('1'))];`);
  const error = 'Unable to refresh session due to: Salesforce does not take the access token, and nothing was given to get another one with the refresh token. ' +
    'Add oauth2: { clientId, clientSecret } of your connected app to the parameters of connectToSalesforce, or a refreshFn.';
  assert.deepEqual(result, [3, { error, name: 'Error' }, { error }]);
});

test('a refresh function of the author is used, and a refusal is told', async (t) => {
  const { result } = await run(t, `
    let asked = 0;
    const own = connect({ accessToken: 'old', refreshToken: 'x', refreshFn: (con, done) => { asked++; done(null, 'good'); } });
    const refused = connect({ accessToken: 'old', refreshToken: 'revoked', clientId: 'app' });
    return [(await own.query('SELECT Name FROM Contact')).totalSize, asked, await called((cb) => refused.query('SELECT Name FROM Contact', cb))];`);
  assert.deepEqual(result, [3, 1, { error: 'Unable to refresh session due to: expired access/refresh token', name: 'Error' }]);
});

test('without a refresh token an expired session is the error of Salesforce', async (t) => {
  const { result } = await run(t, `return called((cb) => connect({ accessToken: 'old' }).query('SELECT Name FROM Contact', cb));`);
  assert.deepEqual(result, { error: 'Session expired or invalid', name: 'INVALID_SESSION_ID', code: 'INVALID_SESSION_ID' });
});

test('once the instance is known, requests go there', async (t) => {
  const login = await Salesforce.start(t), instance = await Salesforce.start(t);
  login.tokens.clear();
  login.instance = instance.url;
  instance.tokens.add('issued-1');
  const { result } = await run(t, `
    const con = connect({ accessToken: 'old', refreshToken: 'renew', clientId: 'app' });
    return [(await con.query('SELECT Name FROM Contact')).totalSize, (await con.sobject('Contact').retrieve('0030')).Name, con.instanceUrl];`, login);
  assert.deepEqual(result, [3, 'Ada', instance.url]);
  assert.deepEqual(instance.seen.map((s) => s.headers.authorization), ['Bearer issued-1', 'Bearer issued-1']);
});

// The way there

test('requests say whose they are', async (t) => {
  const { salesforce } = await run(t, `await connect({ accessToken: 'good' }).query('SELECT Name FROM Contact');`, undefined, { environment: { BRAND_ID: '123', LAMBDA_UUID: 'uuid-1' } });
  const { headers } = salesforce.seen[0]!;
  assert.deepEqual([headers['lp-url'], headers['user-agent'], headers.authorization], ['123', 'LP-Lambda-uuid-1', 'Bearer good']);
});

test('a server that is busy for a moment is asked again, and not for ever', async (t) => {
  const salesforce = await Salesforce.start(t);
  const busy = { status: 503, body: [{ message: 'Server unavailable', errorCode: 'SERVER_UNAVAILABLE' }] };
  salesforce.next.push(busy, busy);
  const once = await run(t, `return (await connect({ accessToken: 'good' }).query('SELECT Name FROM Contact')).totalSize;`, salesforce);
  assert.equal(once.result, 3);
  assert.equal(salesforce.seen.length, 3);
  salesforce.next.push(busy, busy, busy);
  const { result } = await run(t, `return told(connect({ accessToken: 'good' }).query('SELECT Name FROM Contact'));`, salesforce);
  assert.deepEqual(result, { error: 'Server unavailable', code: 'SERVER_UNAVAILABLE' });
  assert.equal(salesforce.seen.length, 6);
});

test('a request ends with the call, and its repetitions with it', async (t) => {
  const salesforce = await Salesforce.start(t);
  const busy = { status: 503, body: 'busy' };
  salesforce.next.push(busy, busy, busy);
  const session = await lambda(t, `const jsforce = require('jsforce');\n${source(`
    const error = await connect({ accessToken: 'good' }).query('SELECT Name FROM Contact').catch((e) => e);
    return [error.message, error.name, error.cause.name];`)}`);
  const { result } = await session.call({ url: salesforce.url }, { timeoutMs: 1000 }).outcome;
  assert.match((result as string[]).shift()!, /^Salesforce has not answered: the time of the call was over after \d+ ms$/);
  assert.deepEqual(result, ['TimeoutError', 'AbortError']);
  assert.ok(salesforce.seen.length < 3, `${salesforce.seen.length} requests`);
});

test('a server that is not there is an error with its code', async (t) => {
  const closed = createServer().listen(0, '127.0.0.1');
  await once(closed, 'listening');
  const { port } = closed.address() as AddressInfo;
  closed.close();
  const { result } = await run(t, `
    const con = Toolbelt.SFClient().connectToSalesforce({ loginUrl: 'http://127.0.0.1:${port}', accessToken: 'good' });
    return con.sobject('Contact').create({ Name: 'x' }).catch((e) => [e.message, e.cause.code]);`);
  assert.deepEqual(result, ['fetch failed', 'ECONNREFUSED']);
});

test('an error that a callback throws is the failure of its call', async (t) => {
  const salesforce = await Salesforce.start(t);
  const session = await lambda(t, `
    const { Toolbelt } = require('lp-faas-toolbelt');
    function lambda({ payload }, callback) {
      Toolbelt.SFClient().connectToSalesforce({ loginUrl: payload.url, accessToken: 'good' }).query('SELECT Name FROM Contact', () => { throw new Error('mine'); });
    }`);
  const { failure } = await session.call({ url: salesforce.url }).outcome;
  assert.equal(failure?.message, 'mine');
});

test('parameters that are none are refused; jsforce is read with the first connection', async (t) => {
  const { result, failure } = await run(t, `
    const loaded = () => Object.keys(require('module')._cache).some((f) => f.endsWith('jsforce.cjs'));
    const client = Toolbelt.SFClient(), before = loaded();
    const wrong = [7, null, 'x'].map((p) => { try { client.connectToSalesforce(p); } catch (e) { return e.message; } });
    const given = Object.freeze({ accessToken: 'a', refreshToken: 'b', httpProxy: 'http://127.0.0.1:1' });
    const con = (0, client.connectToSalesforce)(given);
    return [before, loaded(), new Set(wrong).size, wrong[0], con.loginUrl];`);
  assert.equal(failure, undefined);
  assert.deepEqual(result, [false, true, 1, 'The argument of connectToSalesforce must be an object, such as { loginUrl, accessToken, refreshToken }', 'https://login.salesforce.com']);
});
