import { createRoute, lazyRouteComponent, type AnyRoute } from '@tanstack/react-router';

export const settingsRoutes = (parent: AnyRoute) => [
  createRoute({ getParentRoute: () => parent, path: '/settings', component: lazyRouteComponent(() => import('./settings-page'), 'SettingsPage') }),
];
