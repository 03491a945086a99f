// The protobuf wire format, as far as faas.runtime.v1 uses it.

import { allocate, byteLength, codeAt, copy, floor, latin1Slice, subarray, utf8Slice, utf8Write } from './primordials.ts';

/** The number of a call. A bigint when it is too large for a number. */
export type CallId = number | bigint;

/** Wire types. */
export const VARINT = 0;
const FIXED64 = 1;
export const BYTES = 2;
const FIXED32 = 5;

/** Thrown for bytes that are not a message. */
export class WireError extends Error {}

/** Reads the fields of one message. */
export class Reader {
  private readonly buffer: Buffer;
  private position = 0;
  private end: number;

  constructor(message: Buffer) {
    this.buffer = message;
    this.end = message.length;
  }

  /** The next field's tag, 0 at the end of the message. */
  tag(): number {
    if (this.position >= this.end) return 0;
    const tag = this.uint32();
    if (tag >>> 3 === 0) throw new WireError('a field has the number 0');
    return tag;
  }

  private byte(): number {
    if (this.position >= this.end) throw new WireError('a message ends inside a field');
    return this.buffer[this.position++]!;
  }

  /** A varint of which the lower 32 bits count. */
  uint32(): number {
    let b = this.byte();
    let value = b & 0x7f;
    for (let shift = 7; b > 0x7f; shift += 7) {
      if (shift > 63) throw new WireError('a varint is too long');
      b = this.byte();
      if (shift < 32) value |= (b & 0x7f) << shift;
    }
    return value >>> 0;
  }

  bool(): boolean {
    return this.uint64() !== 0;
  }

  uint64(): CallId {
    const start = this.position;
    let value = 0;
    for (let factor = 1, bits = 0; ; factor *= 128, bits += 7) {
      const b = this.byte();
      if (bits >= 49) {
        this.position = start;
        return this.bigUint64();
      }
      value += (b & 0x7f) * factor;
      if (b <= 0x7f) return value;
    }
  }

  private bigUint64(): CallId {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const b = this.byte();
      value |= BigInt(b & 0x7f) << shift;
      if (b <= 0x7f) {
        value &= 0xffffffffffffffffn;
        return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
      }
    }
    throw new WireError('a varint is too long');
  }

  /** Reads a length and returns where that many bytes end. */
  private chunk(): number {
    const length = this.uint32();
    const end = this.position + length;
    if (end > this.end) throw new WireError('a field is longer than its message');
    return end;
  }

  string(): string {
    const end = this.chunk();
    const start = this.position;
    this.position = end;
    return start === end ? '' : text(this.buffer, start, end);
  }

  bytes(): Buffer {
    const end = this.chunk();
    const value = subarray(this.buffer, this.position, end);
    this.position = end;
    return value;
  }

  /** Reads a nested message with the function, which must read to its end. */
  message<T>(decode: (r: Reader) => T): T {
    const end = this.chunk();
    const outer = this.end;
    this.end = end;
    const value = decode(this);
    this.end = outer;
    this.position = end;
    return value;
  }

  /** Passes over a field that this version does not know. */
  skip(tag: number): void {
    switch (tag & 7) {
      case VARINT:
        this.uint64();
        return;
      case FIXED64:
        this.position += 8;
        break;
      case BYTES:
        this.position = this.chunk();
        break;
      case FIXED32:
        this.position += 4;
        break;
      default:
        throw new WireError(`a field has the wire type ${String(tag & 7)}`);
    }
    if (this.position > this.end) throw new WireError('a message ends inside a field');
  }
}

/** Text shorter than this is looked at byte by byte: cheaper than a call into C++. */
const SHORT = 48;

function text(buffer: Buffer, start: number, end: number): string {
  if (end - start < SHORT) {
    let i = start;
    while (i < end && buffer[i]! < 0x80) i++;
    if (i === end) return latin1Slice(buffer, start, end);
  }
  return utf8Slice(buffer, start, end);
}

