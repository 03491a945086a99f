// Reads user code: an ordinary CommonJS module with a function named lambda.

import { compileFunction, constants } from 'node:vm';
import { importAs, type Parts, requireWith } from './require.ts';

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

/** Runs the module and returns its lambda. Throws what the author's code throws. parts gives the parts of the runtime that it requires. */
export function load(source: string, parts: () => Parts): Lambda {
  const require = requireWith(parts);
  if (source.includes('import')) importAs(require);
  const module = { exports: {} as unknown, id: FILE, filename: FILE, loaded: false, children: [], paths: [], require };
  const run = compile(source);
  const found = Reflect.apply(run, module.exports, [module.exports, require, module, FILE, '.']);
  module.loaded = true;
  if (typeof found === 'function') return found as Lambda;
  if (typeof module.exports === 'function') return module.exports as Lambda;
  throw new Error('The source has no function named lambda after it was read. Declare it at the top level: function lambda(input, callback) { … }');
}

/** Makes the lambda's variables the whole environment. */
export function setEnvironment(variables: Record<string, string>): void {
  for (const key of Object.keys(process.env)) Reflect.deleteProperty(process.env, key);
  for (const key of Object.keys(variables)) process.env[key] = variables[key];
}
