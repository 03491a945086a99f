// What a value that user code threw, rejected or called back with means: the
// failure the caller sees, and the log entry the author sees.

import { type Failure, FailureKind, Level } from './codec.ts';
import { cut, print, safeJson } from './json.ts';
import { errors, isError as isNativeError, string } from './primordials.ts';
import { cleanStack } from './stack.ts';

const MAX_MESSAGE = 32 << 10; // bytes
const MAX_ORIGINAL = 8 << 10; // characters of a value in a log entry

const INCORRECT_FORMAT = 'Received error in an incorrect format. Please provide an error object to the callback.';

export interface Entry {
  level: Level;
  message: string;
  extras: string;
}

export interface Outcome {
  failure: Failure;
  entry: Entry;
}

/** Classifies a failure. Never throws, whatever the value's getters do. */
export function classify(value: unknown): Outcome {
  try {
    const message = messageOf(value);
    return message === undefined ? unreadable(value) : readable(value, message);
  } catch {
    return unreadable('[a value that cannot be read]');
  }
}

/** A failure that the runtime finds, like a result that is not JSON. */
export function customFailure(message: string): Outcome {
  return outcome(FailureKind.custom, message, '');
}

/** The message of an error or of an object like one; undefined for anything else. */
function messageOf(value: unknown): string | undefined {
  if (typeof value !== 'object' && typeof value !== 'function') return undefined;
  const message = (value as { message?: unknown } | null)?.message;
  if (message === undefined || message === null || message === '') return undefined;
  return textOf(message);
}

function readable(value: unknown, message: string): Outcome {
  if (!isError(value)) return outcome(FailureKind.custom, message, '');
  const kind = isRuntimeException(value) ? FailureKind.runtimeException : FailureKind.custom;
  return outcome(kind, message, cleanStack(value.stack));
}

function outcome(kind: Failure['kind'], message: string, stack: string): Outcome {
  const text = cut(message, MAX_MESSAGE);
  return {
    failure: { kind, message: text, stack },
    entry: { level: Level.error, message: `Received Error - ${text}`, extras: '' },
  };
}

function unreadable(value: unknown): Outcome {
  const original = safeJson(value, MAX_ORIGINAL);
  return {
    failure: {
      kind: FailureKind.custom,
      message: cut(textOf(value), MAX_MESSAGE),
      stack: isError(value) ? cleanStack(value.stack) : '',
    },
    entry: {
      level: Level.warn,
      message: INCORRECT_FORMAT,
      extras: original.length > MAX_ORIGINAL ? '' : `[{"originalFailure":${original}}]`,
    },
  };
}

/** A value as the text of an error message, which must be a string. */
function textOf(value: unknown): string {
  if (typeof value === 'string') return value;
  if (typeof value !== 'object' || value === null || isError(value)) return string(value);
  return safeJson(value, MAX_MESSAGE);
}

function isError(value: unknown): value is Error {
  return isNativeError(value) || value instanceof errors.Error;
}

/** Faults of the code itself: exactly these three, not classes made from them. */
function isRuntimeException(error: Error): boolean {
  const { constructor } = error;
  return (
    constructor === errors.TypeError || constructor === errors.SyntaxError || constructor === errors.ReferenceError
  );
}

/** One line that names an error, for reasons and for the deployment's failure. */
export function describe(value: unknown): string {
  try {
    if (isError(value)) return cut(string(value), MAX_MESSAGE);
    return cut(typeof value === 'string' ? value : print(value, MAX_ORIGINAL), MAX_MESSAGE);
  } catch {
    return '[a value that cannot be read]';
  }
}
