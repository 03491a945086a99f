// The toolbelt's clients of LivePerson's services, against HTTPS servers that speak them.

import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import tls from 'node:tls';
import zlib from 'node:zlib';
import { ConversationContentTypes, ErrorStrategy, LpServices, SDETypes } from '../src/toolbelt/constants.ts';
import { makeContextServiceClient } from '../src/toolbelt/context-service.ts';
import { makeConversationUtil } from '../src/toolbelt/conversation.ts';
import { makeDomains, type HttpClient } from '../src/toolbelt/csds.ts';
import { ContextServiceErrorCodes, ErrorCodes, SecretError, ToolbeltError } from '../src/toolbelt/errors.ts';
import { makeGDPRUtil } from '../src/toolbelt/gdpr.ts';
import { makeHttpClient } from '../src/toolbelt/http/index.ts';
import { makeLpClient } from '../src/toolbelt/lp.ts';
import { makeMTLSClient } from '../src/toolbelt/mtls.ts';
import { makeOrchestratorClient, type OrchestratorError } from '../src/toolbelt/orchestrator.ts';
import { makeSDEUtil } from '../src/toolbelt/sde.ts';
import type { Kit, SecretClient } from '../src/toolbelt/secret.ts';
import { ACCOUNT, checkOAuth, client as known, identity, Platform, type Seen, stranger } from './platform.ts';

tls.setDefaultCACertificates([identity.cert]);

const APP_KEY = { consumerKey: 'ck', consumerSecret: 'c s&%', token: 'tk', tokenSecret: 't/s=' };

const warnings: string[] = [];
const warn = (text: string): void => { warnings.push(text); };
const http: HttpClient = makeHttpClient({ warn } as Kit);

function kitOf(platform: Platform | undefined, more: { [name: string]: string } = {}): Kit {
  const environment = { BRAND_ID: ACCOUNT, LAMBDA_UUID: 'u-1', ...(platform && { DOMAIN: platform.host }), ...more };
  return { environment, warn } as unknown as Kit;
}

/** Secrets of the account, with the errors of the SecretClient. */
function secretsOf(all: { [key: string]: unknown }): SecretClient {
  const readSecret = async (key: string): Promise<{ key: string; value: unknown }> => {
    if (!(key in all)) throw new SecretError(ErrorCodes.Secret.NotFound, `There is no Secret ${key} for this account`);
    return { key, value: all[key] };
  };
  return { readSecret, updateSecret: () => Promise.reject(new Error('not here')) };
}

interface Made {
  platform: Platform;
  kit: Kit;
  domains: ReturnType<typeof makeDomains>;
  lp: ReturnType<typeof makeLpClient>;
  secrets: SecretClient;
}

async function make(t: TestContext, secrets: { [key: string]: unknown } = { 'lp-faas-default-app-key': APP_KEY }): Promise<Made> {
  const platform = await Platform.start(t);
  const kit = kitOf(platform);
  const domains = makeDomains(kit, http);
  const client = secretsOf(secrets);
  return { platform, kit, domains, lp: makeLpClient(http, client, domains), secrets: client };
}

const CSDS = `GET /api/account/${ACCOUNT}/service/baseURI.json`;
const MSG_HIST = `POST /messaging_history/api/account/${ACCOUNT}/conversations/conversation/search`;

async function rejection(promise: Promise<unknown>): Promise<any> {
  return promise.then((value) => { assert.fail(`resolved to ${JSON.stringify(value)}`); }, (error: unknown) => error);
}

// The Domain API

test('a service is looked up once, whoever asks and how often', async (t) => {
  const { platform, domains } = await make(t);
  const hosts = await Promise.all(['msgHist', 'smt', 'msgHist'].map((s) => domains.get(s)));
  assert.deepEqual(new Set(hosts), new Set([platform.host]));
  await domains.get('swift');
  assert.deepEqual(platform.asked(CSDS).map((s) => s.url), [`/api/account/${ACCOUNT}/service/baseURI.json?version=1.0`]);
});

test('a service that is not there is told by its name, and nothing is asked again for it', async (t) => {
  const { platform, domains } = await make(t);
  for (const service of ['none', 'MsgHist', '', 'constructor']) {
    const error = await rejection(domains.get(service));
    assert.ok(error instanceof ToolbeltError);
    assert.deepEqual([error.code, error.message], ['com.liveperson.faas.csds.domain.not-found', `Service "${service}" could not be found.`]);
  }
  assert.equal(platform.asked(CSDS).length, 1);
});

test('what the Domain API fails with is its failure, and the next who asks asks it again', async (t) => {
  const { platform, domains } = await make(t);
  const good = platform.routes.get(CSDS)!;
  for (const [reply, text] of [
    [{ status: 500, body: 'broken' }, /could not be asked: 500 - "broken"$/],
    [{ body: 'text' }, /the answer has no baseURIs$/],
    [{ body: { baseURIs: 'no' } }, /the answer has no baseURIs$/],
  ] as const) {
    platform.route(CSDS, () => reply);
    const error = await rejection(domains.get('smt'));
    assert.equal(error.code, 'com.liveperson.faas.csds.op-failed');
    assert.match(error.message, text);
    assert.match(error.message, new RegExp(platform.host));
  }
  platform.route(CSDS, () => ({ body: { baseURIs: [] } }));
  assert.equal((await rejection(domains.get('smt'))).code, ErrorCodes.Csds.NotFound);
  platform.route(CSDS, good);
  assert.equal(await domains.get('smt'), platform.host);
});

test('a connection that fails is told with the address that was asked', async (t) => {
  const { platform, domains } = await make(t);
  const { host } = platform;
  await platform.stop();
  const error = await rejection(domains.get('smt'));
  assert.equal(error.code, 'com.liveperson.faas.csds.op-failed');
  assert.match(error.message, new RegExp(`The Domain API at ${host} could not be asked`));
});

test('without DOMAIN it is the Domain API that lambdas have always asked; the account is that of the lambda', async () => {
  const asked: string[] = [];
  const record: HttpClient = async (uri) => { asked.push(uri); return { baseURIs: [{ service: 's', baseURI: 'h' }] }; };
  assert.equal(await makeDomains(kitOf(undefined), record).get('s'), 'h');
  assert.deepEqual(asked, [`https://api.liveperson.net/api/account/${ACCOUNT}/service/baseURI.json?version=1.0`]);
  const error = await rejection(makeDomains({ environment: {} } as unknown as Kit, record).get('s'));
  assert.match(error.message, /the variable BRAND_ID, the account of the lambda, is missing/);
});

// LpClient

const HOST = 'the host of the platform';
const signed: { name: string; path: string; options?: any; url: string; body?: string; method?: string; type?: string }[] = [
  { name: 'a path', path: '/api/x', url: '/api/x' },
  { name: 'a path without its slash', path: 'api/x', url: '/api/x' },
  { name: 'a query in the path', path: '/x?v=2&b=a%20b&a=1&b=+&c', url: '/x?v=2&b=a%20b&a=1&b=+&c' },
  { name: 'qs', path: '/x', options: { qs: { q: "ä !*'()&=+", n: [2, 1], o: { k: 'v' }, u: undefined, e: null } }, url: '/x?q=%C3%A4%20%21%2A%27%28%29%26%3D%2B&n[0]=2&n[1]=1&o[k]=v&e=' },
  { name: 'qs beside a query', path: '/x?a=1', options: { qs: { b: '2' } }, url: '/x?a=1&b=2' },
  { name: 'letters that URLs encode', path: '/ä b/~x', url: '/%C3%A4%20b/~x' },
  { name: 'a path that looks like a host', path: '@elsewhere.example/x', url: '/@elsewhere.example/x' },
  { name: 'a body', path: '/x', options: { method: 'POST', body: { a: ['ä'] } }, url: '/x', method: 'POST', body: '{"a":["ä"]}', type: 'application/json' },
  { name: 'text', path: '/x', options: { method: 'PUT', body: 'a=b', headers: { 'Content-Type': 'text/plain' } }, url: '/x', method: 'PUT', body: 'a=b', type: 'text/plain' },
  { name: 'a form', path: '/x?z=9', options: { method: 'POST', form: { b: '1 +&', a: ['x', 'y'] } }, url: '/x?z=9', method: 'POST', body: 'b=1%20%2B%26&a%5B0%5D=x&a%5B1%5D=y', type: 'application/x-www-form-urlencoded' },
];

