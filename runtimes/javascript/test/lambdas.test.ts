// The toolbelt's clients in lambdas that leave by the proxy, and the templates that
// are made of them. The services are on loopback, under names that only the proxy knows.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { keep } from './certificate.ts';
import { ACCOUNT, checkOAuth, client, identity, Platform } from './platform.ts';
import { messageOf, ProxyServer } from './proxy.ts';
import { dist, type Outcome, Runtime, type Session } from './runtime.ts';

const APP_KEY = { consumerKey: 'ck', consumerSecret: 'cs', token: 'tk', tokenSecret: 'ts' };
const SERVICES = ['csds', 'msgHist', 'smt', 'swift', 'faasGW', 'sentinel', 'contextService'];
const name = (service: string): string => `${service.toLowerCase()}.platform.test`;

interface World {
  platform: Platform;
  proxy: ProxyServer;
  session: Session & { runtime: Runtime };
  /** The secrets of the account. */
  secrets: { [key: string]: unknown };
}

/** A lambda in a process of its own that may reach the services of the platform and nothing else. */
async function world(t: TestContext, source: string, { clientCertificates = false } = {}): Promise<World> {
  const folder = mkdtempSync(join(tmpdir(), 's'));
  t.after(() => { rmSync(folder, { recursive: true }); });
  const platform = await Platform.start(t, { clientCertificates });
  platform.services = SERVICES;
  platform.hostOf = name;
  const proxy = await ProxyServer.start(t);
  for (const service of SERVICES) proxy.hosts[`${name(service)}:443`] = { port: platform.port };
  const runtime = await Runtime.start(t, { SLUICE_EGRESS: `tcp:127.0.0.1:${proxy.port}`, NODE_EXTRA_CA_CERTS: keep(folder, identity.cert) });
  const failure = await runtime.load(source, { environment: { BRAND_ID: ACCOUNT, LAMBDA_UUID: 'u-1', DOMAIN: name('csds') } });
  assert.equal(failure, null);
  const session = Object.assign(runtime.session(), { runtime });
  const secrets: World['secrets'] = { 'lp-faas-default-app-key': APP_KEY };
  session.serve = ({ kind, key, value }) => {
    if (!(key in secrets)) return { error: { code: 'com.liveperson.faas.secret.not-found', message: `There is no Secret ${key} for this account` } };
    if (kind === 'update') secrets[key] = value;
    return { secret: { key, value: secrets[key] } };
  };
  return { platform, proxy, session, secrets };
}

const template = (file: string): string => readFileSync(join(dist, 'templates', file), 'utf8');

const END = { general: { convId: 'c-1' }, end: { closeReason: 'AGENT' } };
const SEARCH = `POST /messaging_history/api/account/${ACCOUNT}/conversations/conversation/search`;

function conversation(...messageRecords: object[]): object {
  return { body: { _metadata: {}, conversationHistoryRecords: [{ messageRecords }] } };
}

const text = (said: string): object => ({ type: 'TEXT_PLAIN', messageData: { msg: { text: said } }, timeL: 1, sentBy: 'Consumer' });
const file = (relativePath: string): object => ({ type: 'HOSTED_FILE', messageData: { file: { relativePath, caption: 'c' } }, timeL: 2, sentBy: 'Consumer' });

const levels = ({ logs }: Outcome): string[] => logs.map((l) => l.level.replace('LEVEL_', ''));

test('Keyword Scanner loads a conversation and warns of the keywords in it', async (t) => {
  const { platform, proxy, session } = await world(t, template('keyword-scanner.js'));
  platform.route(SEARCH, () => conversation(text('I want a Refund'), text('it was cancelled, refund me'), text('hello')));
  const found = await session.call(END).outcome;
  assert.deepEqual([found.result, found.failure, levels(found)], [[], undefined, ['WARN']]);
  assert.deepEqual(found.logs[0]!.extras, [{ convId: 'c-1', tags: ['keywordRef:refund', 'keywordRef:cancel(led|lation)?'], messages: 3 }]);
  const [asked] = platform.asked(SEARCH);
  assert.deepEqual(JSON.parse(asked!.body), { conversationId: 'c-1', contentToRetrieve: ['messageRecords'] });
  assert.deepEqual([asked!.headers['lp-url'], asked!.headers['user-agent']], [ACCOUNT, 'LP-Lambda-u-1']);
  checkOAuth(asked!, 'https', name('msgHist'), APP_KEY.consumerSecret, APP_KEY.tokenSecret);
  assert.deepEqual(new Set(proxy.asked), new Set([`CONNECT ${name('csds')}:443`, `CONNECT ${name('msgHist')}:443`]));

  platform.route(SEARCH, () => conversation(text('all is well')));
  const nothing = await session.call(END).outcome;
  assert.deepEqual([nothing.result, levels(nothing)], [[], []]);
  platform.route(SEARCH, () => ({ body: { conversationHistoryRecords: [] } }));
  const gone = await session.call(END).outcome;
  assert.equal(gone.failure!.message, 'Error while fetching conversation "c-1": Conversation "c-1" not found.');
});

