// The toolbelt's SecretClient, and what user code may ask of the host.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import ts from 'typescript';
import { eventually, invoke, lambda, type Outcome, type Request, Runtime, type Session } from './runtime.ts';

const INVALID = 'com.liveperson.faas.secret.invalid-format';
const FAILED = 'com.liveperson.faas.secret.op-failed';
const NOT_FOUND = 'com.liveperson.faas.secret.not-found';

/** Answers as an account with these secrets. */
function account(secrets: { [key: string]: unknown }): (request: Request) => object {
  return ({ kind, key, value }) => {
    if (!(key in secrets)) return { error: { code: NOT_FOUND, message: `There is no Secret ${key} for this account` } };
    if (kind === 'update') secrets[key] = value;
    return { secret: { key, value: secrets[key] } };
  };
}

/** A lambda whose body may use secrets, SecretError and ErrorCodes, await, and return its result. */
function source(body: string): string {
  return `const { Toolbelt, SecretError, ErrorCodes } = require('lp-faas-toolbelt');
const secrets = Toolbelt.SecretClient();
async function lambda({ payload }, callback) {
  const run = async () => { ${body} };
  run().then((r) => callback(null, r), callback);
}`;
}

async function run(t: TestContext, body: string, secrets: { [key: string]: unknown } = {}): Promise<Outcome & { session: Session }> {
  const session = await lambda(t, source(body));
  session.serve = account(secrets);
  return Object.assign(await session.call().outcome, { session });
}

const told = `.then((s) => ({ resolved: s }), (e) => ({ code: e.code, message: e.message, secretError: e instanceof SecretError, error: e instanceof Error, text: String(e) }))`;

// The module

test('the toolbelt has what the contract says, under both names, and nothing that does not work', async (t) => {
  const { result } = await invoke(t, `
    const a = require('lp-faas-toolbelt'), b = require('core-functions-toolbelt');
    function lambda(input, callback) {
      callback(null, {
        same: a === b, again: a === require('lp-faas-toolbelt'), exports: Object.keys(a), codes: a.ErrorCodes,
        statics: Object.getOwnPropertyNames(a.Toolbelt).filter((n) => !['length', 'name', 'prototype'].includes(n)),
        client: Object.keys(a.Toolbelt.SecretClient()), resolve: require.resolve('lp-faas-toolbelt'),
        error: (({ code, message, name }) => ({ code, message, name }))(new a.SecretError('c', 'm')),
      });
    }`);
  assert.deepEqual(result, {
    same: true, again: true,
    exports: ['Toolbelt', 'SecretError', 'ErrorCodes', 'LpServices', 'ConversationContentTypes', 'SDETypes', 'ErrorStrategy', 'ToolbeltError', 'ContextServiceErrorCodes'],
    codes: {
      Platform: { Secret: { NoToken: 'com.liveperson.faas.handler.no-sa-token' } },
      Secret: { Invalid: INVALID, Failure: FAILED, NotFound: NOT_FOUND, AuthFailure: 'com.liveperson.faas.secret.auth-failed' },
      Csds: { NotFound: 'com.liveperson.faas.csds.domain.not-found', Failure: 'com.liveperson.faas.csds.op-failed' },
    },
    statics: ['SecretClient', 'HTTPClient', 'LpClient', 'ConversationUtil', 'SDEUtil', 'GDPRUtil', 'ContextServiceClient', 'MTLSClient', 'OrchestratorClient', 'SFClient'],
    client: ['readSecret', 'updateSecret'], resolve: 'lp-faas-toolbelt',
    error: { code: 'c', message: 'm', name: 'SecretError' },
  });
});