for (const { name, path, options, url, method = 'GET', body = '', type } of signed) {
  test(`LpClient finds the service and signs the request: ${name}`, async (t) => {
    const { platform, lp } = await make(t);
    platform.route(`${method} /`, () => ({ body: { ok: true } }));
    assert.deepEqual(await lp(LpServices.MSG_HIST, path, options), body === 'a=b' ? '{"ok":true}' : { ok: true });
    const seen = platform.seen.at(-1)!;
    const plain = (text: string): string => text.replaceAll('%5B', '[').replaceAll('%5D', ']');
    assert.deepEqual([seen.method, plain(seen.url), seen.headers['host']], [method, url, platform.host], HOST);
    assert.equal(Buffer.from(seen.body, 'latin1').toString(), body);
    assert.equal(seen.headers['content-type']?.replace(';charset=UTF-8', ''), type);
    const oauth = checkOAuth(seen, 'https', platform.host, APP_KEY.consumerSecret, APP_KEY.tokenSecret);
    assert.deepEqual([oauth['oauth_consumer_key'], oauth['oauth_token'], oauth['oauth_signature_method'], oauth['oauth_version']], ['ck', 'tk', 'HMAC-SHA1', '1.0']);
    assert.ok(Math.abs(Number(oauth['oauth_timestamp']) - Date.now() / 1000) < 60);
    assert.match(oauth['oauth_nonce']!, /^[0-9a-f]{32}$/);
  });
}

test('the check of signatures refuses what was signed for something else', async (t) => {
  const { platform, lp } = await make(t);
  platform.route('GET /', () => ({ body: {} }));
  await lp('smt', '/x', { qs: { a: '1' } });
  const seen = platform.seen.at(-1)!;
  const check = (changed: Partial<Seen>, secret = APP_KEY.consumerSecret) => () => checkOAuth({ ...seen, ...changed }, 'https', platform.host, secret, APP_KEY.tokenSecret);
  check({})();
  for (const changed of [{ method: 'POST' }, { path: '/y' }, { url: '/x?a=2' }]) assert.throws(check(changed), /the signature/);
  assert.throws(check({}, 'other'), /the signature/);
});

test('two requests have two nonces, and another key is used when one is named', async (t) => {
  const other = { ...APP_KEY, consumerKey: 'other', consumerSecret: 'os' };
  const { platform, lp } = await make(t, { 'lp-faas-default-app-key': APP_KEY, mine: other });
  platform.route('GET /', () => ({ body: {} }));
  await lp('smt', '/x');
  await lp('smt', '/x', { appKeySecretName: 'mine' });
  const [first, second] = platform.asked('GET /x');
  const a = checkOAuth(first!, 'https', platform.host, APP_KEY.consumerSecret, APP_KEY.tokenSecret);
  const b = checkOAuth(second!, 'https', platform.host, 'os', APP_KEY.tokenSecret);
  assert.equal(b['oauth_consumer_key'], 'other');
  assert.notEqual(a['oauth_nonce'], b['oauth_nonce']);
});

test('options of the request go on to the HTTPClient, and nothing that would lead elsewhere', async (t) => {
  const { secrets, domains } = await make(t);
  const got: any[] = [];
  const lp = makeLpClient(async (uri, options) => { got.push([uri, options]); }, secrets, domains);
  const headers = { 'X-Mine': '1', AUTHORIZATION: 'Basic x' };
  await lp('smt', '/x', { headers, timeout: 5, simple: false, resolveWithFullResponse: true, baseUrl: 'https://e.example', uri: 'https://e.example', url: 'https://e.example', body: Buffer.from('b'), method: 'PUT' });
  const [uri, { headers: sent, ...rest }] = got[0];
  assert.match(uri, /^https:\/\/localhost:\d+\/x$/);
  assert.deepEqual(rest, { json: false, timeout: 5, simple: false, resolveWithFullResponse: true, body: Buffer.from('b'), method: 'PUT' });
  assert.deepEqual(Object.keys(sent), ['X-Mine', 'Authorization']);
  assert.match(sent.Authorization, /^OAuth /);
  assert.deepEqual(headers, { 'X-Mine': '1', AUTHORIZATION: 'Basic x' }, 'what the caller gave stays as it is');
  await lp('smt', '/x', { json: false });
  assert.deepEqual(got[1][1].json, false);
});

test('what is wrong with the secret is told without any of it, and nothing is sent', async (t) => {
  const { platform, domains } = await make(t);
  const cases: [unknown, RegExp][] = [
    [{ consumerKey: 'k', consumerSecret: 'hidden', token: 7 }, /^Could not fetch App Key credentials from secret storage: the secret lp-faas-default-app-key must be an object with consumerKey, consumerSecret, token, tokenSecret, all of them text; token, tokenSecret are missing$/],
    ['hidden', /consumerKey, consumerSecret, token, tokenSecret are missing$/],
    [null, /are missing$/],
    [{ ...APP_KEY, token: undefined }, /; token is missing$/],
  ];
  for (const [value, text] of cases) {
    const error = await rejection(makeLpClient(http, secretsOf({ 'lp-faas-default-app-key': value }), domains)('smt', '/x'));
    assert.match(error.message, text);
    assert.doesNotMatch(error.message, /hidden/);
  }
  const error = await rejection(makeLpClient(http, secretsOf({}), domains)('smt', '/x'));
  assert.equal(error.message, 'Could not fetch App Key credentials from secret storage: There is no Secret lp-faas-default-app-key for this account');
  assert.equal(error.code, ErrorCodes.Secret.NotFound);
  assert.ok(error.cause instanceof SecretError);
  assert.equal(platform.seen.length, 1, 'only the look-up');
});

test('the service comes before the secret, and errors of the service are those of the HTTPClient', async (t) => {
  const { platform, lp } = await make(t, {});
  const error = await rejection(lp('none', '/x'));
  assert.deepEqual([error.message, error.code], ['Service "none" could not be found.', ErrorCodes.Csds.NotFound]);
  assert.match((await rejection(lp('smt', 7 as never))).message, /path must be a string/);
  const lp2 = makeLpClient(http, secretsOf({ 'lp-faas-default-app-key': APP_KEY }), makeDomains(kitOf(platform), http));
  platform.route('GET /x', () => ({ status: 403, body: { error: 'no' } }));
  const refused = await rejection(lp2('smt', '/x'));
  assert.deepEqual([refused.name, refused.statusCode, refused.error], ['StatusCodeError', 403, { error: 'no' }]);
});

// ConversationUtil

const MESSAGES = [
  { type: 'TEXT_PLAIN', messageData: { msg: { text: 'I want a REFUND' } }, timeL: 1, sentBy: 'Consumer' },
  { type: 'TEXT_PLAIN', messageData: { msg: { text: 'first line\ncancelled, refund' } }, timeL: 2, sentBy: 'Agent' },
  { type: 'HOSTED_FILE', messageData: { file: { caption: 'refund.png', relativePath: '/f/a' } }, timeL: 3, sentBy: 'Consumer' },
  { type: 'HOSTED_FILE', messageData: { file: { relativePath: '/f/b c' } }, timeL: 4, sentBy: 'Consumer' },
  { type: 'RICH_CONTENT', messageData: { richContent: { content: 'refund' } }, timeL: 5, sentBy: 'Agent' },
  { type: 'TEXT_PLAIN', messageData: {}, timeL: 6, sentBy: 'Agent' },
];

