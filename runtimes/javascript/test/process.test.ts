// The life of a process: handshake, loading, exits, exceptions outside the call,
// heartbeats, cancel, drain, shutdown.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { dist, eventually, lambda, Runtime } from './runtime.ts';

const OK = `function lambda(input, callback) { callback(null, 'ok') }`;

// Handshake

test('without the cookie it says what it is and exits', () => {
  const { status, stderr, stdout } = spawnSync(join(dist, 'node'), [join(dist, 'main.cjs')], { env: {}, encoding: 'utf8' });
  assert.equal(status, 1);
  assert.equal(stdout, '');
  assert.match(stderr, /This is the JavaScript runtime of Sluice/);
});

test('a socket folder that is missing, too long or not there is named', () => {
  const run = (env: { [name: string]: string }): string => {
    const r = spawnSync(join(dist, 'node'), [join(dist, 'main.cjs')], { env: { SLUICE_RUNTIME: 'faas.runtime.v1', ...env }, encoding: 'utf8' });
    assert.equal(r.status, 1);
    assert.equal(r.stdout, '');
    return r.stderr;
  };
  assert.match(run({}), /PLUGIN_UNIX_SOCKET_DIR is not set/);
  assert.match(run({ PLUGIN_UNIX_SOCKET_DIR: `/tmp/${'x'.repeat(120)}` }), /longer than 107 bytes/);
  assert.match(run({ PLUGIN_UNIX_SOCKET_DIR: '/tmp/not/there' }), /cannot listen on \/tmp\/not\/there/);
  assert.match(run({ PLUGIN_UNIX_SOCKET_DIR: '/tmp', PLUGIN_CLIENT_CERT: 'x' }), /mutual TLS/);
});

test('the handshake is one line, and nothing else is printed', async (t) => {
  const runtime = await Runtime.start(t);
  assert.match(runtime.handshake, /^1\|1\|unix\|\/[^|\n]+\|grpc\n$/);
  await runtime.describe();
  assert.equal(runtime.stdoutBytes, runtime.handshake.length);
  assert.equal(runtime.stderr, '');
});

test('Describe names the runtime as clients parse it', async (t) => {
  const runtime = await Runtime.start(t);
  const d = await runtime.describe();
  assert.equal(d.name, 'javascript');
  assert.equal(d.displayName, 'Node.js 24');
  assert.match(d.version, /^\d+\.\d+\.\d+$/);
  assert.match(d.typeDeclarations['lambda.d.ts'], /interface LambdaInput/);
});

test('health says SERVING for the plugin and the server, and knows no other service', async (t) => {
  const runtime = await Runtime.start(t);
  const check = (service: string): Promise<Buffer> =>
    runtime.raw('/grpc.health.v1.Health/Check', Buffer.concat([Buffer.from([0x0a, service.length]), Buffer.from(service)]));
  assert.deepEqual(await check('plugin'), Buffer.from([0x08, 1]));
  assert.deepEqual(await check(''), Buffer.from([0x08, 1]));
  await assert.rejects(check('other'), { code: 5 });
});

test('a method that is not served is UNIMPLEMENTED', async (t) => {
  const runtime = await Runtime.start(t);
  await assert.rejects(runtime.raw('/plugin.GRPCStdio/StreamStdio', Buffer.alloc(0)), { code: 12 });
});

test('Shutdown answers and ends the process with 0', async (t) => {
  const runtime = await Runtime.start(t);
  await runtime.raw('/plugin.GRPCController/Shutdown', Buffer.alloc(0));
  assert.deepEqual(await runtime.exited, { code: 0, signal: null });
});

// Order of calls

test('Load comes once, before Session, and not after it; a loaded process does not build', async (t) => {
  const runtime = await Runtime.start(t);
  const early = runtime.session();
  assert.equal((await eventually('the refusal', () => early.ended)).code, 9);
  assert.equal(await runtime.load(OK), null);
  await assert.rejects(runtime.load(OK), { code: 9 });
  await assert.rejects(runtime.build(OK), { code: 9 });
  const session = runtime.session();
  assert.equal((await session.call().outcome).result, 'ok');
  const second = runtime.session();
  assert.equal((await eventually('the refusal', () => second.ended)).code, 9);
  assert.equal((await session.call().outcome).result, 'ok');
});

