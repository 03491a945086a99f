// The console of user code: each line becomes a record of the call that wrote it,
// also when calls overlap.

import { Console } from 'node:console';
import { Level, type Limits } from './codec.ts';
import { current, type Invocation } from './invocation.ts';
import { cut, print, safeJson } from './json.ts';
import { byteLength, monotonic, now, slice, string } from './primordials.ts';

/** Takes records that passed the limits; invocation is undefined outside any call. */
export type Log = (record: {
  invocation: Invocation | undefined;
  level: Level;
  message: string;
  extras: string;
  timestamp: number;
}) => void;

/** Used where the host set no limit, and for what is logged while the module is read. */
const DEFAULT_RECORD_BYTES = 64 << 10;
const DEFAULT_RECORDS = 1000;

/** Records outside any call: so many at once, and so many a second. */
const STRAY_BURST = 200;
const STRAY_RATE = 50;

/** Where user code's records pass before they are sent. */
export class Recorder {
  private recordBytes = DEFAULT_RECORD_BYTES;
  private records = DEFAULT_RECORDS;
  private strayTokens = STRAY_BURST;
  private strayTime = 0;
  private strayDropped = 0;

  private readonly log: Log;

  constructor(log: Log) {
    this.log = log;
  }

  limit(limits: Limits): void {
    if (limits.logRecordBytes > 0) this.recordBytes = limits.logRecordBytes;
    if (limits.logRecords > 0) this.records = limits.logRecords;
  }

  /** Records console arguments as user code gave them. */
  console(level: Level, message: unknown, extras: unknown[]): void {
    const invocation = current();
    if (level === Level.debug && invocation?.debug === false) return;
    if (!this.admit(invocation)) return;
    const text = typeof message === 'string' ? message : print(message, this.recordBytes);
    this.record(invocation, level, text, this.extras(text, extras));
  }

  /** Records what the runtime itself has to say to the author. */
  note(invocation: Invocation | undefined, level: Level, message: string, extras: string): void {
    if (this.admit(invocation)) this.record(invocation, level, message, extras);
  }

  private record(invocation: Invocation | undefined, level: Level, message: string, extras: string): void {
    const fits = byteLength(message) + byteLength(extras) <= this.recordBytes;
    this.log({
      invocation,
      level,
      message: fits ? message : cut(message, this.recordBytes),
      extras: fits ? extras : '',
      timestamp: now(),
    });
  }

  /** Whether one more record is within the call's limit. */
  private admit(invocation: Invocation | undefined): boolean {
    if (invocation === undefined) return this.admitStray();
    if (invocation.cancelled) return false;
    if (invocation.records >= this.records) {
      invocation.droppedRecords++;
      return false;
    }
    invocation.records++;
    return true;
  }

  private admitStray(): boolean {
    const time = monotonic();
    const refill = ((time - this.strayTime) / 1000) * STRAY_RATE;
    this.strayTokens = this.strayTokens + refill > STRAY_BURST ? STRAY_BURST : this.strayTokens + refill;
    this.strayTime = time;
    if (this.strayTokens < 1) {
      this.strayDropped++;
      return false;
    }
    this.strayTokens--;
    if (this.strayDropped > 0) {
      const message = `${string(this.strayDropped)} records logged outside any call were dropped: too many a second.`;
      this.strayDropped = 0;
      this.record(undefined, Level.warn, message, '');
    }
    return true;
  }

  /** The extras as a JSON array, without those that a record has no room for. */
  private extras(message: string, values: unknown[]): string {
    if (values.length === 0) return '';
    let room = this.recordBytes - byteLength(message) - 64;
    let json = '[';
    for (let i = 0; i < values.length; i++) {
      const item = safeJson(values[i], this.recordBytes);
      room -= byteLength(item) + 1;
      if (room < 0) {
        const missing = string(values.length - i);
        return `${json}${i === 0 ? '' : ','}"… [cut, ${missing} extras missing]"]`;
      }
      json += i === 0 ? item : `,${item}`;
    }
    return `${json}]`;
  }
}

/**
 * Makes the global console, which require('console') is too, write records. The
 * methods that the contract does not name print what Node's would, as one record.
 */
export function replaceConsole(recorder: Recorder): void {
  const target = globalThis.console as unknown as Record<string, unknown>;
  const levels = { debug: Level.debug, info: Level.info, log: Level.info, warn: Level.warn, error: Level.error };
  const { debug, info, log, warn, error } = levels;
  target['debug'] = (message: unknown, ...extras: unknown[]) => {
    recorder.console(debug, message, extras);
  };
  target['info'] = (message: unknown, ...extras: unknown[]) => {
    recorder.console(info, message, extras);
  };
  target['log'] = (message: unknown, ...extras: unknown[]) => {
    recorder.console(log, message, extras);
  };
  target['warn'] = (message: unknown, ...extras: unknown[]) => {
    recorder.console(warn, message, extras);
  };
  target['error'] = (message: unknown, ...extras: unknown[]) => {
    recorder.console(error, message, extras);
  };
  lazily(target, recorder);
}

const OTHERS = [
  'assert', 'count', 'countReset', 'dir', 'dirxml', 'group', 'groupCollapsed', 'groupEnd', 'table', 'time', 'timeEnd',
  'timeLog', 'trace',
] as const;

function lazily(target: Record<string, unknown>, recorder: Recorder): void {
  let made: Console | undefined;
  const printer = (): Console => (made ??= printingConsole(recorder));
  for (const name of OTHERS) {
    target[name] = (...args: unknown[]) => {
      (printer()[name] as (...args: unknown[]) => void)(...args);
    };
  }
}

function printingConsole(recorder: Recorder): Console {
  const stream = (level: Level): NodeJS.WriteStream =>
    ({
      write(text: string) {
        recorder.console(level, text.endsWith('\n') ? slice(text, 0, -1) : text, []);
        return true;
      },
    }) as unknown as NodeJS.WriteStream;
  return new Console({ stdout: stream(Level.info), stderr: stream(Level.error), colorMode: false, ignoreErrors: false });
}
