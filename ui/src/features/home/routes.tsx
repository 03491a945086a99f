import { createRoute, lazyRouteComponent, type AnyRoute } from '@tanstack/react-router';

export const homeRoutes = (parent: AnyRoute) => [
  createRoute({ getParentRoute: () => parent, path: '/', component: lazyRouteComponent(() => import('./home-page'), 'HomePage') }),
];
