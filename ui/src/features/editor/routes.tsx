import { createRoute, lazyRouteComponent, type AnyRoute } from '@tanstack/react-router';

export const editorRoutes = (parent: AnyRoute) => [
  createRoute({ getParentRoute: () => parent, path: '/functions/$id', component: lazyRouteComponent(() => import('./editor-page'), 'EditorPage') }),
];
