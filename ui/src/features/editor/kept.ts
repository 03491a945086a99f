import type { Work } from './work';

// Work that is not saved is kept in the browser, so that a reload or a crash
// does not lose it.

/** Work as it was kept. */
export interface Kept {
  /** When, in epoch ms. */
  at: number;
  /** The version of the lambda that it was begun from. */
  version: number;
  work: Work;
}

const prefix = 'sluice-draft:';
const most = 20;
const oldest = 30 * 24 * 3_600_000;
/** More than the longest code with the largest environment. */
const longest = 500_000;

const keyOf = (account: string, id: string) => `${prefix}${account}:${id}`;

/** Keeps the work on a lambda in place of what was kept of it. It never throws: a full or closed storage keeps nothing. */
export function keep(account: string, id: string, kept: Kept, storage = localStorage): boolean {
  const text = JSON.stringify(kept);
  if (text.length > longest) return false;
  const key = keyOf(account, id);
  for (let room = most - 1; ; room = Math.floor(room / 2)) {
    try {
      prune(storage, key, room, kept.at);
      storage.setItem(key, text);
      return true;
    } catch {
      if (room === 0) return false;
    }
  }
}

/** The work on a lambda that is kept, if it is not too old. */
export function kept(account: string, id: string, now = Date.now(), storage = localStorage): Kept | undefined {
  try {
    const one = read(storage, keyOf(account, id));
    return one && now - one.at < oldest ? one : undefined;
  } catch {
    return undefined;
  }
}

/** Forgets the work on a lambda. */
export function forget(account: string, id: string, storage = localStorage) {
  try {
    storage.removeItem(keyOf(account, id));
  } catch {
    // a storage that is closed has nothing to forget
  }
}

/** Leaves room for one more: the newest stay, and what is old or unreadable goes. */
function prune(storage: Storage, key: string, room: number, now: number) {
  const others: { name: string; at: number }[] = [];
  for (let i = 0; i < storage.length; i++) {
    const name = storage.key(i);
    if (name?.startsWith(prefix) && name !== key) others.push({ name, at: read(storage, name)?.at ?? 0 });
  }
  others.sort((a, b) => b.at - a.at);
  others.forEach(({ name, at }, i) => {
    if (i >= room || now - at >= oldest) storage.removeItem(name);
  });
}

function read(storage: Storage, key: string): Kept | undefined {
  try {
    const one = JSON.parse(storage.getItem(key) ?? '') as Kept;
    const { work } = one;
    const fits = typeof one.at === 'number' && typeof one.version === 'number' && typeof work.code === 'string' && typeof work.description === 'string' && typeof work.runtime === 'string';
    return fits && Array.isArray(work.environment) && Array.isArray(work.skills) ? one : undefined;
  } catch {
    return undefined;
  }
}