test('Describe lists the toolbelt and its types, which fit how lambdas are written', async (t) => {
  const runtime = await Runtime.start(t);
  const d = await runtime.describe();
  assert.deepEqual(d.dependencies.slice(0, 2).map((x: { name: string }) => x.name), ['lp-faas-toolbelt', 'core-functions-toolbelt']);
  const folder = mkdtempSync(join(tmpdir(), 's'));
  t.after(() => { rmSync(folder, { recursive: true }); });
  const declarations = Object.entries<string>(d.typeDeclarations).map(([name, text]) => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  });
  const faults = (code: string, name = 'lambda.js'): string[] => {
    const file = join(folder, name);
    writeFileSync(file, code);
    const program = ts.createProgram([...declarations, file], { allowJs: true, checkJs: true, noEmit: true, strict: true, noImplicitAny: false, lib: ['lib.es2024.d.ts'], types: [] });
    return ts.getPreEmitDiagnostics(program).map((m) => ts.flattenDiagnosticMessageText(m.messageText, ' '));
  };
  const good = source(`const { value } = await secrets.readSecret('k', { timeout: 5, useCache: false }); await secrets.updateSecret({ key: 'k', value });
    return new SecretError(ErrorCodes.Secret.NotFound, 'm').code`);
  assert.deepEqual(faults(good), []);
  assert.deepEqual(faults(good.replace('lp-faas', 'core-functions')), []);
  assert.deepEqual(faults(`${good} void require('crypto').randomUUID()`, 'typed.ts'), []);
  assert.match(faults(source(`return secrets.readSecret(1)`)).join(), /not assignable to parameter of type 'string'/);
  assert.match(faults(source(`return Toolbelt.MailClient()`)).join(), /'MailClient' does not exist/);
});

// Reading and changing

test('a secret keeps its type, and a changed one is what is read next', async (t) => {
  const secrets = { text: 'ä€😀', number: 4.5, object: { a: [1, { b: null }] }, list: ['x'] };
  const { result, session } = await run(t, `
    const all = {};
    for (const key of ['text', 'number', 'object', 'list']) all[key] = await secrets.readSecret(key);
    all.changed = await secrets.updateSecret({ key: 'object', value: { a: 2 } });
    all.object2 = (await secrets.readSecret('object')).value;
    return all;`, secrets);
  assert.deepEqual(result, {
    text: { key: 'text', value: 'ä€😀' }, number: { key: 'number', value: 4.5 }, object: { key: 'object', value: { a: [1, { b: null }] } },
    list: { key: 'list', value: ['x'] }, changed: { key: 'object', value: { a: 2 } }, object2: { a: 2 },
  });
  assert.equal(new Set(session.requests.map((r) => r.id)).size, 6);
  assert.deepEqual(new Set(session.requests.map((r) => r.callId)), new Set([1]));
});

test('a value of 100 000 characters passes, both ways', async (t) => {
  for (const value of ['x'.repeat(100_000), '😀'.repeat(50_000), '\u0001'.repeat(100_000)]) {
    const { result } = await run(t, `
      const { value } = await secrets.readSecret('k');
      return (await secrets.updateSecret({ key: 'k', value })).value === value && [value.length, value.at(-1)]`, { k: value });
    assert.deepEqual(result, [value.length, value.at(-1)]);
  }
});

test('the host\'s refusal is a SecretError with its code and message', async (t) => {
  const { result } = await run(t, `return [await secrets.readSecret('other')${told}, await secrets.updateSecret({ key: 'other', value: 1 })${told}]`);
  const refusal = { code: NOT_FOUND, message: 'There is no Secret other for this account', secretError: true, error: true, text: 'SecretError: There is no Secret other for this account' };
  assert.deepEqual(result, [refusal, refusal]);
});

test('a rejection that the lambda leaves alone is its failure, with the author\'s stack', async (t) => {
  const session = await lambda(t, `const secrets = require('lp-faas-toolbelt').Toolbelt.SecretClient();
async function lambda(input, callback) {
  callback(null, await secrets.readSecret('other'));
}`);
  session.serve = account({});
  const { failure } = await session.call().outcome;
  assert.equal(failure!.kind, 'FAILURE_KIND_CUSTOM');
  assert.equal(failure!.message, 'There is no Secret other for this account');
  assert.equal(failure!.stack, 'SecretError: There is no Secret other for this account\n    at async lambda (lambda.js:3:18)');
});

