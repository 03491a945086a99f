// The rules of a lambda's outcome: one row, one test, each in a process of its own.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually, invoke, lambda, type Failure, type Outcome } from './runtime.ts';

const CUSTOM = 'FAILURE_KIND_CUSTOM';
const RUNTIME_EXCEPTION = 'FAILURE_KIND_RUNTIME_EXCEPTION';
const INCORRECT = 'Received error in an incorrect format. Please provide an error object to the callback.';

const results: { name: string; body: string; result: unknown }[] = [
  { name: 'callback(null, r) succeeds', body: `callback(null, { a: [1, 'ü', null] })`, result: { a: [1, 'ü', null] } },
  { name: 'callback(undefined, r) succeeds', body: `callback(undefined, 7)`, result: 7 },
  { name: 'callback() without anything succeeds with null', body: `callback()`, result: null },
  { name: 'a result of undefined is null', body: `callback(null, undefined)`, result: null },
  { name: 'a result of false is false', body: `callback(null, false)`, result: false },
  { name: 'an empty string is an empty string', body: `callback(null, '')`, result: '' },
  { name: 'a function as result is null, as JSON has it', body: `callback(null, () => 1)`, result: null },
  { name: 'toJSON decides the form of a result', body: `callback(null, { d: new Date(0) })`, result: { d: '1970-01-01T00:00:00.000Z' } },
  { name: 'the input comes back with headers and payload', body: `callback(null, input)`, result: { headers: [{ key: 'k', value: 'ö' }], payload: { x: 1 } } },
  { name: 'the first call of the callback wins over a second result', body: `callback(null, 1); callback(null, 2)`, result: 1 },
  { name: 'the first call of the callback wins over a later error', body: `callback(null, 1); callback(new Error('late'))`, result: 1 },
  { name: 'an exception after the callback changes nothing', body: `callback(null, 1); throw new Error('late')`, result: 1 },
  { name: 'a callback from a timer succeeds', body: `setTimeout(() => callback(null, 'later'), 20)`, result: 'later' },
  { name: 'a callback from a promise succeeds', body: `Promise.resolve('p').then((v) => callback(null, v))`, result: 'p' },
  { name: 'U+2028 and lone surrogates survive', body: `callback(null, '\\u2028\\ud800')`, result: '\u2028\ud800' },
];

for (const { name, body, result } of results) {
  test(name, async (t) => {
    const outcome = await invoke(t, `function lambda(input, callback) { ${body} }`, { x: 1 }, { headers: [{ key: 'k', value: 'ö' }] });
    assert.equal(outcome.failure, undefined);
    assert.deepEqual(outcome.result, result);
    assert.deepEqual(outcome.logs, []);
  });
}

const forms: { name: string; source: string }[] = [
  { name: 'a function declaration', source: `function lambda(input, callback) { callback(null, 'ok') }` },
  { name: 'an async function that calls back', source: `async function lambda(input, callback) { await null; callback(null, 'ok'); return 'ignored' }` },
  { name: 'const with an arrow function', source: `const lambda = (input, callback) => callback(null, 'ok')` },
  { name: 'let with a function expression', source: `let lambda = function (input, callback) { callback(null, 'ok') }` },
  { name: 'module.exports when no lambda exists', source: `module.exports = (input, callback) => callback(null, 'ok')` },
  { name: 'lambda before module.exports', source: `module.exports = (i, c) => c(null, 'wrong'); function lambda(input, callback) { callback(null, 'ok') }` },
  { name: 'a source that ends in a comment', source: `function lambda(input, callback) { callback(null, 'ok') } // end` },
  { name: 'a source in strict mode', source: `'use strict';\nfunction lambda(input, callback) { callback(null, this === undefined ? 'ok' : 'sloppy') }` },
  { name: 'a source with a hashbang', source: `#!/usr/bin/env node\nfunction lambda(input, callback) { callback(null, 'ok') }` },
  { name: 'a thenable that never settles', source: `function lambda(input, callback) { callback(null, 'ok'); return { then() {} } }` },
  { name: 'top-level require of a built-in', source: `const { join } = require('path'); const c = require('node:crypto');\nfunction lambda(input, callback) { callback(null, c && join('o', 'k') === 'o/k' ? 'ok' : '') }` },
  { name: 'import() of a built-in', source: `async function lambda(input, callback) { const { default: path } = await import('node:path'); callback(null, path.basename('/x/ok')) }` },
];

for (const { name, source } of forms) {
  test(`form: ${name}`, async (t) => {
    assert.deepEqual((await invoke(t, source)).result, 'ok');
  });
}

interface FailureRow {
  name: string;
  body: string;
  kind?: string;
  message: string | RegExp;
  log?: 'error' | { originalFailure: unknown };
  async?: boolean;
}

