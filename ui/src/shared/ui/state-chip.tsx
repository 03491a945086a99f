import { Badge } from '@mantine/core';
import { IconAlertTriangle, IconCircleCheck, IconClock, IconPencil, IconPlayerPause, IconProgress } from '@tabler/icons-react';

import type { Lambda } from '~/shared/api/types';

/** The newest deployment of a lambda, if there was one. */
export function deploymentOf(lambda: Lambda) {
  return 'deploymentState' in lambda.lastDeployment ? lambda.lastDeployment : undefined;
}

/** How a lambda stands, in one word: its state, or what its newest deployment is doing. */
export function standing(lambda: Lambda): string {
  const state = deploymentOf(lambda)?.deploymentState;
  if (state === 'Build Error' || state === 'Deploy Error') return state;
  if (state && state !== 'Deploy Finish') return 'Deploying';
  return lambda.state;
}

const looks: Record<string, { color: string; icon: typeof IconClock }> = {
  Draft: { color: 'gray', icon: IconPencil },
  Productive: { color: 'teal', icon: IconCircleCheck },
  Modified: { color: 'blue', icon: IconPencil },
  'Marked Undeployed': { color: 'gray', icon: IconPlayerPause },
  Deploying: { color: 'blue', icon: IconProgress },
  'Build Error': { color: 'red', icon: IconAlertTriangle },
  'Deploy Error': { color: 'red', icon: IconAlertTriangle },
};

/** A state by icon, word and colour. */
export function StateChip({ state }: { state: string }) {
  const look = looks[state] ?? { color: 'gray', icon: IconClock };
  return (
    <Badge variant="outline" color={look.color} tt="none" leftSection={<look.icon size={13} aria-hidden />} styles={{ root: { color: 'var(--mantine-color-text)' } }}>
      {state}
    </Badge>
  );
}
