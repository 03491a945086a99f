// The errors of the HTTPClient: names, properties and messages as request-promise
// has them, since lambdas look at them.

import type { HttpOptions, HttpResponse } from './types.ts';

const stringOf = String;
const { stringify } = JSON;

/** The request was not answered: cause says why. */
export class RequestError extends Error {
  override readonly cause: unknown;
  /** The same as cause, as older code has it. */
  readonly error: unknown;
  readonly options: HttpOptions;
  readonly response: HttpResponse | undefined;

  constructor(cause: unknown, options: HttpOptions, response?: HttpResponse) {
    super(stringOf(cause));
    show(this, 'RequestError');
    this.cause = cause;
    this.error = cause;
    this.options = options;
    this.response = response;
    const { code, host, rule } = (cause ?? {}) as { code?: unknown; host?: unknown; rule?: unknown };
    if (code === 'EGRESS_DENIED') Object.assign(this, { code, host, rule });
  }
}

/** The answer's status is not 2xx, and the option simple is not false. */
export class StatusCodeError extends Error {
  readonly statusCode: number;
  /** The body of the answer. */
  readonly error: unknown;
  readonly options: HttpOptions;
  /** The answer, or what the option transform made of it. */
  readonly response: unknown;

  constructor(statusCode: number, body: unknown, options: HttpOptions, response: unknown) {
    super(`${stringOf(statusCode)} - ${stringOf(textOf(body))}`);
    show(this, 'StatusCodeError');
    this.statusCode = statusCode;
    this.error = body;
    this.options = options;
    this.response = response;
  }
}

/** The option transform threw, or its promise was rejected. */
export class TransformError extends Error {
  override readonly cause: unknown;
  readonly error: unknown;
  readonly options: HttpOptions;
  readonly response: HttpResponse;

  constructor(cause: unknown, options: HttpOptions, response: HttpResponse) {
    super(stringOf(cause));
    show(this, 'TransformError');
    this.cause = cause;
    this.error = cause;
    this.options = options;
    this.response = response;
  }
}

/** Gives an error its name, and makes that and its message a part of its JSON. */
function show(error: Error, name: string): void {
  const { message } = error;
  for (const [key, value] of [['name', name], ['message', message]] as const) {
    Object.defineProperty(error, key, { value, enumerable: true, writable: true, configurable: true });
  }
}

function textOf(body: unknown): string | undefined {
  try {
    return stringify(body);
  } catch {
    return stringOf(body); // what a jsonReviver made
  }
}
