import { Group, Text } from '@mantine/core';

import type { Invocation } from '~/shared/api/types';

import classes from './logs.module.css';
import { spell } from './when';

const parts = [
  { key: 'queue', word: 'Queue', field: 'queueMs', means: 'Waiting for a free process' },
  { key: 'start', word: 'Start', field: 'startMs', means: 'Starting a process and loading the lambda' },
  { key: 'run', word: 'Run', field: 'runMs', means: 'Inside the runtime' },
] as const;

type Times = Pick<Invocation, 'queueMs' | 'startMs' | 'runMs'>;

export const totalMs = (i: Times) => i.queueMs + i.startMs + i.runMs;

/** What an invocation's time went into, as a bar and in numbers. */
export function Split({ of }: { of: Times }) {
  const total = totalMs(of);
  return (
    <div>
      <div className={classes.split} aria-hidden>
        {total > 0 && parts.map((p) => of[p.field] > 0 && <span key={p.key} data-part={p.key} style={{ width: `${(of[p.field] / total) * 100}%` }} />)}
      </div>
      <Group gap="md" mt={6}>
        {parts.map((p) => (
          <Text key={p.key} size="xs" title={p.means} component="span">
            <span className={classes.dot} data-part={p.key} aria-hidden />
            {p.word} {spell(of[p.field])}
          </Text>
        ))}
        <Text size="xs" fw={600} component="span">
          Together {spell(total)}
        </Text>
      </Group>
    </div>
  );
}
