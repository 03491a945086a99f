// JSON for log records: any value becomes JSON, and no value throws.

import { inspect, types } from 'node:util';
import { byteLength, isArray, isError, isFinite, jsonStringify, quote, slice, string } from './primordials.ts';
import { cleanStack, withoutOurFrames } from './stack.ts';

/** How node prints a value, bounded. */
export function print(value: unknown, maxCharacters: number): string {
  try {
    return withoutOurFrames(inspect(value, { maxStringLength: maxCharacters }));
  } catch {
    return '[a value that cannot be printed]';
  }
}

/** The value as JSON text, with a readable stand-in for what JSON has no form for. */
export function safeJson(value: unknown, maxCharacters: number): string {
  switch (typeof value) {
    case 'string':
      return quote(value);
    case 'boolean':
      return value ? 'true' : 'false';
  }
  try {
    return jsonStringify(value, standIns()) ?? 'null';
  } catch {
    return quote(print(value, maxCharacters));
  }
}

/** A replacer that knows which objects it is inside of, to find cycles. */
function standIns(): (this: unknown, key: string, value: unknown) => unknown {
  const path: unknown[] = [];
  let depth = 0;
  return function (this: unknown, key: string, value: unknown): unknown {
    const plain = standIn(key, value);
    if (typeof plain !== 'object' || plain === null) return plain;
    while (depth > 0 && path[depth - 1] !== this) depth--;
    for (let i = 0; i < depth; i++) if (path[i] === plain) return '[Circular]';
    path[depth++] = plain;
    return plain;
  };
}

function standIn(key: string, value: unknown): unknown {
  switch (typeof value) {
    case 'bigint':
    case 'symbol':
      return string(value);
    case 'function':
      return `[Function: ${value.name === '' ? 'anonymous' : value.name}]`;
    case 'number':
      return isFinite(value) ? value : string(value);
    case 'undefined':
      return key === '' ? null : undefined;
    case 'object':
      return value === null || isArray(value) ? value : object(value);
    default:
      return value;
  }
}

function object(value: object): unknown {
  if (isError(value)) {
    const { name, message, stack } = value;
    return { ...(value as object), name, message, stack: typeof stack === 'string' ? cleanStack(stack) : stack };
  }
  if (types.isMap(value) || types.isSet(value) || types.isRegExp(value) || types.isPromise(value)) {
    return inspect(value);
  }
  return value;
}

/** Text of at most that many bytes of UTF-8, and a mark if some are missing. */
export function cut(text: string, maxBytes: number): string {
  if (text.length * 3 <= maxBytes || byteLength(text) <= maxBytes) return text;
  const mark = `… [cut, ${string(byteLength(text))} bytes in all]`;
  const room = maxBytes - byteLength(mark);
  if (room <= 0) return '';
  let low = 0;
  let high = room < text.length ? room : text.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (byteLength(slice(text, 0, middle)) <= room) low = middle;
    else high = middle - 1;
  }
  return slice(text, 0, low) + mark;
}