test('a rejection that nothing waits for is the failure of the call that asked', async (t) => {
  const session = await lambda(t, `const secrets = require('lp-faas-toolbelt').Toolbelt.SecretClient();
    function lambda({ payload }, callback) { if (payload.ask) void secrets.readSecret('other'); else setTimeout(callback, 200, null, 1) }`);
  session.serve = account({});
  const other = session.call({}).outcome;
  const { failure } = await session.call({ ask: true }).outcome;
  assert.equal(failure!.message, 'There is no Secret other for this account');
  assert.equal((await other).result, 1);
});

const wrong: { call: string; text: RegExp }[] = [
  { call: `readSecret()`, text: /^key must be a string/ },
  { call: `readSecret(7)`, text: /^key must be a string/ },
  { call: `readSecret('')`, text: /^key must be a string/ },
  { call: `readSecret({ key: 'k' })`, text: /^key must be a string/ },
  { call: `readSecret('ü'.repeat(600))`, text: /^key has 1200 bytes, more than the limit of 1024$/ },
  { call: `readSecret('k', 5)`, text: /^options must be an object/ },
  { call: `readSecret('k', null)`, text: /^options must be an object/ },
  { call: `readSecret('k', { useCache: 'no' })`, text: /^options.useCache must be true or false/ },
  { call: `readSecret('k', { timeout: '5' })`, text: /^options.timeout must be a number of milliseconds/ },
  { call: `readSecret('k', { timeout: 0 })`, text: /^options.timeout must be/ },
  { call: `readSecret('k', { timeout: NaN })`, text: /^options.timeout must be/ },
  { call: `updateSecret()`, text: /^The argument of updateSecret must be an object with key and value/ },
  { call: `updateSecret('k', 'v')`, text: /^The argument of updateSecret must be/ },
  { call: `updateSecret({ value: 1 })`, text: /^key must be a string/ },
  { call: `updateSecret({ key: 'k' })`, text: /^value must be a string, a number, or/ },
  { call: `updateSecret({ key: 'k', value() {} })`, text: /^value must be/ },
  { call: `updateSecret({ key: 'k', value: 10n })`, text: /^value must be/ },
  { call: `updateSecret({ key: 'k', value: { toJSON() { throw new Error('hidden') } } })`, text: /^value must be/ },
  { call: `updateSecret({ key: 'k', value: (() => { const a = {}; a.a = a; return a })() })`, text: /^value must be/ },
  { call: `updateSecret({ key: 'k', value: 'x'.repeat(3e6) })`, text: /^value has 3000002 bytes of JSON, more than the limit of 2097152$/ },
];

test('wrong arguments are refused by name, and nothing is sent', async (t) => {
  const calls = wrong.map(({ call }) => `secrets.${call}${told}`).join(', ');
  const { result, session } = await run(t, `return Promise.all([${calls}])`, { k: 1 });
  wrong.forEach(({ call, text }, i) => {
    const { code, message, secretError } = (result as { code: string; message: string; secretError: boolean }[])[i]!;
    assert.deepEqual([code, secretError], [INVALID, true], call);
    assert.match(message, text, call);
  });
  assert.deepEqual(session.requests, []);
});

test('options of V2 are taken, and methods may be taken out of the client', async (t) => {
  const { result } = await run(t, `const { readSecret } = secrets; return [await readSecret('k', {}), await readSecret('k', { useCache: true, timeout: 1e12 })]`, { k: 'v' });
  assert.deepEqual(result, [{ key: 'k', value: 'v' }, { key: 'k', value: 'v' }]);
});

test('a timeout is honoured, and a reply after it changes nothing', async (t) => {
  const session = await lambda(t, source(`return secrets.readSecret('k', payload)${told}`));
  const late = await session.call({ timeout: 20 }).outcome;
  assert.deepEqual(late.result, {
    code: FAILED, message: 'Reading Secret k failed: there was no answer within 20 ms', secretError: true, error: true,
    text: 'SecretError: Reading Secret k failed: there was no answer within 20 ms',
  });
  session.reply(session.requests[0]!.id, { secret: { key: 'k', value: 'late' } });
  session.serve = account({ k: 'v' });
  assert.deepEqual((await session.call({ timeout: 5000 }).outcome).result, { resolved: { key: 'k', value: 'v' } });
});

// When things happen