test('an artifact of another make is INVALID_ARGUMENT', async (t) => {
  const runtime = await Runtime.start(t);
  await assert.rejects(runtime.load(Buffer.from('{"format":99}')), { code: 3 });
  await assert.rejects(runtime.load(Buffer.from('nothing')), { code: 3 });
  assert.equal(await runtime.load(OK), null);
});

test('bytes that are no frame end the session with INVALID_ARGUMENT', async (t) => {
  const session = await lambda(t, OK);
  session.send({ calls: [{ id: 0, payload: Buffer.from('1') }] });
  assert.equal((await eventually('the end', () => session.ended)).code, 3);
});

// Loading

const faults: { name: string; source: string; message: RegExp; stack?: string }[] = [
  { name: 'throws', source: `const a = 1;\nthrow new Error('at load');`, message: /^Error: at load$/, stack: 'Error: at load\n    at Object.<anonymous> (lambda.js:2:7)' },
  { name: 'throws null', source: `throw null`, message: /^null$/ },
  { name: 'throws a TypeError in a function', source: `function f() {\n  null.x;\n}\nf();`, message: /^TypeError: Cannot read/, stack: `TypeError: Cannot read properties of null (reading 'x')\n    at f (lambda.js:2:8)\n    at Object.<anonymous> (lambda.js:4:1)` },
  { name: 'requires a package', source: `require('axios')`, message: /Cannot find module 'axios'.*built-in modules/ },
  { name: 'requires a file', source: `require('./x')`, message: /A lambda is one file/ },
  { name: 'has no lambda', source: `const x = 1`, message: /no function named lambda/ },
  { name: 'does not parse', source: `function lambda( {`, message: /^SyntaxError/ },
  { name: 'exits', source: `process.exit(3)`, message: /ended its process while it was read: process\.exit\(3\)/ },
  { name: 'rejects at once', source: `${OK}\nPromise.reject(new Error('rejected'))`, message: /^Error: rejected$/ },
  { name: 'throws in the next tick', source: `${OK}\nprocess.nextTick(() => { throw new Error('tick') })`, message: /^Error: tick$/ },
];

for (const { name, source, message, stack } of faults) {
  test(`a source that ${name} is a LoadFailure`, async (t) => {
    const runtime = await Runtime.start(t);
    const failure = await runtime.load(source);
    assert.match(failure!.message, message);
    if (stack !== undefined) assert.equal(failure!.stack, stack);
    assert.doesNotMatch(failure!.stack, /main\.cjs/);
  });
}

test('the environment is the lambda\'s variables and nothing else', async (t) => {
  const source = `function lambda(i, callback) { callback(null, [{ ...process.env }, process.argv, typeof require.main]) }`;
  const session = await lambda(t, source, { environment: { A: '1', B_ü: 'é', EMPTY: '' } });
  assert.deepEqual((await session.call().outcome).result, [{ A: '1', B_ü: 'é', EMPTY: '' }, ['node', 'lambda.js'], 'undefined']);
});

test('writes to process.env are seen by later calls of the process', async (t) => {
  const session = await lambda(t, `function lambda(i, callback) { process.env.N = Number(process.env.N ?? 0) + 1; callback(null, process.env.N) }`);
  assert.equal((await session.call().outcome).result, '1');
  assert.equal((await session.call().outcome).result, '2');
});

test('standard input is at its end', async (t) => {
  const session = await lambda(t, `function lambda(i, callback) { process.stdin.on('data', () => {}).on('end', () => callback(null, require('fs').readFileSync(0, 'utf8'))) }`);
  assert.equal((await session.call().outcome).result, '');
});

// Exits

