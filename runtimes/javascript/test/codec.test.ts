// Holds the hand-written codec against the .proto: every field of every message,
// in both directions.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import protobuf from 'protobufjs';
import * as codec from '../src/codec.ts';
import { Writer, sizeOfVarint } from '../src/wire.ts';
import { proto } from './runtime.ts';

const type = (name: string): protobuf.Type => proto.lookupType(`faas.runtime.v1.${name}`);

/** A message with a value in every field, repeated ones twice, taken from the .proto. */
function full(t: protobuf.Type, seed = 1): { [field: string]: unknown } {
  const message: { [field: string]: unknown } = {};
  const oneof = new Set<string>();
  for (const field of t.fieldsArray) {
    field.resolve();
    if (field.partOf) {
      if (oneof.has(field.partOf.name)) continue;
      oneof.add(field.partOf.name);
    }
    const one = (n: number): unknown => value(field, n);
    if (field.map) message[field.name] = { [`k${seed}`]: one(seed), é: one(seed + 1) };
    else message[field.name] = field.repeated ? [one(seed), one(seed + 1)] : one(seed);
  }
  return message;
}

function value(field: protobuf.Field, n: number): unknown {
  if (field.resolvedType instanceof protobuf.Type) return full(field.resolvedType, n);
  if (field.resolvedType instanceof protobuf.Enum) return n;
  switch (field.type) {
    case 'string':
      return `${field.name} ${n} é€😀`.repeat(n * 3);
    case 'bytes':
      return Buffer.from(`["${field.name} ${n} é"]`);
    case 'bool':
      return true;
    default:
      return n * 1_000_003;
  }
}

const encode = (name: string, message: object): Buffer => Buffer.from(type(name).encode(type(name).fromObject(message)).finish());

const decode = (name: string, bytes: Buffer): unknown =>
  type(name).toObject(type(name).decode(bytes), { longs: Number, bytes: Buffer, arrays: true });

/** Unsigned varints that a decoder must know to be too new for it. */
const unknownFields = Buffer.concat([
  Buffer.from([0xf8, 0x07, 0x96, 0x01]), // field 127, varint
  Buffer.from([0xf9, 0x07, 1, 2, 3, 4, 5, 6, 7, 8]), // fixed64
  Buffer.from([0xfa, 0x07, 3, 1, 2, 3]), // bytes
  Buffer.from([0xfd, 0x07, 1, 2, 3, 4]), // fixed32
]);

const requests: { [name: string]: (b: Buffer) => unknown } = {
  BuildRequest: codec.decodeBuildRequest,
  LoadRequest: codec.decodeLoadRequest,
  HostFrame: codec.decodeHostFrame,
};

for (const [name, read] of Object.entries(requests)) {
  test(`${name}: every field of the .proto is read`, () => {
    const message: any = full(type(name));
    if (name === 'HostFrame') message.replies.push({ requestId: 7, error: full(type('RequestError')) });
    const expected = structuredClone(message);
    // These are kept in a form of their own.
    if (name === 'HostFrame') {
      expected.cancels = expected.cancels.map((c: { callId: number }) => c.callId);
      for (const call of expected.calls) call.payload = Buffer.from(call.payload).toString();
      for (const { secret } of expected.replies.slice(0, 2)) secret.value = Buffer.from(secret.value).toString();
    }
    if (name === 'LoadRequest') expected.artifact = Buffer.from(expected.artifact);
    const bytes = encode(name, message);
    assert.deepEqual(plain(read(bytes)), plain(expected));
    assert.deepEqual(plain(read(Buffer.concat([bytes, unknownFields]))), plain(expected), 'with unknown fields');
  });

  test(`${name}: bytes that end early or are not a message are refused, never read past`, () => {
    const bytes = encode(name, full(type(name)));
    for (let length = 0; length < bytes.length; length++) {
      try {
        read(Buffer.from(bytes.subarray(0, length)));
      } catch (error) {
        assert.equal((error as Error).constructor.name, 'WireError', `${length} bytes: ${String(error)}`);
      }
    }
    let state = 42;
    for (let i = 0; i < 3000; i++) {
      const mutated = Buffer.from(bytes);
      for (let j = 0; j < 3; j++) {
        state = (state * 1103515245 + 12345) & 0x7fffffff;
        mutated[state % mutated.length] = state >> 8;
      }
      try {
        read(mutated);
      } catch (error) {
        assert.equal((error as Error).constructor.name, 'WireError', String(error));
      }
    }
  });
}

