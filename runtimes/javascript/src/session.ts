// The session: calls come in, results and log records go out.
//
// What goes out is written into the frame in the making, in the order in which it
// happens, and the frame is sent when the event loop's turn ends: so everything that
// is ready together leaves together.

import { writeSync } from 'node:fs';
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
  writeHostRequest,
  writeLogRecord,
  writeResult,
  writeRetire,
} from './codec.ts';
import type { RecordArea } from './area.ts';
import { type Log, type Recorder } from './console.ts';
import { classify, customFailure, describe, type Outcome } from './errors.ts';
import { exit, exiting } from './exits.ts';
import { type Invocation, runAs } from './invocation.ts';
import { cut } from './json.ts';
import type { Lambda } from './load.ts';
import {
  byteLength,
  clearTicker,
  jsonParse,
  jsonStringify,
  monotonic,
  nextTick,
  pin,
  quote,
  setTicker,
  setTimer,
  soon,
  string,
  then,
} from './primordials.ts';
import { Requests } from './requests.ts';
import { type Receiver, Status, StatusError, type Stream } from './server.ts';
import { type CallId, WireError, Writer } from './wire.ts';

const printNow = writeSync; // before user code can replace it

/** The host's limits on a message and on one result; see plugins/handshake.go. */
export const MAX_PAYLOAD = 6 << 20;
export const MAX_FRAME = MAX_PAYLOAD + (1 << 20);

const BEAT = 250; // ms
const LAST_WORDS = 1000; // ms
const STREAM_PATIENCE = 1000; // ms
const SLICE = 20; // ms
const MAX_REASON = 500; // bytes
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
  /** When it came. */
  readonly at: number;
}

export class Session implements Receiver {
  private readonly open = pin(new Map<CallId, Task>(), 'get', 'set', 'delete', 'has');
  private readonly out = new Writer(BUFFER);
  private openCalls = 0;
  private stream: Stream | undefined;
  private lambda: Lambda | undefined;
  private maxResult = MAX_PAYLOAD;
  private flushing = false;
  /** Calls that have come, those before next have been started. */
  private readonly queue: Task[] = [];
  private next = 0;
  private sliced = false;
  private draining = false;
  private retired = false;
  private expecting = false;
  private ticker: NodeJS.Timeout | undefined;
  private nextBeat = 0;
  /** The longest that a call has waited to be begun since the last heartbeat. */
  private waited = 0;
  private readonly ended: () => void;
  private readonly area: RecordArea;
  /** The number of records that were written. */
  private sequence = 0;

  /** What user code asks of the host. */
  readonly requests = new Requests((id, invocation, key, value) => {
    if (this.out.length > FULL) this.flush();
    writeHostRequest(this.out, { id, callId: openId(invocation), key, value });
    this.flushSoon();
  });

  /** ended hears that the session is over and nothing more can come. */
  constructor(area: RecordArea, ended: () => void) {
    this.area = area;
    this.ended = ended;
  }

  /** The recorder is set once: it and the session need each other. */
  recorder!: Recorder;

  /** What calls run from now on. */
  serve(lambda: Lambda, limits: Limits): void {
    this.lambda = lambda;
    if (limits.resultBytes > 0 && limits.resultBytes < MAX_PAYLOAD) this.maxResult = limits.resultBytes;
  }

  /** Takes the host's one stream. */
  start(stream: Stream): Receiver {
    if (this.lambda === undefined) throw new StatusError(Status.FAILED_PRECONDITION, 'nothing is loaded');
    if (this.stream !== undefined) throw new StatusError(Status.FAILED_PRECONDITION, 'a session is open already');
    this.stream = stream;
    this.flushSoon();
    return this;
  }

  // The host's frames

  message(message: Buffer): void {
    const frame = this.decode(message);
    // Answers that come without waiting for anything leave before the loop goes on.
    if (!this.flushing) {
      this.flushing = true;
      nextTick(this.turnEnded);
    }
    const now = frame.calls.length > 0 ? monotonic() : 0;
    for (let i = 0; i < frame.calls.length; i++) this.accept(frame.calls[i]!, now);
    for (let i = 0; i < frame.cancels.length; i++) this.cancel(frame.cancels[i]!);
    for (let i = 0; i < frame.replies.length; i++) this.requests.settle(frame.replies[i]!);
    if (!this.sliced) this.runQueue();
    if (frame.drain) this.drain();
  }

  private decode(message: Buffer): HostFrame {
    try {
      return decodeHostFrame(message);
    } catch (error) {
      if (error instanceof WireError) throw new StatusError(Status.INVALID_ARGUMENT, `a frame is not readable: ${error.message}`);
      throw error;
    }
  }

  end(): void {
    this.drain();
  }

  closed(): void {
    // Without a session the process is of no use. A host that has drained it may
    // still say so itself, and a trailer may be on its way.
    setTimer(this.ended, this.draining ? LAST_WORDS : 0);
  }

  private accept(call: Call, at: number): void {
    if (call.id === 0 || this.open.has(call.id)) {
      throw new StatusError(Status.INVALID_ARGUMENT, `call id ${string(call.id)} is 0 or in use`);
    }
    const task: Task = {
      id: call.id,
      debug: call.debug,
      deadline: call.timeoutMs === 0 ? Infinity : monotonic() + call.timeoutMs,
      open: true,
      answered: false,
      cancelled: false,
      records: 0,
      droppedRecords: 0,
      requests: 0,
      headers: call.headers,
      payload: call.payload,
      at,
    };
    this.open.set(task.id, task);
    this.openCalls++;
    if (this.ticker === undefined) this.startBeating();
    this.queue[this.queue.length] = task;
  }