const exits: { name: string; code: string; reason: RegExp; exit: { code?: number | null; signal?: string } }[] = [
  { name: 'process.exit', code: `process.exit(7); callback(null, 'no')`, reason: /^process\.exit\(7\)$/, exit: { code: 7 } },
  { name: 'process.exit without a code', code: `process.exitCode = 4; process.exit(); callback(null, 'no')`, reason: /^process\.exit\(\)$/, exit: { code: 4 } },
  { name: 'process.exit in a timer', code: `setTimeout(() => process.exit(2), 5)`, reason: /exit\(2\)/, exit: { code: 2 } },
  { name: 'process.exit in a promise', code: `Promise.resolve().then(() => process.exit(2)).catch(() => process.exit(3)).then(() => callback(null, 'no'))`, reason: /exit\(2\)/, exit: { code: 2 } },
  { name: 'process.exit in a try', code: `try { process.exit(2) } catch (e) { callback(null, 'no'); process.exit(1) }`, reason: /exit\(2\)/, exit: { code: 2 } },
  { name: 'process.exit with a listener that throws', code: `process.on('exit', () => { throw new Error('in exit') }); process.exit(2)`, reason: /exit\(2\)/, exit: {} },
  { name: 'process.reallyExit', code: `process.reallyExit(5)`, reason: /reallyExit\(5\)/, exit: { code: 5 } },
  { name: 'process.abort', code: `process.abort()`, reason: /abort/, exit: { signal: 'SIGABRT' } },
  { name: 'a signal to itself', code: `process.kill(process.pid)`, reason: /kill.*SIGTERM/, exit: { signal: 'SIGTERM' } },
  { name: 'SIGKILL to itself', code: `process.kill(process.pid, 'SIGKILL')`, reason: /SIGKILL/, exit: { signal: 'SIGKILL' } },
];

for (const { name, code, reason, exit } of exits) {
  test(`${name} names its call, and the process ends`, async (t) => {
    const session = await lambda(t, `function lambda({ payload }, callback) { if (payload.wait) return; ${code} }`);
    session.call({ wait: true }).outcome.catch(() => undefined);
    const { id, outcome } = session.call();
    outcome.catch(() => undefined);
    const end = await session.runtime.exited;
    if (exit.code !== undefined) assert.equal(end.code, exit.code);
    if (exit.signal !== undefined) assert.equal(end.signal, exit.signal);
    assert.equal(session.exits.length, 1, 'one exit frame');
    assert.equal(session.exits[0]!.callId, id);
    assert.match(session.exits[0]!.reason, reason);
    assert.equal(session.frames.some((f) => f.results > 0), false, 'no result');
  });
}

test('code after process.exit does not run, and what was answered before is sent', async (t) => {
  const session = await lambda(t, `function lambda(input, callback) { callback(null, 'before'); process.exit(0); require('fs').writeFileSync('after', '') }`);
  const { outcome } = session.call();
  assert.equal((await outcome).result, 'before');
  await session.runtime.exited;
  assert.equal(existsSync('after'), false);
  assert.equal(session.exits.length, 1);
});

test('a signal that user code listens to, or that asks whether it lives, is no exit', async (t) => {
  const session = await lambda(t, `function lambda(input, callback) { process.once('SIGTERM', () => callback(null, 'heard')); process.kill(process.pid, 0); process.kill(process.pid, 'SIGTERM') }`);
  assert.equal((await session.call().outcome).result, 'heard');
  assert.equal(session.exits.length, 0);
});

test('a debugger cannot be opened by a signal', async (t) => {
  const session = await lambda(t, `function lambda(input, callback) { try { process.kill(process.pid, 'SIGUSR1') } catch {} setTimeout(() => callback(null, require('inspector').url() ?? null), 50) }`);
  const { outcome } = session.call();
  const result = await Promise.race([outcome.then((o) => o.result), session.runtime.exited.then(() => 'ended')]);
  assert.notEqual(typeof result === 'string' && result.startsWith('ws:'), true);
});

// Exceptions outside the call