function plain(value: any): any {
  if (Buffer.isBuffer(value)) return value.toString('hex');
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, plain(v)]));
}

function written(write: (w: Writer) => void): Buffer {
  const w = new Writer(16);
  write(w);
  return w.take();
}

test('DescribeResponse: every field of the .proto is written', () => {
  const message: any = full(type('DescribeResponse'));
  assert.deepEqual(decode('DescribeResponse', written((w) => codec.writeDescribeResponse(w, message))), message);
});

test('BuildResponse: every field of the .proto is written', () => {
  const message: any = full(type('BuildResponse'));
  assert.deepEqual(decode('BuildResponse', written((w) => codec.writeBuildResponse(w, message))), message);
});

test('LoadResponse: every field of the .proto is written, and success is empty', () => {
  const message: any = full(type('LoadResponse'));
  assert.deepEqual(decode('LoadResponse', written((w) => codec.writeLoadResponse(w, message.failure))), message);
  assert.equal(written((w) => codec.writeLoadResponse(w, undefined)).length, 0);
});

test('RuntimeFrame: every field of the .proto is written', () => {
  const message: any = full(type('RuntimeFrame'));
  const failure: any = full(type('Failure'));
  message.results.push({ ...message.results[0], failure });
  delete message.results[2].payload;
  const { id, callId } = message.requests[0];
  message.requests.push({ id, callId, updateSecret: full(type('UpdateSecret')) });
  const bytes = written((w) => {
    for (const r of message.results) {
      if (r.failure) codec.writeFailure(w, r.callId, r.failure, r.droppedLogs);
      else codec.writeResult(w, r.callId, r.payload.toString(), r.payload.length, r.droppedLogs);
    }
    for (const l of message.logs) codec.writeLogRecord(w, { ...l, extras: l.extras.toString(), timestamp: l.timestampMs });
    for (const { id, callId, readSecret, updateSecret } of message.requests) {
      codec.writeHostRequest(w, { id, callId, key: (readSecret ?? updateSecret).key, value: updateSecret?.value.toString() });
    }
    codec.writeHeartbeat(w, message.heartbeat.eventLoopLagMs, message.heartbeat.openCalls);
    codec.writeRetire(w, message.retire.reason);
    codec.writeExit(w, message.exit.callId, message.exit.reason);
  });
  assert.deepEqual(decode('RuntimeFrame', bytes), message);
});

const ids = [1, 127, 128, 16383, 16384, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 35, 2 ** 42, 2 ** 49, 2 ** 53 - 1, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n];

for (const id of ids) {
  test(`the call id ${id} comes back as it was sent`, () => {
    const frame = Buffer.concat([Buffer.from([0x08]), varint(BigInt(id))]);
    const read = codec.decodeHostFrame(Buffer.concat([Buffer.from([0x0a, frame.length]), frame])).calls[0]!.id;
    assert.equal(read, id);
    const bytes = written((w) => codec.writeExit(w, read, ''));
    assert.deepEqual(bytes.subarray(3), varint(BigInt(id)));
    assert.equal(sizeOfVarint(id), varint(BigInt(id)).length);
  });
}

function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  for (; value > 127n; value >>= 7n) bytes.push(Number(value & 127n) | 128);
  bytes.push(Number(value));
  return Buffer.from(bytes);
}

test('a lone surrogate becomes a replacement character, with the right length', () => {
  const bytes = written((w) => codec.writeRetire(w, 'a\ud800b'));
  assert.equal((decode('RuntimeFrame', bytes) as any).retire.reason, 'a\ufffdb');
});
