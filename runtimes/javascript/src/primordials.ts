// The JavaScript built-ins that the runtime itself needs while user code runs,
// taken before user code can replace them. A lambda that patches a prototype,
// by accident or for a polyfill, breaks itself and not the runtime.

/** Turns a method into a function that takes `this` as its first argument. */
export function unbound<T, A extends unknown[], R>(method: (this: T, ...args: A) => R): (self: T, ...args: A) => R {
  return Function.prototype.call.bind(method) as (self: T, ...args: A) => R;
}

export const now = Date.now;
export const monotonic = performance.now.bind(performance);
export const jsonParse = JSON.parse;
/** undefined for what JSON has no form for. */
export const jsonStringify: (value: unknown, replacer?: (this: unknown, key: string, value: unknown) => unknown) => string | undefined =
  JSON.stringify;
export const quote: (text: string) => string = JSON.stringify;
export const setTimer = setTimeout;
export const setTicker = setInterval;
export const clearTimer = clearTimeout;
export const clearTicker = clearInterval;
export const soon = setImmediate;
export const nextTick = process.nextTick.bind(process) as (callback: () => void) => void;
export const min = Math.min;
export const max = Math.max;
export const floor = Math.floor;
export const string = String;
export const number = Number;
export const byteLength = Buffer.byteLength;
export const allocate = Buffer.allocUnsafeSlow;
export const isArray = Array.isArray;
export const isFinite = Number.isFinite;
export const isError = Error.isError;
export const captureStack = Error.captureStackTrace;
export const defineProperty = Object.defineProperty;

const buffer = Buffer.prototype as unknown as {
  utf8Write(text: string, offset: number, length: number): number;
  utf8Slice(start: number, end: number): string;
  latin1Slice(start: number, end: number): string;
  subarray(start: number, end?: number): Buffer;
  copy(target: Buffer, targetStart: number, start: number, end: number): number;
};
export const utf8Write = unbound<Buffer, Parameters<typeof buffer.utf8Write>, number>(buffer.utf8Write);
export const utf8Slice = unbound<Buffer, Parameters<typeof buffer.utf8Slice>, string>(buffer.utf8Slice);
export const latin1Slice = unbound<Buffer, Parameters<typeof buffer.latin1Slice>, string>(buffer.latin1Slice);
export const subarray = unbound<Buffer, Parameters<typeof buffer.subarray>, Buffer>(buffer.subarray);
export const copy = unbound<Buffer, Parameters<typeof buffer.copy>, number>(buffer.copy);

export const split = unbound(String.prototype.split as (this: string, separator: string) => string[]);
export const slice = unbound(String.prototype.slice);
export const startsWith = unbound(String.prototype.startsWith);
export const includes = unbound(String.prototype.includes);
export const indexOf = unbound(String.prototype.indexOf);
export const lowerCase = unbound(String.prototype.toLowerCase);
export const trim = unbound(String.prototype.trim);
export const codeAt = unbound(String.prototype.charCodeAt);
export const then = unbound(
  Promise.prototype.then as (
    this: Promise<unknown>,
    fulfilled: ((value: unknown) => unknown) | undefined,
    rejected: (reason: unknown) => unknown,
  ) => Promise<unknown>,
);

export const NativePromise = Promise;

export const NativeError = Error;
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
