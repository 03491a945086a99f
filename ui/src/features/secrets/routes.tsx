import { createRoute, lazyRouteComponent, type AnyRoute } from '@tanstack/react-router';

export const secretsRoutes = (parent: AnyRoute) => [
  createRoute({ getParentRoute: () => parent, path: '/secrets', component: lazyRouteComponent(() => import('./secrets-page'), 'SecretsPage') }),
];
