import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually, invoke, lambda, type CallOptions, type LoadOptions, type Record } from './runtime.ts';

async function logged(t: Parameters<typeof invoke>[0], body: string, options: LoadOptions & CallOptions = {}): Promise<{ logs: Record[]; dropped: number }> {
  const outcome = await invoke(t, `function lambda(input, callback) { ${body}; callback(null, 1) }`, {}, options);
  assert.equal(outcome.failure, undefined, outcome.failure?.message);
  return { logs: outcome.logs, dropped: outcome.droppedLogs };
}

test('each level has its own name, log is Info, and time is now', async (t) => {
  const body = `console.debug('d'); console.info('i'); console.log('l'); console.warn('w'); console.error('e')`;
  const before = Date.now();
  const { logs } = await logged(t, body, { debug: true });
  assert.deepEqual(
    logs.map((l) => [l.level, l.message, l.extras]),
    [['LEVEL_DEBUG', 'd', []], ['LEVEL_INFO', 'i', []], ['LEVEL_INFO', 'l', []], ['LEVEL_WARN', 'w', []], ['LEVEL_ERROR', 'e', []]],
  );
  for (const { timestampMs } of logs) assert.ok(timestampMs >= before - 1 && timestampMs <= Date.now() + 1, String(timestampMs));
});

test('debug records are kept back unless the call wants them', async (t) => {
  const { logs, dropped } = await logged(t, `console.debug('d'); console.info('i')`);
  assert.deepEqual(logs.map((l) => l.message), ['i']);
  assert.equal(dropped, 0);
});

const messages: { name: string; call: string; message: string; extras: unknown[] }[] = [
  { name: 'no argument', call: ``, message: 'undefined', extras: [] },
  { name: 'an object as message is printed as node does', call: `{ a: 1, b: ['x'] }`, message: `{ a: 1, b: [ 'x' ] }`, extras: [] },
  { name: 'a number as message', call: `42`, message: '42', extras: [] },
  { name: 'placeholders stay as they are', call: `'%s of %d', 'a', 2`, message: '%s of %d', extras: ['a', 2] },
  { name: 'extras of every JSON kind', call: `'m', 's', 1.5, true, null, [1], { a: { b: 2 } }`, message: 'm', extras: ['s', 1.5, true, null, [1], { a: { b: 2 } }] },
  { name: 'undefined as an extra', call: `'m', undefined, { a: undefined }`, message: 'm', extras: [null, {}] },
  { name: 'a BigInt, inside and outside', call: `'m', 10n, { n: 11n }`, message: 'm', extras: ['10', { n: '11' }] },
  { name: 'functions and symbols', call: `'m', function f() {}, { s: Symbol('x'), g: () => 1 }`, message: 'm', extras: ['[Function: f]', { s: 'Symbol(x)', g: '[Function: g]' }] },
  { name: 'numbers that JSON lacks', call: `'m', NaN, { i: -Infinity }`, message: 'm', extras: ['NaN', { i: '-Infinity' }] },
  { name: 'a cycle', call: `'m', (() => { const a = { n: 1 }; a.self = a; return a })()`, message: 'm', extras: [{ n: 1, self: '[Circular]' }] },
  { name: 'the same object twice is no cycle', call: `'m', (() => { const a = { n: 1 }; return [a, a, { a }] })()`, message: 'm', extras: [[{ n: 1 }, { n: 1 }, { a: { n: 1 } }]] },
  { name: 'maps, sets and expressions', call: `'m', new Map([['a', 1]]), new Set([2]), /x/g`, message: 'm', extras: [`Map(1) { 'a' => 1 }`, 'Set(1) { 2 }', '/x/g'] },
  { name: 'a getter that throws', call: `'m', { get a() { throw new Error('no') } }`, message: 'm', extras: ['{ a: [Getter] }'] },
  { name: 'a toJSON that throws', call: `'m', { toJSON() { throw new Error('no') } }`, message: 'm', extras: ['{ toJSON: [Function: toJSON] }'] },
];

for (const { name, call, message, extras } of messages) {
  test(`a record of ${name}`, async (t) => {
    const { logs } = await logged(t, `console.info(${call})`);
    assert.deepEqual(logs.map((l) => [l.message, l.extras]), [[message, extras]]);
  });
}

test('an Error among the extras keeps name, message, stack and what it carries', async (t) => {
  const { logs } = await logged(t, `console.error('m', Object.assign(new RangeError('r'), { code: 'E' }))`);
  const [extra] = logs[0]!.extras as [{ [key: string]: string }];
  assert.deepEqual({ ...extra, stack: '' }, { code: 'E', name: 'RangeError', message: 'r', stack: '' });
  assert.match(extra['stack']!, /^RangeError: r\n +at lambda \(lambda\.js:1:\d+\)$/, 'and no frame of the runtime');
});