  /** Runs what has come. After a slice of time the event loop turns, so that results and heartbeats leave. */
  private readonly runQueue = (): void => {
    const end = monotonic() + SLICE;
    const { queue } = this;
    while (this.next < queue.length) {
      const task = queue[this.next++]!;
      if (task.open) runAs(task, this.run, task);
      if (this.next === queue.length) break;
      const now = monotonic();
      const waited = now - queue[this.next]!.at;
      if (waited > this.waited) this.waited = waited;
      if (now > end) {
        this.sliced = true;
        this.flushSoon();
        soon(this.runQueue);
        return;
      }
    }
    this.sliced = false;
    this.next = 0;
    queue.length = 0;
  };

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
    this.stream.end();
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
    if (types.isPromise(returned)) void then(returned, undefined, rejected);
    else if (isThenable(returned)) returned.then(undefined, rejected);
  }

  private called(task: Task, error: unknown, result: unknown): void {
    if (!task.open || exiting()) return; // the first call back wins
    if (error === null || error === undefined) this.succeed(task, result);
    else this.fail(task, classify(error));
  }

  private succeed(task: Task, result: unknown): void {
    this.close(task);
    let json: string | undefined;
    try {
      json = jsonStringify(result);
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
    if (this.out.length > 0 && this.out.length + bytes > FULL) this.flush();
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
    if (exiting()) return; // the end itself, or what came of catching it
    if (task.open) this.fail(task, classify(error));
    else this.late(task, error);
  }

  /** An error that no answer can carry any more. */
  private late(task: Invocation | undefined, error: unknown): void {
    const { failure, entry } = classify(error);
    const extras = failure.stack === '' ? entry.extras : `[${quote(failure.stack)}]`;
    this.recorder.note(task, Level.error, entry.message, extras);
  }

  /** An exception or a rejection that nothing caught: the call's failure, and the process is replaced. */
  uncaught(invocation: Invocation | undefined, error: unknown): void {
    if (exiting()) return;
    if (this.stream === undefined) this.expectStream(describe(error));
    const task = invocation as Task | undefined;
    if (task?.open === true) this.fail(task, classify(error));
    else this.late(task, error);
    this.retire(cut(`uncaught error: ${describe(error)}`, MAX_REASON));
  }

  /**
   * What is thrown before the host's stream is there may come from the code that
   * opens it, where user code has replaced a built-in that this needs. Then there
   * never is one, and every call would wait in vain for the end of its time.
   */
  private expectStream(reason: string): void {
    if (this.expecting) return;
    this.expecting = true;
    setTimer(() => {
      if (this.stream !== undefined) return;
      try {
        printNow(2, `The host cannot reach the loaded code: ${cut(reason, MAX_REASON)}. Code that replaces built-in functions when it is read keeps its own process from working.\n`);
      } finally {
        exit(1);
      }
    }, STREAM_PATIENCE);
  }

  private close(task: Task): void {
    if (!task.open) return;
    task.open = false;
    this.open.delete(task.id);
    this.openCalls--;
  }

  // What goes out

  /** A record of an answered call belongs to no call any more. */
  readonly log: Log = ({ invocation, level, message, extras, timestamp }) => {
    if (this.overloaded()) {
      if (invocation !== undefined) invocation.droppedRecords++;
      return;
    }
    if (this.out.length > FULL) this.flush();
    const start = this.out.length;
    const sequence = ++this.sequence;
    writeLogRecord(this.out, { callId: openId(invocation), level, message, extras, timestamp, sequence });
    this.out.show(start, this.area.keep);
    this.flushSoon();
  };

  private retire(reason: string): void {
    if (this.retired) return;
    this.retired = true;
    writeRetire(this.out, reason);
    this.flushSoon();
  }

  /** Says that user code ends the process; written hears when that is on its way. */
  announceExit(invocation: Invocation | undefined, reason: string, written: () => void): void {
    writeExit(this.out, invocation?.id ?? 0, reason);
    this.flush(written);
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

  private flush(written?: () => void): void {
    if (this.stream === undefined || this.out.length === 0) return;
    this.stream.send(this.out.take(), this.area.leaving(written));
  }

  // Heartbeats, while calls are open

  private startBeating(): void {
    this.nextBeat = monotonic() + BEAT;
    this.ticker = setTicker(this.beat, BEAT);
  }

  private readonly beat = (): void => {
    const time = monotonic();
    const late = time - this.nextBeat;
    const lag = late > this.waited ? late : this.waited;
    this.nextBeat = time + BEAT;
    this.waited = 0;
    if (this.openCalls === 0) {
      clearTicker(this.ticker);
      this.ticker = undefined;
      return;
    }
    writeHeartbeat(this.out, lag > 0 ? lag | 0 : 0, this.openCalls);
    this.flush();
  };
}

/** The call's id while it means anything to the host, else 0. */
function openId(invocation: Invocation | undefined): CallId {
  return invocation === undefined || invocation.answered ? 0 : invocation.id;
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function';
}