test('Replace Files puts a placeholder in the place of each file', async (t) => {
  const { platform, session, secrets } = await world(t, template('replace-files.js'));
  platform.route(SEARCH, () => conversation(text('see this'), file('/v1/a'), file('/v1/b')));
  platform.route('GET /auth/v1.0', ({ headers }) => (headers['x-auth-key'] === 'pw' ? { headers: { 'x-auth-token': 'tok' } } : { status: 401, body: 'no' }));
  platform.route('PUT /v1/', ({ headers }) => ({ status: headers['x-auth-token'] === 'tok' && headers['content-type'] === 'image/png' ? 201 : 403 }));
  const without = await session.call(END).outcome;
  assert.equal(without.failure!.message, 'There is no Secret file-storage for this account');
  secrets['file-storage'] = { username: 'u', password: 'pw' };
  const done = await session.call(END).outcome;
  assert.deepEqual([done.result, done.failure, levels(done)], [[], undefined, ['INFO']]);
  assert.deepEqual(done.logs[0]!.extras, [{ convId: 'c-1', files: 2 }]);
  assert.deepEqual(platform.asked('PUT').map((s) => [s.path, s.body.slice(1, 4)]).toSorted(), [['/v1/a', 'PNG'], ['/v1/b', 'PNG']]);
  secrets['file-storage'] = { username: 'u', password: 'old' };
  assert.equal((await session.call(END).outcome).failure!.message, 'Unable to authorize at Swift: 401 - "no"');
});

test('Secret Storage renews a secret', async (t) => {
  const { session, secrets } = await world(t, template('secret-storage.js'));
  secrets['partner-token'] = { token: 'old', expiresAt: 1 };
  assert.deepEqual((await session.call({}).outcome).result, { key: 'partner-token', renewed: true });
  assert.notEqual((secrets['partner-token'] as { token: string }).token, 'old');
  assert.deepEqual((await session.call({}).outcome).result, { key: 'partner-token', renewed: false });
});

/** A lambda whose body has the toolbelt, may await, and returns its result. */
function lambdaOf(body: string): string {
  return `const { Toolbelt, ErrorStrategy, ErrorCodes, ToolbeltError } = require('lp-faas-toolbelt');
    const told = (e) => ({ name: e.name, message: e.message, code: e.code });
    async function lambda({ payload }, callback) {
      try { callback(null, await (async () => { ${body} })()); } catch (e) { callback(null, told(e)); }
    }`;
}

test('what a lambda does to process.env changes neither its account nor its way out', async (t) => {
  const { platform, session } = await world(t, lambdaOf(`
    for (const name of Object.keys(process.env)) delete process.env[name];
    process.env.BRAND_ID = '666';
    process.env.DOMAIN = 'elsewhere.test';
    return Toolbelt.LpClient()('smt', '/api/x');`));
  platform.route('GET /api/x', () => ({ body: { ok: 1 } }));
  assert.deepEqual((await session.call({}).outcome).result, { ok: 1 });
  assert.equal(platform.asked(`GET /api/account/${ACCOUNT}/service`).length, 1);
});

test('calls share what was looked up, and each has its own secrets and errors', async (t) => {
  const { platform, session } = await world(t, lambdaOf(`return Toolbelt.LpClient()('smt', '/api/' + payload.n, payload);`));
  platform.route('GET /api/', ({ path }) => ({ body: path }));
  const calls = Array.from({ length: 20 }, (_, n) => session.call({ n, ...(n % 4 === 3 && { appKeySecretName: `none${n}` }) }));
  const outcomes = await Promise.all(calls.map((c) => c.outcome));
  outcomes.forEach(({ result }, n) => {
    if (n % 4 !== 3) assert.equal(result, `/api/${n}`);
    else assert.deepEqual(result, { name: 'ToolbeltError', message: `Could not fetch App Key credentials from secret storage: There is no Secret none${n} for this account`, code: 'com.liveperson.faas.secret.not-found' });
  });
  assert.equal(platform.asked(`GET /api/account/${ACCOUNT}/service`).length, 1);
});

