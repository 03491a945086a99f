// What lambdas may require besides Node's own modules: packages and sets of them.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test, type TestContext } from 'node:test';
import ts from 'typescript';
import { dist, invoke, Runtime } from './runtime.ts';

const own = join(import.meta.dirname, '..');
const manifest = JSON.parse(readFileSync(join(own, 'package.json'), 'utf8'));

// require

test('the packages are there in their versions, and work', async (t) => {
  const { result, failure } = await invoke(t, `
    const _ = require('lodash'), { DateTime } = require('luxon'), jwt = require('jsonwebtoken'), OAuth = require('oauth-1.0a'), jsforce = require('jsforce'), crypto = require('crypto');
    function lambda(input, callback) {
      const oauth = OAuth({ consumer: { key: 'k', secret: 's' }, signature_method: 'HMAC-SHA1', hash_function: (text, key) => crypto.createHmac('sha1', key).update(text).digest('base64') });
      callback(null, {
        lodash: [_.VERSION, _.camelCase('a b')],
        luxon: DateTime.fromISO('2020-02-03T04:05:06Z', { zone: 'Europe/Berlin' }).toFormat('dd.MM. HH:mm'),
        jsonwebtoken: jwt.verify(jwt.sign({ a: 1 }, 'secret', { noTimestamp: true }), 'secret'),
        oauth: Object.keys(oauth.authorize({ url: 'https://example.com/', method: 'GET' })).length,
        jsforce: [jsforce.VERSION, typeof jsforce.OAuth2, typeof jsforce.Connection],
        versions: ['lodash', 'luxon', 'jsonwebtoken', 'oauth-1.0a', 'jsforce'].map((n) => require(n + '/package.json').version),
      });
    }`);
  assert.equal(failure, undefined);
  assert.deepEqual(result, {
    lodash: ['4.18.1', 'aB'], luxon: '03.02. 05:05', jsonwebtoken: { a: 1 }, oauth: 6, jsforce: ['3.10.26', 'function', 'function'],
    versions: ['lodash', 'luxon', 'jsonwebtoken', 'oauth-1.0a', 'jsforce'].map((n) => manifest.dependencies[n]),
  });
});

test('paths within lodash are its functions, and fp shares it', async (t) => {
  const { result } = await invoke(t, `
    const _ = require('lodash'), fp = require('lodash/fp');
    function lambda(input, callback) {
      const names = ['get', 'debounce', 'merge.js', 'isPlainObject'];
      callback(null, [names.map((n) => require('lodash/' + n) === _[n.replace('.js', '')]), require('lodash/fp/get') === fp.get, fp.map((x) => x * 2)([1]), fp.get('a.b', { a: { b: 3 } })]);
    }`);
  assert.deepEqual(result, [[true, true, true, true], true, [2], 3]);
});

test('a module is the same each time, in one realm, and cached under its name', async (t) => {
  const { result } = await invoke(t, `
    const first = require('lodash');
    function lambda(input, callback) {
      delete require.cache[require.resolve('lodash')];
      const again = require('lodash');
      callback(null, [first === again, again.keys({}) instanceof Array, require('jsonwebtoken').JsonWebTokenError.prototype instanceof Error, Object.keys(require.cache).sort(), require.cache.lodash.exports === again,
        [require.resolve('lodash'), require.resolve('lodash/get'), require.resolve('node:fs'), require.resolve.paths('lodash')], require.main === undefined, typeof module.require]);
    }`);
  assert.deepEqual(result, [true, true, true, ['jsonwebtoken', 'lodash'], true, ['lodash', 'lodash/get', 'node:fs', null], true, 'function']);
});

test('request-promise and its like are the toolbelt\'s client', async (t) => {
  const { result } = await invoke(t, `
    const { Toolbelt } = require('lp-faas-toolbelt'), client = Toolbelt.HTTPClient();
    function lambda(input, callback) {
      const errors = ['request-promise', 'request-promise-native', 'request-promise-core'].map((n) => require(n + '/errors'));
      callback(null, [require('request-promise') === client, require('request-promise-native') === client, errors.every((e) => e === errors[0]), Object.keys(errors[0]).sort()]);
    }`);
  assert.deepEqual(result, [true, true, true, ['RequestError', 'StatusCodeError', 'TransformError']]);
});