const strays: { name: string; code: string; message: RegExp; kind?: string }[] = [
  { name: 'a timer', code: `setTimeout(() => { throw new Error('stray') }, 5)`, message: /^stray$/ },
  { name: 'an immediate', code: `setImmediate(() => { throw new TypeError('stray') })`, message: /^stray$/, kind: 'FAILURE_KIND_RUNTIME_EXCEPTION' },
  { name: 'the next tick', code: `process.nextTick(() => { throw new Error('stray') })`, message: /^stray$/ },
  { name: 'a microtask', code: `queueMicrotask(() => { throw new Error('stray') })`, message: /^stray$/ },
  { name: 'a rejection that nobody handles', code: `Promise.reject(new Error('stray'))`, message: /^stray$/ },
  { name: 'a rejection with nothing', code: `Promise.reject()`, message: /^undefined$/ },
  { name: 'an async function that nobody awaits', code: `(async () => { await null; nothing() })()`, message: /nothing is not defined/, kind: 'FAILURE_KIND_RUNTIME_EXCEPTION' },
  { name: 'an error event that nobody handles', code: `require('net').connect('/not/there')`, message: /ENOENT/ },
  { name: 'a file callback', code: `require('fs').stat('.', () => { throw new Error('stray') })`, message: /^stray$/ },
  { name: 'null in a timer', code: `setTimeout(() => { throw null }, 1)`, message: /^null$/ },
];

for (const { name, code, message, kind } of strays) {
  test(`an exception from ${name} fails its own call; the process asks to be replaced`, async (t) => {
    const session = await lambda(t, `function lambda({ payload }, callback) { if (payload.wait) return setTimeout(() => callback(null, 'waited'), 100); ${code} }`);
    const other = session.call({ wait: true });
    const { failure, logs } = await session.call().outcome;
    assert.match(failure!.message, message);
    assert.equal(failure!.kind, kind ?? 'FAILURE_KIND_CUSTOM');
    assert.equal(logs.length, 1);
    await eventually('the retirement', () => session.retires.length === 1);
    assert.match(session.retires[0]!.reason, /^uncaught error: /);
    assert.equal((await other.outcome).result, 'waited');
    assert.equal((await session.call({ wait: true }).outcome).result, 'waited', 'calls on their way still run');
  });
}

test('an exception after the answer is an Error log, and the process asks to be replaced once', async (t) => {
  const session = await lambda(t, `function lambda(i, callback) { callback(null, 1); setTimeout(() => { throw new Error('stray') }, 5); Promise.reject(new Error('too')) }`);
  assert.equal((await session.call().outcome).result, 1);
  await eventually('both logs', () => session.logs.length === 2);
  assert.deepEqual(session.logs.map((l) => [l.level, l.message, l.callId]), [['LEVEL_ERROR', 'Received Error - too', 0], ['LEVEL_ERROR', 'Received Error - stray', 0]]);
  assert.match(String(session.logs[1]!.extras[0]), /at .*lambda\.js:1:/);
  assert.equal(session.retires.length, 1);
});

test('an exception of the module\'s own timer is logged for no call', async (t) => {
  const session = await lambda(t, `setTimeout(() => { throw new Error('module') }, 30); function lambda(i, callback) { setTimeout(() => callback(null, 1), 80) }`);
  assert.equal((await session.call().outcome).result, 1);
  assert.deepEqual(session.logs.map((l) => [l.message, l.callId]), [['Received Error - module', 0]]);
  assert.equal(session.retires.length, 1);
});

// Heartbeats

test('heartbeats come every 250 ms while a call is open, with the number of calls, and then stop', async (t) => {
  const session = await lambda(t, `function lambda({ payload }, callback) { setTimeout(() => callback(null, 1), payload) }`);
  await Promise.all([session.call(1200).outcome, session.call(1200).outcome]);
  const beats = session.heartbeats.length;
  assert.ok(beats >= 3 && beats <= 5, String(beats));
  for (const b of session.heartbeats) assert.equal(b.openCalls, 2);
  await new Promise((resolve) => setTimeout(resolve, 600));
  assert.equal(session.heartbeats.length, beats);
  await session.call(600).outcome;
  assert.ok(session.heartbeats.length > beats);
});

test('a blocked loop is silent, and its lag is told afterwards', async (t) => {
  const session = await lambda(t, `function lambda({ payload }, callback) { setTimeout(() => { const end = Date.now() + payload; while (Date.now() < end); setTimeout(() => callback(null, 1), 300) }, 300) }`);
  await session.call(1500).outcome;
  const times = session.heartbeats.map((b) => b.at);
  const gaps = times.slice(1).map((at, i) => at - times[i]!);
  assert.ok(Math.max(...gaps) >= 1300, String(gaps));
  assert.ok(Math.max(...session.heartbeats.map((b) => b.eventLoopLagMs)) >= 1000);
});