test('a conversation is loaded by its id, with what is wanted of it', async (t) => {
  const { platform, kit, lp } = await make(t);
  platform.route(MSG_HIST, () => ({ body: { _metadata: { count: 1 }, conversationHistoryRecords: [{ info: { conversationId: 'c1' }, messageRecords: MESSAGES }] } }));
  const util = makeConversationUtil(kit, lp);
  const conversation: any = await util.getConversationById('c1', [ConversationContentTypes.INFO, ConversationContentTypes.MESSAGE_RECORDS]);
  await util.getConversationById('c1', []);
  await util.getConversationById('c1');
  const asked = platform.asked(MSG_HIST);
  assert.deepEqual(asked.map((s) => JSON.parse(s.body)), [{ conversationId: 'c1', contentToRetrieve: ['info', 'messageRecords'] }, { conversationId: 'c1' }, { conversationId: 'c1' }]);
  for (const seen of asked) {
    assert.deepEqual([seen.url, seen.headers['content-type']], [`/messaging_history/api/account/${ACCOUNT}/conversations/conversation/search?v=2`, 'application/json']);
    checkOAuth(seen, 'https', platform.host, APP_KEY.consumerSecret, APP_KEY.tokenSecret);
  }
  // Both ways to read it.
  assert.equal(conversation.conversationHistoryRecords[0].info.conversationId, 'c1');
  assert.equal(conversation.info.conversationId, 'c1');
  assert.equal(conversation.messageRecords.length, MESSAGES.length);
  assert.deepEqual(Object.keys(conversation), ['_metadata', 'conversationHistoryRecords'], 'JSON of it has everything once');
});

test('what goes wrong with a conversation is told by its id', async (t) => {
  const { platform, kit, lp } = await make(t);
  const util = makeConversationUtil(kit, lp);
  assert.equal((await rejection(util.getConversationById(''))).message, 'Please provide a conversation ID.');
  assert.equal((await rejection((util as any).getConversationById())).message, 'Please provide a conversation ID.');
  for (const body of [{ conversationHistoryRecords: [] }, {}, undefined]) {
    platform.route(MSG_HIST, () => ({ body }));
    assert.equal((await rejection(util.getConversationById('c9'))).message, 'Error while fetching conversation "c9": Conversation "c9" not found.');
  }
  platform.route(MSG_HIST, () => ({ status: 401, body: 'who' }));
  assert.equal((await rejection(util.getConversationById('c9'))).message, 'Error while fetching conversation "c9": 401 - "who"');
  const broken = makeConversationUtil(kit, makeLpClient(http, secretsOf({}), makeDomains(kit, http)));
  assert.match((await rejection(broken.getConversationById('c9'))).message, /^Error while fetching conversation "c9": Could not fetch App Key credentials from secret storage: There is no Secret/);
});

test('keywords are found in texts and captions, in any case, ordered by keyword', () => {
  const { scanConversationForKeywords: scan } = makeConversationUtil(kitOf(undefined), undefined as never);
  const conversation: any = { conversationHistoryRecords: [{ messageRecords: MESSAGES }] };
  const expected = [
    { message: 'first line\ncancelled, refund', sentTimestamp: 2, sentBy: 'Agent', tag: 'keywordRef:^cancel(led|lation)?' },
    { message: 'I want a REFUND', sentTimestamp: 1, sentBy: 'Consumer', tag: 'keywordRef:refund' },
    { message: 'first line\ncancelled, refund', sentTimestamp: 2, sentBy: 'Agent', tag: 'keywordRef:refund' },
    { message: 'refund.png', sentTimestamp: 3, sentBy: 'Consumer', tag: 'keywordRef:refund' },
  ];
  assert.deepEqual(scan(conversation, ['^cancel(led|lation)?', 'refund', 'nothing']), expected);
  assert.deepEqual(scan(conversation.conversationHistoryRecords[0], ['^cancel(led|lation)?', 'refund']), expected, 'a record alone does too');
  assert.deepEqual(scan({ conversationHistoryRecords: [{ messageRecords: [] }] }, ['a']), []);
});

test('wrong arguments of the scanner are refused by name', () => {
  const { scanConversationForKeywords: scan } = makeConversationUtil(kitOf(undefined), undefined as never) as any;
  const conversation = { conversationHistoryRecords: [{ messageRecords: MESSAGES }] };
  for (const nothing of [undefined, null, 'c1']) assert.throws(() => scan(nothing, ['a']), /^Error: Please provide conversation object\.$/);
  for (const nothing of [undefined, [], 'refund']) assert.throws(() => scan(conversation, nothing), /^Error: Please provide array containing keywords\.$/);
  assert.throws(() => scan(conversation, ['(']), /Keyword "\(" is not a regular expression/);
  for (const keyword of ['', 7, null]) assert.throws(() => scan(conversation, [keyword]), /A keyword must be a string/);
  assert.throws(() => scan({ conversationHistoryRecords: [{ info: {} }] }, ['a']), /has no messageRecords.*ConversationContentTypes\.MESSAGE_RECORDS/);
});

// SDEUtil

const EVENTS = `PUT /api/account/${ACCOUNT}/monitoring/visitors/`;

test('SDEs are set for a visit', async (t) => {
  const { platform, kit, lp } = await make(t);
  platform.route(EVENTS, () => ({ body: {} }));
  const sdes = [{ type: SDETypes.PERSONAL_INFO, personal: { contacts: [{ email: 'a@b.example' }] } }];
  assert.equal(await makeSDEUtil(kit, lp).addSDEs(sdes, 'v/1', 's 1'), undefined);
  const [seen] = platform.asked(EVENTS);
  assert.equal(seen!.url, `/api/account/${ACCOUNT}/monitoring/visitors/v%2F1/visits/current/events?v=1&sid=s%201`);
  assert.deepEqual(JSON.parse(seen!.body), sdes);
  checkOAuth(seen!, 'https', platform.host, APP_KEY.consumerSecret, APP_KEY.tokenSecret);
});

test('what goes wrong with SDEs is told', async (t) => {
  const { platform, kit, lp } = await make(t);
  const util: any = makeSDEUtil(kit, lp);
  for (const nothing of [undefined, null, []]) assert.equal((await rejection(util.addSDEs(nothing, 'v', 's'))).message, 'Please provide one or more SDEs');
  assert.equal((await rejection(util.addSDEs([{}], '', 's'))).message, 'Error while setting SDEs: visitorId must be a string that is not empty');
  assert.equal((await rejection(util.addSDEs([{}], 'v'))).message, 'Error while setting SDEs: sessionId must be a string that is not empty');
  platform.route(EVENTS, () => ({ status: 400, body: 'bad sde' }));
  assert.equal((await rejection(util.addSDEs([{}], 'v', 's'))).message, 'Error while setting SDEs: 400 - "bad sde"');
});

test('SDEs of a conversation are sorted by time, and the conversation stays as it is', () => {
  const util: any = makeSDEUtil(kitOf(undefined), undefined as never);
  const events = [{ serverTimeStamp: 30 }, { serverTimeStamp: 4 }, { serverTimeStamp: 100 }];
  const record = { sdes: { events }, unAuthSdes: { events: [{ serverTimeStamp: 2 }, { serverTimeStamp: 1 }] } };
  const expected = { sdes: { events: [{ serverTimeStamp: 4 }, { serverTimeStamp: 30 }, { serverTimeStamp: 100 }] }, unAuthSdes: { events: [{ serverTimeStamp: 1 }, { serverTimeStamp: 2 }] } };
  assert.deepEqual(util.getSDEsFromConv({ conversationHistoryRecords: [record] }), expected);
  assert.deepEqual(util.getSDEsFromConv(record), expected);
  assert.deepEqual(events.map((e) => e.serverTimeStamp), [30, 4, 100]);
  assert.deepEqual(util.getSDEsFromConv({ conversationHistoryRecords: [{}] }), { sdes: { events: [] }, unAuthSdes: { events: [] } });
  for (const nothing of [undefined, null, 'c', { conversationHistoryRecords: [] }]) {
    assert.throws(() => util.getSDEsFromConv(nothing), /^ToolbeltError: Error while getting SDEs from conversation: Please provide a valid conversation\.$/);
  }
});