/** The number of bytes of a varint. */
export function sizeOfVarint(value: CallId): number {
  if (typeof value === 'bigint') {
    let size = 1;
    for (let rest = value >> 7n; rest > 0n; rest >>= 7n) size++;
    return size;
  }
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x200000) return 3;
  if (value < 0x10000000) return 4;
  let size = 5;
  for (let rest = value / 0x800000000; rest >= 1; rest /= 128) size++;
  return size;
}

/** The number of bytes of a field that holds that many bytes; 0 bytes are left out. */
export function sizeOfBytes(length: number): number {
  return length === 0 ? 0 : 1 + sizeOfVarint(length) + length;
}

/** Writes messages one after the other into a buffer that grows. */
export class Writer {
  private buffer: Buffer;
  private position = 0;
  private readonly size: number;

  /** size is how many bytes a message usually has. */
  constructor(size: number) {
    this.size = size;
    this.buffer = allocate(size);
  }

  /** The number of bytes written. */
  get length(): number {
    return this.position;
  }

  /** Returns what has been written, and starts again behind it. */
  take(): Buffer {
    const message = subarray(this.buffer, 0, this.position);
    const rest = this.buffer.length - this.position;
    this.buffer = rest < this.size >> 2 ? allocate(this.size) : subarray(this.buffer, this.position);
    this.position = 0;
    return message;
  }

  /** Shows what has been written from start on, and a byte 0 behind it, to a function that does not keep it. */
  show(start: number, to: (buffer: Buffer, offset: number, length: number) => void): void {
    this.ensure(1);
    this.buffer[this.position] = 0;
    to(this.buffer, start, this.position + 1 - start);
  }

  /** Makes room for that many bytes more. Every write below needs it. */
  ensure(bytes: number): void {
    const needed = this.position + bytes;
    if (needed <= this.buffer.length) return;
    const grown = allocate(needed < this.buffer.length * 2 ? this.buffer.length * 2 : needed);
    copy(this.buffer, grown, 0, 0, this.position);
    this.buffer = grown;
  }

  varint(value: CallId): void {
    if (typeof value === 'bigint') {
      let rest = value;
      for (; rest > 0x7fn; rest >>= 7n) this.buffer[this.position++] = Number(rest & 0x7fn) | 0x80;
      this.buffer[this.position++] = Number(rest);
      return;
    }
    let rest = value;
    while (rest > 0x7fffffff) {
      this.buffer[this.position++] = (rest % 128) | 0x80;
      rest = floor(rest / 128);
    }
    while (rest > 0x7f) {
      this.buffer[this.position++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.buffer[this.position++] = rest;
  }

  /** A varint field; 0 is left out. */
  uint(field: number, value: CallId): void {
    if (value === 0) return;
    this.buffer[this.position++] = (field << 3) | VARINT;
    this.varint(value);
  }

  /** The tag and length of a nested message or of bytes that follow. */
  header(field: number, length: number): void {
    this.buffer[this.position++] = (field << 3) | BYTES;
    this.varint(length);
  }

  /** A string field of a known number of bytes; an empty one is left out. */
  text(field: number, value: string, bytes: number): void {
    if (bytes === 0) return;
    this.header(field, bytes);
    this.raw(value, bytes);
  }

  /** Text of a known number of bytes, without tag and length. */
  raw(value: string, bytes: number): void {
    if (bytes < SHORT && bytes === value.length) {
      for (let i = 0; i < bytes; i++) this.buffer[this.position + i] = codeAt(value, i);
    } else {
      utf8Write(this.buffer, value, this.position, bytes);
    }
    this.position += bytes;
  }

  // What follows makes its own room and is for messages that are seldom sent.

  string(field: number, value: string): void {
    const bytes = byteLength(value);
    this.ensure(bytes + 16);
    this.text(field, value, bytes);
  }

  /** An empty field is left out, unless an empty message is meant. */
  bytes(field: number, value: Uint8Array, always = false): void {
    if (value.length === 0 && !always) return;
    this.ensure(value.length + 16);
    this.header(field, value.length);
    this.buffer.set(value, this.position);
    this.position += value.length;
  }

  message(field: number, write: (w: Writer) => void): void {
    const nested = new Writer(256);
    write(nested);
    this.bytes(field, nested.take(), true);
  }
}
