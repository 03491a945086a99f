// What user code asks of the host: each request has a promise that its reply
// settles. The limits of the contract are kept here, so that user code cannot
// break them: what is too much at once waits, what is too much at all is refused.

import type { HostReply } from './codec.ts';
import { current, type Invocation } from './invocation.ts';
import { byteLength, clearTimer, monotonic, NativePromise, pin, setTimer, string } from './primordials.ts';

/** The host's limits; see plugins/handshake.go. */
export const MAX_KEY = 1 << 10; // bytes
export const MAX_VALUE = 2 << 20; // bytes of JSON
const MAX_WEIGHT = 64;
const MAX_PER_CALL = 1000;

/** Requests that wait for others to have their replies. */
const MAX_WAITING = 10_000;

/** Requests of no open call: so many at once, and so many a second. */
const STRAY_BURST = 1000;
const STRAY_RATE = 1000;

/** The longest time a timer can wait for, milliseconds. */
const MAX_TIMER = 0x7fffffff;

const FAILED = 'com.liveperson.faas.secret.op-failed';

/** What became of a request. Without code it is the secret; value is JSON. */
export interface Answer {
  readonly key: string;
  readonly value: string;
  readonly code: string;
  readonly message: string;
  /** A promise that resolves to this looks no further, whatever Object.prototype has. */
  readonly then: undefined;
}

/** One request until it is settled. Without a value it reads. */
interface Request {
  readonly invocation: Invocation | undefined;
  readonly key: string;
  readonly value: string | undefined;
  readonly weight: number;
  settle: (answer: Answer) => void;
  settled: boolean;
  timer: NodeJS.Timeout | undefined;
  /** The next of those that wait. */
  next: Request | undefined;
}

/** Sends a request to the host. */
export type Send = (id: number, invocation: Invocation | undefined, key: string, value: string | undefined) => void;

export class Requests {
  private readonly open = pin(new Map<number, Request>(), 'get', 'set', 'delete');
  private last = 0;
  private weight = 0;
  private first: Request | undefined;
  private latest: Request | undefined;
  private waiting = 0;
  private strayTokens = STRAY_BURST;
  private strayTime = 0;

  private readonly send: Send;

  constructor(send: Send) {
    this.send = send;
  }

  /** Asks for a secret. The promise is never rejected; a timeout of 0 is none. */
  read(key: string, timeout: number): Promise<Answer> {
    return this.ask(key, undefined, 1, timeout);
  }

  /** Gives a secret another value, JSON of at most MAX_VALUE bytes. */
  update(key: string, value: string): Promise<Answer> {
    return this.ask(key, value, 1 + (byteLength(value) >> 16), 0);
  }

  /** Takes the host's reply. */
  settle(reply: HostReply): void {
    const id = reply.requestId as number;
    const request = this.open.get(id);
    if (request === undefined) return;
    this.open.delete(id);
    this.weight -= request.weight;
    const { secret, error } = reply;
    settle(request, answer(secret?.key ?? '', secret?.value ?? '', error?.code ?? '', error?.message ?? ''));
    this.sendWaiting();
  }

  private ask(key: string, value: string | undefined, weight: number, timeout: number): Promise<Answer> {
    const invocation = current();
    const request: Request = {
      invocation, key, value, weight, settle: nothing, settled: false, timer: undefined, next: undefined,
    };
    const promise = new NativePromise<Answer>((resolve) => {
      request.settle = resolve;
    });
    const refusal = this.refuse(invocation);
    if (refusal !== undefined) {
      fail(request, refusal);
      return promise;
    }
    if (timeout > 0) {
      const late = `there was no answer within ${string(timeout)} ms`;
      request.timer = setTimer(fail, timeout < MAX_TIMER ? timeout : MAX_TIMER, request, late);
    }
    this.wait(request);
    this.sendWaiting();
    return promise;
  }

  /** Why one more request is not taken. */
  private refuse(invocation: Invocation | undefined): string | undefined {
    if (this.waiting >= MAX_WAITING) return `${string(MAX_WAITING)} requests wait already`;
    if (invocation?.open !== true) return this.refuseStray();
    if (invocation.requests >= MAX_PER_CALL) return `a call may ask for secrets ${string(MAX_PER_CALL)} times, keep what was read`;
    invocation.requests++;
    return undefined;
  }

  private refuseStray(): string | undefined {
    const time = monotonic();
    const tokens = this.strayTokens + ((time - this.strayTime) / 1000) * STRAY_RATE;
    this.strayTokens = tokens > STRAY_BURST ? STRAY_BURST : tokens;
    this.strayTime = time;
    if (this.strayTokens < 1) return `code outside any call may ask for secrets ${string(STRAY_RATE)} times a second`;
    this.strayTokens--;
    return undefined;
  }

  private wait(request: Request): void {
    if (this.latest === undefined) this.first = request;
    else this.latest.next = request;
    this.latest = request;
    this.waiting++;
  }

  /** Sends what waits, in order, as far as the host takes it. */
  private sendWaiting(): void {
    for (let request = this.first; request !== undefined; request = this.first) {
      if (!request.settled && this.weight + request.weight > MAX_WEIGHT) return;
      this.first = request.next;
      if (this.first === undefined) this.latest = undefined;
      this.waiting--;
      if (request.settled) continue; // its time was over
      this.weight += request.weight;
      this.open.set(++this.last, request);
      this.send(this.last, request.invocation, request.key, request.value);
    }
  }
}

function nothing(): void {
  // Replaced before anything can call it.
}

function settle(request: Request, answer: Answer): void {
  if (request.settled) return;
  request.settled = true;
  if (request.timer !== undefined) clearTimer(request.timer);
  request.settle(answer);
}

function fail(request: Request, why: string): void {
  const doing = request.value === undefined ? 'Reading' : 'Updating';
  settle(request, answer('', '', FAILED, `${doing} Secret ${request.key} failed: ${why}`));
}

function answer(key: string, value: string, code: string, message: string): Answer {
  return { key, value, code, message, then: undefined };
}