test('a service that the proxy refuses is told with host, rule and remedy, in the error and the log', async (t) => {
  const { platform, proxy, session } = await world(t, lambdaOf(`return Toolbelt.LpClient()('smt', '/api/x');`));
  proxy.hosts[`${name('smt')}:443`] = {};
  const outcome = await session.call({}).outcome;
  const { code, message } = outcome.result as { code: string; message: string };
  assert.equal(code, 'EGRESS_DENIED');
  assert.ok(message.includes(messageOf(name('smt'), 'not-listed')), message);
  assert.deepEqual(outcome.logs.map((l) => [l.level, l.message]), [['LEVEL_WARN', messageOf(name('smt'), 'not-listed')]]);
  proxy.hosts[`${name('csds')}:443`] = {};
  assert.equal(platform.asked('GET /api/x').length, 0);
});

test('the Domain API that the proxy refuses is its failure, and says why', async (t) => {
  const { proxy, session } = await world(t, lambdaOf(`return Toolbelt.SDEUtil().addSDEs([{ type: 'lead' }], 'v', 's');`));
  proxy.hosts[`${name('csds')}:443`] = {};
  const { code, message } = (await session.call({}).outcome).result as { code: string; message: string };
  assert.equal(code, 'com.liveperson.faas.csds.op-failed');
  assert.match(message, /^Error while setting SDEs: The Domain API at csds\.platform\.test could not be asked: .*Access to csds\.platform\.test was refused: not-listed/);
});

test('the Context Service is where the Domain API says', async (t) => {
  const { platform, session } = await world(t, lambdaOf(`
    const context = Toolbelt.ContextServiceClient({ apiKey: 'key', accountId: process.env.BRAND_ID });
    return [await context.setPropertiesInNamespace('n', payload), await context.getPropertyInSession('n', 'a')];`));
  let kept: object = {};
  platform.route('PATCH /v1/', ({ body }) => { kept = JSON.parse(body); return { status: 204 }; });
  platform.route('GET /v1/', ({ path }) => ({ body: path.endsWith('/a') ? '7' : kept }));
  assert.deepEqual((await session.call({ a: 7 }).outcome).result, [{ a: 7 }, 7]);
  assert.equal(platform.asked('PATCH')[0]!.headers['host'], name('contextService'));
});

test('a certificate of the lambda\'s own is presented in the tunnel', async (t) => {
  const { platform, proxy, session, secrets } = await world(t, lambdaOf(`
    const { value } = await Toolbelt.SecretClient().readSecret('pair');
    const mtls = Toolbelt.MTLSClient(value);
    const a = await mtls.post('https://' + payload.host + '/x', { A: 'b' }, { n: 1 }, { json: true });
    return [a.statusCode, a.body];`), { clientCertificates: true });
  secrets['pair'] = { ...client, ca: identity.cert };
  platform.route('POST /x', (seen) => ({ body: { client: seen.client, body: seen.body } }));
  assert.deepEqual((await session.call({ host: name('smt') }).outcome).result, [200, { client: 'DNS:client.test', body: '{"n":1}' }]);
  assert.deepEqual(proxy.asked, [`CONNECT ${name('smt')}:443`]);
  const refused = (await session.call({ host: 'other.test' }).outcome).result as { code: string; message: string };
  assert.deepEqual(refused, { name: 'Error', message: messageOf('other.test', 'not-listed'), code: 'EGRESS_DENIED' });
});

test('a lambda invokes others by their gateway', async (t) => {
  const { platform, session, secrets } = await world(t, lambdaOf(`
    const answers = await Toolbelt.OrchestratorClient().invoke([{ uuid: 'a', payload: 1 }, { uuid: 'bad' }], 20000, { errorStrategy: ErrorStrategy.CONTINUE_ON_ERROR });
    return answers.map(({ uuid, statusCode, body, error }) => ({ uuid, statusCode, body, error: error && told(error) }));`));
  secrets['lp-faas-orchestrator-app-key'] = { clientId: 'id', clientSecret: 'secret' };
  const payload = Buffer.from(JSON.stringify({ exp: Math.floor(Date.now() / 1000) + 3600 })).toString('base64url');
  platform.route('POST /sentinel', () => ({ body: { access_token: `x.${payload}.y`, token_type: 'Bearer' } }));
  const failure = { errorCode: 'com.liveperson.faas.handler.custom-failure', errorMsg: 'no stock' };
  platform.route(`POST /api/account/${ACCOUNT}/lambdas/`, ({ path, body }) => (path.includes('/bad/') ? { status: 901, body: failure } : { body: { echo: JSON.parse(body).payload } }));
  assert.deepEqual((await session.call({}).outcome).result, [
    { uuid: 'a', statusCode: 200, body: { echo: 1 } },
    { uuid: 'bad', statusCode: 901, body: failure, error: { name: 'ToolbeltError', message: 'Invocation of bad failed: no stock', code: failure.errorCode } },
  ]);
});
