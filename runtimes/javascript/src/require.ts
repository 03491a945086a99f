// require and import() as lambdas have them. A package is read from its file when
// it is first asked for, and is the same for as long as the process lives.

import Module, { registerHooks } from 'node:module';
import { pathToFileURL } from 'node:url';
import { find, isToolbelt, missing } from './packages.ts';
import { jsonStringify } from './primordials.ts';

/** The toolbelt and what comes with it, by the names under which lambdas require it. */
export interface Parts {
  readonly module: object;
  readonly packages: Readonly<Record<string, unknown>>;
}

/** require, resolve and cache as CommonJS code expects them. */
export interface Require {
  (id: string): unknown;
  resolve: ((id: string) => string) & { paths: (id: string) => null };
  cache: Record<string, unknown>;
  main: undefined;
}

const builtin = process.getBuiltinModule.bind(process) as (id: string) => unknown;

/** Makes the one require of a process. parts gives the parts of the runtime; it is called once, when one is asked for. */
export function requireWith(parts: () => Parts): Require {
  let made: Parts | undefined;
  const cache: Record<string, unknown> = Object.create(null) as Record<string, unknown>;

  const resolve = (id: string): string => {
    if (typeof id === 'string' && find(id) !== undefined) return id;
    throw Object.assign(new Error(missing(id)), { code: 'MODULE_NOT_FOUND' });
  };
  const part = (name: string): unknown => {
    made ??= parts();
    return isToolbelt(name) ? made.module : made.packages[name];
  };
  const require = (id: string): unknown => {
    const found = find(resolve(id))!;
    if (found.is === 'builtin') return builtin(id);
    if (found.is === 'part') return (cache[id] ??= entry(id, part(found.name)), part(found.name));
    const module = load(found.file);
    const exports = found.member === '' ? module : (module as Record<string, unknown>)[found.member];
    cache[id] ??= entry(id, exports);
    return exports;
  };
  return Object.assign(require, { resolve: Object.assign(resolve, { paths: () => null }), cache, main: undefined });
}

function entry(id: string, exports: unknown): object {
  return { id, filename: id, loaded: true, exports, children: [], paths: [] };
}

/** Reads a package's file; Node keeps what came of it. */
function load(file: string): unknown {
  // eslint-disable-next-line @typescript-eslint/no-require-imports -- the path is one of our own folder
  return require(file) as unknown;
}

const { _cache: loaded } = Module as unknown as { _cache: Record<string, { exports: unknown; filename: string; loaded: boolean }> };

/**
 * Lets import() in user code find what require finds, the same modules. Node's own
 * loader does the rest: it is told that each is a CommonJS module that was read already.
 */
export function importAs(require: Require): void {
  const names = new Map<string, string>(); // ids by the URL that stands for them
  registerHooks({
    resolve(id, context, next) {
      const found = find(id);
      if (found?.is === 'builtin' || !isBare(id)) return next(id, context);
      const exports = require(id); // throws what require throws, with the remedy
      const file = `${__dirname}/packages/${id}.imported`;
      const module = Object.assign(new Module(file), { filename: file, exports, loaded: true });
      loaded[file] = module;
      const { href } = pathToFileURL(file);
      names.set(href, id);
      return { url: href, format: 'commonjs', shortCircuit: true };
    },
    load(url, context, next) {
      const id = names.get(url);
      if (id === undefined) return next(url, context);
      return { format: 'commonjs', source: outline(require(id)), shortCircuit: true };
    },
  });
}

function isBare(id: string): boolean {
  return !/^(\.{0,2}\/|[a-z][a-z0-9+.-]*:)/i.test(id);
}

/** A source from which Node takes the names of a module that was read already. It never runs. */
function outline(exports: unknown): string {
  if ((typeof exports !== 'object' && typeof exports !== 'function') || exports === null) return '';
  return Object.keys(exports).map((name) => `exports[${jsonStringify(name)!}]=0;`).join('');
}
