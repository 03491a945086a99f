import { QueryClient } from '@tanstack/react-query';
import { createRootRoute, createRoute, createRouter, Navigate } from '@tanstack/react-router';

import { lambdasRoutes } from '~/features/lambdas/routes';
import { ApiError } from '~/shared/api/client';
import { EmptyState, ErrorState } from '~/shared/ui/page';

import { SignedIn } from './signed-in';
import { SignIn } from './sign-in';

const root = createRootRoute();

const signIn = createRoute({
  getParentRoute: () => root,
  path: '/sign-in',
  validateSearch: (s: Record<string, unknown>): { to?: string; error?: string } => ({
    ...(typeof s.to === 'string' && { to: s.to }),
    ...(typeof s.error === 'string' && { error: s.error }),
  }),
  component: SignIn,
});

// Every other page: its frame asks who is signed in.
const signedIn = createRoute({ getParentRoute: () => root, id: 'signed-in', component: SignedIn });

const home = createRoute({ getParentRoute: () => signedIn, path: '/', component: () => <Navigate to="/functions" replace /> });

const tree = root.addChildren([
  signIn,
  signedIn.addChildren([
    home,
    ...lambdasRoutes(signedIn),
  ]),
]);

export const router = createRouter({
  routeTree: tree,
  defaultPreload: 'intent',
  scrollRestoration: true,
  defaultNotFoundComponent: () => <EmptyState title="There is no such page">Look for it in the navigation.</EmptyState>,
  defaultErrorComponent: ({ error, reset }) => <ErrorState error={error} retry={reset} title="This page broke" />,
});

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 15_000,
      // What the gateway refused it refuses again; what did not arrive is asked for twice more.
      retry: (count, error) => count < 2 && error instanceof ApiError && (error.status === 0 || error.status === 502 || error.status === 503),
    },
  },
});
