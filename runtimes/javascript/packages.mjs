// Bundles what lambdas may require into DIR/packages, for build.mjs.

import { build } from 'esbuild';
import { Buffer } from 'node:buffer';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire, isBuiltin } from 'node:module';
import { dirname, join, relative, resolve, sep } from 'node:path';

/** These come with the runtime. */
const PARTS = ['lp-faas-toolbelt', 'core-functions-toolbelt', 'request-promise', 'request-promise-native', 'request-promise-core'];

const MAX_PACKAGES = 100;
const MAX_PRESTART = 64;

/** The editor reads all declarations of a runtime at once: a file larger than this is left out, and all files together are bounded. */
const MAX_TYPES_FILE = 128 << 10;
const MAX_TYPES = 3 << 20;

/** Paths within packages that have a file of their own. Others are not offered, but see members. */
const ENTRIES = { lodash: ['fp'] };

/**
 * Bundles the packages that the set's package.json names, and jsforce for the toolbelt.
 * Returns the runtime's name, how many processes it keeps ready, and the files that
 * went into jsforce.cjs.
 */
export async function bundlePackages({ runtime, set, out }) {
  const manifest = JSON.parse(await readFile(join(set, 'package.json'), 'utf8'));
  const own = JSON.parse(await readFile(join(runtime, 'package.json'), 'utf8'));
  const isOwn = set === runtime;
  const settings = manifest.sluice ?? {};
  const name = isOwn ? 'javascript' : String(manifest.name);
  check(/^[a-z][a-z0-9-]{0,62}$/.test(name), `name is ${name}: a runtime's name is lower case letters, digits and dashes, at most 63`);
  check(isOwn || name !== 'javascript', 'name is javascript, the name of the runtime with its own packages: take another');
  const label = isOwn ? '' : (settings.label ?? name);
  check(typeof label === 'string' && label.length <= 60, 'sluice.label must be a text of at most 60 characters');
  const prestart = settings.prestart ?? 0;
  check(Number.isInteger(prestart) && prestart >= 0 && prestart <= MAX_PRESTART, `sluice.prestart must be a number from 0 to ${MAX_PRESTART}`);

  const all = manifest.dependencies ?? {};
  const names = (isOwn ? settings.packages : Object.keys(all)).toSorted();
  check(names.length <= MAX_PACKAGES, `dependencies has ${names.length} entries: the limit is ${MAX_PACKAGES}`);
  const folder = join(out, 'packages');
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });

  const toolbelts = await bundleEntry({ of: runtime, name: 'jsforce', path: '', file: join(out, 'jsforce.cjs') });
  const packages = [];
  const types = {};
  for (const each of names) {
    check(!PARTS.includes(each) && !isBuiltin(each), `dependencies has ${each}, which is a part of the runtime: leave it out`);
    const version = exact(set, each, all[each]);
    const shared = each === 'jsforce' && version === own.dependencies.jsforce;
    packages.push({ name: each, version, ...(await bundlePackage(set, each, join(folder, each), shared)) });
    Object.assign(types, await typesOf(set, each));
  }
  const size = Buffer.byteLength(JSON.stringify(types));
  check(size <= MAX_TYPES, `the type declarations of the packages have ${size} bytes together: the limit is ${MAX_TYPES}. Take fewer packages`);
  await writeFile(join(folder, 'index.json'), JSON.stringify({ name, label, packages }));
  await writeFile(join(folder, 'types.json'), JSON.stringify(types));
  return { name, prestart, inputs: toolbelts };

  function check(holds, fault) {
    if (!holds) throw new Error(`${join(set, 'package.json')}: ${fault}.`);
  }
  function exact(root, each, wanted) {
    check(/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(wanted), `dependencies.${each} is ${wanted}: name one exact version, such as 1.2.3`);
    const installed = manifestOf(root, each).version;
    check(installed === wanted, `dependencies.${each} is ${wanted}, but ${installed} is installed: run npm ci in ${root}`);
    return installed;
  }
}

/** The package.json of an installed package, with its folder. */
function manifestOf(root, name) {
  for (let at = root; ; at = dirname(at)) {
    const folder = join(at, 'node_modules', name);
    const file = join(folder, 'package.json');
    if (existsSync(file)) return { ...createRequire(file)(file), folder };
    if (at === dirname(at)) throw new Error(`The package ${name} is not installed: run npm ci in ${root}.`);
  }
}

/** Bundles a package: a file for each entry. shared says that jsforce.cjs is it already. */
async function bundlePackage(set, name, folder, shared) {
  await mkdir(folder, { recursive: true });
  const entries = {};
  const members = {};
  const inputs = [];
  for (const path of ['', ...(ENTRIES[name] ?? [])]) {
    const file = `${path === '' ? 'index' : path.replaceAll('/', '-')}.cjs`;
    inputs.push(...(await bundleEntry({ of: set, name, path, file: join(folder, file) })));
    entries[path] = shared ? relative(folder, join(dirname(dirname(folder)), 'jsforce.cjs')) : file;
    if (shared) await rm(join(folder, file));
    const found = await membersOf(set, name, path);
    if (found.length > 0) members[path] = found;
  }
  const { version, license } = manifestOf(set, name);
  await writeFile(join(folder, 'package.json'), JSON.stringify({ name, version, license }));
  entries['package.json'] = 'package.json';
  await writeFile(join(folder, 'LICENSES'), await licencesOf(inputs));
  return { entries, ...(Object.keys(members).length > 0 ? { members } : {}) };
}

