import { createRoute, lazyRouteComponent, type AnyRoute } from '@tanstack/react-router';

export const metricsRoutes = (parent: AnyRoute) => [
  createRoute({ getParentRoute: () => parent, path: '/metrics', component: lazyRouteComponent(() => import('./metrics-page'), 'MetricsPage') }),
];
