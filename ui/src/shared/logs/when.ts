const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3, hourCycle: 'h23' });
const day = new Intl.DateTimeFormat(undefined, { month: 'short', day: 'numeric' });

/** The time of day to the millisecond, with the day before it if that is not today. */
export function moment(at: number, now = Date.now()): string {
  const time = clock.format(at);
  return new Date(at).toDateString() === new Date(now).toDateString() ? time : `${day.format(at)}, ${time}`;
}

const digits = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 3 });

/** A length of time for people: 0.4 ms, 37 ms, 1.25 s. */
export function spell(ms: number): string {
  if (ms < 1000) return `${digits.format(ms < 0.001 ? 0 : ms < 100 ? ms : Math.round(ms))} ms`;
  if (ms < 60_000) return `${digits.format(ms / 1000)} s`;
  return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

const units = ['bytes', 'kB', 'MB'];

/** A number of bytes for people. */
export function size(bytes: number): string {
  let n = bytes;
  let unit = 0;
  for (; n >= 1000 && unit < units.length - 1; unit++) n /= 1000;
  return `${digits.format(n)} ${units[unit]}`;
}
