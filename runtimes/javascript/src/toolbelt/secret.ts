// The SecretClient: secrets of the lambda's account, asked of the gateway.

import type { Answer } from '../requests.ts';
import { ErrorCodes, SecretError } from './errors.ts';

const string = String;

/** What the runtime gives its toolbelt: the way to the host, and built-ins that user code cannot have replaced. */
export interface Kit {
  read(key: string, timeout: number): Promise<Answer>;
  update(key: string, value: string): Promise<Answer>;
  jsonParse(text: string): unknown;
  jsonStringify(value: unknown): string | undefined;
  byteLength(text: string): number;
  /** Logs a warning for the author, in the call that runs. */
  warn(message: string): void;
  /** The largest key and value, in bytes; a value's are those of its JSON. */
  maxKey: number;
  maxValue: number;
  /**
   * The variables that the process was loaded with. Clients read them here, when they
   * are used: what a lambda does to process.env changes nothing for them.
   */
  environment: Readonly<Record<string, string | undefined>>;
  /** Reads the package jsforce, the first time. */
  jsforce(): unknown;
  /** The milliseconds that the running call has left; those that a call has at most outside of calls. */
  remaining(): number;
}

/** A secret as lambdas see it. */
export interface Secret {
  key: string;
  value: unknown;
}

export interface SecretClient {
  readSecret(key: string, options?: { useCache?: boolean; timeout?: number }): Promise<Secret>;
  updateSecret(secret: Secret): Promise<Secret>;
}

/** Makes the client. Its methods need no this, so they may be taken out of it. */
export function secretClient(kit: Kit): SecretClient {
  return {
    async readSecret(key, options) {
      checkKey(kit, key);
      return given(kit, await kit.read(key, timeoutOf(options)));
    },
    async updateSecret(secret) {
      if (!isObject(secret)) throw invalid('The argument of updateSecret must be an object with key and value');
      const { key, value } = secret;
      checkKey(kit, key);
      return given(kit, await kit.update(key, jsonOf(kit, value)));
    },
  };
}

function given(kit: Kit, { key, value, code, message }: Answer): Secret {
  if (code !== '') throw new SecretError(code, message);
  return { key, value: kit.jsonParse(value) };
}

function checkKey(kit: Kit, key: unknown): void {
  if (typeof key !== 'string' || key === '') throw invalid('key must be a string: the name of a secret');
  const bytes = kit.byteLength(key);
  if (bytes > kit.maxKey) throw invalid(`key has ${string(bytes)} bytes, more than the limit of ${string(kit.maxKey)}`);
}

/** The milliseconds that the caller waits at most; 0 when there is no such limit. */
function timeoutOf(options: unknown): number {
  if (options === undefined) return 0;
  if (!isObject(options)) throw invalid('options must be an object with useCache and timeout, or be left out');
  const { useCache, timeout } = options as { useCache?: unknown; timeout?: unknown };
  if (useCache !== undefined && typeof useCache !== 'boolean') throw invalid('options.useCache must be true or false');
  if (timeout === undefined) return 0;
  if (typeof timeout !== 'number' || !(timeout > 0)) throw invalid('options.timeout must be a number of milliseconds above 0');
  return timeout;
}

/** The value as JSON. What goes wrong with it is told without any of it. */
function jsonOf(kit: Kit, value: unknown): string {
  let json: string | undefined;
  try {
    json = kit.jsonStringify(value);
  } catch {
    // A cycle, a BigInt, or a toJSON that throws.
  }
  if (json === undefined) throw invalid('value must be a string, a number, or an object or array that JSON can hold');
  const bytes = kit.byteLength(json);
  if (bytes > kit.maxValue) throw invalid(`value has ${string(bytes)} bytes of JSON, more than the limit of ${string(kit.maxValue)}`);
  return json;
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

function invalid(message: string): SecretError {
  return new SecretError(ErrorCodes.Secret.Invalid, message);
}
