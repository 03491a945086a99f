import type { Lambda } from '~/shared/api/types';
import { standing } from '~/shared/ui/state-chip';

/** The lambdas whose name or description has every word of q, in whatever case, and that stand so; by name. */
export function matching(lambdas: readonly Lambda[], { q = '', state }: { q?: string; state?: string }): Lambda[] {
  const words = q.toLowerCase().split(/\s+/).filter(Boolean);
  return lambdas
    .filter((l) => {
      const text = `${l.name} ${l.description}`.toLowerCase();
      return words.every((w) => text.includes(w)) && (!state || standing(l) === state || l.state === state);
    })
    .sort((a, b) => a.name.localeCompare(b.name));
}
