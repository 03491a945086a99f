import type { Lambda } from '~/shared/api/types';

export interface Variable {
  key: string;
  value: string;
}

/** What an author can change of a lambda in the editor. */
export interface Work {
  code: string;
  description: string;
  environment: Variable[];
  skills: string[];
  /** The runtime's uuid. */
  runtime: string;
}

/** What is saved of a lambda, as work that has not begun. */
export function workOf(lambda: Lambda): Work {
  return {
    code: lambda.implementation.code,
    description: lambda.description,
    environment: lambda.implementation.environmentVariables.map(({ key, value }) => ({ key, value })),
    skills: lambda.skills ?? [],
    runtime: lambda.runtime.uuid,
  };
}

export function sameWork(a: Work, b: Work): boolean {
  return a.code === b.code && otherChanges(a, b).length === 0;
}

export interface Change {
  what: string;
  before: string;
  after: string;
}

/** What differs besides the code. */
export function otherChanges(a: Work, b: Work): Change[] {
  const changes: Change[] = [];
  const compare = (what: string, before: string, after: string) => {
    if (before !== after) changes.push({ what, before, after });
  };
  compare('Description', a.description, b.description);
  compare('Skills', a.skills.join(', '), b.skills.join(', '));
  compare('Runtime', a.runtime, b.runtime);
  const before = new Map(a.environment.map((v) => [v.key, v.value]));
  const after = new Map(b.environment.map((v) => [v.key, v.value]));
  const ofVariables = changes.length;
  for (const [key, value] of before) {
    if (!after.has(key)) changes.push({ what: `Variable ${key}`, before: value, after: '(removed)' });
    else compare(`Variable ${key}`, value, after.get(key)!);
  }
  for (const [key, value] of after) if (!before.has(key)) changes.push({ what: `Variable ${key}`, before: '(none)', after: value });
  if (changes.length === ofVariables) compare('Order of variables', a.environment.map((v) => v.key).join(', '), b.environment.map((v) => v.key).join(', '));
  return changes;
}

/** Characters as the gateway counts them: code points. */
export function characters(text: string): number {
  let n = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0xdc00 || unit > 0xdfff) n++;
  }
  return n;
}

/** The words of the guide for a name that the platform keeps. */
export const reservedText = 'Variable name is reserved and thereby blocked for use.';

const reserved = new Set([
  'BRAND_ID', 'LAMBDA_UUID', 'DOMAIN', 'DC', 'HTTPS_PROXY', 'HTTP_PROXY', 'NO_PROXY', 'ALL_PROXY', 'VAULT_K8S_MOUNT', 'VAULT_DOMAIN',
  'VAULT_SERVICE_ENV', 'VAULT_LAMBDA_ROLE', 'WATCHDOG_VERSION', 'NODE_ENV', 'CONTEXT_SERVICE_ENVIRONMENT', 'PATH', 'NODE_OPTIONS',
  'NODE_PATH', 'NODE_EXTRA_CA_CERTS', 'NODE_USE_ENV_PROXY', 'LD_PRELOAD', 'LD_LIBRARY_PATH',
]); // prettier-ignore

/** What is wrong with a variable's name, beside those that there are already. */
export function nameFault(name: string, others: string[], limit: number): string | undefined {
  if (name === '') return 'Give the variable a name.';
  if (characters(name) > limit) return `The name has ${characters(name)} characters: the limit is ${limit}, shorten it.`;
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) return 'A name may hold letters, digits and _ only, and starts with no digit.';
  const upper = name.toUpperCase();
  if (reserved.has(upper) || upper.startsWith('PLUGIN_') || upper.startsWith('SLUICE_')) return reservedText;
  if (others.includes(name)) return `There is a variable ${name} already: edit that one, or choose another name.`;
  return undefined;
}

/** What is wrong with a variable's value. */
export function valueFault(value: string, limit: number): string | undefined {
  if (characters(value) > limit) return `The value has ${characters(value)} characters: the limit is ${limit}, shorten it.`;
  if (value.includes('\0')) return 'The value holds a NUL byte: remove it.';
  return undefined;
}

export interface Problem {
  severity: 'error' | 'warning' | 'info';
  message: string;
  /** From 1; 0 when it concerns all of the code. */
  line: number;
  column: number;
}

/** The faults of a refused save: one a line, with their place as line:column. */
export function problemsOf(message: string): Problem[] {
  return message
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const place = /^(\d+):(\d+): (.*)$/.exec(line);
      return { severity: 'error', message: place?.[3] ?? line, line: Number(place?.[1] ?? 0), column: Number(place?.[2] ?? 0) };
    });
}

/** "2 errors, 1 warning", or that there is none. */
export function summary(problems: readonly { severity: Problem['severity'] }[]): string {
  const count = (severity: Problem['severity'], one: string, many: string) => {
    const n = problems.filter((p) => p.severity === severity).length;
    return n === 0 ? [] : [`${n} ${n === 1 ? one : many}`];
  };
  return [...count('error', 'error', 'errors'), ...count('warning', 'warning', 'warnings'), ...count('info', 'note', 'notes')].join(', ') || 'No problems';
}