test('an infinite loop stops the heartbeat for good', async (t) => {
  const session = await lambda(t, `function lambda(i, callback) { for (;;); }`);
  session.call().outcome.catch(() => undefined);
  await new Promise((resolve) => setTimeout(resolve, 800));
  assert.equal(session.heartbeats.length, 0);
  assert.equal(session.runtime.child.exitCode, null);
});

test('calls that take long leave the loop its turns: early ones are answered before the last has run', async (t) => {
  const session = await lambda(t, `function lambda(i, callback) { const end = Date.now() + 30; while (Date.now() < end); callback(null, Date.now()) }`);
  const calls = Array.from({ length: 20 }, () => session.prepare({}));
  session.send({ calls: calls.map((c) => c.entry) });
  session.send({ cancels: [{ callId: calls[19]!.id }] });
  calls[19]!.outcome.catch(() => undefined);
  await calls[0]!.outcome;
  assert.ok(session.frames.reduce((n, f) => n + f.results, 0) < 10);
  await Promise.all(calls.slice(0, 19).map((c) => c.outcome));
  assert.deepEqual(session.strayResults, []);
  const lags = session.heartbeats.map((b) => b.eventLoopLagMs);
  assert.ok(Math.max(...lags) >= 100, `the first heartbeat tells for how long calls have waited: ${String(lags)}`);
});

test('calls that wait for others are not behind', async (t) => {
  const session = await lambda(t, `function lambda(i, callback) { setTimeout(callback, 600) }`);
  await Promise.all(Array.from({ length: 20 }, () => session.call({}).outcome));
  assert.ok(session.heartbeats.length >= 1);
  const lags = session.heartbeats.map((b) => b.eventLoopLagMs);
  assert.ok(Math.min(...lags) < 50, String(lags));
});

// Cancel and drain

test('a cancelled call sends no result and no further log, and its code may go on', async (t) => {
  const session = await lambda(
    t,
    `let ran = false; function lambda({ payload }, callback) { if (payload === 'ask') return callback(null, ran); console.info('start'); setTimeout(() => { ran = true; console.info('end'); callback(null, 1) }, 100) }`,
  );
  const { id, outcome } = session.call('slow');
  outcome.catch(() => undefined);
  await eventually('its first log', () => session.logs.length === 1);
  session.send({ cancels: [{ callId: id }] });
  await eventually('its end', async () => (await session.call('ask').outcome).result === true);
  assert.deepEqual(session.strayResults, []);
  assert.deepEqual(session.logs.map((l) => l.message), ['start']);
});

test('a cancel for a call that is unknown or answered is ignored', async (t) => {
  const session = await lambda(t, OK);
  const { id, outcome } = session.call();
  await outcome;
  session.send({ cancels: [{ callId: id }, { callId: 12345 }] });
  assert.equal((await session.call().outcome).result, 'ok');
});

test('drain lets open calls finish, then the stream ends with OK', async (t) => {
  const session = await lambda(t, `function lambda({ payload }, callback) { setTimeout(() => callback(null, payload), payload) }`);
  const calls = [session.call(50), session.call(150)];
  session.send({ drain: true });
  assert.deepEqual(await Promise.all(calls.map(async (c) => (await c.outcome).result)), [50, 150]);
  assert.equal((await eventually('the end', () => session.ended)).code, 0);
  await session.runtime.raw('/plugin.GRPCController/Shutdown', Buffer.alloc(0));
  assert.equal((await session.runtime.exited).code, 0);
});

test('drain of an idle process, and the host closing its side, end the stream at once', async (t) => {
  const session = await lambda(t, OK);
  session.send({ drain: true });
  assert.equal((await eventually('the end', () => session.ended)).code, 0);
  const other = await lambda(t, OK);
  other.end();
  assert.equal((await eventually('the end', () => other.ended)).code, 0);
});

test('drain does not wait for a cancelled call', async (t) => {
  const session = await lambda(t, `function lambda() {}`);
  const { id, outcome } = session.call();
  outcome.catch(() => undefined);
  session.send({ drain: true });
  session.send({ cancels: [{ callId: id }] });
  assert.equal((await eventually('the end', () => session.ended)).code, 0);
});

