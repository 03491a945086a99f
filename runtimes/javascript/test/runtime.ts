// Starts the built runtime as the gateway does and speaks faas.runtime.v1 with it,
// with the .proto itself as the codec.

import { Client, credentials, type ClientDuplexStream, type ServiceError } from '@grpc/grpc-js';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import protobuf from 'protobufjs';

const here = import.meta.dirname;
export const dist = process.env['SLUICE_RUNTIME_DIST'] ?? join(here, '..', 'dist');
export const proto = protobuf.loadSync(join(here, '../../../plugins/proto/faas/runtime/v1/runtime.proto'));
const type = (name: string): protobuf.Type => proto.lookupType(`faas.runtime.v1.${name}`);

const MAX_FRAME = 7 << 20;

/** How long anything may take in a test before it has failed. */
const PATIENCE = 15_000;

export interface Failure {
  kind: 'FAILURE_KIND_CUSTOM' | 'FAILURE_KIND_RUNTIME_EXCEPTION';
  message: string;
  stack: string;
}

export interface Record {
  callId: number;
  level: 'LEVEL_DEBUG' | 'LEVEL_INFO' | 'LEVEL_WARN' | 'LEVEL_ERROR';
  message: string;
  extras: unknown[];
  timestampMs: number;
  sequence: number;
}

export interface Outcome {
  result?: unknown;
  failure?: Failure;
  droppedLogs: number;
  /** What the call logged before it was answered. */
  logs: Record[];
}

/** What user code asked of the host. */
export interface Request {
  id: number;
  callId: number;
  kind: 'read' | 'update';
  key: string;
  value?: unknown;
}

export interface Diagnostic {
  severity: 'SEVERITY_ERROR' | 'SEVERITY_WARNING';
  code: string;
  message: string;
  line: number;
  column: number;
}

export interface LoadOptions {
  environment?: { [name: string]: string };
  limits?: { resultBytes?: number; logRecordBytes?: number; logRecords?: number };
}

export interface CallOptions {
  headers?: { key: string; value: string }[];
  debug?: boolean;
  timeoutMs?: number;
  /** The payload as text, to send what JSON.stringify would not. */
  raw?: string;
}

function decode(name: string, bytes: Uint8Array): any {
  const t = type(name);
  return t.toObject(t.decode(bytes), { enums: String, longs: Number, bytes: Buffer, defaults: true, arrays: true });
}

function recordOf(record: any): Record {
  return { ...record, extras: record.extras.length === 0 ? [] : JSON.parse(record.extras.toString()) };
}

function encode(name: string, value: object): Buffer {
  const t = type(name);
  return Buffer.from(t.encode(t.fromObject(value)).finish());
}

