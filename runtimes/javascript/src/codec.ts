// The messages of faas.runtime.v1 (plugins/proto/faas/runtime/v1/runtime.proto),
// read and written by hand: a call and its result take part in nothing else that
// costs as much. test/codec.test.ts holds this file against the .proto itself, so
// a field that is missing here fails there.

import { byteLength } from './primordials.ts';
import { type CallId, Reader, sizeOfBytes, sizeOfVarint, Writer } from './wire.ts';

export interface Dependency {
  name: string;
  version: string;
}

export interface DescribeResponse {
  name: string;
  displayName: string;
  version: string;
  dependencies: Dependency[];
  sampleSource: string;
  typeDeclarations: Record<string, string>;
}

export interface BuildRequest {
  source: string;
  dependencies: Dependency[];
}

export const Severity = { error: 1, warning: 2 } as const;

export interface Diagnostic {
  severity: (typeof Severity)[keyof typeof Severity];
  code: 'syntax' | 'contract' | 'forbidden' | 'dependency' | 'limit';
  message: string;
  line: number;
  column: number;
}

export interface BuildResponse {
  artifact: Buffer;
  diagnostics: Diagnostic[];
}

export interface Limits {
  resultBytes: number;
  logRecordBytes: number;
  logRecords: number;
  memoryMib: number;
}

export interface LoadRequest {
  artifact: Buffer;
  environment: Record<string, string>;
  limits: Limits;
}

export interface LoadFailure {
  message: string;
  stack: string;
}

export interface Header {
  key: string;
  value: string;
}

export interface Call {
  id: CallId;
  headers: Header[];
  payload: string;
  timeoutMs: number;
  requestId: string;
  debug: boolean;
}

/** A value that the account keeps under a key. */
export interface Secret {
  key: string;
  /** JSON. */
  value: string;
}

export interface RequestError {
  code: string;
  message: string;
}

/** Has either a secret or an error. */
export interface HostReply {
  requestId: CallId;
  secret?: Secret;
  error?: RequestError;
}

export interface HostFrame {
  calls: Call[];
  cancels: CallId[];
  drain: boolean;
  replies: HostReply[];
}

/** A request for a secret; with a value, to change it. */
export interface HostRequest {
  id: number;
  callId: CallId;
  key: string;
  /** JSON. */
  value: string | undefined;
}

export const FailureKind = { custom: 1, runtimeException: 2 } as const;

export interface Failure {
  kind: (typeof FailureKind)[keyof typeof FailureKind];
  message: string;
  stack: string;
}

export const Level = { debug: 1, info: 2, warn: 3, error: 4 } as const;
export type Level = (typeof Level)[keyof typeof Level];

export interface LogRecord {
  callId: CallId;
  level: Level;
  message: string;
  /** A JSON array; empty means []. */
  extras: string;
  timestamp: number;
  /** Counts the records of the process. */
  sequence: number;
}

const reader = (message: Buffer): Reader => new Reader(message);

// Requests

/** Whether a DescribeRequest asks for the declarations of the packages. */
export function decodeDescribeRequest(bytes: Buffer): boolean {
  const r = new Reader(bytes);
  let packageTypes = false;
  for (let tag = r.tag(); tag !== 0; tag = r.tag()) {
    if (tag === 0x08) packageTypes = r.bool();
    else r.skip(tag);
  }
  return packageTypes;
}

export function decodeBuildRequest(message: Buffer): BuildRequest {
  const r = reader(message);
  const request: BuildRequest = { source: '', dependencies: [] };
  for (let tag = r.tag(); tag !== 0; tag = r.tag()) {
    if (tag === 0x0a) request.source = r.string();
    else if (tag === 0x12) request.dependencies.push(r.message(decodeDependency));
    else r.skip(tag);
  }
  return request;
}

function decodeDependency(r: Reader): Dependency {
  const dependency = { name: '', version: '' };
  for (let tag = r.tag(); tag !== 0; tag = r.tag()) {
    if (tag === 0x0a) dependency.name = r.string();
    else if (tag === 0x12) dependency.version = r.string();
    else r.skip(tag);
  }
  return dependency;
}

