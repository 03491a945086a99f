import { createRoute, lazyRouteComponent, type AnyRoute } from '@tanstack/react-router';

export const invokeRoutes = (parent: AnyRoute) => [
  createRoute({ getParentRoute: () => parent, path: '/functions/$id/invoke', component: lazyRouteComponent(() => import('./invoke-page'), 'InvokePage') }),
];
