import { createRoute, lazyRouteComponent, type AnyRoute } from '@tanstack/react-router';

export const allowlistRoutes = (parent: AnyRoute) => [
  createRoute({ getParentRoute: () => parent, path: '/allowlist', component: lazyRouteComponent(() => import('./allowlist-page'), 'AllowlistPage') }),
];
