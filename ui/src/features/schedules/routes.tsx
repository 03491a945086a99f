import { createRoute, lazyRouteComponent, type AnyRoute } from '@tanstack/react-router';

export const schedulesRoutes = (parent: AnyRoute) => [
  createRoute({ getParentRoute: () => parent, path: '/schedules', component: lazyRouteComponent(() => import('./schedules-page'), 'SchedulesPage') }),
];