/** Waits for the condition, looking at it again and again. */
export async function eventually<T>(what: string, look: () => T | undefined | false | null | Promise<T | undefined | false | null>): Promise<T> {
  for (const end = Date.now() + PATIENCE; ; ) {
    const value = await look();
    if (value !== undefined && value !== false && value !== null) return value;
    if (Date.now() > end) throw new Error(`${what}: not within ${PATIENCE} ms`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** One process. */
export class Runtime {
  readonly child: ChildProcess;
  readonly exited: Promise<{ code: number | null; signal: string | null }>;
  handshake = '';
  stderr = '';
  stdoutBytes = 0;
  private client: Client | undefined;
  private folder: string;

  private constructor(environment: { [name: string]: string }, folder: string, dist: string) {
    this.folder = folder;
    const manifest = readFileSync(join(dist, 'runtime.yaml'), 'utf8');
    const args = [...manifest.matchAll(/^ {2}- (\S+)/gm)].map((m) =>
      m[1]!.replace('${dir}', dist).replace('${memory_mib}', '256'),
    );
    const area = openSync(this.areaFile, 'w');
    ftruncateSync(area, 256 << 10);
    this.child = spawn(join(dist, 'node'), args, {
      cwd: folder,
      env: { SLUICE_RUNTIME: 'faas.runtime.v1', PLUGIN_UNIX_SOCKET_DIR: folder, SLUICE_RECORD_AREA: '3', ...environment },
      stdio: ['ignore', 'pipe', 'pipe', area],
    });
    closeSync(area);
    this.exited = once(this.child, 'exit').then(([code, signal]) => ({ code, signal }));
    this.child.stderr!.on('data', (b: Buffer) => (this.stderr += b.toString()));
  }

  private get areaFile(): string {
    return join(this.folder, 'area');
  }

  /** The record area, read as the host does: what has not left the process is in it. */
  area(): Record[] {
    const content = readFileSync(this.areaFile);
    const half = content.length / 2;
    const records: Record[] = [];
    for (let b of [content.subarray(0, half), content.subarray(half)]) {
      while (b[0] === 0x12) {
        const reader = protobuf.Reader.create(b.subarray(1));
        const length = reader.uint32();
        const start = 1 + reader.pos;
        records.push(recordOf(decode('LogRecord', b.subarray(start, start + length))));
        b = b.subarray(start + length);
      }
    }
    return records.sort((x, y) => x.sequence - y.sequence);
  }

  /** Starts a process, of the runtime in installed, that ends with the test. */
  static async start(t: TestContext, environment = {}, behindRelay = false, installed = dist): Promise<Runtime> {
    const folder = mkdtempSync(join(tmpdir(), 's'));
    const runtime = new Runtime(environment, folder, installed);
    t.after(async () => {
      runtime.client?.close();
      runtime.child.kill('SIGKILL');
      await runtime.exited;
      rmSync(folder, { recursive: true });
    });
    await runtime.connect(behindRelay);
    return runtime;
  }

  private async connect(behindRelay: boolean): Promise<void> {
    let text = '';
    const line = new Promise<string>((resolve) => {
      this.child.stdout!.on('data', (b: Buffer) => {
        this.stdoutBytes += b.length;
        if (!text.includes('\n')) text += b.toString();
        if (text.includes('\n')) resolve(text.slice(0, text.indexOf('\n') + 1));
      });
    });
    this.handshake = await Promise.race([line, this.exited.then(() => '')]);
    if (this.handshake === '') return;
    let path = this.handshake.trim().split('|')[3]!;
    if (behindRelay) path = this.relayTo(path);
    this.client = new Client(`unix:${path}`, credentials.createInsecure(), {
      'grpc.max_receive_message_length': MAX_FRAME,
      'grpc.max_send_message_length': MAX_FRAME,
    });
  }

  /** Calls a method with bytes. */
  raw(path: string, request: Buffer): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const same = (b: Buffer): Buffer => b;
      const deadline = Date.now() + PATIENCE;
      this.client!.makeUnaryRequest(path, same, same, request, { deadline } as never, ((e: ServiceError | null, b: Buffer) => {
        if (e) reject(e);
        else resolve(b);
      }) as never);
    });
  }

  private async unary(method: string, request: object): Promise<any> {
    const bytes = await this.raw(`/faas.runtime.v1.RuntimeService/${method}`, encode(`${method}Request`, request));
    return decode(`${method}Response`, bytes);
  }

  describe(packageTypes = false): Promise<any> {
    return this.unary('Describe', { packageTypes });
  }

  build(source: string, dependencies: object[] = []): Promise<{ artifact: Buffer; diagnostics: Diagnostic[] }> {
    return this.unary('Build', { source, dependencies });
  }

  /** Loads an artifact, or a source as Build would have packed it. */
  async load(source: string | Buffer, options: LoadOptions = {}): Promise<{ message: string; stack: string } | null> {
    const artifact = typeof source === 'string' ? Buffer.from(JSON.stringify({ format: 1, source })) : source;
    const { failure } = await this.unary('Load', { artifact, ...options });
    return failure ?? null;
  }

  /** A socket in between, so that the connection can be cut. */
  private relayTo(path: string): string {
    const relay = `${path}r`;
    const server = createServer((host) => {
      const runtime = connect(path);
      host.pipe(runtime).pipe(host);
      for (const socket of [host, runtime]) socket.on('error', () => undefined);
      this.disconnect = () => {
        runtime.destroy();
        host.destroy();
        server.close();
      };
    });
    server.listen(relay);
    return relay;
  }

  /** Cuts the connection, as the death of a host does. */
  disconnect = (): void => undefined;

  session(): Session {
    return new Session(this.client!);
  }
}

/** The host's side of the stream. */
export class Session {
  readonly logs: Record[] = [];
  readonly heartbeats: { eventLoopLagMs: number; openCalls: number; at: number }[] = [];
  readonly retires: { reason: string }[] = [];
  readonly exits: { callId: number; reason: string }[] = [];
  readonly frames: { results: number; bytes: number }[] = [];
  readonly strayResults: number[] = [];
  readonly requests: Request[] = [];
  /** Answers requests; without it they stay open. */
  serve: ((request: Request) => object) | undefined;
  ended: { code: number; details: string } | undefined;
  private readonly stream: ClientDuplexStream<object, Buffer>;
  private readonly waiting = new Map<number, (outcome: Outcome) => void>();
  private next = 0;

