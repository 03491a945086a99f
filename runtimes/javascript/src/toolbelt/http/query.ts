// Query strings and forms as the qs library of request makes them: nested values
// become a[b][0]=c.

import { textOf } from './headers.ts';

const MAX_DEPTH = 50;

export interface Style {
  /** How the items of an array are named: a[0], a[] or a. */
  arrayFormat?: string | undefined;
  skipNulls?: boolean | undefined;
}

/** The pairs of an object's own properties, percent-encoded. name is the option that errors name. */
export function stringify(values: object, style: Style, name: string): string {
  const pairs: string[] = [];
  for (const key of Object.keys(values)) add(pairs, key, (values as Record<string, unknown>)[key], style, name, 1);
  return pairs.join('&');
}

/** A query with the pairs of values in it, in place of what it had under their names. */
export function withQuery(query: string, values: object, style: Style): string {
  const added = stringify(values, style, 'qs');
  const names = new Set(Object.keys(values));
  const kept = query.split('&').filter((pair) => pair !== '' && !names.has(nameOf(pair)));
  return [...kept, ...(added === '' ? [] : [added])].join('&');
}

/** encodeURIComponent as RFC 3986 has it. */
export function encode(text: string): string {
  return rfc3986(encodeURIComponent(text.toWellFormed()));
}

/** Encodes what encodeURIComponent leaves and RFC 3986 reserves. */
export function rfc3986(text: string): string {
  return text.replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
}

function add(pairs: string[], key: string, value: unknown, style: Style, name: string, depth: number): void {
  if (value === undefined || typeof value === 'function' || typeof value === 'symbol') return;
  if (value === null) {
    if (style.skipNulls !== true) pairs.push(`${encode(key)}=`);
    return;
  }
  if (value instanceof Date) pairs.push(`${encode(key)}=${encode(value.toISOString())}`);
  else if (typeof value !== 'object' || Buffer.isBuffer(value)) pairs.push(`${encode(key)}=${encode(textOf(value))}`);
  else if (depth > MAX_DEPTH) throw new Error(`options.${name} has more than ${String(MAX_DEPTH)} levels, or it contains itself`);
  else {
    for (const inner of Object.keys(value)) {
      const path = Array.isArray(value) ? itemKey(key, inner, style) : `${key}[${inner}]`;
      add(pairs, path, (value as Record<string, unknown>)[inner], style, name, depth + 1);
    }
  }
}

function itemKey(key: string, index: string, { arrayFormat }: Style): string {
  if (arrayFormat === 'repeat') return key;
  return arrayFormat === 'brackets' ? `${key}[]` : `${key}[${index}]`;
}

/** The name of a pair without the path into its value. */
function nameOf(pair: string): string {
  const encoded = pair.split('=', 1)[0]!.replaceAll('+', ' ');
  let key = encoded;
  try {
    key = decodeURIComponent(encoded);
  } catch {
    // Not percent-encoded UTF-8: as it stands.
  }
  return key.split('[', 1)[0]!;
}
