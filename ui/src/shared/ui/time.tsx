import { Tooltip } from '@mantine/core';
import { useEffect, useState } from 'react';

const relative = new Intl.RelativeTimeFormat(undefined, { numeric: 'auto' });
const steps: [Intl.RelativeTimeFormatUnit, number][] = [
  ['second', 60],
  ['minute', 60],
  ['hour', 24],
  ['day', 30],
  ['month', 12],
  ['year', Infinity],
];

/** How long before or after now, in words: "5 minutes ago". */
export function fromNow(at: Date, now = Date.now()): string {
  let value = (at.getTime() - now) / 1000;
  for (const [unit, size] of steps) {
    if (Math.abs(value) < size) return relative.format(Math.round(value), unit);
    value /= size;
  }
  return '';
}

/** The date and time in the user's zone, to the second. */
export function absolute(at: Date): string {
  return at.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
}

/** A time in words that stays true, with the exact one on hover. */
export function TimeAgo({ at }: { at: string | number | Date }) {
  const date = new Date(at);
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick((n) => n + 1), 30_000);
    return () => clearInterval(timer);
  }, []);
  return (
    <Tooltip label={absolute(date)}>
      <time dateTime={date.toISOString()}>{fromNow(date)}</time>
    </Tooltip>
  );
}
