// Which call is running: kept by Node through timers, promises and callbacks, so
// that a record, an exit or an exception is known to belong to the call that
// started what led to it.

import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';
import { pin } from './primordials.ts';
import type { CallId } from './wire.ts';

/** One call, as the runtime remembers it while anything that it started lives. */
export interface Invocation {
  readonly id: CallId;
  readonly debug: boolean;
  /** When its time is over, by the clock of monotonic(). */
  readonly deadline: number;
  /** It has no outcome yet, and somebody waits for one. */
  open: boolean;
  /** Its result has been written, so its id means nothing to the host any more. */
  answered: boolean;
  cancelled: boolean;
  records: number;
  droppedRecords: number;
  /** What it has asked of the host. */
  requests: number;
}

const storage = pin(new AsyncLocalStorage<Invocation>(), 'enterWith', 'getStore');
const root = pin(new AsyncResource('Sluice'), 'runInAsyncScope');

/** The call whose code is running, if any. */
export function current(): Invocation | undefined {
  return storage.getStore();
}

/**
 * Runs a function as part of a call. It starts from the runtime's own context,
 * so that nothing of another call, like a lambda's own AsyncLocalStorage, comes along.
 */
export function runAs<T>(invocation: Invocation, run: (argument: T) => void, argument: T): void {
  root.runInAsyncScope(enter as typeof enter<T>, undefined, invocation, run, argument);
}

function enter<T>(invocation: Invocation, run: (argument: T) => void, argument: T): void {
  storage.enterWith(invocation);
  run(argument);
}
