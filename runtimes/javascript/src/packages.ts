// What a lambda may require besides Node's built-in modules.

import type { Dependency } from './codec.ts';

declare const VERSION: string;

/** The toolbelt, by its two names; it is a part of the runtime and has its version. */
export const PACKAGES: readonly Dependency[] = [
  { name: 'lp-faas-toolbelt', version: VERSION },
  { name: 'core-functions-toolbelt', version: VERSION },
];

/** Whether a module is the toolbelt. */
export function isToolbelt(id: string): boolean {
  for (let i = 0; i < PACKAGES.length; i++) if (PACKAGES[i]!.name === id) return true;
  return false;
}
