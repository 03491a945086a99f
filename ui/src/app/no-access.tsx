import { Button, Center, Stack, Text, Title } from '@mantine/core';

import { useSession } from '~/shared/session';

/** For who may sign in but has nothing to do here: a user with FaaS-Invocation alone. */
export function NoAccess() {
  const { user } = useSession();
  return (
    <Center mih="100vh" component="main">
      <Stack maw={480} p="md" align="flex-start">
        <Title order={1} size="h2">
          You have no access to this page
        </Title>
        <Text>
          You are signed in as {user.loginName} on account {user.accountId} with {user.roles.join(', ') || 'no role'}. This page needs at least one of LPA, FaaS-Admin and
          FaaS-Developer. With FaaS-Invocation you can invoke lambdas through the API.
        </Text>
        <Button
          onClick={() => {
            void fetch('/ui/sign-out', { method: 'POST', credentials: 'same-origin' }).then(() => window.location.assign('/sign-in'));
          }}
        >
          Sign in as somebody else
        </Button>
      </Stack>
    </Center>
  );
}
