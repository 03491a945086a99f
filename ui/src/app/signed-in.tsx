import { Center, Loader } from '@mantine/core';
import { Navigate, useRouterState } from '@tanstack/react-router';

import { SessionProvider, useSessionInfo } from '~/shared/session';
import { ErrorState } from '~/shared/ui/page';

import { NoAccess } from './no-access';
import { Shell } from './shell';

/** The frame of every page but the sign-in: without a session it leads there. */
export function SignedIn() {
  const { data, error, refetch } = useSessionInfo();
  const href = useRouterState({ select: (s) => s.location.href });
  if (error && !data) return <ErrorState error={error} retry={() => void refetch()} />;
  if (!data) {
    return (
      <Center mih="100vh">
        <Loader aria-label="Loading" />
      </Center>
    );
  }
  if (!data.user) return <Navigate to="/sign-in" search={{ to: href }} replace />;
  const info = { ...data, user: data.user };
  return (
    <SessionProvider info={info} key={info.user.accountId + info.user.userId}>
      {info.user.permissions.includes('ReadLambdas') ? <Shell /> : <NoAccess />}
    </SessionProvider>
  );
}
