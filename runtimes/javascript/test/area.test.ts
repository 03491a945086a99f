// The record area: what is logged in the turn that never ends is not lost.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually, lambda, type Record, type Runtime, type Session } from './runtime.ts';

/** What the host would have in the end, in order: what it received, then what is only in the area. */
function all(session: Session & { runtime: Runtime }): Record[] {
  const last = session.logs.at(-1)?.sequence ?? 0;
  return [...session.logs, ...session.runtime.area().filter((r) => r.sequence > last)];
}

const messages = (records: Record[]): string[] => records.map((r) => r.message);

test('what is logged before an endless loop is in the area', async (t) => {
  const session = await lambda(t, `function lambda({ payload }, callback) { console.info('first ' + payload, { a: 1 }); console.error('ü'); for (;;); }`);
  const { id, outcome } = session.call('x');
  outcome.catch(() => undefined);
  const records = await eventually('both records', () => session.runtime.area().length === 2 && session.runtime.area());
  assert.deepEqual(records.map((r) => [r.callId, r.level, r.message, r.extras, r.sequence]), [
    [id, 'LEVEL_INFO', 'first x', [{ a: 1 }], 1], [id, 'LEVEL_ERROR', 'ü', [], 2],
  ]);
  assert.deepEqual(session.logs, []);
});

test('what is logged before the memory is full is in the area', async (t) => {
  const session = await lambda(t, `function lambda() { console.info('last words'); const a = []; for (;;) a.push(new Array(1000).fill(a.length)) }`);
  session.call().outcome.catch(() => undefined);
  assert.equal((await session.runtime.exited).signal, 'SIGABRT');
  assert.deepEqual(messages(all(session)), ['last words']);
});

test('records of turns that ended and of the one that does not make one sequence', async (t) => {
  const session = await lambda(t, `
    let n = 0;
    async function lambda({ payload }, callback) {
      for (let i = 0; i < payload.turns; i++) {
        for (let k = 0; k < 3; k++) console.info('r' + n++);
        await new Promise((resolve) => (i % 2 ? setImmediate(resolve) : setTimeout(resolve, 1)));
      }
      if (!payload.block) return callback(null, 1);
      for (let k = 0; k < 3; k++) console.info('r' + n++);
      for (;;);
    }`);
  for (let i = 0; i < 3; i++) await session.call({ turns: 7 }).outcome;
  const blocked = [5, 8].map((turns) => session.call({ turns, block: true }));
  for (const { outcome } of blocked) outcome.catch(() => undefined);
  let records: Record[] = [];
  await eventually('an end of the records', async () => {
    const before = records.length;
    await new Promise((resolve) => setTimeout(resolve, 300));
    records = all(session);
    return records.length === before && before >= 63 + 15 + 3;
  });
  assert.deepEqual(records.map((r) => r.sequence), records.map((_, i) => i + 1));
  assert.deepEqual(messages(records), records.map((_, i) => `r${i}`));
});

test('the area is bounded, and a record that does not fit is only sent', async (t) => {
  const session = await lambda(t, `function lambda({ payload }, callback) { for (let i = 0; i < 900; i++) console.info('x'.repeat(1000) + i); if (payload) for (;;); callback(null, 1) }`);
  assert.equal((await session.call(false).outcome).logs.length, 900);
  session.call(true).outcome.catch(() => undefined);
  const found = await eventually('a full area', () => session.runtime.area().some((r) => r.sequence > 1000) && session.runtime.area());
  const kept = found.filter((r) => r.sequence > 900);
  assert.ok(kept.length > 200 && kept.length < 270, String(kept.length));
  assert.deepEqual(kept.map((r) => r.sequence), kept.map((_, i) => 901 + i));
});

test('user code that closes the descriptor logs as before', async (t) => {
  const session = await lambda(t, `function lambda(input, callback) { console.info('a'); require('fs').closeSync(3); console.info('b'); callback(null, 1) }`);
  assert.deepEqual(messages((await session.call().outcome).logs), ['a', 'b']);
});
