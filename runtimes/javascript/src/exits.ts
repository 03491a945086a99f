// The ways in which user code can end its process: the host hears whose code it
// was before the process is gone.
//
// What is sent leaves when the event loop turns. So process.exit throws: user code
// does not go on, the loop turns, and then the process ends.

import { current, type Invocation } from './invocation.ts';
import { setTimer } from './primordials.ts';

/** Tells the host; done is called when that is on its way. */
export type Announce = (invocation: Invocation | undefined, reason: string, done: () => void) => void;

/** The process ends at the latest so long after its code asked for it, milliseconds. */
const PATIENCE = 250;

/** User code that catches the end and asks for it this often gets it at once. */
const MAX_ASKED = 10;

/** What process.exit throws. Nothing of it is ever reported. */
class Exiting extends Error {
  override readonly name = 'Exit';
  constructor() {
    super('the process is ending');
  }
}

const reallyExit = (process as unknown as { reallyExit(code: number): never }).reallyExit.bind(process);

/** Ends the process for the runtime's own reasons: no handler of user code runs. */
export const exit: (code: number) => never = reallyExit;

let asked = 0;

/** Whether user code has ended the process: what it still does has no effect. */
export function exiting(): boolean {
  return asked > 0;
}

/** Makes process.exit and its like announce themselves. */
export function watchExits(announce: Announce): void {
  const own = process as unknown as Record<string, unknown>;
  // eslint-disable-next-line @typescript-eslint/unbound-method
  const { exit: originalExit, abort: originalAbort, kill: originalKill } = process;

  /** Announces the end and brings it about once; each time, user code stops here. */
  const end = (reason: string, finish: () => void): never => {
    if (++asked > MAX_ASKED) finish();
    if (asked === 1) later(announce, reason, finish);
    throw new Exiting();
  };
  own['exit'] = (...args: [code?: number | string | null]): never =>
    end(`process.exit(${args.map(String).join(', ')})`, () => {
      try {
        Reflect.apply(originalExit, process, args);
      } finally {
        reallyExit(1); // an "exit" listener of user code threw
      }
    });
  own['reallyExit'] = (code: number): never => {
    if (asked > 0) return reallyExit(code); // the last step of the original process.exit
    return end(`process.reallyExit(${String(code)})`, () => reallyExit(code));
  };
  own['abort'] = (): never =>
    end('process.abort()', () => {
      Reflect.apply(originalAbort, process, []);
    });
  own['kill'] = (pid: number, signal?: string | number): true => {
    const kill = (): true => Reflect.apply(originalKill, process, [pid, signal]);
    if (!endsSelf(pid, signal)) return kill();
    if (asked++ === 0) later(announce, `process.kill(process.pid, ${JSON.stringify(signal ?? 'SIGTERM')})`, kill);
    return true;
  };
}

function later(announce: Announce, reason: string, finish: () => void): void {
  let finished = false;
  const once = (): void => {
    if (finished) return;
    finished = true;
    finish();
  };
  setTimer(once, PATIENCE);
  announce(current(), reason, once);
}

const HARMLESS = new Set<unknown>([0, 'SIGCHLD', 'SIGCONT', 'SIGURG', 'SIGWINCH', 'SIGPIPE', 'SIGUSR1']);

/** Whether the signal reaches this process and nothing in it listens for the signal. */
function endsSelf(pid: number, signal: string | number = 'SIGTERM'): boolean {
  if (pid !== process.pid && pid !== 0 && pid !== -process.pid) return false;
  return !HARMLESS.has(signal) && (typeof signal === 'number' || process.listenerCount(signal) === 0);
}
