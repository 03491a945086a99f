import { createRoute, lazyRouteComponent, type AnyRoute } from '@tanstack/react-router';

export const logsRoutes = (parent: AnyRoute) => [
  createRoute({ getParentRoute: () => parent, path: '/logs', component: lazyRouteComponent(() => import('./logs-page'), 'LogsPage') }),
];