test('an Error as message shows its stack', async (t) => {
  const { logs } = await logged(t, `console.error(new Error('m'))`);
  assert.match(logs[0]!.message, /^Error: m\n +at lambda \(lambda\.js:1:/);
  assert.doesNotMatch(logs[0]!.message, /main\.cjs|node:internal/);
});

test('other methods of the console become records too', async (t) => {
  const body = `console.table([{ a: 1 }]); console.assert(false, 'wrong'); console.dir({ x: 1 }); console.count(); console.trace('t'); console.group('g'); console.groupEnd(); console.time('x'); console.timeEnd('x')`;
  const { logs } = await logged(t, body);
  assert.deepEqual(logs.map((l) => l.level.slice(6)), ['INFO', 'ERROR', 'INFO', 'INFO', 'ERROR', 'INFO', 'INFO']);
  assert.match(logs[0]!.message, /│ a/);
  assert.equal(logs[1]!.message, 'Assertion failed: wrong');
  assert.equal(logs[2]!.message, '{ x: 1 }');
});

test('require("console") is the same console', async (t) => {
  const { logs } = await logged(t, `require('console').warn('w'); require('node:console').info('i')`);
  assert.deepEqual(logs.map((l) => l.message), ['w', 'i']);
});

test('records of overlapping calls never mix, through timers, promises, streams and emitters', async (t) => {
  const session = await lambda(
    t,
    `const { EventEmitter, once } = require('events');
     const fs = require('fs/promises');
     async function lambda({ payload }, callback) {
       console.info(payload + ' start');
       await new Promise((resolve) => setTimeout(resolve, Math.random() * 20));
       console.info(payload + ' timer');
       await fs.stat('.');
       console.info(payload + ' file');
       const e = new EventEmitter();
       setImmediate(() => e.emit('x'));
       await once(e, 'x');
       process.nextTick(() => queueMicrotask(() => { console.info(payload + ' end'); callback(null, payload); }));
     }`,
  );
  const names = Array.from({ length: 50 }, (_, i) => `n${i}`);
  const outcomes = await Promise.all(names.map((n) => session.call(n).outcome));
  outcomes.forEach(({ logs }, i) => {
    assert.deepEqual(logs.map((l) => l.message), ['start', 'timer', 'file', 'end'].map((m) => `${names[i]} ${m}`));
  });
});

test('a lambda\'s own AsyncLocalStorage does not leak from call to call', async (t) => {
  const session = await lambda(
    t,
    `const { AsyncLocalStorage } = require('async_hooks'); const als = new AsyncLocalStorage();
     function lambda({ payload }, callback) { const before = als.getStore() ?? null; als.enterWith(payload); callback(null, before) }`,
  );
  const calls = [1, 2, 3].map((n) => session.prepare(n));
  session.send({ calls: calls.map((c) => c.entry) });
  assert.deepEqual(await Promise.all(calls.map(async (c) => (await c.outcome).result)), [null, null, null]);
});

test('records over the count are dropped and counted', async (t) => {
  const { logs, dropped } = await logged(t, `for (let i = 0; i < 25; i++) console.info('m' + i)`, { limits: { logRecords: 10 } });
  assert.deepEqual(logs.map((l) => l.message), Array.from({ length: 10 }, (_, i) => `m${i}`));
  assert.equal(dropped, 15);
});

test('a failure over the count of records counts its own entry as dropped', async (t) => {
  const outcome = await invoke(t, `function lambda(i, c) { console.info('a'); c(new Error('e')) }`, {}, { limits: { logRecords: 1 } });
  assert.equal(outcome.failure!.message, 'e');
  assert.deepEqual(outcome.logs.map((l) => l.message), ['a']);
  assert.equal(outcome.droppedLogs, 1);
});

test('a message over the size is cut and marked, in whole characters', async (t) => {
  const { logs } = await logged(t, `console.info('é'.repeat(5000), 'extra')`, { limits: { logRecordBytes: 1000 } });
  const { message, extras } = logs[0]!;
  assert.ok(Buffer.byteLength(message) <= 1000);
  assert.match(message, /^é{400,}… \[cut, 10000 bytes in all\]$/);
  assert.deepEqual(extras, []);
});

test('extras that do not fit are left out and marked', async (t) => {
  const { logs } = await logged(t, `console.info('m', 'a', 'x'.repeat(2000), 'b')`, { limits: { logRecordBytes: 1000 } });
  assert.deepEqual(logs[0]!.extras, ['a', '… [cut, 2 extras missing]']);
});

test('a message of 50 MB does no harm', async (t) => {
  const { logs } = await logged(t, `console.info('x'.repeat(5e7)); console.info({ s: 'x'.repeat(5e7) }); console.info(new Array(1e6).fill(7))`);
  assert.equal(logs.length, 3);
  for (const l of logs) assert.ok(Buffer.byteLength(l.message) <= 64 << 10);
});

test('what is logged after the answer belongs to no call', async (t) => {
  const session = await lambda(t, `function lambda(i, callback) { callback(null, 1); console.info('sync'); setTimeout(() => console.info('timer'), 5) }`);
  const { id, outcome } = session.call();
  await outcome;
  await eventually('both records', () => session.logs.length === 2);
  assert.deepEqual(session.logs.map((l) => [l.message, l.callId]), [['sync', 0], ['timer', 0]]);
  assert.equal(session.logs.some((l) => l.callId === id), false);
});

test('what is logged while the module is read is sent first, for no call', async (t) => {
  const session = await lambda(t, `console.info('reading'); function lambda(i, callback) { callback(null, 1) }`);
  await session.call().outcome;
  assert.deepEqual(session.logs.map((l) => [l.message, l.callId]), [['reading', 0]]);
});

test('a flood outside any call is dropped and counted', async (t) => {
  const session = await lambda(t, `let n = 0; const i = setInterval(() => { for (let k = 0; k < 1000; k++) console.info('m'); if (++n === 5) { clearInterval(i); setTimeout(() => console.info('last'), 200) } }, 1); function lambda(i, callback) { callback(null, 1) }`);
  await eventually('the last record', () => session.logs.some((l) => l.message === 'last'));
  assert.ok(session.logs.length < 400, String(session.logs.length));
  assert.ok(session.logs.some((l) => /^\d+ records logged outside any call were dropped/.test(l.message)));
});
