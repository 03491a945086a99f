import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { before, after, test, type TestContext } from 'node:test';
import { Runtime, type Diagnostic } from './runtime.ts';

let builder: Runtime;
const cleanups: (() => Promise<void>)[] = [];
before(async () => {
  builder = await Runtime.start({ after: (f: () => Promise<void>) => cleanups.push(f) } as unknown as TestContext);
});
after(async () => {
  for (const f of cleanups) await f();
});

const OK = `function lambda(input, callback) { callback(null, 1) }`;

interface Row {
  name: string;
  source: string;
  /** severity letter, code, line, column, part of the message; absent: no diagnostic */
  want?: [string, string, number, number, RegExp][];
}

const rows: Row[] = [
  // syntax
  { name: 'an unexpected token', source: 'function lambda(input, callback) {\n  callback(null, 1 2);\n}', want: [['E', 'syntax', 2, 20, /^Unexpected token\.$/]] },
  { name: 'an unfinished source', source: 'function lambda(input, callback) {', want: [['E', 'syntax', 1, 35, /Unexpected token/]] },
  { name: 'columns count UTF-16 units', source: `const s = '😀é'; ?`, want: [['E', 'syntax', 1, 18, /Unexpected/]] },
  { name: 'an unfinished string', source: `\n\nvar s = 'abc\n`, want: [['E', 'syntax', 3, 9, /Unterminated string/]] },
  { name: 'a wrong regular expression', source: `${OK}\nconst r = /(/;`, want: [['E', 'syntax', 2, 12, /Invalid regular expression/]] },
  { name: 'a name declared twice', source: `${OK}\nlet a; let a;`, want: [['E', 'syntax', 2, 12, /already been declared/]] },
  { name: 'import', source: `import x from 'y';\n${OK}`, want: [['E', 'syntax', 1, 1, /CommonJS module: use require/]] },
  { name: 'export', source: `export ${OK}`, want: [['E', 'syntax', 1, 1, /no export/]] },
  { name: 'await outside an async function', source: `await 1;\n${OK}`, want: [['E', 'syntax', 1, 7, /Unexpected token/]] },
  { name: 'a source nested too deeply', source: '['.repeat(90_000), want: [['E', 'syntax', 0, 0, /nested too deeply/]] },
  { name: 'a private name that is not there', source: `${OK}\n\nclass A { f() { return #y in this } }`, want: [['E', 'syntax', 3, 24, /#y/]] },
  { name: 'what only the engine refuses: a module has these names already', source: `${OK}\n\nconst require = 1;`, want: [['E', 'syntax', 3, 0, /'require' has already been declared/]] },
  { name: 'a hashbang that is not at the beginning', source: `\n#!x\n${OK}`, want: [['E', 'syntax', 2, 2, /./]] },
  { name: 'a sum of 4000 terms', source: `${OK}\nvoid (${'1+'.repeat(4000)}1);` },
  // contract
  { name: 'a function declaration', source: OK },
  { name: 'an async function', source: `async ${OK}` },
  { name: 'const lambda, an arrow', source: `const lambda = (input, callback) => callback(null, 1)` },
  { name: 'let lambda, a function', source: `let lambda = function (i, cb) { cb() }` },
  { name: 'var lambda from a call', source: `var lambda = wrap(); function wrap() { return (i, cb) => cb() }` },
  { name: 'lambda from a pattern', source: `const { lambda } = { lambda(i, cb) { cb() } }` },
  { name: 'lambda assigned after its declaration', source: `let lambda; lambda = (i, cb) => cb()` },
  { name: 'module.exports', source: `module.exports = (i, cb) => cb()` },
  { name: "module['exports'] and exports", source: `exports = module['exports'] = (i, cb) => cb()` },
  { name: 'a hashbang and strict mode', source: `#!/usr/bin/env node\n'use strict';\n${OK}` },
  { name: 'an empty source', source: '', want: [['E', 'contract', 0, 0, /no function named lambda\. Declare it at the top level: function lambda\(input, callback\)/]] },
  { name: 'only comments', source: '// lambda\n/* function lambda() {} */', want: [['E', 'contract', 0, 0, /no function named lambda/]] },
  { name: 'a function of another name', source: `function lamda(i, cb) { cb() }`, want: [['E', 'contract', 0, 0, /no function named lambda/]] },
  { name: 'a lambda that is not at the top level', source: `{ let lambda = (i, cb) => cb() }\nfunction f() { function lambda() {} }`, want: [['E', 'contract', 0, 0, /top level/]] },
  { name: 'a lambda that is a constant', source: `\n  const lambda = 5;`, want: [['E', 'contract', 2, 18, /lambda is a constant/]] },
  { name: 'a lambda that is an object', source: `const lambda = { handler() {} }`, want: [['E', 'contract', 1, 16, /lambda is an object/]] },
  { name: 'a lambda that is a class', source: `class lambda {}`, want: [['E', 'contract', 1, 1, /lambda is a class/]] },
  { name: 'a lambda that is a generator', source: `function* lambda(i, cb) { cb() }`, want: [['E', 'contract', 1, 1, /generator/]] },
  { name: 'module.exports that is an object', source: `module.exports = { lambda: (i, cb) => cb() }`, want: [['E', 'contract', 1, 18, /an object/]] },
  { name: 'a callback that is never called', source: `function lambda(input, callback) { return 1 }`, want: [['W', 'contract', 1, 1, /never uses its callback/]] },
  { name: 'a lambda without a callback', source: `async function lambda(input) { return input }`, want: [['W', 'contract', 1, 1, /time limit/]] },
  { name: 'a callback among arguments', source: `function lambda() { arguments[1](null, 1) }` },
  { name: 'a callback among the rest', source: `function lambda(...all) { all[1](null, 1) }` },
  { name: 'a callback with a default', source: `function lambda(i, cb = () => {}) { cb() }` },
  // forbidden
  { name: 'eval', source: `${OK}\n  eval('1');`, want: [['E', 'forbidden', 2, 3, /^eval makes code of text/]] },
  { name: 'eval in many forms', source: `${OK}\n(0, eval)('1'); eval?.('1'); const e = eval; globalThis.eval('1'); global['eval'](\`1\`);`, want: [['E', 'forbidden', 2, 5, /eval/], ['E', 'forbidden', 2, 17, /eval/], ['E', 'forbidden', 2, 40, /eval/], ['E', 'forbidden', 2, 46, /eval/], ['E', 'forbidden', 2, 68, /eval/]] },
  { name: 'Function', source: `${OK}\nFunction('return 1')(); new Function('a', 'return a'); Function.call(null, 'x'); new globalThis.Function('');`, want: [['E', 'forbidden', 2, 1, /Function/], ['E', 'forbidden', 2, 29, /Function/], ['E', 'forbidden', 2, 56, /Function/], ['E', 'forbidden', 2, 86, /Function/]] },
  { name: 'a property and a method named eval', source: `${OK}\nconst o = { eval() {}, Function: 1 }; o.eval('1'); o.Function; class C { eval() { this.eval() } static Function = 1 }` },
  { name: 'a local named eval', source: `${OK}\nfunction f(eval) { eval('1') }\nfunction g() { const Function = () => 1; return Function() }` },
  { name: 'a local declared after its use', source: `${OK}\nfunction f() { eval('1'); var eval = () => 1 }` },
  { name: 'a local of another scope', source: `${OK}\n{ const eval = 1 }\neval('1');`, want: [['E', 'forbidden', 3, 1, /eval/]] },
  { name: 'a catch parameter, a label and an import.meta-like name', source: `${OK}\ntry { } catch (eval) { eval() }\nFunction: for (;;) break Function;` },
  { name: 'instanceof Function and typeof eval', source: `${OK}\nvoid (lambda instanceof Function, typeof eval, Function.prototype, [Function]);` },
  { name: 'eval as a default of a parameter', source: `${OK}\nfunction f(a = eval('1'), { b = eval('2'), [eval('3')]: c } = {}) {}`, want: [['E', 'forbidden', 2, 16, /eval/], ['E', 'forbidden', 2, 33, /eval/], ['E', 'forbidden', 2, 45, /eval/]] },
  { name: 'eval in a template, a class field and a static block', source: `${OK}\nclass C { x = eval('1'); static { eval('2') } [eval('3')]() {} }\n\`\${eval('4')}\``, want: [['E', 'forbidden', 2, 15, /eval/], ['E', 'forbidden', 2, 35, /eval/], ['E', 'forbidden', 2, 48, /eval/], ['E', 'forbidden', 3, 4, /eval/]] },
  // dependencies
  { name: 'built-ins, with and without node:', source: `${OK}\nrequire('crypto'); require('node:https'); require('fs/promises'); require(\`path\`);` },
  { name: 'packages, and paths within them', source: `${OK}\nconst _ = require('lodash'), get = require('lodash/get'), fp = require('lodash/fp'), s = require('request-promise/errors');` },
  { name: 'a package that is not there', source: `${OK}\nconst axios = require('axios');`, want: [['E', 'dependency', 2, 15, /Cannot find module 'axios'\. A lambda can require Node\.js built-in modules, .* and lp-faas-toolbelt, core-functions-toolbelt, request-promise, request-promise-native, jsforce, jsonwebtoken, lodash, luxon and oauth-1\.0a\. No other packages/]] },
  { name: 'a path that a package has not', source: `${OK}\nrequire('jsforce/lib/query')`, want: [['E', 'dependency', 2, 1, /Require jsforce itself/]] },
  { name: 'a name that only begins like a package', source: `${OK}\nrequire('lodashx')`, want: [['E', 'dependency', 2, 1, /Cannot find module 'lodashx'/]] },
  { name: 'import() of what is there', source: `${OK}\nconst p = [import('lodash'), import('node:fs'), import(\`lp-faas-toolbelt\`), import(process.env.M)];` },
  { name: 'import() of what is not there', source: `${OK}\nconst p = import('axios');\nimport('./x.mjs')`, want: [['E', 'dependency', 2, 11, /Cannot find module 'axios'/], ['E', 'dependency', 3, 1, /A lambda is one file/]] },
  { name: 'a file', source: `${OK}\nrequire('./other')`, want: [['E', 'dependency', 2, 1, /A lambda is one file/]] },
  { name: 'a require of its own', source: `${OK}\nfunction f(require) { require('lodash') }` },
  { name: 'a name that is only known when it runs', source: `${OK}\nrequire(process.env.MODULE)` },
];

for (const { name, source, want } of rows) {
  test(`build: ${name}`, async () => {
    const { artifact, diagnostics } = await builder.build(source);
    assert.deepEqual(diagnostics.map(place), (want ?? []).map(([s, code, line, column]) => `${s} ${code} ${line}:${column}`), JSON.stringify(diagnostics));
    (want ?? []).forEach((w, i) => assert.match(diagnostics[i]!.message, w[4]));
    assert.equal(artifact.length === 0, (want ?? []).some((w) => w[0] === 'E'));
  });
}

function place({ severity, code, line, column }: Diagnostic): string {
  return `${severity === 'SEVERITY_ERROR' ? 'E' : 'W'} ${code} ${line}:${column}`;
}

const around = (depth: number, open: string, inner: string, close: string): string => open.repeat(depth) + inner + close.repeat(depth);
const deep = ['syntax'];

/** Sources that are cheap to write: what they cost to check must not grow as depth times length. */
const hostile: { name: string; source: string; want?: string[] }[] = [
  { name: 'many names within 1500 operators', source: `${OK}\nvoid ${'!'.repeat(1500)}[${'a,'.repeat(47_000)}a]` },
  { name: 'many uses of eval within 1500 operators', source: `${OK}\nvoid ${'!'.repeat(1500)}[${'eval,'.repeat(18_000)}a]`, want: ['forbidden'] },
  { name: 'many names within 400 blocks', source: `${OK}\n${around(400, '{', 'a;'.repeat(47_000), '}')}` },
  { name: 'many names within 1200 blocks', source: `${OK}\n${around(1200, '{', 'a;'.repeat(47_000), '}')}`, want: deep },
  { name: 'many var within 3000 blocks', source: around(3000, '{', Array.from({ length: 9000 }, (_, i) => `var a${i};`).join(''), '}'), want: deep },
  { name: 'many var within 450 blocks', source: `${OK}\n${around(450, '{', Array.from({ length: 9000 }, (_, i) => `var a${i};`).join(''), '}')}` },
  { name: 'many names within classes', source: around(500, 'class A{static{', 'a;'.repeat(40_000), '}}'), want: deep },
  { name: 'group names that repeat in nested alternatives', source: `${OK}\nconst r = /${around(1500, '(?:x|(?<a>)|(?<a>)|(?<a>)|(?<a>)|(?<a>)|', 'x', ')')}/;` },
  { name: 'a pattern of 49 000 groups', source: `${OK}\nconst r = /${around(49_000, '(', '', ')')}/;`, want: deep },
  { name: 'a pattern of 90 000 characters', source: `${OK}\nconst r = /${'a'.repeat(90_000)}/;` },
  ...[['(', '1', ')'], ['[', '', ']'], ['{', '', '}'], ['`${', '1', '}`'], ['(', '', ''], ['{', '', ''], ['`${', '', '']].map(([open, inner, close]) => {
    const depth = Math.floor(99_000 / (open!.length + close!.length));
    return { name: `${open!}${close!}, ${String(depth)} deep`, source: around(depth, open!, inner!, close!), want: deep };
  }),
  { name: '200 levels of everything', source: `${OK}\n${around(200, '{', '', '}')}void ${around(200, '(', '1', ')')};void ${around(200, '[', '', ']')};${around(200, '`${', '1', '}`')}` },
];

for (const { name, source, want } of hostile) {
  test(`build: bounded memory and time: ${name}`, async (t) => {
    assert.ok(source.length <= 100_000);
    const runtime = await Runtime.start(t);
    const { diagnostics } = await runtime.build(source);
    assert.deepEqual([...new Set(diagnostics.map((d) => d.code))], want ?? [], JSON.stringify(diagnostics.slice(0, 3)));
    if (want === deep && !source.includes('const r')) assert.match(diagnostics[0]!.message, /nested too deeply/);
    const peak = Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${String(runtime.child.pid)}/status`, 'utf8'))![1]);
    assert.ok(peak < 220 << 10, `${String(peak >> 10)} MiB`);
    // It still works.
    assert.deepEqual((await runtime.build(OK)).diagnostics, []);
  });
}

test('build: 100 000 characters pass, one more does not; a surrogate pair is one character', async () => {
  const filled = (n: number): string => `${OK}//${'😀'.repeat(n - OK.length - 2)}`;
  assert.deepEqual((await builder.build(filled(100_000))).diagnostics, []);
  const { diagnostics } = await builder.build(filled(100_001));
  assert.deepEqual(diagnostics.map(place), ['E limit 0:0']);
  assert.match(diagnostics[0]!.message, /100001 characters, more than the limit of 100000/);
});

test('build: hundreds of faults give a bounded answer', async () => {
  const { diagnostics } = await builder.build(`${OK}\n${`eval('1');\n`.repeat(5000)}`);
  assert.equal(diagnostics.length, 100);
});

test('build: a dependency that this runtime does not offer', async () => {
  const { diagnostics } = await builder.build(OK, [{ name: 'axios', version: '1.7.0' }]);
  assert.deepEqual(diagnostics.map(place), ['E dependency 0:0']);
  assert.match(diagnostics[0]!.message, /There is no dependency axios 1\.7\.0\..*can require.*lp-faas-toolbelt.*lodash.*No other packages/);
});

test('build: what Describe lists is a dependency, in its version and no other', async () => {
  const { dependencies } = await builder.describe();
  for (const { name, version } of dependencies) {
    const { diagnostics, artifact } = await builder.build(`const it = require('${name}');\n${OK}`, [{ name, version }, { name, version: '' }]);
    assert.deepEqual(diagnostics, []);
    assert.notEqual(artifact.length, 0);
    const other = await builder.build(OK, [{ name, version: '99.0.0' }]);
    assert.deepEqual(other.diagnostics.map((d) => d.message), [`There is no dependency ${name} 99.0.0. Version ${version} is installed: ask for that or for none, or choose a runtime that has another.`]);
  }
});

test('build: nothing of the source runs', async (t) => {
  const runtime = await Runtime.start(t);
  const source = `process.exit(3); throw new Error('ran');\n${OK}`;
  assert.deepEqual((await runtime.build(source)).diagnostics, []);
  assert.deepEqual((await runtime.build(source)).diagnostics, []);
  assert.equal(runtime.child.exitCode, null);
});

test('build: many at once', async () => {
  const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => builder.build(i % 2 ? OK : 'nothing')));
  answers.forEach((a, i) => assert.equal(a.artifact.length > 0, i % 2 === 1));
});

test('build: the artifact loads and the sample of Describe answers', async (t) => {
  const { sampleSource } = await builder.describe();
  const { artifact, diagnostics } = await builder.build(sampleSource);
  assert.deepEqual(diagnostics, []);
  const runtime = await Runtime.start(t);
  assert.equal(await runtime.load(artifact), null);
  assert.deepEqual((await runtime.session().call({ name: 'Ada' }).outcome).result, { message: 'Hello Ada!' });
});