test('what is asked while the module is read waits for the session', async (t) => {
  const runtime = await Runtime.start(t);
  const failure = await runtime.load(`const secret = require('lp-faas-toolbelt').Toolbelt.SecretClient().readSecret('k');
    async function lambda(input, callback) { callback(null, await secret) }`);
  assert.equal(failure, null);
  const session = runtime.session();
  session.serve = account({ k: 'v' });
  assert.deepEqual((await session.call().outcome).result, { key: 'k', value: 'v' });
  assert.deepEqual(session.requests.map((r) => r.callId), [0]);
});

test('a secret that was asked for is there also when its call has been answered or cancelled', async (t) => {
  const session = await lambda(t, source(`
    secrets.readSecret('k').then(async (s) => { console.info('got', s.value, (await secrets.readSecret('k')).value) });
    if (payload.wait) return new Promise(() => {});`));
  const calls = [session.call({}), session.call({ wait: true })];
  calls[1]!.outcome.catch(() => undefined); // a cancelled call is not answered
  await calls[0]!.outcome;
  await eventually('both requests', () => session.requests.length === 2);
  session.send({ cancels: [{ callId: calls[1]!.id }] });
  session.serve = account({ k: 'v' });
  for (const { id } of [...session.requests]) session.reply(id, { secret: { key: 'k', value: 'first' } });
  await eventually('four requests', () => session.requests.length === 4);
  await eventually('the record of the answered call', () => session.logs.length === 1);
  assert.deepEqual(session.logs.map((l) => [l.callId, l.message, l.extras]), [[0, 'got', ['first', 'v']]]);
  assert.equal(session.requests.filter((r) => r.callId === calls[0]!.id).length, 1, 'after its answer a call has no id any more');
});

test('after a secret was read, code still belongs to its call', async (t) => {
  const session = await lambda(t, `
    const { AsyncLocalStorage } = require('async_hooks'); const als = new AsyncLocalStorage();
    const secrets = require('core-functions-toolbelt').Toolbelt.SecretClient();
    async function lambda({ payload }, callback) {
      als.enterWith(payload);
      for (let i = 0; i < 3; i++) {
        const { value } = await secrets.readSecret(payload);
        console.info(value, als.getStore());
        await secrets.readSecret('none').catch((e) => console.warn(e.code, payload));
      }
      callback(null, payload);
    }`);
  const names = Array.from({ length: 40 }, (_, i) => `n${i}`);
  const held: Request[] = [];
  const give = account(Object.fromEntries(names.map((n) => [n, `v-${n}`])));
  // Replies come together and in another order, so that calls mix as much as they can.
  session.serve = undefined;
  const calls = names.map((n) => session.call(n));
  const timer = setInterval(() => {
    held.push(...session.requests.splice(0));
    for (const r of held.splice(0).reverse()) session.reply(r.id, give(r));
  }, 2);
  const outcomes = await Promise.all(calls.map((c) => c.outcome));
  clearInterval(timer);
  outcomes.forEach(({ result, logs }, i) => {
    const n = names[i]!;
    assert.equal(result, n);
    assert.deepEqual(logs.map((l) => [l.message, ...l.extras]), Array.from({ length: 3 }, () => [[`v-${n}`, n], [NOT_FOUND, n]]).flat());
  });
});

// Limits

test('no more is asked at once than the host takes, and the rest waits its turn', async (t) => {
  const session = await lambda(t, source(`return (await Promise.all(Array.from({ length: 200 }, (_, i) => secrets.readSecret('k' + i)))).map((s) => s.value)`));
  const { outcome } = session.call();
  await eventually('64 requests', () => session.requests.length >= 64);
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal(session.requests.length, 64);
  for (let i = 0; i < 200; i++) {
    const { id, key } = await eventually(`request ${i}`, () => session.requests[i]);
    assert.ok(session.requests.length - i <= 64);
    assert.equal(key, `k${i}`, 'in order');
    session.reply(id, { secret: { key, value: i } });
  }
  assert.deepEqual((await outcome).result, Array.from({ length: 200 }, (_, i) => i));
});