// GDPRUtil

const CREDENTIALS = { username: 'user', password: 'pass' };

function files(...paths: (string | undefined)[]): any {
  return { conversationHistoryRecords: [{ messageRecords: paths.map((relativePath) => ({ type: 'HOSTED_FILE', messageData: { file: { relativePath } } })) }] };
}

function swift(platform: Platform): void {
  platform.route('GET /auth/v1.0', ({ headers }) => (headers['x-auth-user'] === 'user' && headers['x-auth-key'] === 'pass' ? { headers: { 'X-Auth-Token': 'tok' } } : { status: 401, body: 'no' }));
  platform.route('PUT /', ({ headers }) => ({ status: headers['x-auth-token'] === 'tok' ? 201 : 403 }));
}

test('files of a conversation are replaced by a black pixel, and their paths are told', async (t) => {
  const { platform, domains } = await make(t);
  swift(platform);
  const conversation = files('/f/a b', undefined, 'no/slash', '@elsewhere.example/x', '/f/a b');
  conversation.conversationHistoryRecords.push({ messageRecords: MESSAGES }, {});
  const paths = await makeGDPRUtil(http, domains).replaceConversationFiles(conversation, CREDENTIALS);
  assert.deepEqual(paths, ['/f/a b', 'no/slash', '@elsewhere.example/x', '/f/a', '/f/b c']);
  const puts = platform.asked('PUT /');
  assert.deepEqual(puts.map((s) => s.path).toSorted(), ['/@elsewhere.example/x', '/f/a', '/f/a%20b', '/f/b%20c', '/no/slash']);
  assert.equal(platform.asked('GET /auth').length, 1, 'logged on once');
  for (const { headers, body } of puts) {
    assert.deepEqual([headers['content-type'], headers['x-auth-token']], ['image/png', 'tok']);
    assert.deepEqual(pixels(Buffer.from(body, 'latin1')), { width: 1, height: 1, depth: 8, color: 0, data: [0, 0] });
  }
});

/** Reads a PNG, by its specification, and checks each checksum. */
function pixels(png: Buffer): object {
  assert.deepEqual([...png.subarray(0, 8)], [137, 80, 78, 71, 13, 10, 26, 10]);
  const chunks = new Map<string, Buffer>();
  for (let at = 8; at < png.length;) {
    const length = png.readUInt32BE(at);
    const type = png.toString('latin1', at + 4, at + 8);
    chunks.set(type, png.subarray(at + 8, at + 8 + length));
    assert.equal(png.readUInt32BE(at + 8 + length), zlib.crc32(png.subarray(at + 4, at + 8 + length)), `the checksum of ${type}`);
    at += 12 + length;
  }
  assert.deepEqual([...chunks.keys()], ['IHDR', 'IDAT', 'IEND']);
  const header = chunks.get('IHDR')!;
  return { width: header.readUInt32BE(0), height: header.readUInt32BE(4), depth: header[8], color: header[9], data: [...zlib.inflateSync(chunks.get('IDAT')!)] };
}

test('who decides is asked for each path, and a promise of it is waited for', async (t) => {
  const { platform, domains } = await make(t);
  swift(platform);
  const asked: unknown[][] = [];
  const decide = async (...args: unknown[]): Promise<boolean> => { asked.push(args); await null; return args[0] === '/b'; };
  const file = { body: Buffer.from([1, 255]), contentType: 'x/y' };
  assert.deepEqual(await makeGDPRUtil(http, domains).replaceConversationFiles(files('/a', '/b'), CREDENTIALS, decide as never, file), ['/b']);
  assert.deepEqual(asked, [['/a'], ['/b']]);
  assert.deepEqual(platform.asked('PUT').map((s) => [s.path, s.headers['content-type'], s.body]), [['/b', 'x/y', '\u0001ÿ']]);
});

test('without files nobody logs on', async (t) => {
  const { platform, domains } = await make(t);
  const { replaceConversationFiles } = makeGDPRUtil(http, domains);
  assert.deepEqual(await replaceConversationFiles(files(), CREDENTIALS), []);
  assert.deepEqual(await replaceConversationFiles(files('/a'), CREDENTIALS, () => false), []);
  assert.equal(platform.seen.length, 0);
});

test('more files than may be sent in a second are replaced all the same, a few at once', async (t) => {
  const { platform, domains } = await make(t);
  swift(platform);
  let now = 0;
  let most = 0;
  platform.route('PUT /', async () => {
    most = Math.max(most, ++now);
    await new Promise((r) => setTimeout(r, 5));
    now--;
    return { status: 201 };
  });
  const paths = Array.from({ length: 22 }, (_, i) => `/f${i}`);
  assert.deepEqual(await makeGDPRUtil(http, domains).replaceConversationFiles(files(...paths), CREDENTIALS), paths);
  assert.equal(platform.asked('PUT').length, 22);
  assert.ok(most > 1 && most <= 5, `${most} at once`);
});

test('what goes wrong with files is told', async (t) => {
  const { platform, domains } = await make(t);
  swift(platform);
  const util: any = makeGDPRUtil(http, domains);
  const replace = (...args: unknown[]): Promise<any> => rejection(util.replaceConversationFiles(...args));
  assert.equal((await replace(undefined, CREDENTIALS)).message, 'Please provide conversation object.');
  for (const c of [undefined, {}, { username: 'u' }]) assert.match((await replace(files('/a'), c)).message, /^Please provide the credentials of the file storage/);
  assert.match((await replace(files('/a'), CREDENTIALS, true)).message, /^shouldReplace must be a function/);
  assert.match((await replace(files('/a'), CREDENTIALS, undefined, { body: {} })).message, /^replacementFile must be an object with body/);
  assert.equal((await replace(files('/a'), { username: 'user', password: 'wrong' })).message, 'Unable to authorize at Swift: 401 - "no"');
  assert.equal(platform.asked('PUT').length, 0);
  platform.route('PUT /b', () => ({ status: 507, body: 'full' }));
  const error = await replace(files('/a', '/b', '/c'), CREDENTIALS);
  assert.equal(error.message, 'Unable to replace image /b: 507 - "full"');
  platform.route('GET /auth/v1.0', () => ({}));
  assert.equal((await replace(files('/a'), CREDENTIALS)).message, 'Unable to authorize at Swift: the answer has no header x-auth-token');
  platform.services = [];
  const alone = makeGDPRUtil(http, makeDomains(kitOf(platform), http));
  assert.equal((await rejection(alone.replaceConversationFiles(files('/a'), CREDENTIALS))).message, 'Unable to authorize at Swift: Service "swift" could not be found.');
});

// ContextServiceClient

