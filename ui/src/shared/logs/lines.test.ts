import { describe, expect, it } from 'vitest';

import { binLines, groupLines, idOf, withTail, type Line } from './lines';

const line = (requestID: string, timestamp: number, message = 'm', level: Line['level'] = 'Info', lambdaUUID = 'l'): Line => ({
  requestID,
  timestamp,
  message,
  level,
  lambdaUUID,
  extras: [],
});

describe('groupLines', () => {
  it('puts the lines of a call together, at the place of the first', () => {
    const groups = groupLines([line('b', 9, 'm', 'Warn'), line('a', 8), line('b', 7), line('b', 7, 'm', 'Error')]);
    expect(groups.map((g) => [g.requestID, g.lines.length, g.from, g.to, g.worst])).toEqual([
      ['b', 3, 7, 9, 'Error'],
      ['a', 1, 8, 8, 'Info'],
    ]);
  });

  it('keeps lambdas apart that one event called', () => {
    expect(groupLines([line('a', 1, 'm', 'Info', 'x'), line('a', 1, 'm', 'Info', 'y')])).toHaveLength(2);
  });
});

describe('binLines', () => {
  it('counts by level and time, the end belonging to the last part', () => {
    const bins = binLines([line('a', 0), line('a', 99, 'm', 'Error'), line('a', 100), line('a', 101), line('a', 50)], 0, 100, 2);
    expect(bins.map((b) => [b.from, b.to, b.Info, b.Error, b.total])).toEqual([
      [0, 50, 1, 0, 1],
      [50, 100, 2, 1, 3],
    ]);
  });

  it('counts nothing of an empty time', () => {
    expect(binLines([line('a', 5)], 5, 5, 3)[0]!.total).toBe(1);
  });
});

describe('withTail', () => {
  it('keeps once what came by both ways', () => {
    const stored = [line('b', 6), line('a', 5), line('a', 1)];
    const tail = [line('c', 7), line('b', 6), line('a', 5)];
    expect(withTail(tail, stored).map((l) => l.timestamp)).toEqual([7, 6, 5, 1]);
  });

  it('keeps what a call wrote twice twice', () => {
    const twice = [line('a', 5), line('a', 5)];
    expect(withTail(twice, [line('a', 5)])).toHaveLength(2);
    expect(withTail(twice, twice.map((l) => ({ ...l })))).toHaveLength(2);
    expect(withTail([line('a', 5)], [])).toHaveLength(1);
  });
});

it('names things apart', () => {
  const a = {};
  expect(idOf(a)).toBe(idOf(a));
  expect(idOf({})).not.toBe(idOf(a));
});