const failures: FailureRow[] = [
  { name: 'an Error with a message', body: `callback(new Error('nope'))`, message: 'nope' },
  { name: 'an Error beside a result', body: `callback(new Error('nope'), 1)`, message: 'nope' },
  { name: 'a thrown Error', body: `throw new Error('nope')`, message: 'nope' },
  { name: 'a thrown RangeError', body: `throw new RangeError('nope')`, message: 'nope' },
  { name: 'a TypeError', body: `callback(new TypeError('nope'))`, kind: RUNTIME_EXCEPTION, message: 'nope' },
  { name: 'a thrown SyntaxError of JSON.parse', body: `JSON.parse('{')`, kind: RUNTIME_EXCEPTION, message: /JSON/ },
  { name: 'a thrown ReferenceError', body: `nothing.here()`, kind: RUNTIME_EXCEPTION, message: 'nothing is not defined' },
  { name: 'a thrown TypeError', body: `null.x`, kind: RUNTIME_EXCEPTION, message: /Cannot read properties of null/ },
  { name: 'a class made from TypeError', body: `class Mine extends TypeError {} throw new Mine('nope')`, message: 'nope' },
  { name: 'an object with a message', body: `callback({ message: 'nope', code: 3 })`, message: 'nope' },
  { name: 'an object whose message is not a string', body: `callback({ message: { a: 1 } })`, message: '{"a":1}' },
  { name: 'a string', body: `callback('nope')`, message: 'nope', log: { originalFailure: 'nope' } },
  { name: 'a number', body: `callback(42)`, message: '42', log: { originalFailure: 42 } },
  { name: 'zero', body: `callback(0)`, message: '0', log: { originalFailure: 0 } },
  { name: 'an empty string', body: `callback('')`, message: '', log: { originalFailure: '' } },
  { name: 'false', body: `callback(false)`, message: 'false', log: { originalFailure: false } },
  { name: 'an empty object', body: `callback({})`, message: '{}', log: { originalFailure: {} } },
  { name: 'throw null', body: `throw null`, message: 'null', log: { originalFailure: null } },
  { name: 'throw undefined', body: `throw undefined`, message: 'undefined', log: { originalFailure: null } },
  { name: 'a thrown symbol', body: `throw Symbol('s')`, message: 'Symbol(s)', log: { originalFailure: 'Symbol(s)' } },
  { name: 'a rejection before the callback', body: `await null; throw new Error('nope')`, async: true, message: 'nope' },
  { name: 'a rejection with a ReferenceError', body: `nothing()`, async: true, kind: RUNTIME_EXCEPTION, message: 'nothing is not defined' },
  { name: 'a thenable that rejects', body: `return { then(_, reject) { reject(new Error('nope')) } }`, message: 'nope' },
  { name: 'a result with a cycle', body: `const a = {}; a.a = a; callback(null, a)`, message: /^The result is not JSON: .*circular/ },
  { name: 'a BigInt result', body: `callback(null, { n: 1n })`, message: /^The result is not JSON: .*BigInt/ },
  { name: 'a toJSON that throws', body: `callback(null, { toJSON() { throw new Error('in toJSON') } })`, message: 'The result is not JSON: Error: in toJSON' },
  { name: 'a toJSON that calls back again', body: `callback(null, { toJSON() { callback(null, 1); throw new Error('in toJSON') } })`, message: /in toJSON/ },
  { name: 'an endless recursion', body: `(function f() { f() })()`, message: 'Maximum call stack size exceeded' },
  { name: 'an object whose getters throw', body: `throw new Proxy({}, { get() { throw new Error('trap') } })`, message: '[a value that cannot be read]', log: { originalFailure: '[a value that cannot be read]' } },
];

for (const row of failures) {
  test(`failure: ${row.name}`, async (t) => {
    const outcome = await invoke(t, `${row.async === true ? 'async ' : ''}function lambda(input, callback) { ${row.body} }`);
    const failure = failed(outcome);
    assert.equal(failure.kind, row.kind ?? CUSTOM);
    if (typeof row.message === 'string') assert.equal(failure.message, row.message);
    else assert.match(failure.message, row.message);
    const [entry, ...more] = outcome.logs;
    assert.deepEqual(more, []);
    if (typeof row.log === 'object') {
      assert.deepEqual([entry!.level, entry!.message, entry!.extras], ['LEVEL_WARN', INCORRECT, [row.log]]);
    } else {
      assert.deepEqual([entry!.level, entry!.message, entry!.extras], ['LEVEL_ERROR', `Received Error - ${failure.message}`, []]);
    }
  });
}

function failed(outcome: Outcome): Failure {
  assert.ok(outcome.failure, `succeeded with ${JSON.stringify(outcome.result)}`);
  return outcome.failure;
}

test('failure: an Error with an empty message is in an incorrect format', async (t) => {
  const outcome = await invoke(t, `function lambda(input, callback) { callback(new Error('')) }`);
  assert.equal(failed(outcome).kind, CUSTOM);
  assert.equal(failed(outcome).message, 'Error');
  assert.equal(outcome.logs[0]!.level, 'LEVEL_WARN');
  assert.equal(outcome.logs[0]!.message, INCORRECT);
});

