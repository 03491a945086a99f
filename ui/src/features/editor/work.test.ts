import { describe, expect, it } from 'vitest';

import { characters, nameFault, otherChanges, problemsOf, reservedText, sameWork, summary, valueFault, type Work } from './work';

const work: Work = { code: 'x', description: 'd', environment: [{ key: 'A', value: '1' }], skills: [], runtime: 'r' };

describe('work', () => {
  it('is the same as an equal copy', () => {
    expect(sameWork(work, structuredClone(work))).toBe(true);
  });
  it.each<[string, Partial<Work>, string[]]>([
    ['the description', { description: 'e' }, ['Description']],
    ['a value', { environment: [{ key: 'A', value: '2' }] }, ['Variable A']],
    ['a variable that is renamed', { environment: [{ key: 'B', value: '1' }] }, ['Variable A', 'Variable B']],
    ['a variable more', { environment: [...work.environment, { key: 'B', value: '' }] }, ['Variable B']],
    ['the skills', { skills: ['s'] }, ['Skills']],
    ['the runtime', { runtime: 'q' }, ['Runtime']],
  ])('tells of a change of %s', (_, change, whats) => {
    expect(otherChanges(work, { ...work, ...change }).map((c) => c.what)).toEqual(whats);
    expect(sameWork(work, { ...work, ...change })).toBe(false);
  });
  it('tells of another order of variables, which the gateway saves too', () => {
    const two = { ...work, environment: [{ key: 'A', value: '1' }, { key: 'B', value: '2' }] };
    expect(otherChanges(two, { ...two, environment: two.environment.toReversed() }).map((c) => c.what)).toEqual(['Order of variables']);
  });
});

describe('variables', () => {
  it.each<[string, string | undefined]>([
    ['MY_NAME1', undefined],
    ['lower', undefined],
    ['', 'Give the variable a name.'],
    ['1A', 'A name may hold letters, digits and _ only, and starts with no digit.'],
    ['A-B', 'A name may hold letters, digits and _ only, and starts with no digit.'],
    ['NODE_ENV', reservedText],
    ['https_proxy', reservedText],
    ['SLUICE_X', reservedText],
    ['TAKEN', 'There is a variable TAKEN already: edit that one, or choose another name.'],
    ['TOO_LONG_A_NAME_IT_IS', 'The name has 21 characters: the limit is 20, shorten it.'],
  ])('judges the name %j', (name, fault) => {
    expect(nameFault(name, ['TAKEN'], 20)).toBe(fault);
  });
  it('counts a value in code points', () => {
    expect(valueFault('😀'.repeat(5), 5)).toBeUndefined();
    expect(valueFault('😀'.repeat(6), 5)).toContain('6 characters');
    expect(characters('aü😀')).toBe(3);
  });
});

describe('problems', () => {
  it('have the places of a refused save', () => {
    expect(problemsOf('3:7: Unexpected token\nNo function named lambda\n… and 2 more')).toEqual([
      { severity: 'error', message: 'Unexpected token', line: 3, column: 7 },
      { severity: 'error', message: 'No function named lambda', line: 0, column: 0 },
      { severity: 'error', message: '… and 2 more', line: 0, column: 0 },
    ]);
  });
  it('are counted by severity', () => {
    expect(summary([])).toBe('No problems');
    expect(summary([{ severity: 'warning' }, { severity: 'error' }, { severity: 'error' }])).toBe('2 errors, 1 warning');
  });
});
