import type { LogLine, LogRecord } from '~/shared/api/types';

/** A line of a log. One of a manual call is not stored and knows its call from outside. */
export type Line = LogRecord & Partial<Pick<LogLine, 'requestID' | 'lambdaUUID' | 'version'>>;

export type Level = LogRecord['level'];

/** Every level, the gravest last. */
export const levels: readonly Level[] = ['Debug', 'Info', 'Warn', 'Error'];
/** Those that are stored: debug lines are in the answers of manual calls alone. */
export const storedLevels = ['Info', 'Warn', 'Error'] as const;
export type StoredLevel = (typeof storedLevels)[number];

const ids = new WeakMap<object, number>();
let lastId = 0;

/** Names a thing of a list as long as it lives. */
export function idOf(thing: object): number {
  let id = ids.get(thing);
  if (id === undefined) {
    id = ++lastId;
    ids.set(thing, id);
  }
  return id;
}

/** What a log has of one call, in the order in which it was given. */
export interface Group<L extends Line = Line> {
  key: string;
  requestID: string;
  lambdaUUID: string;
  version?: number;
  lines: L[];
  /** The times of its first and its last line. */
  from: number;
  to: number;
  worst: Level;
}

/**
 * Puts together the lines of each call, a call at the place of its first line.
 * Calls of several lambdas by one event share a request id, and are apart.
 */
export function groupLines<L extends Line>(lines: readonly L[]): Group<L>[] {
  const groups = new Map<string, Group<L>>();
  for (const line of lines) {
    const key = `${line.requestID ?? ''} ${line.lambdaUUID ?? ''}`;
    const group = groups.get(key);
    if (!group) {
      groups.set(key, {
        key,
        requestID: line.requestID ?? '',
        lambdaUUID: line.lambdaUUID ?? '',
        ...(line.version !== undefined && { version: line.version }),
        lines: [line],
        from: line.timestamp,
        to: line.timestamp,
        worst: line.level,
      });
      continue;
    }
    group.lines.push(line);
    group.from = Math.min(group.from, line.timestamp);
    group.to = Math.max(group.to, line.timestamp);
    if (levels.indexOf(line.level) > levels.indexOf(group.worst)) group.worst = line.level;
  }
  return [...groups.values()];
}

/** The number of lines per level in a stretch of time. */
export type Bin = { from: number; to: number; total: number } & Record<Level, number>;

/** Counts lines by level, in so many equal parts of a time. Lines outside of it are left out. */
export function binLines(lines: readonly Line[], from: number, to: number, count: number): Bin[] {
  const width = Math.max(1, to - from) / count;
  const bins = Array.from({ length: count }, (_, i): Bin => ({
    from: Math.round(from + i * width),
    to: Math.round(from + (i + 1) * width),
    total: 0,
    Debug: 0,
    Info: 0,
    Warn: 0,
    Error: 0,
  }));
  for (const { timestamp, level } of lines) {
    if (timestamp < from || timestamp > to) continue;
    const bin = bins[Math.min(count - 1, Math.floor((timestamp - from) / width))]!;
    bin[level]++;
    bin.total++;
  }
  return bins;
}

const sameLine = (l: Line) => `${l.requestID} ${l.timestamp} ${l.level} ${l.message}`;

/**
 * Lines of a tail, the newest first, before those that are stored, the newest
 * first too. What came by both ways is kept once, also when a call writes the
 * same line several times.
 */
export function withTail<L extends Line>(tail: readonly L[], stored: readonly L[]): L[] {
  if (!tail.length) return stored as L[];
  let oldest = Infinity;
  for (const l of tail) oldest = Math.min(oldest, l.timestamp);
  const known = new Map<string, number>();
  for (const line of stored) {
    if (line.timestamp < oldest) break;
    const key = sameLine(line);
    known.set(key, (known.get(key) ?? 0) + 1);
  }
  const fresh = tail.filter((line) => {
    const key = sameLine(line);
    const left = known.get(key) ?? 0;
    if (left) known.set(key, left - 1);
    return !left;
  });
  return [...fresh, ...stored];
}