test('large values count for more', async (t) => {
  const session = await lambda(t, source(`return (await Promise.all([1, 2, 3].map((value) => secrets.updateSecret({ key: 'k', value: 'x'.repeat(1.9e6) + value })))).length`));
  const { outcome } = session.call();
  await eventually('two requests', () => session.requests.length >= 2);
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal(session.requests.length, 2);
  session.serve = account({ k: '' });
  session.reply(session.requests[0]!.id, { secret: { key: 'k', value: 1 } });
  session.reply(session.requests[1]!.id, { secret: { key: 'k', value: 1 } });
  assert.equal((await outcome).result, 3);
});

test('a call may ask 1000 times, and other calls are not hindered', async (t) => {
  const { result, session } = await run(t, `
    let n = 0;
    try { for (;;) { await secrets.readSecret('k'); n++ } } catch (e) { return [n, e.code, e.message] }`, { k: 1 });
  assert.deepEqual(result, [1000, FAILED, 'Reading Secret k failed: a call may ask for secrets 1000 times, keep what was read']);
  const again = await session.call().outcome;
  assert.equal((again.result as number[])[0], 1000);
});

test('code outside any call is held to a rate', async (t) => {
  const session = await lambda(t, `
    const { Toolbelt } = require('lp-faas-toolbelt'); const secrets = Toolbelt.SecretClient();
    const asked = Promise.allSettled(Array.from({ length: 3000 }, () => secrets.readSecret('k')));
    async function lambda(input, callback) {
      const all = await asked;
      callback(null, [all.filter((a) => a.status === 'fulfilled').length, all.at(-1).reason.message]);
    }`);
  session.serve = account({ k: 1 });
  const [served, text] = (await session.call().outcome).result as [number, string];
  assert.ok(served >= 1000 && served < 2000, String(served));
  assert.match(text, /code outside any call may ask for secrets 1000 times a second/);
});

test('too many that wait are refused', async (t) => {
  const session = await lambda(t, source(`
    const all = []; for (let i = 0; i < 1000; i++) all.push(secrets.readSecret('k'));
    return (await Promise.allSettled(all)).filter((a) => a.status === 'rejected').map((a) => a.reason.message)`));
  const calls = Array.from({ length: 12 }, () => session.call());
  await eventually('64 requests', () => session.requests.length === 64);
  session.serve = account({ k: 1 });
  for (const { id } of [...session.requests]) session.reply(id, { secret: { key: 'k', value: 1 } });
  const refused = (await Promise.all(calls.map((c) => c.outcome))).flatMap((o) => o.result as string[]);
  assert.ok(refused.length >= 1000 && refused.length <= 1936, String(refused.length));
  assert.equal(refused[0], 'Reading Secret k failed: 10000 requests wait already');
});

// User code that breaks things

test('a lambda that replaces built-ins still has its secrets', async (t) => {
  const session = await lambda(t, `
    const secrets = require('lp-faas-toolbelt').Toolbelt.SecretClient();
    const boom = () => { throw new Error('poisoned') };
    function lambda({ payload }, callback) {
      Map.prototype.get = Map.prototype.set = Map.prototype.delete = boom;
      JSON.stringify = JSON.parse = boom;
      require('async_hooks').AsyncLocalStorage.prototype.getStore = boom;
      String.prototype.charCodeAt = String.prototype.slice = boom;
      Buffer.byteLength = Math.floor = boom;
      Promise.prototype.then = boom;
      globalThis.Promise = globalThis.String = globalThis.setTimeout = globalThis.clearTimeout = boom;
      (async () => {
        const { value } = await secrets.readSecret('k', { timeout: 5000 });
        const changed = await secrets.updateSecret({ key: 'k', value: { a: value } });
        callback(null, changed);
      })();
    }`);
  session.serve = account({ k: 'v' });
  const { result, failure } = await session.call().outcome;
  assert.equal(failure, undefined);
  assert.deepEqual(result, { key: 'k', value: { a: 'v' } });
});

test('replies that nothing waits for are passed over', async (t) => {
  const session = await lambda(t, source(`return (await secrets.readSecret('k')).value`));
  session.send({ replies: [{ requestId: 0 }, { requestId: 99, error: { code: 'c' } }, {}] });
  session.serve = account({ k: 'v' });
  assert.equal((await session.call().outcome).result, 'v');
});
