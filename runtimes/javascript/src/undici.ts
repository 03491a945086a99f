// What jsforce takes from the package undici, made of Node's own fetch, which is the
// same code. So its requests go the way of all others, through the process's proxy,
// with its errors, and a lambda that needs jsforce does not need a second fetch.

/* eslint-disable @typescript-eslint/no-extraneous-class -- jsforce makes some of them, and what they say is not asked */

/** Where a request goes is decided for the whole process. */
export class Agent {}

export class ProxyAgent {}

/* eslint-enable */

const nativeFetch = globalThis.fetch;

/** Sends a request; an agent of one's own has no say. */
export function fetch(input: string | URL, init: RequestInit & { dispatcher?: unknown }): Promise<Response> {
  const own = { ...init };
  delete own.dispatcher;
  return nativeFetch(input, own);
}

const NativeResponse = globalThis.Response;
export { NativeResponse as Response };

/** The errors of Node's fetch are of classes that only their names tell. */
class SocketError extends Error {
  static override [Symbol.hasInstance](value: unknown): boolean {
    return value instanceof Error && value.name === 'SocketError';
  }
}

export const errors = { SocketError };
