// Makes the installed runtime: node build.mjs --out DIR
//
//   DIR/runtime.yaml  the manifest, which the gateway's catalog reads
//   DIR/node          Node.js, from the npm package of this machine's kind
//   DIR/main.cjs      the runtime, one file
//   DIR/build.cjs     the parser, read by processes that build
//   DIR/toolbelt.cjs  lp-faas-toolbelt, read by lambdas that require it
//   DIR/templates     lambdas to start from, read by the gateway's catalog
//
// Without --out the folder is dist.

import { build } from 'esbuild';
import { constants } from 'node:fs';
import { chmod, copyFile, cp, link, mkdir, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const here = dirname(fileURLToPath(import.meta.url));
const { values } = parseArgs({ options: { out: { type: 'string' }, arch: { type: 'string', default: process.arch } } });
const out = resolve(values.out ?? join(here, 'dist'));
const { version } = JSON.parse(await readFile(join(here, 'package.json'), 'utf8'));

await mkdir(out, { recursive: true });
await build({
  absWorkingDir: here,
  entryPoints: { main: 'src/main.ts', build: 'src/build.ts', toolbelt: 'src/toolbelt/index.ts' },
  outdir: out,
  outExtension: { '.js': '.cjs' },
  bundle: true,
  platform: 'node',
  target: 'node24',
  format: 'cjs',
  minify: true,
  external: ['./build.cjs', './toolbelt.cjs'],
  loader: { '.txt': 'text' },
  define: { VERSION: JSON.stringify(version) },
  legalComments: 'inline',
});
await cp(join(here, 'runtime.yaml'), join(out, 'runtime.yaml'));
await rm(join(out, 'templates'), { recursive: true, force: true });
await cp(join(here, 'templates'), join(out, 'templates'), { recursive: true });
await place(nodeBinary(values.arch), join(out, 'node'));

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
