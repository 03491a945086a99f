// The ways in which user code can end its process: the host hears whose code it
// was before the process is gone.

import { current, type Invocation } from './invocation.js';

/** Tells the host, and returns when it has been written. */
export type Announce = (invocation: Invocation | undefined, reason: string) => void;

const reallyExit = (process as unknown as { reallyExit(code: number): never }).reallyExit.bind(process);

/** Ends the process for the runtime's own reasons: no handler of user code runs. */
export const exit: (code: number) => never = reallyExit;

/** Makes process.exit and its like announce themselves; each still ends the process at once. */
export function watchExits(announce: Announce): void {
  let announced = false;
  const say = (reason: string): void => {
    if (announced) return;
    announced = true;
    announce(current(), reason);
  };
  const own = process as unknown as Record<string, unknown>;
  // eslint-disable-next-line @typescript-eslint/unbound-method
  const { exit: originalExit, abort: originalAbort, kill: originalKill } = process;

  own['reallyExit'] = (code: number): never => {
    say(`process.reallyExit(${String(code)})`);
    return reallyExit(code);
  };
  own['exit'] = (code?: number | string | null): never => {
    say(`process.exit(${code === undefined ? '' : String(code)})`);
    try {
      return Reflect.apply(originalExit, process, [code]);
    } finally {
      // Reached if an "exit" listener of user code throws.
      reallyExit(1);
    }
  };
  own['abort'] = (): never => {
    say('process.abort()');
    return Reflect.apply(originalAbort, process, []);
  };
  own['kill'] = (pid: number, signal?: string | number): true => {
    if (endsSelf(pid, signal)) say(`process.kill(process.pid, ${JSON.stringify(signal ?? 'SIGTERM')})`);
    return Reflect.apply(originalKill, process, [pid, signal]);
  };
}

const HARMLESS = new Set<unknown>([0, 'SIGCHLD', 'SIGCONT', 'SIGURG', 'SIGWINCH', 'SIGPIPE', 'SIGUSR1']);

/** Whether the signal reaches this process and nothing in it listens for the signal. */
function endsSelf(pid: number, signal: string | number = 'SIGTERM'): boolean {
  if (pid !== process.pid && pid !== 0 && pid !== -process.pid) return false;
  return !HARMLESS.has(signal) && (typeof signal === 'number' || process.listenerCount(signal) === 0);
}
