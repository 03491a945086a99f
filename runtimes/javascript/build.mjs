// Makes an installed runtime: node build.mjs [--set FOLDER] [--out DIR]
//
//   DIR/runtime.yaml  the manifest, which the gateway's catalog reads
//   DIR/node          Node.js, from the npm package of this machine's kind
//   DIR/main.cjs      the runtime, one file
//   DIR/build.cjs     the parser, read by processes that build
//   DIR/toolbelt.cjs  lp-faas-toolbelt, read by lambdas that require it
//   DIR/jsforce.cjs   jsforce, read by lambdas that require it or use SFClient
//   DIR/LICENSES      the licences of what is in these files
//   DIR/packages      what else lambdas may require: a folder for each package, with
//                     its licences, index.json and types.json
//   DIR/templates     lambdas to start from, read by the gateway's catalog
//
// Without --out the folder is dist.
//
// FOLDER has the package.json of another set of packages: its dependencies, each of
// one exact version, are what lambdas may require. Install them there first (npm ci).
// What comes out is a runtime beside the others, with the name of that package.json;
// see sets/README.md. Without --set the packages are those that this folder's own
// package.json names.

import { build } from 'esbuild';
import { constants } from 'node:fs';
import { chmod, copyFile, cp, link, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { bundlePackages, licencesOf } from './packages.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const { values } = parseArgs({
  options: { out: { type: 'string' }, set: { type: 'string' }, arch: { type: 'string', default: process.arch } },
});
const out = resolve(values.out ?? join(here, 'dist'));
const set = values.set === undefined ? here : resolve(values.set);
const { version } = JSON.parse(await readFile(join(here, 'package.json'), 'utf8'));

await mkdir(out, { recursive: true });
const { name, prestart, inputs } = await bundlePackages({ runtime: here, set, out });
const { metafile } = await build({
  absWorkingDir: here,
  entryPoints: { main: 'src/main.ts', build: 'src/build.ts', toolbelt: 'src/toolbelt/index.ts' },
  outdir: out,
  outExtension: { '.js': '.cjs' },
  bundle: true,
  platform: 'node',
  target: 'node24',
  format: 'cjs',
  minify: true,
  external: ['./build.cjs', './toolbelt.cjs', './jsforce.cjs'],
  loader: { '.txt': 'text' },
  define: { VERSION: JSON.stringify(version) },
  legalComments: 'inline',
  metafile: true,
});
const files = Object.keys(metafile.inputs).map((file) => join(here, file));
await writeFile(join(out, 'LICENSES'), await licencesOf([...inputs, ...files]));
await writeManifest();
await rm(join(out, 'templates'), { recursive: true, force: true });
if (set === here) await cp(join(here, 'templates'), join(out, 'templates'), { recursive: true });
await place(nodeBinary(values.arch), join(out, 'node'));

/** The manifest. That of another set has another name, and is not the default. */
async function writeManifest() {
  let text = await readFile(join(here, 'runtime.yaml'), 'utf8');
  if (set !== here) {
    text = text
      .replace(/^name: .*$/m, `name: ${name}`)
      .replace(/^prestart: .*$/m, `prestart: ${prestart}`)
      .replace(/^default: true\n/m, '');
  }
  await writeFile(join(out, 'runtime.yaml'), text);
}

/** The Node.js of the npm package; an operator may put another in its place. */
function nodeBinary(arch) {
  const name = `node-linux-${arch}`;
  try {
    return join(dirname(createRequire(import.meta.url).resolve(`${name}/package.json`)), 'bin', 'node');
  } catch {
    throw new Error(`The npm package ${name} is not installed: run npm ci on a Linux machine of that kind, or npm install --cpu=${arch}.`);
  }
}

/** Links the file if both are on one disk, copies it otherwise. */
async function place(from, to) {
  await rm(to, { force: true });
  await link(from, to).catch(() => copyFile(from, to, constants.COPYFILE_FICLONE));
  await chmod(to, 0o755);
}