/** The service's own rules, as far as they are public. */
function contextService(platform: Platform): Map<string, Map<string, any>> {
  const sessions = new Map<string, Map<string, any>>();
  const namespaces = new Map<string, object>();
  const guarded = (handler: (parts: string[], seen: Seen) => any) => (seen: Seen) => {
    if (seen.headers['maven-api-key'] !== 'key') return { status: 403, body: { message: 'no' } };
    return handler(seen.path.split('/').slice(4).map(decodeURIComponent), seen);
  };
  const base = `/v1/account/${ACCOUNT}`;
  platform.route(`POST ${base}`, guarded((_, seen) => {
    const { name } = JSON.parse(seen.body);
    const ttl = seen.query.get('ttlSecond');
    namespaces.set(name, { name, createdAt: 1700000000000, ...(ttl && { ttlSecond: Number(ttl) }) });
    return { status: 204 };
  }));
  platform.route(`PATCH ${base}`, guarded(([namespace, session], seen) => {
    const key = `${namespace}/${session}`;
    if (!sessions.has(key)) sessions.set(key, new Map());
    for (const [name, value] of Object.entries(JSON.parse(seen.body))) sessions.get(key)!.set(name, value);
    return { status: 204 };
  }));
  platform.route(`GET ${base}`, guarded(([namespace, session, , property]) => {
    if (namespace === undefined) return { body: [...namespaces.values()] };
    if (session === 'session-ids') return { body: [...sessions.keys()].filter((k) => k.startsWith(`${namespace}/`)).map((k) => k.split('/')[1]) };
    const found = sessions.get(`${namespace}/${session}`);
    if (found === undefined || (property !== undefined && !found.has(property))) return { status: 404, body: { message: 'gone' } };
    if (property === undefined) return { body: Object.fromEntries(found) };
    const value = found.get(property);
    return { body: typeof value === 'string' ? value : JSON.stringify(value) };
  }));
  platform.route(`DELETE ${base}`, guarded(([namespace, session, , property]) => {
    const found = session === undefined ? namespaces : property === undefined ? sessions : sessions.get(`${namespace}/${session}`);
    const key = session === undefined ? namespace! : property ?? `${namespace}/${session}`;
    return { status: found?.delete(key) === true ? 204 : 404, body: found ? undefined : { message: 'gone' } };
  }));
  return sessions;
}

const CONFIG = { apiKey: 'key', accountId: ACCOUNT };

test('a configuration that lacks something is refused by name', () => {
  const create = (config: unknown) => () => makeContextServiceClient(kitOf(undefined), http, undefined as never, config as never);
  for (const nothing of [undefined, null, '']) assert.throws(create(nothing), /^Error: No valid configuration was provided$/);
  for (const config of [{}, { apiKey: '', accountId: '1' }]) assert.throws(create(config), /^Error: No valid API-key was provided$/);
  assert.throws(create({ apiKey: 'k' }), /^Error: No valid accountId was provided$/);
});

test('namespaces, sessions and properties are kept by the service', async (t) => {
  const { platform, kit, domains } = await make(t);
  contextService(platform);
  const client = makeContextServiceClient(kit, http, domains, CONFIG);
  assert.deepEqual(await client.createNamespace('orders', { ttl: 120 }), { name: 'orders', createdAt: new Date(1700000000000), ttlSecond: 120 });
  assert.deepEqual(await client.createNamespace('forever'), { name: 'forever', createdAt: new Date(1700000000000) });
  assert.deepEqual((await client.getListOfNamespaces()).map((n) => n.name), ['orders', 'forever']);
  assert.deepEqual(await client.setPropertiesInNamespace('orders', { a: 1, text: 'plain', o: { x: [true] } }, 's/1'), { a: 1, text: 'plain', o: { x: [true] } });
  assert.deepEqual(await client.updatePropertiesInNamespace('orders', { a: 2, 'n e/w': null }, 's/1'), { a: 2, text: 'plain', o: { x: [true] }, 'n e/w': null });
  assert.deepEqual(await client.setPropertiesInNamespace('orders', { d: 1 }), { d: 1 });
  assert.deepEqual(await client.getAllPropertiesInSession('orders'), { d: 1 });
  assert.deepEqual(await client.getSelectedPropertiesInSession('orders', ['a', 'text', 'none', 'constructor'], 's/1'), { a: 2, text: 'plain' });
  for (const [name, value] of [['a', 2], ['text', 'plain'], ['o', { x: [true] }], ['n e/w', null]] as const) {
    assert.deepEqual(await client.getPropertyInSession('orders', name, 's/1'), value);
  }
  assert.deepEqual(await client.getSelectedPropertiesInSession('orders', ['a'], 'never was'), {});
  assert.deepEqual(await client.getListOfSessions('orders'), ['s/1', '__default__'].map((s) => s.split('/')[0]));
  await client.deletePropertyInSession('orders', 'a', 's/1');
  await client.deletePropertyInSession('orders', 'a', 's/1');
  assert.equal((await rejection(client.getPropertyInSession('orders', 'a', 's/1'))).code, 'com.liveperson.context-service-sdk.data.does-not-exist');
  await client.deleteSession('orders', 's/1');
  await client.deleteSession('orders', 's/1');
  await client.deleteNamespace('orders');
  await client.deleteNamespace('orders');
  assert.deepEqual((await client.getListOfNamespaces()).map((n) => n.name), ['forever']);
  const lines = new Set(platform.asked('').filter((s) => s.method !== 'GET').map((s) => `${s.method} ${s.url}`));
  const base = `/v1/account/${ACCOUNT}`;
  assert.deepEqual(lines, new Set([
    `POST ${base}?ttlSecond=120`, `POST ${base}`, `PATCH ${base}/orders/s%2F1/properties`, `PATCH ${base}/orders/__default__/properties`,
    `DELETE ${base}/orders/s%2F1/properties/a`, `DELETE ${base}/orders/s%2F1`, `DELETE ${base}/orders`,
  ]));
});

test('the code says what went wrong', async (t) => {
  const { platform, kit, domains } = await make(t);
  contextService(platform);
  const client: any = makeContextServiceClient(kit, http, domains, CONFIG);
  const { Parameter, Authorization, Data, General } = ContextServiceErrorCodes;
  for (const [call, text] of [
    [() => client.createNamespace(''), /^Namespace can not be null, undefined or empty string$/],
    [() => client.createNamespace('faas'), /^Can not create a built-in namespace$/],
    [() => client.deleteNamespace('consumer'), /^Can not delete a built-in namespace$/],
    [() => client.createNamespace('n', { ttl: 0 }), /^TTL needs to be a positive integer above 0$/],
    [() => client.createNamespace('n', { ttl: 1.5 }), /^TTL/],
    [() => client.setPropertiesInNamespace('n', 'x'), /^Properties must be an object$/],
    [() => client.getPropertyInSession('n', '..'), /can not be \.\.$/],
    [() => client.getAllPropertiesInSession('.'), /can not be \.$/],
    [() => client.getSelectedPropertiesInSession('n', 'a'), /must be an array/],
    [() => client.deleteSession('n', ''), /Session id can not be/],
  ] as const) {
    const error = await rejection(call());
    assert.equal(error.code, Parameter.Incorrect, String(call));
    assert.match(error.message, text);
  }
  const other = makeContextServiceClient(kit, http, domains, { ...CONFIG, apiKey: 'wrong' });
  const error = await rejection(other.getListOfNamespaces());
  assert.deepEqual([error.code, error.message], [Authorization.Invalid, 'Provided API Key is either invalid or lacks permission']);
  assert.equal((await rejection(client.getAllPropertiesInSession('none'))).code, Data.NotFound);
  platform.routes.delete(`GET /v1/account/${ACCOUNT}`);
  for (const [status, code] of [[500, General.Issue], [503, General.Issue], [418, General.Unknown], [400, Parameter.Incorrect]] as const) {
    platform.route('GET /v1', () => ({ status, body: { message: 'why' } }));
    const before = platform.seen.length;
    const failed = await rejection(client.getListOfSessions('n'));
    assert.equal(failed.code, code);
    assert.match(failed.message, /why/);
    assert.equal(platform.seen.length - before, 1, 'an answer is not asked for again');
  }
  platform.route('GET /v1', () => ({ body: 'no json' }));
  for (const call of [() => client.getListOfSessions('n'), () => client.getAllPropertiesInSession('n')]) assert.equal((await rejection(call())).code, General.Unknown);
});