test('a lambda that returns a value and never calls back gets no answer', async (t) => {
  const session = await lambda(t, `function lambda(input, callback) { if (input.payload.quiet) return 'ignored'; callback(null, 1) }`);
  let answered = false;
  void session.call({ quiet: true }).outcome.then(() => (answered = true), () => undefined);
  assert.equal((await session.call({}).outcome).result, 1);
  assert.equal(answered, false);
});

test('a lambda goes on working after its callback', async (t) => {
  const session = await lambda(t, `let done = 0; function lambda(input, callback) { callback(null, done); setTimeout(() => { done = 'later' }, 10) }`);
  assert.equal((await session.call().outcome).result, 0);
  await eventually('the later work', async () => (await session.call().outcome).result === 'later');
});

test('a rejection after the callback is an Error log and not a failure', async (t) => {
  const session = await lambda(t, `async function lambda(input, callback) { callback(null, 1); await null; throw new Error('afterwards') }`);
  assert.equal((await session.call().outcome).result, 1);
  const log = await eventually('the log', () => session.logs.at(0));
  assert.equal(log.message, 'Received Error - afterwards');
  assert.equal(log.callId, 0);
  assert.equal((await session.call().outcome).result, 1);
});

test('the stack is the author\'s: lines of lambda.js and nothing of the runtime', async (t) => {
  const outcome = await invoke(t, `// first line\nfunction deep() {\n  throw new Error('here');\n}\nfunction lambda(input, callback) {\n  deep();\n}`);
  assert.equal(failed(outcome).stack, 'Error: here\n    at deep (lambda.js:3:9)\n    at lambda (lambda.js:6:3)');
});

test('a stack that user code replaced does no harm', async (t) => {
  const body = `Error.prepareStackTrace = () => ({ toString() { throw 1 } }); throw new Error('odd')`;
  const outcome = await invoke(t, `function lambda(input, callback) { ${body} }`);
  assert.equal(failed(outcome).message, 'odd');
  assert.equal(failed(outcome).stack, '');
});

test('a message of 10 MB is cut and says so', async (t) => {
  const outcome = await invoke(t, `function lambda(input, callback) { callback(new Error('é'.repeat(5e6))) }`);
  const { message } = failed(outcome);
  assert.ok(Buffer.byteLength(message) <= 32 << 10);
  assert.match(message, /… \[cut, 10000000 bytes in all\]$/);
});

test('a result over the limit fails and names the limit', async (t) => {
  const source = `function lambda(input, callback) { callback(null, 'x'.repeat(input.payload)) }`;
  const session = await lambda(t, source, { limits: { resultBytes: 1000 } });
  assert.equal(((await session.call(998).outcome).result as string).length, 998);
  const outcome = await session.call(999).outcome;
  assert.equal(failed(outcome).kind, CUSTOM);
  assert.equal(failed(outcome).message, 'The result has 1001 bytes, more than the limit of 1000 bytes.');
});

test('a result and a payload of 6 MiB pass, and one byte more does not', async (t) => {
  const session = await lambda(t, `function lambda(input, callback) { callback(null, input.payload) }`);
  const largest = 'x'.repeat((6 << 20) - 2);
  assert.equal((await session.call(largest).outcome).result, largest);
  const more = await session.call(`${largest}x`).outcome;
  assert.match(failed(more).message, /more than the limit of 6291456 bytes/);
  const two = await Promise.all([session.call(largest).outcome, session.call(largest).outcome]);
  assert.deepEqual(two.map((o) => (o.result as string).length), [largest.length, largest.length]);
});

test('a payload in every script arrives unchanged', async (t) => {
  const payload = { text: 'aé€😀\u2028\0"\\', long: 'é'.repeat(100_000), empty: '', n: [1e300, -0.5] };
  assert.deepEqual((await invoke(t, `function lambda(i, callback) { callback(null, i.payload) }`, payload)).result, payload);
});

test('__proto__ in a payload is data', async (t) => {
  const body = `callback(null, [({}).polluted === undefined, Object.keys(input.payload)])`;
  const outcome = await invoke(t, `function lambda(input, callback) { ${body} }`, undefined, { raw: '{"__proto__":{"polluted":1}}' });
  assert.deepEqual(outcome.result, [true, ['__proto__']]);
});

test('many calls at once each get their own answer, several to a frame', async (t) => {
  const session = await lambda(t, `function lambda(input, callback) { setImmediate(() => callback(null, input.payload * 2)) }`);
  const calls = Array.from({ length: 500 }, (_, i) => session.prepare(i));
  session.send({ calls: calls.map((c) => c.entry) });
  const outcomes = await Promise.all(calls.map((c) => c.outcome));
  assert.deepEqual(outcomes.map((o) => o.result), outcomes.map((_, i) => i * 2));
  assert.ok(Math.max(...session.frames.map((f) => f.results)) > 50, JSON.stringify(session.frames));
});
