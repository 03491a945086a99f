// The JavaScript built-ins that the runtime itself needs while user code runs,
// taken before user code can replace them. A lambda that patches a prototype,
// by accident or for a polyfill, breaks itself and not the runtime.

/** Turns a method into a function that takes `this` as its first argument. */
function unbound<T, A extends unknown[], R>(method: (this: T, ...args: A) => R): (self: T, ...args: A) => R {
  return Function.prototype.call.bind(method) as (self: T, ...args: A) => R;
}

export const now = Date.now;
export const monotonic = performance.now.bind(performance);
export const jsonParse = JSON.parse;
export const jsonStringify = JSON.stringify;
export const setTimer = setTimeout;
export const setTicker = setInterval;
export const clearTicker = clearInterval;
export const soon = setImmediate;
export const nextTick = process.nextTick.bind(process) as (callback: () => void) => void;
export const isInteger = Number.isInteger;
export const min = Math.min;
export const floor = Math.floor;
export const string = String;
export const byteLength = Buffer.byteLength;
export const allocate = Buffer.allocUnsafeSlow;
export const ownKeys = Object.keys;
export const isArray = Array.isArray;
export const defineProperty = Object.defineProperty;

export const utf8Write = unbound(
  (Buffer.prototype as unknown as { utf8Write(text: string, offset: number, length: number): number }).utf8Write,
);
export const latin1Slice = unbound(
  (Buffer.prototype as unknown as { latin1Slice(start: number, end: number): string }).latin1Slice,
);
export const utf8Slice = unbound(
  (Buffer.prototype as unknown as { utf8Slice(start: number, end: number): string }).utf8Slice,
);
export const subarray = unbound(
  // eslint-disable-next-line @typescript-eslint/unbound-method
  Buffer.prototype.subarray as (this: Buffer, start: number, end?: number) => Buffer,
);
// eslint-disable-next-line @typescript-eslint/unbound-method
export const copy = unbound(Buffer.prototype.copy);
export const split = unbound(String.prototype.split as (this: string, separator: string) => string[]);
export const slice = unbound(String.prototype.slice);
export const startsWith = unbound(String.prototype.startsWith);
export const includes = unbound(String.prototype.includes);
export const codeAt = unbound(String.prototype.charCodeAt);
export const then = unbound(
  // eslint-disable-next-line @typescript-eslint/unbound-method
  Promise.prototype.then as (
    this: Promise<unknown>,
    fulfilled: undefined,
    rejected: (reason: unknown) => void,
  ) => Promise<unknown>,
);

export const errors = { Error, TypeError, SyntaxError, ReferenceError };

/**
 * Gives an object its methods as properties of its own, so that a later change
 * of its prototype does not reach it.
 */
export function pin<T extends object>(object: T, ...methods: (keyof T)[]): T {
  for (const method of methods) {
    defineProperty(object, method, { value: object[method], writable: false, configurable: false, enumerable: false });
  }
  return object;
}