test('where the service is: baseUrl, the lambda\'s variable, the Domain API, the region', async () => {
  const asked: string[] = [];
  const record: HttpClient = async (uri) => { asked.push(uri); return { statusCode: 200, headers: {}, body: '[]' }; };
  const nowhere = { get: (s: string) => Promise.reject(new ToolbeltError(ErrorCodes.Csds.NotFound, `no ${s}`)) };
  const at = async (more: { [name: string]: string }, config = {}, domains: any = nowhere): Promise<string> => {
    await makeContextServiceClient(kitOf(undefined, more), record, domains, { ...CONFIG, ...config }).getListOfNamespaces();
    return asked.pop()!.replace(`/v1/account/${ACCOUNT}`, '');
  };
  const known = { get: (s: string) => Promise.resolve(`${s}.example`) };
  assert.equal(await at({ CONTEXT_SERVICE_ENVIRONMENT: 'z1' }, { baseUrl: 'https://own.example/' }, known), 'https://own.example');
  assert.equal(await at({}, { baseUrl: 'own.example' }), 'https://own.example');
  assert.equal(await at({ CONTEXT_SERVICE_ENVIRONMENT: 'z2' }, {}, known), 'https://z2.context.liveperson.net');
  assert.equal(await at({ DC: 'va' }, {}, known), 'https://contextService.example');
  for (const [dc, host] of [['va', 'z1'], ['lo', 'z2'], ['sy', 'z3'], ['va-a', 'va-a']]) assert.equal(await at({ DC: dc! }), `https://${host}.context.liveperson.net`);
  assert.match((await rejection(at({}))).message, /Set the environment variable CONTEXT_SERVICE_ENVIRONMENT to z1/);
  assert.match((await rejection(at({ DC: 'constructor' }))).message, /Set the environment variable/);
  const failing = { get: () => Promise.reject(new ToolbeltError(ErrorCodes.Csds.Failure, 'down')) };
  assert.equal((await rejection(at({ DC: 'va' }, {}, failing))).message, 'down');
});

test('a connection that breaks is tried again after 2 s and 4 s, and then given up', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let asked = 0;
  let fails = 2;
  const flaky: HttpClient = async () => {
    asked++;
    if (fails-- > 0) throw Object.assign(new Error('Error: read ECONNRESET'), { name: 'RequestError', cause: Object.assign(new Error('read'), { code: 'ECONNRESET' }) });
    return { statusCode: 200, headers: {}, body: '[]' };
  };
  const client = makeContextServiceClient(kitOf(undefined), flaky, undefined as never, { ...CONFIG, baseUrl: 'x.example' });
  const turn = async (): Promise<void> => { for (let i = 0; i < 50; i++) await null; };
  const first = client.getListOfNamespaces();
  for (const [tick, count] of [[0, 1], [1999, 1], [1, 2], [3999, 2], [1, 3]] as const) {
    t.mock.timers.tick(tick);
    await turn();
    assert.equal(asked, count);
  }
  assert.deepEqual(await first, []);
  fails = 3;
  const second = rejection(client.getListOfNamespaces());
  for (const tick of [0, 2000, 4000, 8000]) { await turn(); t.mock.timers.tick(tick); }
  assert.equal((await second).code, 'ECONNRESET');
  assert.equal(asked, 6);
  fails = 0;
  const never = makeContextServiceClient(kitOf(undefined), () => { asked++; return new Promise(() => {}); }, undefined as never, { ...CONFIG, baseUrl: 'x.example' });
  const late = rejection(never.getListOfNamespaces());
  await turn();
  t.mock.timers.tick(10_000);
  const error = await late;
  assert.deepEqual([error.code, error.message], ['com.liveperson.context-service-sdk.response-timeout', 'Request exceeded Deadline of 10000ms']);
  assert.equal(asked, 7, 'a deadline is not tried again');
});

// MTLSClient

const PAIR = { ...known, ca: identity.cert };

test('each method presents the certificate', async (t) => {
  const platform = await Platform.start(t, { clientCertificates: true });
  for (const m of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS']) {
    platform.route(`${m} /`, (seen) => ({ headers: { 'x-client': seen.client! }, body: { method: seen.method, body: seen.body, type: seen.headers['content-type'] ?? null } }));
  }
  const client = makeMTLSClient(kitOf(undefined), PAIR);
  const url = `https://${platform.host}/x?y=1`;
  for (const method of ['get', 'post', 'put', 'patch', 'delete', 'head', 'options'] as const) {
    const { statusCode, headers, body } = await client[method](url, { 'X-Mine': method }, { a: method }, { json: true });
    assert.deepEqual([statusCode, headers['x-client']], [200, 'DNS:client.test']);
    if (method === 'head') assert.equal(body, '');
    else assert.deepEqual(body, { method: method.toUpperCase(), body: JSON.stringify({ a: method }), type: 'application/json' });
    const seen = platform.seen.at(-1)!;
    assert.deepEqual([seen.url, seen.headers['x-mine'], seen.headers['user-agent']], ['/x?y=1', method, 'LP-Lambda-u-1']);
  }
});

test('bodies are sent and given as they are, and statuses are no errors', async (t) => {
  const platform = await Platform.start(t, { clientCertificates: true });
  const client: any = makeMTLSClient(kitOf(undefined), PAIR);
  const url = `https://${platform.host}`;
  platform.route('POST /', (seen) => ({ status: 418, body: `${seen.headers['content-type'] ?? 'none'}|${seen.body}` }));
  for (const [body, sent] of [['ä', 'none|Ã¤'], [Buffer.from([255]), 'none|ÿ'], [null, 'none|'], [undefined, 'none|'], [[1], 'application/json|[1]']]) {
    const { statusCode, body: got } = await client.post(url, undefined, body);
    assert.deepEqual([statusCode, got], [418, sent]);
  }
  const typed = await client.post(url, { 'content-type': 'application/x-www-form-urlencoded' }, { a: 1 });
  assert.equal(typed.body, 'application/x-www-form-urlencoded|{"a":1}');
  platform.route('GET /', () => ({ status: 302, headers: { location: `${url}/other` }, body: 'no json' }));
  assert.deepEqual((await client.get(url, null, null, { json: true })).body, 'no json');
  assert.equal(platform.asked('GET /').length, 1, 'a redirect is not followed');
});

test('clients of one certificate, made anew in every call, use the same connection', async (t) => {
  const platform = await Platform.start(t, { clientCertificates: true });
  platform.route('GET /', (seen) => ({ body: seen.client! }));
  let opened = 0;
  platform.server.on('connection', () => opened++);
  const ask = async (config: object): Promise<unknown> => (await makeMTLSClient(kitOf(undefined), config as never).get(`https://${platform.host}/`)).body;
  for (let i = 0; i < 5; i++) assert.equal(await ask(PAIR), 'DNS:client.test');
  assert.equal(opened, 1);
  await assert.rejects(ask({ ...stranger, ca: identity.cert }), 'another certificate does not use it');
  assert.equal(opened, 2);
  for (let i = 0; i < 20; i++) await ask({ ...PAIR, ca: `${PAIR.ca}\n# ${String(i)}` });
  assert.equal(await ask(PAIR), 'DNS:client.test', 'also when it was forgotten meanwhile');
});

test('without a certificate that the server takes there is no answer', async (t) => {
  const platform = await Platform.start(t, { clientCertificates: true });
  const other = makeMTLSClient(kitOf(undefined), { ...stranger, ca: identity.cert });
  await assert.rejects(other.get(`https://${platform.host}/`));
  assert.equal(platform.seen.length, 0);
});

