// Reads user code: an ordinary CommonJS module with a function named lambda.

import { isBuiltin } from 'node:module';
import { compileFunction, constants } from 'node:vm';
import { isToolbelt } from './packages.ts';

/** The author's function. */
export type Lambda = (input: unknown, callback: (error?: unknown, result?: unknown) => void) => unknown;

/** The name that stacks show. */
export const FILE = 'lambda.js';

/** What Build makes and Load takes. */
export interface Artifact {
  format: 1;
  source: string;
}

export function encodeArtifact(source: string): Buffer {
  return Buffer.from(JSON.stringify({ format: 1, source } satisfies Artifact));
}

export function decodeArtifact(bytes: Buffer): Artifact {
  const artifact = JSON.parse(bytes.toString('utf8')) as Partial<Artifact> | null;
  if (artifact?.format !== 1 || typeof artifact.source !== 'string') {
    throw new Error('the artifact was not made by this runtime');
  }
  return { format: 1, source: artifact.source };
}

/**
 * Compiles the source as a module's function that returns the binding named
 * lambda. What is added stands after the source, so that lines and columns stay.
 */
export function compile(source: string): (...module: unknown[]) => unknown {
  const text = source.startsWith('#!') ? `//${source}` : source;
  return compileFunction(
    `${text}\n;return typeof lambda === 'function' ? lambda : undefined;`,
    ['exports', 'require', 'module', '__filename', '__dirname'],
    { filename: FILE, importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER },
  ) as (...module: unknown[]) => unknown;
}

/** Runs the module and returns its lambda. Throws what the author's code throws. toolbelt gives the module of that name. */
export function load(source: string, toolbelt: () => unknown): Lambda {
  const require = requireWith(toolbelt);
  const module = { exports: {} as unknown, id: FILE, filename: FILE, loaded: false, children: [], paths: [], require };
  const run = compile(source);
  const found = Reflect.apply(run, module.exports, [module.exports, require, module, FILE, '.']);
  module.loaded = true;
  if (typeof found === 'function') return found as Lambda;
  if (typeof module.exports === 'function') return module.exports as Lambda;
  throw new Error('The source has no function named lambda after it was read. Declare it at the top level: function lambda(input, callback) { … }');
}

const builtin = process.getBuiltinModule.bind(process) as (id: string) => unknown;

/** What may be required: Node's built-in modules and the toolbelt. */
export function isAvailable(id: string): boolean {
  return isBuiltin(id) || isToolbelt(id);
}

/** The remedy for a module that is not there, in diagnostics and at run time. */
export function missing(id: string): string {
  if (/^\.{0,2}\//.test(id)) return `Cannot find module '${id}'. A lambda is one file; put what it needs into it.`;
  return `Cannot find module '${id}'. A lambda can require Node.js built-in modules, such as crypto or https, and lp-faas-toolbelt (core-functions-toolbelt is the same); no other packages are installed.`;
}

function requireWith(toolbelt: () => unknown): object {
  const find = (id: string): string => {
    if (typeof id === 'string' && isAvailable(id)) return id;
    throw Object.assign(new Error(missing(id)), { code: 'MODULE_NOT_FOUND' });
  };
  const require = (id: string): unknown => (isToolbelt(find(id)) ? toolbelt() : builtin(id));
  return Object.assign(require, { resolve: find, cache: {}, main: undefined });
}

/** Makes the lambda's variables the whole environment. */
export function setEnvironment(variables: Record<string, string>): void {
  for (const key of Object.keys(process.env)) Reflect.deleteProperty(process.env, key);
  for (const key of Object.keys(variables)) process.env[key] = variables[key];
}