export function decodeLoadRequest(message: Buffer): LoadRequest {
  const r = reader(message);
  const request: LoadRequest = {
    artifact: message.subarray(0, 0),
    environment: Object.create(null) as Record<string, string>,
    limits: { resultBytes: 0, logRecordBytes: 0, logRecords: 0, memoryMib: 0 },
  };
  for (let tag = r.tag(); tag !== 0; tag = r.tag()) {
    if (tag === 0x0a) request.artifact = r.bytes();
    else if (tag === 0x12) {
      const { key, value } = r.message(decodePair);
      request.environment[key] = value;
    } else if (tag === 0x1a) request.limits = r.message(decodeLimits);
    else r.skip(tag);
  }
  return request;
}

function decodePair(r: Reader): Header {
  const pair = { key: '', value: '' };
  for (let tag = r.tag(); tag !== 0; tag = r.tag()) {
    if (tag === 0x0a) pair.key = r.string();
    else if (tag === 0x12) pair.value = r.string();
    else r.skip(tag);
  }
  return pair;
}

function decodeLimits(r: Reader): Limits {
  const limits = { resultBytes: 0, logRecordBytes: 0, logRecords: 0, memoryMib: 0 };
  for (let tag = r.tag(); tag !== 0; tag = r.tag()) {
    if (tag === 0x08) limits.resultBytes = r.uint32();
    else if (tag === 0x10) limits.logRecordBytes = r.uint32();
    else if (tag === 0x18) limits.logRecords = r.uint32();
    else if (tag === 0x20) limits.memoryMib = r.uint32();
    else r.skip(tag);
  }
  return limits;
}

export function decodeHostFrame(message: Buffer): HostFrame {
  const r = reader(message);
  const frame: HostFrame = { calls: [], cancels: [], drain: false, replies: [] };
  let calls = 0;
  let cancels = 0;
  let replies = 0;
  for (let tag = r.tag(); tag !== 0; tag = r.tag()) {
    if (tag === 0x0a) frame.calls[calls++] = r.message(decodeCall);
    else if (tag === 0x12) frame.cancels[cancels++] = r.message(decodeCancel);
    else if (tag === 0x18) frame.drain = r.bool();
    else if (tag === 0x22) frame.replies[replies++] = r.message(decodeReply);
    else r.skip(tag);
  }
  return frame;
}

function decodeCall(r: Reader): Call {
  const call: Call = { id: 0, headers: [], payload: '', timeoutMs: 0, requestId: '', debug: false };
  let headers = 0;
  for (let tag = r.tag(); tag !== 0; tag = r.tag()) {
    if (tag === 0x08) call.id = r.uint64();
    else if (tag === 0x12) call.headers[headers++] = r.message(decodePair);
    else if (tag === 0x1a) call.payload = r.string();
    else if (tag === 0x20) call.timeoutMs = r.uint32();
    else if (tag === 0x2a) call.requestId = r.string();
    else if (tag === 0x30) call.debug = r.bool();
    else r.skip(tag);
  }
  return call;
}

function decodeCancel(r: Reader): CallId {
  let id: CallId = 0;
  for (let tag = r.tag(); tag !== 0; tag = r.tag()) {
    if (tag === 0x08) id = r.uint64();
    else r.skip(tag);
  }
  return id;
}

function decodeReply(r: Reader): HostReply {
  const reply: HostReply = { requestId: 0 };
  for (let tag = r.tag(); tag !== 0; tag = r.tag()) {
    if (tag === 0x08) reply.requestId = r.uint64();
    else if (tag === 0x12) reply.secret = r.message(decodePair);
    else if (tag === 0x1a) reply.error = r.message(decodeError);
    else r.skip(tag);
  }
  return reply;
}

function decodeError(r: Reader): RequestError {
  const error = { code: '', message: '' };
  for (let tag = r.tag(); tag !== 0; tag = r.tag()) {
    if (tag === 0x0a) error.code = r.string();
    else if (tag === 0x12) error.message = r.string();
    else r.skip(tag);
  }
  return error;
}

// Answers

export function writeDescribeResponse(w: Writer, d: DescribeResponse): void {
  w.string(1, d.name);
  w.string(2, d.displayName);
  w.string(3, d.version);
  for (const { name, version } of d.dependencies) {
    w.message(4, (n) => {
      n.string(1, name);
      n.string(2, version);
    });
  }
  w.string(5, d.sampleSource);
  for (const [file, text] of Object.entries(d.typeDeclarations)) {
    w.message(6, (n) => {
      n.string(1, file);
      n.string(2, text);
    });
  }
}