/** Bundles one entry into one file and returns the files that are in it. */
async function bundleEntry({ of, name, path, file }) {
  const id = path === '' ? name : `${name}/${path}`;
  const { folder, main } = manifestOf(of, name);
  const mainFile = createRequire(join(of, 'package.json')).resolve(name);
  const { metafile } = await build({
    absWorkingDir: of,
    stdin: { contents: `module.exports = require(${JSON.stringify(id)});`, resolveDir: of, sourcefile: `${id}.js` },
    outfile: file,
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'cjs',
    minify: true,
    keepNames: true,
    legalComments: 'inline',
    logLevel: 'error',
    metafile: true,
    alias: name === 'jsforce' ? { undici: join(import.meta.dirname, 'src', 'undici.ts') } : {},
    plugins: path === '' ? [] : [sharing(mainFile)],
  }).catch((fault) => {
    throw new Error(`The package ${id} in ${folder} (${main ?? 'index.js'}) cannot be one file of JavaScript, so lambdas cannot have it: ${fault.message}`);
  });
  return Object.keys(metafile.inputs).map((input) => resolve(of, input));
}

/** An entry beside the package itself takes that from its file, so that both are the same. */
function sharing(mainFile) {
  return {
    name: 'share the package',
    setup(one) {
      one.onResolve({ filter: /^\.{1,2}\// }, async ({ path, resolveDir, kind, pluginData }) => {
        if (pluginData === sharing) return undefined;
        const found = await one.resolve(path, { resolveDir, kind, pluginData: sharing });
        const same = found.path === mainFile || found.path === mainFile.replace(/\.js$/, '.min.js');
        return same ? { path: './index.cjs', external: true } : undefined;
      });
    },
  };
}

/** For lodash: names that are files of the package and properties of it, so that lodash/get is the get of lodash. */
async function membersOf(set, name, path) {
  if (name !== 'lodash') return [];
  const { folder } = manifestOf(set, name);
  const names = (await readdir(join(folder, path))).filter((f) => f.endsWith('.js')).map((f) => f.slice(0, -3));
  const module = createRequire(join(set, 'package.json'))(path === '' ? name : `${name}/${path}`);
  return names.filter((f) => typeof module[f] === 'function').toSorted();
}

/** The licences of the packages to which files belong. */
export async function licencesOf(files) {
  const licences = new Map();
  for (const file of files) if (file.includes(`${sep}node_modules${sep}`)) await addLicence(licences, file);
  return [...licences.keys()].toSorted().map((k) => licences.get(k)).join('\n');
}

/** Keeps the licence of the package that a file belongs to. */
async function addLicence(licences, file) {
  const parts = file.split(`${sep}node_modules${sep}`);
  const name = parts.at(-1).split(sep).slice(0, parts.at(-1).startsWith('@') ? 2 : 1).join('/');
  const folder = join(parts.slice(0, -1).join(`${sep}node_modules${sep}`), 'node_modules', name);
  if (licences.has(folder)) return;
  const { version, license, licenses } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'));
  const kind = license ?? licenses?.map((l) => l.type).join(', ') ?? 'licence not named';
  const text = (await readdir(folder)).find((f) => /^(licen[cs]e|copying)/i.test(f));
  const words = text === undefined ? 'This package comes without the text of its licence.\n' : await readFile(join(folder, text), 'utf8');
  licences.set(folder, `${'='.repeat(80)}\n${name} ${version} (${typeof kind === 'string' ? kind : kind.type})\n\n${words}`);
}

/** The declarations of a package and of what they import, by path; they come with the package or from @types. */
async function typesOf(set, name) {
  const found = {};
  const seen = new Set();
  const root = declarationOf(set, name);
  if (root === undefined) return {};
  await addTypes(root);
  const index = `${pathOf(root).match(/^node_modules\/(@[^/]+\/)?[^/]+/)[0]}/index.d.ts`;
  if (pathOf(root) !== index) found[index] = indexOf(relative(dirname(index), pathOf(root)), found[pathOf(root)] ?? '');
  return found;

  async function addTypes(file) {
    if (seen.has(file)) return;
    seen.add(file);
    const text = await readFile(file, 'utf8');
    if (Buffer.byteLength(text) > MAX_TYPES_FILE) return;
    found[pathOf(file)] = text;
    for (const [, path, id] of text.matchAll(/<reference path="([^"]+)"|(?:from|import|require)\s*\(?\s*["'](\.{1,2}(?:\/[^"']*)?)["']/g)) {
      const target = fileOf(resolve(dirname(file), path ?? id));
      if (target !== undefined) await addTypes(target);
    }
  }
}

/** The file in which the declarations of a package begin. */
function declarationOf(set, name) {
  const { folder, types, typings } = manifestOf(set, name);
  const own = types ?? typings ?? 'index.d.ts';
  const file = fileOf(join(folder, own.replace(/\.d\.ts$/, '')));
  if (file !== undefined) return file;
  const at = `@types/${name.startsWith('@') ? name.slice(1).replace('/', '__') : name}`;
  try {
    return fileOf(join(manifestOf(set, at).folder, 'index'));
  } catch {
    return undefined; // the editor knows the package as any
  }
}

/** Editors read no package.json: the index leads them to the file that is named there. */
function indexOf(path, text) {
  const id = `./${path.replace(/\.d\.ts$/, '')}`;
  if (/^export = /m.test(text)) return `import it = require('${id}');\nexport = it;\n`;
  return `export * from '${id}';\n${/^export default |\bas default\b/m.test(text) ? `export { default } from '${id}';\n` : ''}`;
}

function fileOf(path) {
  return [path, `${path}.d.ts`, path.replace(/\.js$/, '.d.ts'), join(path, 'index.d.ts')].find((f) => f.endsWith('.d.ts') && existsSync(f));
}

/** A path below node_modules, as the editor has it. */
function pathOf(file) {
  return `node_modules/${file.split(`${sep}node_modules${sep}`).at(-1).split(sep).join('/')}`;
}
