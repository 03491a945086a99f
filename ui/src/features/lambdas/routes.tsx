import { createRoute, lazyRouteComponent, type AnyRoute } from '@tanstack/react-router';

export const lambdasRoutes = (parent: AnyRoute) => [
  createRoute({ getParentRoute: () => parent, path: '/functions', component: lazyRouteComponent(() => import('./functions-page'), 'FunctionsPage') }),
  createRoute({ getParentRoute: () => parent, path: '/functions/new', component: lazyRouteComponent(() => import('./create-page'), 'CreatePage') }),
];