test('a process whose host goes away ends', async (t) => {
  const runtime = await Runtime.start(t, {}, true);
  await runtime.load(OK);
  const session = runtime.session();
  await session.call().outcome;
  runtime.disconnect();
  assert.equal((await runtime.exited).code, 0);
});

// Hostile code

test('100 MB on standard output and error harm nothing', async (t) => {
  const session = await lambda(t, `function lambda(i, callback) { const block = 'x'.repeat(1 << 20); for (let n = 0; n < 100; n++) process.stdout.write(block); process.stderr.write('{"@message":1}\\n'); callback(null, 'ok') }`);
  assert.equal((await session.call().outcome).result, 'ok');
  await eventually('all of it', () => session.runtime.stdoutBytes > 100 << 20);
});

test('patched built-ins break the lambda at most', async (t) => {
  const session = await lambda(
    t,
    `const boom = () => { throw new Error('patched') };
     JSON.parse = JSON.stringify = Date.now = boom;
     Promise.prototype.then = boom;
     String.prototype.charCodeAt = String.prototype.slice = String.prototype.split = String.prototype.includes = boom;
     Buffer.byteLength = boom;
     globalThis.setImmediate = globalThis.setTimeout = globalThis.setInterval = globalThis.clearInterval = boom;
     require('async_hooks').AsyncLocalStorage.prototype.getStore = boom;
     require('async_hooks').AsyncLocalStorage.prototype.enterWith = boom;
     globalThis.console = null;
     async function lambda({ payload }, callback) { if (payload === 'throw') throw new Error('thrown'); callback(null, { payload }) }`,
  );
  assert.deepEqual((await session.call('héllo').outcome).result, { payload: 'héllo' });
  assert.equal((await session.call('throw').outcome).failure!.message, 'thrown');
  assert.deepEqual((await session.call({ a: 1 }).outcome).result, { payload: { a: 1 } });
});

for (const builtIn of ['String.prototype.toLowerCase', 'String.prototype.startsWith', 'RegExp.prototype.test', 'Object.keys', 'Array.prototype.push', 'Map.prototype.get']) {
  test(`${builtIn}, without which the host's stream cannot be opened, ends the process`, async (t) => {
    const runtime = await Runtime.start(t);
    // Some keep even the answer to Load from the host.
    await runtime.load(`${builtIn} = () => { throw new Error('patched') };\n${OK}`).then(
      () => void runtime.session().call().outcome.catch(() => undefined),
      (error: unknown) => {
        assert.match(String(error), /UNAVAILABLE/);
      },
    );
    assert.equal((await runtime.exited).code, 1);
    assert.match(runtime.stderr, /The host cannot reach the loaded code: Error: patched/);
  });
}

test('listeners that user code removes are the process\'s end, not a silent one', async (t) => {
  const session = await lambda(t, `function lambda(i, callback) { process.removeAllListeners('uncaughtException'); process.removeAllListeners('unhandledRejection'); setTimeout(() => { throw new Error('stray') }, 5) }`);
  session.call().outcome.catch(() => undefined);
  assert.notEqual((await session.runtime.exited).code, 0);
});

test('a heap that grows without end ends the process near its limit', async (t) => {
  const session = await lambda(t, `function lambda() { const a = []; for (;;) a.push(new Array(1000).fill(a.length)) }`);
  session.call().outcome.catch(() => undefined);
  assert.equal((await session.runtime.exited).signal, 'SIGABRT');
  assert.match(session.runtime.stderr, /heap out of memory/);
});

test('a loaded process is small', async (t) => {
  const holder = await lambda(t, OK); // shares the program's pages, as in a gateway
  const session = await lambda(t, OK);
  await holder.call().outcome;
  await session.call().outcome;
  const rollup = readFileSync(`/proc/${session.runtime.child.pid}/smaps_rollup`, 'utf8');
  const kib = [...rollup.matchAll(/^Private_\w+: +(\d+)/gm)].reduce((sum, m) => sum + Number(m[1]), 0);
  t.diagnostic(`private memory of a loaded process: ${(kib / 1024).toFixed(1)} MiB`);
  assert.ok(kib < 25 * 1024, `${kib} KiB`);
});
