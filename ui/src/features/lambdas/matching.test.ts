import { expect, test } from 'vitest';

import type { Lambda } from '~/shared/api/types';

import { matching } from './matching';

const make = (name: string, description: string, state: Lambda['state'], deploymentState?: string) =>
  ({ name, description, state, lastDeployment: deploymentState ? { deploymentState } : {} }) as Lambda;

const all = [make('zeta', 'sends mail', 'Draft'), make('alpha', 'Sends a Letter', 'Productive', 'Deploy Finish'), make('broken', 'x', 'Draft', 'Build Error'), make('busy', 'x', 'Modified', 'Deploy Start')];
const names = (q?: string, state?: string) => matching(all, { ...(q !== undefined && { q }), ...(state && { state }) }).map((l) => l.name);

test('every word counts, in name or description, and the order is that of names', () => {
  expect(names()).toEqual(['alpha', 'broken', 'busy', 'zeta']);
  expect(names('SENDS')).toEqual(['alpha', 'zeta']);
  expect(names('  sends letter ')).toEqual(['alpha']);
  expect(names('sends nothing')).toEqual([]);
});

test('a state is that of the lambda or of its newest deployment', () => {
  expect(names('', 'Build Error')).toEqual(['broken']);
  expect(names('', 'Deploying')).toEqual(['busy']);
  expect(names('', 'Draft')).toEqual(['broken', 'zeta']);
});