test('what is not there is refused, with what there is', async (t) => {
  const { result } = await invoke(t, `
    function lambda(input, callback) {
      const told = (id) => { try { require(id); return 'none'; } catch (e) { return [e.code, e.message]; } };
      callback(null, ['axios', 'jsforce/lib/query', './x', '/etc/passwd', 'lodash/nonsense', 'lodash/../luxon', '__proto__', 7].map(told));
    }`);
  for (const [code] of result as string[][]) assert.equal(code, 'MODULE_NOT_FOUND');
  const messages = (result as string[][]).map((r) => r[1]!);
  assert.match(messages[0]!, /Cannot find module 'axios'.*crypto or https, and lp-faas-toolbelt, .*, lodash, luxon and oauth-1\.0a\. No other packages/);
  assert.match(messages[1]!, /Require jsforce itself/);
  assert.match(messages[2]!, /A lambda is one file/);
  assert.match(messages[3]!, /A lambda is one file/);
});

test('import() gives the same modules, with their names', async (t) => {
  const { result } = await invoke(t, `
    async function lambda(input, callback) {
      const lodash = await import('lodash'), get = await import('lodash/get'), toolbelt = await import('lp-faas-toolbelt'), crypto = await import('node:crypto'), { DateTime } = await import('luxon');
      const refused = await import('axios').catch((e) => [e.code, e.message]);
      callback(null, [lodash.default === require('lodash'), lodash.get === lodash.default.get, get.default === lodash.get, toolbelt.Toolbelt === require('lp-faas-toolbelt').Toolbelt,
        toolbelt.default === require('core-functions-toolbelt'), typeof crypto.randomUUID, DateTime === require('luxon').DateTime, (await import('lodash')) === lodash, refused]);
    }`);
  const refused = (result as unknown[]).pop() as string[];
  assert.deepEqual(result, [true, true, true, true, true, 'function', true, true]);
  assert.equal(refused[0], 'MODULE_NOT_FOUND');
  assert.match(refused[1]!, /Cannot find module 'axios'\. A lambda can require/);
});

test('a package is read when it is asked for, and not before', async (t) => {
  const { result } = await invoke(t, `
    const modules = () => Object.keys(require('module')._cache).map((f) => f.split('/').at(-2) + '/' + f.split('/').at(-1));
    function lambda(input, callback) {
      const before = modules();
      require('luxon');
      callback(null, [before, modules()]);
    }`);
  const [before, later] = (result as string[][]).map((list) => list.filter((f) => !/^(dist|[^/]*)\/main\.cjs$/.test(f)));
  assert.deepEqual(before, []);
  assert.deepEqual(later, ['luxon/index.cjs']);
});

test('every package comes with its licences', () => {
  for (const name of manifest.sluice.packages) {
    assert.match(readFileSync(join(dist, 'packages', name, 'LICENSES'), 'utf8'), new RegExp(`^=+\n[^]*${name.replaceAll('.', '\\.')} ${manifest.dependencies[name]} \\(MIT\\)`, 'm'));
  }
  const ours = readFileSync(join(dist, 'LICENSES'), 'utf8');
  for (const name of ['@grpc/grpc-js', 'acorn', 'jsforce', 'xml2js']) assert.ok(ours.includes(`\n${name} `), name);
});

// Describe

const builder: { runtime?: Runtime } = {};
const cleanups: (() => unknown)[] = [];
before(async () => {
  builder.runtime = await Runtime.start({ after: (f: () => unknown) => cleanups.push(f) } as unknown as TestContext);
});
after(async () => {
  for (const f of cleanups) await f();
});