  constructor(client: Client) {
    this.stream = client.makeBidiStreamRequest(
      '/faas.runtime.v1.RuntimeService/Session',
      (frame: object) => encode('HostFrame', frame),
      (b: Buffer) => b,
    );
    this.stream.on('data', (b: Buffer) => {
      this.receive(decode('RuntimeFrame', b), b.length);
    });
    this.stream.on('error', () => {
      // 'status' follows.
    });
    this.stream.on('status', ({ code, details }) => {
      this.ended = { code, details };
    });
  }

  private receive(frame: any, bytes: number): void {
    this.frames.push({ results: frame.results.length, bytes });
    for (const record of frame.logs) this.logs.push(recordOf(record));
    if (frame.heartbeat) this.heartbeats.push({ ...frame.heartbeat, at: Date.now() });
    if (frame.retire) this.retires.push(frame.retire);
    if (frame.exit) this.exits.push(frame.exit);
    for (const request of frame.requests) this.asked(request);
    for (const result of frame.results) this.settle(result);
  }

  private asked({ id, callId, readSecret, updateSecret }: any): void {
    const request: Request = { id, callId, kind: readSecret ? 'read' : 'update', key: (readSecret ?? updateSecret).key };
    if (updateSecret) request.value = JSON.parse(updateSecret.value.toString());
    this.requests.push(request);
    if (this.serve) this.reply(id, this.serve(request));
  }

  /** Sends a reply: { secret } with a value of any kind, or { error }. */
  reply(requestId: number, { secret, error }: { secret?: { key: string; value: unknown }; error?: object }): void {
    const reply = secret ? { secret: { key: secret.key, value: Buffer.from(JSON.stringify(secret.value)) } } : { error };
    this.send({ replies: [{ requestId, ...reply }] });
  }

  private settle(result: any): void {
    const logs = this.logs.filter((l) => l.callId === result.callId);
    const outcome: Outcome = { droppedLogs: result.droppedLogs, logs };
    if (result.outcome === 'failure' || result.failure) outcome.failure = result.failure;
    else outcome.result = JSON.parse(result.payload.toString());
    const resolve = this.waiting.get(result.callId);
    this.waiting.delete(result.callId);
    if (resolve) resolve(outcome);
    else this.strayResults.push(result.callId);
  }

  send(frame: object): void {
    this.stream.write(frame);
  }

  /** Makes the entry of a call and a promise of its outcome. */
  prepare(payload: unknown, options: CallOptions = {}): { id: number; entry: object; outcome: Promise<Outcome> } {
    const id = ++this.next;
    const { raw, ...rest } = options;
    const entry = { id, payload: Buffer.from(raw ?? JSON.stringify(payload)), timeoutMs: 30_000, requestId: `r-${id}`, ...rest };
    return { id, entry, outcome: new Promise((resolve) => this.waiting.set(id, resolve)) };
  }

  /** Sends a call; awaiting it waits for its outcome. */
  call(payload: unknown = {}, options: CallOptions = {}): { id: number; outcome: Promise<Outcome> } {
    const { id, entry, outcome } = this.prepare(payload, options);
    this.send({ calls: [entry] });
    return { id, outcome: within(outcome, `the outcome of call ${id}`) };
  }

  end(): void {
    this.stream.end();
  }
}

async function within<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`${what}: not within ${PATIENCE} ms`));
    }, PATIENCE);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Starts a process with the lambda loaded and its session open. */
export async function lambda(t: TestContext, source: string, options: LoadOptions = {}): Promise<Session & { runtime: Runtime }> {
  const runtime = await Runtime.start(t);
  const failure = await runtime.load(source, options);
  if (failure) throw new Error(`load: ${failure.message}\n${failure.stack}`);
  return Object.assign(runtime.session(), { runtime });
}

/** Runs one call of a lambda and returns its outcome. */
export async function invoke(t: TestContext, source: string, payload: unknown = {}, options: LoadOptions & CallOptions = {}): Promise<Outcome> {
  const session = await lambda(t, source, options);
  const { headers, debug, timeoutMs, raw } = options;
  const call: CallOptions = Object.fromEntries(Object.entries({ headers, debug, timeoutMs, raw }).filter(([, v]) => v !== undefined));
  return session.call(payload, call).outcome;
}
