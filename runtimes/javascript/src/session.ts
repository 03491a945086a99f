// The session: calls come in, results and log records go out.
//
// Results wait for the end of the event loop's turn and leave together in one
// frame. Log records, exits and heartbeats leave at once, with what waits before
// them: user code that never returns to the event loop must not keep them back.

import { types } from 'node:util';
import {
  type Call,
  decodeHostFrame,
  type Header,
  type HostFrame,
  Level,
  type Limits,
  writeExit,
  writeFailure,
  writeHeartbeat,
  writeLogRecord,
  writeResult,
  writeRetire,
} from './codec.js';
import { type Log, type Recorder } from './console.js';
import { classify, customFailure, describe, type Outcome } from './errors.js';
import { HEADROOM, type Receiver, type Stream } from './grpc/connection.js';
import { Status, StatusError } from './grpc/status.js';
import { type Invocation, runAs } from './invocation.js';
import type { Lambda } from './load.js';
import {
  byteLength,
  clearTicker,
  jsonParse,
  jsonStringify,
  monotonic,
  pin,
  setTicker,
  soon,
  string,
  then,
} from './primordials.js';
import { type CallId, WireError, Writer } from './wire.js';

/** The host's limits on a message and on one result; see plugins/handshake.go. */
export const MAX_PAYLOAD = 6 << 20;
export const MAX_FRAME = MAX_PAYLOAD + (1 << 20);

const BEAT = 250; // ms
/** A frame is sent rather than made larger than this, unless one entry is. */
const FULL = 512 << 10;
const BUFFER = 64 << 10;
/** Records are dropped while the host has this much left to read. */
const MAX_BACKLOG = 8 << 20;
/** Frames' worth of records kept until the host opens the session. */
const MAX_EARLY = 256 << 10;

/** A call as user code runs it. */
interface Task extends Invocation {
  headers: Header[];
  payload: string;
}

export class Session implements Receiver {
  private readonly open = pin(new Map<CallId, Task>(), 'get', 'set', 'delete', 'has');
  private readonly out = new Writer(HEADROOM, BUFFER);
  private openCalls = 0;
  private stream: Stream | undefined;
  private lambda: Lambda | undefined;
  private maxResult = MAX_PAYLOAD;
  private flushing = false;
  private draining = false;
  private retired = false;
  private ticker: NodeJS.Timeout | undefined;
  private nextBeat = 0;

  /** ended hears that the session is over and nothing more can come. */
  constructor(private readonly ended: () => void) {}

  /** The recorder is set once: it and the session need each other. */
  recorder!: Recorder;

  /** What calls run from now on. */
  serve(lambda: Lambda, limits: Limits): void {
    this.lambda = lambda;
    if (limits.resultBytes > 0 && limits.resultBytes < MAX_PAYLOAD) this.maxResult = limits.resultBytes;
  }

  /** Takes the host's one stream. */
  start(stream: Stream): Receiver {
    if (this.lambda === undefined) throw new StatusError(Status.failedPrecondition, 'nothing is loaded');
    if (this.stream !== undefined) throw new StatusError(Status.failedPrecondition, 'a session is open already');
    this.stream = stream;
    if (!this.out.empty) this.flush();
    return this;
  }

  // The host's frames

  message(buffer: Buffer, start: number, end: number): void {
    const frame = this.decode(buffer, start, end);
    for (let i = 0; i < frame.calls.length; i++) this.accept(frame.calls[i]!);
    for (let i = 0; i < frame.cancels.length; i++) this.cancel(frame.cancels[i]!);
    if (frame.drain) this.drain();
  }

  private decode(buffer: Buffer, start: number, end: number): HostFrame {
    try {
      return decodeHostFrame(buffer, start, end);
    } catch (error) {
      if (error instanceof WireError) throw new StatusError(Status.invalidArgument, `a frame is not readable: ${error.message}`);
      throw error;
    }
  }

  end(): void {
    this.drain();
  }

  broken(): void {
    this.ended();
  }

  private accept(call: Call): void {
    if (call.id === 0 || this.open.has(call.id)) {
      throw new StatusError(Status.invalidArgument, `call id ${string(call.id)} is 0 or in use`);
    }
    const task: Task = {
      id: call.id,
      debug: call.debug,
      open: true,
      answered: false,
      cancelled: false,
      records: 0,
      droppedRecords: 0,
      headers: call.headers,
      payload: call.payload,
    };
    this.open.set(task.id, task);
    this.openCalls++;
    if (this.ticker === undefined) this.startBeating();
    runAs(task, this.run, task);
  }

  private cancel(id: CallId): void {
    const task = this.open.get(id);
    if (task === undefined) return; // answered a moment ago
    task.cancelled = true;
    this.close(task);
    this.endIfDrained();
  }

  private drain(): void {
    this.draining = true;
    this.endIfDrained();
  }

  private endIfDrained(): void {
    if (!this.draining || this.openCalls > 0 || this.stream === undefined) return;
    this.flush();
    this.stream.close(Status.ok);
  }

  // User code

