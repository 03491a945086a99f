import { createRoute, lazyRouteComponent, type AnyRoute } from '@tanstack/react-router';

export const activitiesRoutes = (parent: AnyRoute) => [
  createRoute({ getParentRoute: () => parent, path: '/activities', component: lazyRouteComponent(() => import('./activities-page'), 'ActivitiesPage') }),
];
