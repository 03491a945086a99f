import { Center, Loader } from '@mantine/core';
import { Navigate, useRouter } from '@tanstack/react-router';
import { useState } from 'react';

import { SessionProvider, useSessionInfo } from '~/shared/session';
import { ErrorState } from '~/shared/ui/page';

import { NoAccess } from './no-access';
import { Shell } from './shell';

/** The frame of every page but the sign-in: without a session it leads there. */
export function SignedIn() {
  const { data, error, refetch } = useSessionInfo();
  if (error && !data) return <ErrorState error={error} retry={() => void refetch()} />;
  if (!data) {
    return (
      <Center mih="100vh">
        <Loader aria-label="Loading" />
      </Center>
    );
  }
  if (!data.user) return <ToSignIn />;
  const info = { ...data, user: data.user };
  return (
    <SessionProvider info={info} key={info.user.accountId + info.user.userId}>
      {info.user.permissions.includes('ReadLambdas') ? <Shell /> : <NoAccess />}
    </SessionProvider>
  );
}

/** Leads to the sign-in, which leads back to where the browser was when it found no session. */
function ToSignIn() {
  const router = useRouter();
  const [to] = useState(() => router.state.location.href); // it changes as soon as the way is gone
  return <Navigate to="/sign-in" search={{ to }} replace />;
}