  private readonly run = (task: Task): void => {
    let input: unknown;
    try {
      input = { headers: task.headers, payload: jsonParse(task.payload) as unknown };
    } catch (error) {
      this.fail(task, customFailure(`The payload is not JSON: ${describe(error)}`));
      return;
    }
    task.payload = '';
    const lambda = this.lambda!;
    try {
      const returned = lambda(input, (error?: unknown, result?: unknown) => {
        this.called(task, error, result);
      });
      if (returned !== undefined) this.watch(task, returned);
    } catch (error) {
      this.threw(task, error);
    }
  };

  /** An async lambda's rejection is a failure; what it resolves to is not looked at. */
  private watch(task: Task, returned: unknown): void {
    const rejected = (error: unknown): void => {
      this.threw(task, error);
    };
    if (types.isPromise(returned)) then(returned, undefined, rejected);
    else if (isThenable(returned)) returned.then(undefined, rejected);
  }

  private called(task: Task, error: unknown, result: unknown): void {
    if (!task.open) return; // the first call back wins
    if (error === null || error === undefined) this.succeed(task, result);
    else this.fail(task, classify(error));
  }

  private succeed(task: Task, result: unknown): void {
    this.close(task);
    let json: string | undefined;
    try {
      json = jsonStringify(result) as string | undefined;
    } catch (error) {
      this.answer(task, customFailure(`The result is not JSON: ${describe(error)}`));
      return;
    }
    json ??= 'null';
    const bytes = byteLength(json);
    if (bytes > this.maxResult) {
      const size = `${string(bytes)} bytes, more than the limit of ${string(this.maxResult)} bytes`;
      this.answer(task, customFailure(`The result has ${size}.`));
      return;
    }
    if (this.out.length + bytes > FULL && !this.out.empty) this.flush();
    task.answered = true;
    writeResult(this.out, task.id, json, bytes, task.droppedRecords);
    this.flushSoon();
  }

  private fail(task: Task, outcome: Outcome): void {
    this.close(task);
    this.answer(task, outcome);
  }

  private answer(task: Task, { failure, entry }: Outcome): void {
    this.recorder.note(task, entry.level, entry.message, entry.extras);
    task.answered = true;
    writeFailure(this.out, task.id, failure, task.droppedRecords);
    this.flushSoon();
  }

  private threw(task: Task, error: unknown): void {
    if (task.open) this.fail(task, classify(error));
    else this.late(task, error);
  }

  /** An error that no answer can carry any more. */
  private late(task: Invocation | undefined, error: unknown): void {
    const { failure, entry } = classify(error);
    const extras = failure.stack === '' ? entry.extras : `[${jsonStringify(failure.stack)}]`;
    this.recorder.note(task, Level.error, entry.message, extras);
  }

  /** An exception or a rejection that nothing caught: the call's failure, and the process is replaced. */
  uncaught(invocation: Invocation | undefined, error: unknown): void {
    const task = invocation as Task | undefined;
    if (task?.open === true) this.fail(task, classify(error));
    else this.late(task, error);
    this.retire(`uncaught error: ${describe(error)}`);
  }

  private close(task: Task): void {
    if (!task.open) return;
    task.open = false;
    this.open.delete(task.id);
    this.openCalls--;
  }

  // What goes out

  /** Sends a record at once. One of an answered call belongs to no call any more. */
  readonly log: Log = ({ invocation, level, message, extras, timestamp }) => {
    if (this.overloaded()) {
      if (invocation !== undefined) invocation.droppedRecords++;
      return;
    }
    const callId = invocation === undefined || invocation.answered ? 0 : invocation.id;
    writeLogRecord(this.out, { callId, level, message, extras, timestamp });
    this.flush();
  };

  private retire(reason: string): void {
    if (this.retired) return;
    this.retired = true;
    writeRetire(this.out, reason);
    this.flush();
  }

  /** Says that user code ends the process, and returns when that is written. */
  announceExit(invocation: Invocation | undefined, reason: string): void {
    writeExit(this.out, invocation?.id ?? 0, reason);
    this.flush();
  }

  private overloaded(): boolean {
    if (this.stream === undefined) return this.out.length > MAX_EARLY;
    return this.stream.backlog > MAX_BACKLOG;
  }

  private flushSoon(): void {
    if (this.flushing) return;
    this.flushing = true;
    soon(this.turnEnded);
  }

  private readonly turnEnded = (): void => {
    this.flushing = false;
    this.flush();
    this.endIfDrained();
  };

  private flush(): void {
    if (this.stream === undefined || this.out.empty) return;
    this.out.reset(this.stream.send(this.out.buffer, this.out.position));
  }

  // Heartbeats, while calls are open

  private startBeating(): void {
    this.nextBeat = monotonic() + BEAT;
    this.ticker = setTicker(this.beat, BEAT);
  }

  private readonly beat = (): void => {
    const time = monotonic();
    const lag = time - this.nextBeat;
    this.nextBeat = time + BEAT;
    if (this.openCalls === 0) {
      clearTicker(this.ticker);
      this.ticker = undefined;
      return;
    }
    writeHeartbeat(this.out, lag > 0 ? lag | 0 : 0, this.openCalls);
    this.flush();
  };
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function';
}
