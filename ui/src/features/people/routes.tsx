import { createRoute, lazyRouteComponent, type AnyRoute } from '@tanstack/react-router';

export const peopleRoutes = (parent: AnyRoute) => [
  createRoute({ getParentRoute: () => parent, path: '/people', component: lazyRouteComponent(() => import('./people-page'), 'PeoplePage') }),
];
