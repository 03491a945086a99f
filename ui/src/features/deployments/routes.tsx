import { createRoute, lazyRouteComponent, type AnyRoute } from '@tanstack/react-router';

export const deploymentsRoutes = (parent: AnyRoute) => [
  createRoute({ getParentRoute: () => parent, path: '/deployments', component: lazyRouteComponent(() => import('./deployments-page'), 'DeploymentsPage') }),
  createRoute({ getParentRoute: () => parent, path: '/functions/$id/deploy', component: lazyRouteComponent(() => import('./review-page'), 'ReviewPage') }),
  createRoute({ getParentRoute: () => parent, path: '/functions/$id/versions', component: lazyRouteComponent(() => import('./versions-page'), 'VersionsPage') }),
];