export function writeBuildResponse(w: Writer, response: BuildResponse): void {
  w.bytes(1, response.artifact);
  for (const d of response.diagnostics) {
    w.message(2, (n) => {
      n.uint(1, d.severity);
      n.string(2, d.code);
      n.string(3, d.message);
      n.ensure(16);
      n.uint(4, d.line);
      n.uint(5, d.column);
    });
  }
}

export function writeLoadResponse(w: Writer, failure: LoadFailure | undefined): void {
  if (failure === undefined) return;
  w.message(1, (n) => {
    n.string(1, failure.message);
    n.string(2, failure.stack);
  });
}

// Entries of a RuntimeFrame. They follow each other in the order in which they
// happen, and a frame is whatever has been written when it is sent.

/** Room for tags, lengths and numbers of one entry. */
const OVERHEAD = 64;

/** A result whose JSON has that many bytes. */
export function writeResult(w: Writer, id: CallId, json: string, bytes: number, droppedLogs: number): void {
  w.ensure(bytes + OVERHEAD);
  w.header(1, 1 + sizeOfVarint(id) + 1 + sizeOfVarint(bytes) + bytes + sizeOfUint(droppedLogs));
  w.uint(1, id);
  w.header(2, bytes);
  w.raw(json, bytes);
  w.uint(4, droppedLogs);
}

export function writeFailure(w: Writer, id: CallId, failure: Failure, droppedLogs: number): void {
  const message = byteLength(failure.message);
  const stack = byteLength(failure.stack);
  const size = 2 + sizeOfBytes(message) + sizeOfBytes(stack);
  w.ensure(size + OVERHEAD);
  w.header(1, 1 + sizeOfVarint(id) + 1 + sizeOfVarint(size) + size + sizeOfUint(droppedLogs));
  w.uint(1, id);
  w.header(3, size);
  w.uint(1, failure.kind);
  w.text(2, failure.message, message);
  w.text(3, failure.stack, stack);
  w.uint(4, droppedLogs);
}

export function writeLogRecord(w: Writer, record: LogRecord): void {
  const message = byteLength(record.message);
  const extras = byteLength(record.extras);
  const size =
    sizeOfUint(record.callId) + 2 + sizeOfBytes(message) + sizeOfBytes(extras) + sizeOfUint(record.timestamp) + sizeOfUint(record.sequence);
  w.ensure(size + OVERHEAD);
  w.header(2, size);
  w.uint(1, record.callId);
  w.uint(2, record.level);
  w.text(3, record.message, message);
  w.text(4, record.extras, extras);
  w.uint(5, record.timestamp);
  w.uint(6, record.sequence);
}

export function writeHeartbeat(w: Writer, lagMs: number, openCalls: number): void {
  w.ensure(OVERHEAD);
  w.header(3, sizeOfUint(lagMs) + sizeOfUint(openCalls));
  w.uint(1, lagMs);
  w.uint(2, openCalls);
}

export function writeRetire(w: Writer, reason: string): void {
  const bytes = byteLength(reason);
  w.ensure(bytes + OVERHEAD);
  w.header(4, sizeOfBytes(bytes));
  w.text(1, reason, bytes);
}

export function writeExit(w: Writer, id: CallId, reason: string): void {
  const bytes = byteLength(reason);
  w.ensure(bytes + OVERHEAD);
  w.header(5, sizeOfUint(id) + sizeOfBytes(bytes));
  w.uint(1, id);
  w.text(2, reason, bytes);
}

export function writeHostRequest(w: Writer, request: HostRequest): void {
  const update = request.value !== undefined;
  const key = byteLength(request.key);
  const value = update ? byteLength(request.value!) : 0;
  const size = sizeOfBytes(key) + sizeOfBytes(value);
  w.ensure(size + OVERHEAD);
  w.header(6, sizeOfUint(request.id) + sizeOfUint(request.callId) + 1 + sizeOfVarint(size) + size);
  w.uint(1, request.id);
  w.uint(2, request.callId);
  w.header(update ? 4 : 3, size);
  w.text(1, request.key, key);
  if (update) w.text(2, request.value!, value);
}

function sizeOfUint(value: CallId): number {
  return value === 0 ? 0 : 1 + sizeOfVarint(value);
}