test('Describe lists the packages, and gives their types to who asks for them', async () => {
  const start = await builder.runtime!.describe();
  assert.deepEqual(Object.fromEntries(start.dependencies.map((d: { name: string; version: string }) => [d.name, d.version])), {
    ...Object.fromEntries(['lp-faas-toolbelt', 'core-functions-toolbelt', 'request-promise', 'request-promise-native'].map((n) => [n, manifest.version])),
    ...Object.fromEntries(manifest.sluice.packages.map((n: string) => [n, manifest.dependencies[n]])),
  });
  assert.deepEqual(Object.keys(start.typeDeclarations).sort(), ['lambda.d.ts', 'toolbelt.d.ts']);
  const { typeDeclarations } = await builder.runtime!.describe(true);
  const files = Object.keys(typeDeclarations);
  for (const file of ['jsforce/index', '@types/jsonwebtoken/index', '@types/lodash/index', '@types/luxon/index', 'oauth-1.0a/index']) assert.ok(files.includes(`node_modules/${file}.d.ts`), `${file} in ${files.join()}`);
  const size = Buffer.byteLength(JSON.stringify(typeDeclarations));
  assert.ok(size > 500_000 && size < 1.5 * (1 << 20), `${size} bytes`);
});

test('an editor with these types knows what a package has', async (t) => {
  const { typeDeclarations } = await builder.runtime!.describe(true);
  const folder = mkdtempSync(join(tmpdir(), 's'));
  t.after(() => { rmSync(folder, { recursive: true }); });
  for (const [path, text] of Object.entries<string>(typeDeclarations)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  const faults = (code: string): string[] => {
    const file = join(folder, 'lambda.js');
    writeFileSync(file, code);
    const program = ts.createProgram(['lambda.d.ts', 'toolbelt.d.ts'].map((f) => join(folder, f)).concat(file), {
      allowJs: true, checkJs: true, noEmit: true, skipLibCheck: true, strict: false, lib: ['lib.es2024.d.ts'], types: [], moduleResolution: ts.ModuleResolutionKind.Bundler, module: ts.ModuleKind.Preserve,
    });
    return ts.getPreEmitDiagnostics(program).map((m) => ts.flattenDiagnosticMessageText(m.messageText, ' '));
  };
  assert.deepEqual(faults(`
    const _ = require('lodash'), { DateTime } = require('luxon'), jwt = require('jsonwebtoken'), OAuth = require('oauth-1.0a'), { Connection } = require('jsforce');
    function lambda(input, callback) {
      const n = _.chunk([1, 2], 1).length.toFixed(), text = DateTime.now().plus({ days: 1 }).toISO(), token = jwt.sign({ a: 1 }, 's').trim();
      new Connection({ loginUrl: 'https://test.salesforce.com' }).query('SELECT Id FROM Contact').then((r) => r.totalSize.toFixed());
      callback(null, { n, text, token, oauth: new OAuth({ consumer: { key: 'k', secret: 's' } }) });
    }`), []);
  for (const [code, want] of [
    [`require('lodash').chunk(1)`, /Argument of type 'number'|No overload/], [`require('luxon').DateTime.nonsense()`, /'nonsense' does not exist/],
    [`require('jsonwebtoken').sing({}, 's')`, /'sing' does not exist/], [`new (require('jsforce').Connection)().qeury('')`, /'qeury' does not exist/],
  ] as const) {
    assert.match(faults(code).join(), want);
  }
});

// Sets

/** Makes a set of packages of those that are installed here, and the runtime of it. */
function makeSet(t: TestContext, name: string, packages: { [name: string]: { version: string; from: string } }, sluice?: object): () => string {
  const folder = mkdtempSync(join(tmpdir(), 's'));
  t.after(() => { rmSync(folder, { recursive: true, force: true }); });
  mkdirSync(join(folder, 'set', 'node_modules'), { recursive: true });
  for (const [id, { from }] of Object.entries(packages)) symlinkSync(join(own, 'node_modules', from), join(folder, 'set', 'node_modules', id));
  const dependencies = Object.fromEntries(Object.entries(packages).map(([id, { version }]) => [id, version]));
  writeFileSync(join(folder, 'set', 'package.json'), JSON.stringify({ name, dependencies, ...(sluice ? { sluice } : {}) }));
  return () => {
    const out = join(folder, 'out');
    execFileSync(process.execPath, ['build.mjs', '--set', join(folder, 'set'), '--out', out], { cwd: own, stdio: 'pipe', encoding: 'utf8' });
    return out;
  };
}

test('two runtimes with sets of packages of their own: each lambda sees those of its runtime', async (t) => {
  const classic = makeSet(t, 'javascript-classic', { luxon: { version: '1.28.1', from: 'luxon-1' }, lodash: { version: '4.18.1', from: 'lodash' } }, { label: 'classic', prestart: 1 })();
  const yaml = readFileSync(join(classic, 'runtime.yaml'), 'utf8');
  assert.match(yaml, /^name: javascript-classic$/m);
  assert.match(yaml, /^prestart: 1$/m);
  assert.doesNotMatch(yaml, /^default:/m);
  assert.equal(existsSync(join(classic, 'templates')), false);

  const source = `const { VERSION, Duration } = require('luxon'); function lambda(input, callback) { callback(null, [VERSION, require('lodash').VERSION]); }`;
  for (const [folder, name, displayName, version, others] of [
    [dist, 'javascript', 'Node.js 24', '3.7.2', true], [classic, 'javascript-classic', 'Node.js 24 (classic)', '1.28.1', false],
  ] as const) {
    const build = await Runtime.start(t, {}, false, folder);
    const d = await build.describe();
    assert.deepEqual([d.name, d.displayName, d.dependencies.find((x: { name: string }) => x.name === 'luxon').version], [name, displayName, version]);
    assert.equal(d.dependencies.some((x: { name: string }) => x.name === 'jsonwebtoken'), others);

    const { artifact, diagnostics } = await build.build(source, [{ name: 'luxon', version }]);
    assert.deepEqual(diagnostics, []);
    const runtime = await Runtime.start(t, {}, false, folder);
    assert.equal(await runtime.load(artifact), null);
    assert.deepEqual((await runtime.session().call().outcome).result, [version, '4.18.1']);

    const lacking = version === '3.7.2' ? '1.28.1' : '3.7.2';
    const other = await build.build(source, [{ name: 'luxon', version: lacking }]);
    assert.deepEqual(other.diagnostics.map((m) => m.message), [`There is no dependency luxon ${lacking}. Version ${version} is installed: ask for that or for none, or choose a runtime that has another.`]);
    const token = await build.build(`require('jsonwebtoken'); ${source}`);
    assert.equal(token.artifact.length > 0, others);
  }

  const session = await Runtime.start(t, {}, false, classic);
  assert.equal(await session.load(`const { Toolbelt } = require('lp-faas-toolbelt'); function lambda(i, callback) { callback(null, Toolbelt.SFClient().connectToSalesforce({ accessToken: 'a' }).version); }`), null);
  assert.equal((await session.session().call().outcome).result, '50.0', 'the toolbelt has jsforce whatever the set has');
});

test('a set that cannot be is refused, with the field and the remedy', (t) => {
  const lodash = { version: '4.18.1', from: 'lodash' };
  for (const [name, packages, settings, want] of [
    ['javascript', { lodash }, undefined, /name is javascript.*take another/],
    ['Big Set', { lodash }, undefined, /a runtime's name is lower case/],
    ['x', { lodash: { ...lodash, version: '^4.17.0' } }, undefined, /dependencies\.lodash is \^4\.17\.0: name one exact version/],
    ['x', { lodash: { ...lodash, version: '4.17.21' } }, undefined, /is 4\.17\.21, but 4\.18\.1 is installed: run npm ci/],
    ['x', { 'lp-faas-toolbelt': lodash }, undefined, /a part of the runtime: leave it out/],
    ['x', { fs: lodash }, undefined, /a part of the runtime/],
    ['x', { lodash }, { prestart: 65 }, /sluice\.prestart must be a number from 0 to 64/],
    ['x', { lodash }, { label: 7 }, /sluice\.label must be a text/],
  ] as const) {
    assert.throws(makeSet(t, name, packages as never, settings), (fault: { stderr: string }) => want.test(fault.stderr), String(want));
  }
});

test('a runtime folder holds nothing that it does not need', () => {
  assert.deepEqual(readdirSync(dist).sort(), ['LICENSES', 'build.cjs', 'jsforce.cjs', 'main.cjs', 'node', 'packages', 'runtime.yaml', 'templates', 'toolbelt.cjs']);
  for (const file of ['main.cjs', 'jsforce.cjs']) assert.ok(statSync(join(dist, file)).size < 1.5 * (1 << 20));
});
