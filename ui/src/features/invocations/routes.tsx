import { createRoute, lazyRouteComponent, type AnyRoute } from '@tanstack/react-router';

export const invocationsRoutes = (parent: AnyRoute) => [
  createRoute({ getParentRoute: () => parent, path: '/invocations', component: lazyRouteComponent(() => import('./invocations-page'), 'InvocationsPage') }),
];