test('a server that nobody vouches for is refused, unless the caller allows it', async (t) => {
  const platform = await Platform.start(t, { clientCertificates: true });
  platform.route('GET /', () => ({ body: 'ok' }));
  const client = makeMTLSClient(kitOf(undefined), { ...PAIR, ca: stranger.cert });
  const error = await rejection(client.get(`https://${platform.host}/`));
  assert.equal(error.code, 'DEPTH_ZERO_SELF_SIGNED_CERT');
  assert.equal((await client.get(`https://${platform.host}/`, {}, null, { allowSelfSigned: true })).body, 'ok');
  assert.equal((await rejection(client.get(`https://${platform.host}/`))).code, 'DEPTH_ZERO_SELF_SIGNED_CERT', 'that is true of one call only');
});

test('what is no certificate, or does not fit its key, is refused when the client is made', () => {
  const create = (config: unknown) => () => makeMTLSClient(kitOf(undefined), config as never);
  for (const nothing of [undefined, null, {}, { cert: PAIR.cert }, { key: PAIR.key }]) assert.throws(create(nothing), /needs cert and key, both in PEM format/);
  assert.throws(create({ ...PAIR, cert: 'x' }), /^ToolbeltError: cert is not in PEM format/);
  assert.throws(create({ ...PAIR, key: PAIR.cert }), /^ToolbeltError: key is not in PEM format/);
  assert.throws(create({ ...PAIR, ca: 'x' }), /^ToolbeltError: ca is not in PEM format/);
  assert.throws(create({ ...PAIR, key: stranger.key }), /^ToolbeltError: cert and key can not be used: .*mismatch/i);
  assert.throws(create({ ...PAIR, cert: PAIR.cert.replace(/\n[A-Za-z0-9+/]{10}/, '\n') }), /cert and key can not be used/);
  create({ cert: PAIR.cert.replaceAll('\n', '\\n'), key: PAIR.key.replaceAll('\n', '\\n') })();
  create({ cert: Buffer.from(PAIR.cert), key: Buffer.from(PAIR.key) })();
});

