// Every template is a lambda that Build has nothing to say about.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test, type TestContext } from 'node:test';
import { dist, Runtime } from './runtime.ts';

let builder: Runtime;
const cleanups: (() => Promise<void>)[] = [];
before(async () => {
  builder = await Runtime.start({ after: (f: () => Promise<void>) => cleanups.push(f) } as unknown as TestContext);
});
after(async () => {
  for (const f of cleanups) await f();
});

const folder = join(dist, 'templates');
const files = readdirSync(folder).filter((name) => name.endsWith('.js'));
const source = (name: string): string => readFileSync(join(folder, name), 'utf8');
const needsToolbelt = (name: string): boolean => source(name).includes("require('lp-faas-toolbelt')");

test('every file is a template, and every template has its file', () => {
  const listed = [...readFileSync(join(folder, 'templates.yaml'), 'utf8').matchAll(/^ {2}file: (\S+)$/gm)].map((m) => m[1]);
  assert.deepEqual(listed.toSorted(), files.toSorted());
  assert.equal(files.length, 22);
});

for (const name of [...files.filter((n) => !needsToolbelt(n)), ...files.filter(needsToolbelt)]) {
  test(`${name} builds without any diagnostic`, async () => {
    const built = await builder.build(source(name));
    assert.deepEqual(built.diagnostics, []);
    assert.notEqual(built.artifact.length, 0);
  });
  test(`${name} says in a comment what it does`, () => {
    const text = source(name);
    assert.match(text, /^\/\*\*\n \* \S/);
    assert.equal(text.split('\n').filter((line) => line.length > 170).length, 0);
  });
}
