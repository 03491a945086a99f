// What a lambda may require besides Node's built-in modules: the parts of the
// runtime, and the packages that were installed with it.
//
// Each package is in a folder beside the runtime, one file for each of its entries,
// and packages/index.json says what is there. build.mjs writes both. Nothing of it
// is read before somebody asks.

import { readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import type { Dependency } from './codec.ts';
import { jsonParse, startsWith, string } from './primordials.ts';

declare const VERSION: string;

/** A package as packages/index.json has it. */
export interface Package {
  readonly name: string;
  readonly version: string;
  /** Paths of files in the package's folder, by the path within the package that is required; '' is the package itself. */
  readonly entries: Readonly<Record<string, string>>;
  /** For an entry, the names under it that are properties of it: lodash/get is the get of lodash. */
  readonly members?: Readonly<Record<string, readonly string[]>>;
}

/** The installed packages, and what this runtime is called with them. */
export interface PackageSet {
  readonly name: string;
  /** What users see behind the version of Node.js; '' for the packages that come with the runtime. */
  readonly label: string;
  readonly packages: readonly Package[];
}

/** What a name stands for. */
export type Found =
  | { readonly is: 'builtin' }
  | { readonly is: 'part'; readonly name: string }
  | { readonly is: 'file'; readonly file: string; readonly member: string };

const FOLDER = `${__dirname}/packages`;

/** The names that are parts of the runtime, and the paths under them: '' is the part itself. Two of them are the toolbelt. */
const PARTS: Readonly<Record<string, readonly string[]>> = {
  'lp-faas-toolbelt': [''],
  'core-functions-toolbelt': [''],
  'request-promise': ['', '/errors'],
  'request-promise-native': ['', '/errors'],
  'request-promise-core': ['/errors'], // only this much of it
};

let set: PackageSet | undefined;

/** The installed packages. */
export function installed(): PackageSet {
  return (set ??= jsonParse(readFileSync(`${FOLDER}/index.json`, 'utf8')) as PackageSet);
}

/** All that may be required besides built-in modules, with versions: parts of the runtime have that of the runtime. */
export function dependencies(): Dependency[] {
  const all: Dependency[] = [];
  for (const [name, paths] of Object.entries(PARTS)) if (paths.includes('')) all.push({ name, version: VERSION });
  for (const { name, version } of installed().packages) all.push({ name, version });
  return all;
}

/** Whether a part of the runtime is the toolbelt itself. */
export function isToolbelt(name: string): boolean {
  return name === 'lp-faas-toolbelt' || name === 'core-functions-toolbelt';
}

/** Finds what may be required by that name. */
export function find(id: string): Found | undefined {
  if (isBuiltin(id)) return { is: 'builtin' };
  for (const name of Object.keys(PARTS)) {
    for (const path of PARTS[name]!) if (id === name + path) return { is: 'part', name: id };
  }
  for (const each of installed().packages) {
    if (id === each.name || startsWith(id, `${each.name}/`)) return within(each, id.slice(each.name.length + 1));
  }
  return undefined;
}

function within(one: Package, path: string): Found | undefined {
  const wanted = path.replace(/\.js$/, '');
  for (const entry of Object.keys(one.entries)) {
    if (wanted === entry) return { is: 'file', file: fileOf(one, entry), member: '' };
  }
  for (const entry of Object.keys(one.members ?? {})) {
    for (const member of one.members![entry]!) {
      if (wanted === (entry === '' ? member : `${entry}/${member}`)) return { is: 'file', file: fileOf(one, entry), member };
    }
  }
  return undefined;
}

function fileOf(one: Package, entry: string): string {
  return `${FOLDER}/${one.name}/${one.entries[entry]!}`;
}

/** The remedy for a module that is not there, in diagnostics and at run time. */
export function missing(id: unknown): string {
  const text = string(id);
  if (/^\.{0,2}\//.test(text)) return `Cannot find module '${text}'. A lambda is one file; put what it needs into it.`;
  return `Cannot find module '${text}'. A lambda can require Node.js built-in modules, such as crypto or https, and ${names()}. ${elsewhere(text)}No other packages are installed.`;
}

/** The names of all that is installed, as a sentence has them. */
function names(): string {
  const all = dependencies().map((d) => d.name);
  return `${all.slice(0, -1).join(', ')} and ${all.at(-1)!}`;
}

/** A path that an installed package has not got. */
function elsewhere(id: string): string {
  const name = dependencies().find((d) => startsWith(id, `${d.name}/`))?.name;
  return name === undefined ? '' : `Require ${name} itself and take what you need from it. `;
}

/** Type declarations of the packages for the editor, by path. */
export function packageTypes(): Record<string, string> {
  return jsonParse(readFileSync(`${FOLDER}/types.json`, 'utf8')) as Record<string, string>;
}
