import { createRoute, lazyRouteComponent, type AnyRoute } from '@tanstack/react-router';

/** What the list shows is in its address, to be shared. */
export interface FunctionsSearch {
  q?: string;
  state?: string;
}

export const lambdasRoutes = (parent: AnyRoute) => [
  createRoute({
    getParentRoute: () => parent,
    path: '/functions',
    validateSearch: (s: Record<string, unknown>): FunctionsSearch => ({
      ...(typeof s.q === 'string' && s.q && { q: s.q }),
      ...(typeof s.state === 'string' && s.state && { state: s.state }),
    }),
    component: lazyRouteComponent(() => import('./functions-page'), 'FunctionsPage'),
  }),
];
