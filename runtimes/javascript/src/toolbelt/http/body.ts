// The body of a request: text, bytes, JSON, a form, or a form with files.

import { randomBytes } from 'node:crypto';
import { type Headers, textOf } from './headers.ts';
import { encode, rfc3986, stringify } from './query.ts';
import type { HttpOptions } from './types.ts';

/** The largest body, sent or received, in bytes. */
export const MAX_BODY = 32 << 20;

const FORM = 'application/x-www-form-urlencoded';

/** Makes the body and sets the headers that describe it. undefined is no body. */
export async function bodyOf(options: HttpOptions, headers: Headers): Promise<Buffer | undefined> {
  const { form, formData, json } = options;
  if (isGiven(formData)) return multipart(formData, headers);
  let body: unknown = options.body ?? undefined;
  if (isGiven(form)) {
    if (!isForm(headers)) headers.set('content-type', FORM);
    body = typeof form === 'object' ? stringify(form, { arrayFormat: arrayFormat(options) }, 'form') : rfc3986(textOf(form));
  }
  if (isGiven(json) && json !== false) body = jsonBody(json, body, options, headers);
  return body === undefined ? undefined : bytesOf(body, 'body');
}

/** How arrays are named in qs and form. */
export function arrayFormat({ useQuerystring, qsStringifyOptions }: HttpOptions): string | undefined {
  return useQuerystring === true ? 'repeat' : qsStringifyOptions?.arrayFormat;
}

function isGiven<T>(value: T): value is NonNullable<T> {
  return value !== undefined && value !== null;
}

function isForm(headers: Headers): boolean {
  return headers.text('content-type').startsWith(FORM);
}

function jsonBody(json: unknown, body: unknown, { jsonReplacer }: HttpOptions, headers: Headers): unknown {
  headers.offer('accept', 'application/json');
  const value = typeof json === 'boolean' ? body : json;
  if (value === undefined || (isForm(headers) && typeof json === 'boolean')) return value;
  headers.offer('content-type', 'application/json');
  return JSON.stringify(value, jsonReplacer);
}

/** The bytes of a string, of bytes, of a list of these, or of a stream. what is the option that errors name. */
async function bytesOf(value: unknown, what: string): Promise<Buffer> {
  if (typeof value === 'string') return bounded(Buffer.from(value), what);
  if (ArrayBuffer.isView(value)) return bounded(Buffer.from(value.buffer, value.byteOffset, value.byteLength), what);
  if (value instanceof URLSearchParams) return bounded(Buffer.from(String(value)), what);
  const parts: Buffer[] = [];
  let length = 0;
  if (!isIterable(value)) {
    throw new Error(`options.${what} must be a string, a Buffer, a stream or an array of strings and Buffers. Set json: true to send another value as JSON`);
  }
  for await (const part of value) {
    if (typeof part !== 'string' && !ArrayBuffer.isView(part)) throw new Error(`options.${what} must consist of strings and Buffers`);
    const bytes = await bytesOf(part, what);
    parts.push(bytes);
    length += bytes.length;
    if (length > MAX_BODY) throw tooLarge(what);
  }
  return Buffer.concat(parts, length);
}

function isIterable(value: unknown): value is Iterable<unknown> | AsyncIterable<unknown> {
  return Array.isArray(value) || (typeof value === 'object' && value !== null && Symbol.asyncIterator in value);
}

function bounded(bytes: Buffer, what: string): Buffer {
  if (bytes.length > MAX_BODY) throw tooLarge(what);
  return bytes;
}

function tooLarge(what: string): Error {
  return new Error(`options.${what} has more than the limit of ${String(MAX_BODY)} bytes`);
}

// Forms with files

interface Part {
  value: unknown;
  options?: { filename?: unknown; filepath?: unknown; contentType?: unknown };
}

async function multipart(fields: Readonly<Record<string, unknown>>, headers: Headers): Promise<Buffer> {
  const boundary = `----sluice${randomBytes(18).toString('hex')}`;
  const own = /boundary="?([^";]+)/.exec(headers.text('content-type'))?.[1];
  if (own === undefined) headers.set('content-type', `multipart/form-data; boundary=${boundary}`);
  const given = own ?? boundary;
  const parts: Buffer[] = [];
  for (const name of Object.keys(fields)) {
    const field = fields[name];
    for (const item of (Array.isArray(field) ? field : [field]) as unknown[]) {
      const { value, options = {} } = isPart(item) ? item : { value: item };
      const content = await bytesOf(typeof value === 'number' || typeof value === 'boolean' ? String(value) : value, `formData.${name}`);
      parts.push(Buffer.from(`--${given}\r\n${headOf(name, options)}\r\n\r\n`), content, Buffer.from('\r\n'));
    }
  }
  parts.push(Buffer.from(`--${given}--\r\n`));
  return bounded(Buffer.concat(parts), 'formData');
}

/** A value with options beside it. */
function isPart(item: unknown): item is Part {
  return typeof item === 'object' && item !== null && 'value' in item && !Buffer.isBuffer(item);
}

function headOf(name: string, { filename, filepath, contentType }: NonNullable<Part['options']>): string {
  const file = filename ?? filepath;
  let head = `Content-Disposition: form-data; name="${escape(name)}"`;
  if (file !== undefined) head += `; filename="${escape(textOf(file))}"`;
  const type = contentType ?? (file === undefined ? undefined : 'application/octet-stream');
  return type === undefined ? head : `${head}\r\nContent-Type: ${textOf(type).replace(/[\r\n]/g, ' ')}`;
}

/** A name within quotes, as browsers write it. */
function escape(text: string): string {
  return text.replace(/[\r\n"]/g, (c) => encode(c));
}
