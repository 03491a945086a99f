import { beforeEach, describe, expect, it } from 'vitest';

import { forget, keep, kept, type Kept } from './kept';

const day = 24 * 3_600_000;
const at = (time: number, code = 'c'): Kept => ({ at: time, version: 1, work: { code, description: 'd', environment: [], skills: [], runtime: 'r' } });

/** A storage of that many characters. */
function storage(room = Infinity): Storage {
  const all = new Map<string, string>();
  return {
    get length() {
      return all.size;
    },
    key: (i) => [...all.keys()][i] ?? null,
    getItem: (k) => all.get(k) ?? null,
    removeItem: (k) => void all.delete(k),
    clear: () => all.clear(),
    setItem: (k, v) => {
      const rest = [...all].reduce((n, [name, text]) => n + (name === k ? 0 : text.length), 0);
      if (rest + v.length > room) throw new DOMException('full', 'QuotaExceededError');
      all.set(k, v);
    },
  };
}

describe('kept work', () => {
  let place: Storage;
  beforeEach(() => {
    place = storage();
  });

  it('is found again by its account and lambda alone, until it is forgotten', () => {
    keep('1', 'a', at(1000), place);
    expect(kept('1', 'a', 2000, place)).toEqual(at(1000));
    expect(kept('2', 'a', 2000, place)).toBeUndefined();
    forget('1', 'a', place);
    expect(kept('1', 'a', 2000, place)).toBeUndefined();
  });
  it('goes after 30 days', () => {
    keep('1', 'a', at(0), place);
    expect(kept('1', 'a', 30 * day - 1, place)).toBeDefined();
    expect(kept('1', 'a', 30 * day, place)).toBeUndefined();
    keep('1', 'b', at(31 * day), place);
    expect(place.length).toBe(1);
  });
  it('is of 20 lambdas at most, the newest', () => {
    for (let i = 0; i < 50; i++) keep('1', `l${i}`, at(i), place);
    expect(place.length).toBe(20);
    expect(kept('1', 'l29', 50, place)).toBeUndefined();
    expect(kept('1', 'l30', 50, place)).toBeDefined();
  });
  it('takes the room of older work where the storage is full', () => {
    const small = storage(1000);
    keep('1', 'old', at(1, 'x'.repeat(600)), small);
    expect(keep('1', 'new', at(2, 'x'.repeat(600)), small)).toBe(true);
    expect(kept('1', 'old', 3, small)).toBeUndefined();
    expect(keep('1', 'huge', at(3, 'x'.repeat(2000)), small)).toBe(false);
  });
  it('does not take what it cannot read', () => {
    place.setItem('sluice-draft:1:a', '{"at":1,"work":null}');
    expect(kept('1', 'a', 2, place)).toBeUndefined();
  });
});