test('an answer that does not come is an error when its time is over', async (t) => {
  const platform = await Platform.start(t, { clientCertificates: true });
  platform.route('GET /', () => new Promise(() => {}));
  const client: any = makeMTLSClient(kitOf(undefined), PAIR);
  const error = await rejection(client.get(`https://${platform.host}/`, {}, null, { timeout: 50 }));
  assert.deepEqual([error.code, error.message], ['ETIMEDOUT', `There was no answer of ${platform.host} within 50 ms.`]);
  for (const timeout of [0, -1, '5', NaN]) assert.match((await rejection(client.get(`https://${platform.host}/`, {}, null, { timeout }))).message, /options\.timeout must be a number/);
  for (const url of ['http://localhost/', 'x', '', undefined]) assert.match((await rejection(client.get(url))).message, /url must begin with https:\/\//);
});

// OrchestratorClient

const INVOKE = `POST /api/account/${ACCOUNT}/lambdas/`;
const TOKEN = `POST /sentinel/api/account/${ACCOUNT}/app/token`;
const APPLICATION = { clientId: 'id', clientSecret: 's&' };

function jwt(seconds: number, n = 0): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'RS256' })}.${part({ exp: Math.floor(Date.now() / 1000) + seconds, n })}.sig`;
}

async function gateway(t: TestContext, secret: unknown = APPLICATION): Promise<{ platform: Platform; client: ReturnType<typeof makeOrchestratorClient> }> {
  const { platform, kit, domains, secrets } = await make(t, { 'lp-faas-orchestrator-app-key': secret });
  let n = 0;
  platform.route(TOKEN, (seen) => (seen.body === 'grant_type=client_credentials&scope=&client_id=id&client_secret=s%26' ? { body: { access_token: jwt(3600, ++n), token_type: 'Bearer' } } : { status: 401, body: { error: 'invalid_client' } }));
  platform.route(INVOKE, (seen) => ({ headers: { 'x-of': seen.path.split('/')[5]! }, body: { echo: JSON.parse(seen.body).payload } }));
  return { platform, client: makeOrchestratorClient(kit, http, secrets, domains) };
}

test('lambdas are invoked in order, with one token for all', async (t) => {
  const { platform, client } = await gateway(t);
  let running = 0;
  platform.route(INVOKE, async (seen) => {
    assert.equal(++running, 1);
    await new Promise((r) => setTimeout(r, 5));
    running--;
    return { headers: { 'x-of': seen.path.split('/')[5]! }, body: { echo: JSON.parse(seen.body).payload } };
  });
  const responses = await client.invoke([{ uuid: 'a', payload: { n: 1 }, headers: { h: 'v' } }, { uuid: 'b/c', payload: 'text', headers: [{ key: 'k', value: 'v' }] }, { uuid: 'd' }], 5000);
  assert.deepEqual(responses.map(({ uuid, body, statusCode, headers, error }) => [uuid, body, statusCode, headers!['x-of'], error]), [
    ['a', { echo: { n: 1 } }, 200, 'a', undefined], ['b/c', { echo: 'text' }, 200, 'b%2Fc', undefined], ['d', { echo: {} }, 200, 'd', undefined],
  ]);
  const asked = platform.asked(INVOKE);
  assert.deepEqual(asked.map((s) => JSON.parse(s.body).headers), [[{ key: 'h', value: 'v' }], [{ key: 'k', value: 'v' }], []]);
  assert.equal(new Set(asked.map((s) => s.headers['authorization'])).size, 1);
  assert.match(asked[0]!.headers['authorization']!, /^Bearer ey/);
  assert.equal(new Set(asked.map((s) => s.headers['x-request-id'])).size, 3);
  assert.deepEqual([...asked[0]!.query], [['v', '1'], ['userId', 'u-1'], ['externalSystem', 'lambda-u-1']]);
  assert.ok(Math.abs(JSON.parse(asked[0]!.body).timestamp - Date.now()) < 60_000);
  assert.equal(platform.asked(TOKEN).length, 1);
  await client.invoke([{ uuid: 'a' }]);
  assert.equal(platform.asked(TOKEN).length, 1);
});

test('in parallel they run at once, and answers have the order of the invocations', async (t) => {
  const { platform, client } = await gateway(t);
  let arrived = 0;
  let open: () => void;
  const all = new Promise<void>((resolve) => { open = resolve; });
  platform.route(INVOKE, async (seen) => {
    if (++arrived === 3) open();
    await all;
    return { body: seen.path.split('/')[5] };
  });
  const responses = await client.invoke(['a', 'b', 'c'].map((uuid) => ({ uuid })), 10_000, { invokeParallel: true });
  assert.deepEqual(responses.map((r) => [r.uuid, r.body]), [['a', 'a'], ['b', 'b'], ['c', 'c']]);
  assert.equal(platform.asked(TOKEN).length, 1, 'one token for those who ask at once');
});

test('the first failure ends an invoke, or its error stands among the answers', async (t) => {
  const { platform, client } = await gateway(t);
  const failure = { errorCode: 'com.liveperson.faas.handler.custom-failure', errorMsg: 'no stock' };
  platform.route(`${INVOKE}bad`, () => ({ status: 901, body: failure }));
  const list = ['a', 'bad', 'c'].map((uuid) => ({ uuid }));
  for (const options of [undefined, { errorStrategy: ErrorStrategy.ExitOnError }, { errorStrategy: ErrorStrategy.EXIT_ON_ERROR, invokeParallel: true }]) {
    const error: OrchestratorError = await rejection(client.invoke(list, 5000, options));
    assert.ok(error instanceof ToolbeltError);
    assert.deepEqual([error.message, error.code, error.statusCode, error.body, error.uuid], ['Invocation of bad failed: no stock', failure.errorCode, 901, failure, 'bad']);
  }
  assert.equal(platform.asked(`${INVOKE}bad`).length, 3, 'what a lambda failed with is not tried again');
  assert.ok(platform.asked(`${INVOKE}c`).length <= 1, 'in order, what follows is not invoked');
  for (const invokeParallel of [false, true]) {
    const responses = await client.invoke(list, 5000, { errorStrategy: ErrorStrategy.CONTINUE_ON_ERROR, invokeParallel });
    assert.deepEqual(responses.map((r) => [r.uuid, r.statusCode, r.error?.message]), [['a', 200, undefined], ['bad', 901, 'Invocation of bad failed: no stock'], ['c', 200, undefined]]);
    assert.deepEqual(responses[1]!.body, failure);
  }
});

test('what may pass is tried again, as the same request, and no more often than was said', async (t) => {
  const { platform, client } = await gateway(t);
  const statuses: { [uuid: string]: number[] } = { busy: [503, 429, 200], down: [500, 502, 504, 500, 200], once: [500, 500, 200], never: [500, 200], refused: [404, 200] };
  platform.route(INVOKE, (seen) => ({ status: statuses[seen.path.split('/')[5]!]!.shift()!, headers: { 'retry-after': '0' }, body: {} }));
  const go = (uuid: string, more = {}): Promise<any> => client.invoke([{ uuid, ...more }], 20_000, { errorStrategy: ErrorStrategy.ContinueOnError }).then(([r]) => r!.statusCode);
  const tries = (uuid: string): number => platform.asked(INVOKE + uuid).length;
  assert.deepEqual(await Promise.all([go('busy'), go('down'), go('once', { retries: 1 }), go('never', { retries: 0 }), go('refused')]), [200, 500, 500, 500, 404]);
  assert.deepEqual(['busy', 'down', 'once', 'never', 'refused'].map(tries), [3, 4, 2, 1, 1]);
  assert.equal(new Set(platform.asked(`${INVOKE}down`).map((s) => s.headers['x-request-id'])).size, 1);
});

test('a function of the caller decides what is tried again', async (t) => {
  const { platform, client } = await gateway(t);
  let left = 1;
  platform.route(INVOKE, () => (left-- > 0 ? { status: 404, body: {} } : { body: 'ok' }));
  const asked: unknown[] = [];
  const retryFunction = (status: number | undefined, error: OrchestratorError): boolean => { asked.push([status, error.uuid, (error.cause as any).code]); return true; };
  assert.equal((await client.invoke([{ uuid: 'a', retryFunction }]))[0]!.body, 'ok');
  assert.deepEqual(asked, [[404, 'a', undefined]]);
  await platform.stop();
  asked.length = 0;
  const no = (status: number | undefined, error: OrchestratorError): boolean => { asked.push([status, typeof (error.cause as any).code]); return false; };
  const error = await rejection(client.invoke([{ uuid: 'a', retryFunction: no }]));
  assert.match(error.message, /^Invocation of a failed: /);
  assert.deepEqual(asked, [[undefined, 'string']]);
});

test('the deadline ends it all, and a longer one than there may be is shortened and told', async (t) => {
  const { platform, client } = await gateway(t);
  platform.route(`${INVOKE}slow`, () => new Promise(() => {}));
  const error = await rejection(client.invoke([{ uuid: 'slow' }], 100, { timeout: 5000 }));
  assert.deepEqual([error.code, error.message], ['com.liveperson.faas.orchestrator-fn.timeout', 'Invocation of slow failed: the deadline is over']);
  const responses = await client.invoke([{ uuid: 'a' }, { uuid: 'slow', retries: 0 }, { uuid: 'b' }], 20_000, { timeout: 500, errorStrategy: ErrorStrategy.ContinueOnError });
  assert.deepEqual(responses.map((r) => [r.uuid, r.statusCode, r.error !== undefined]), [['a', 200, false], ['slow', undefined, true], ['b', 200, false]]);
  assert.deepEqual(warnings, []);
  await client.invoke([{ uuid: 'a' }], 30_000);
  assert.deepEqual(warnings, ['Deadline exceeds maximum allowed value, 25000ms will be used instead']);
});

test('a token is renewed before its end and when it is refused', async (t) => {
  const { platform, client } = await gateway(t);
  let token = 0;
  let lifetime = 30;
  platform.route(TOKEN, () => ({ body: { access_token: jwt(lifetime, ++token), token_type: 'Bearer' } }));
  await client.invoke([{ uuid: 'a' }]);
  lifetime = 3600;
  await client.invoke([{ uuid: 'a' }]);
  await client.invoke([{ uuid: 'a' }]);
  assert.equal(token, 2, 'the first was too near to its end');
  let refuse = true;
  platform.route(INVOKE, () => { const status = refuse ? 401 : 200; refuse = false; return { status, body: {} }; });
  assert.equal((await client.invoke([{ uuid: 'a' }]))[0]!.statusCode, 200);
  assert.equal(token, 3);
  platform.route(INVOKE, () => ({ status: 401, body: {} }));
  assert.equal((await rejection(client.invoke([{ uuid: 'a' }]))).statusCode, 401);
});

test('an API key signs each invocation instead', async (t) => {
  const { platform, client } = await gateway(t, APP_KEY);
  assert.equal((await client.invoke([{ uuid: 'a' }]))[0]!.statusCode, 200);
  checkOAuth(platform.asked(INVOKE)[0]!, 'https', platform.host, APP_KEY.consumerSecret, APP_KEY.tokenSecret);
  assert.equal(platform.asked(TOKEN).length, 0);
});

test('credentials that are missing or wrong are told, and nothing is tried again', async (t) => {
  for (const [secret, text] of [
    [null, /must be an object with clientId and clientSecret of an OAuth application, or with consumerKey/],
    [{ clientId: 'id' }, /must be an object with clientId and clientSecret/],
    [{ client_id: 'id', client_secret: 'hidden' }, /Could not get a token for the application of the secret lp-faas-orchestrator-app-key: 401/],
  ] as const) {
    const { platform, client } = await gateway(t, secret);
    const error = await rejection(client.invoke([{ uuid: 'a' }]));
    assert.match(error.message, text);
    assert.doesNotMatch(error.message, /hidden/);
    assert.equal(platform.asked(INVOKE).length, 0);
    assert.ok(platform.asked(TOKEN).length <= 1);
  }
  const { kit, domains } = await make(t);
  const error = await rejection(makeOrchestratorClient(kit, http, secretsOf({}), domains).invoke([{ uuid: 'a' }]));
  assert.equal(error.message, 'Invocation of a failed: Could not fetch App Key credentials from secret storage: There is no Secret lp-faas-orchestrator-app-key for this account');
});

test('wrong arguments of invoke are refused by name', async (t) => {
  const { platform, client } = await gateway(t);
  const invoke = (client as any).invoke as (...args: unknown[]) => Promise<unknown>;
  for (const [args, text] of [
    [[], /^invocations must be an array/], [[[]], /^invocations must be an array/], [[{ uuid: 'a' }], /^invocations must be an array/],
    [[Array.from({ length: 101 }, () => ({ uuid: 'a' }))], /has 101 entries, more than the limit of 100/],
    [[[{}]], /^uuid of an invocation must be/], [[[{ uuid: 'a', retries: -1 }]], /^retries of an invocation/], [[[{ uuid: 'a', retryFunction: 1 }]], /^retryFunction/],
    [[[{ uuid: 'a' }], 0], /^deadline must be a number of milliseconds, 25000 at most/], [[[{ uuid: 'a' }], '9'], /^deadline must be/],
    [[[{ uuid: 'a' }], 9, { timeout: 0 }], /^options\.timeout/], [[[{ uuid: 'a' }], 9, { errorStrategy: 'x' }], /^options\.errorStrategy must be one of ErrorStrategy/],
  ] as const) assert.match((await rejection(invoke(...args))).message, text);
  assert.equal(platform.seen.length, 0);
});
