import { Alert, Button, Center, Paper, Stack, Text, TextInput, Title } from '@mantine/core';
import { useDocumentTitle } from '@mantine/hooks';
import { useSearch } from '@tanstack/react-router';
import { useState, type FormEvent } from 'react';

const remembered = 'sluice-account';

/** What /ui/sign-in and /ui/callback send back when it did not work. */
const errors: Record<string, string> = {
  account: 'There is no such account: it is a number, for instance 12345678.',
  denied: 'The sign-in was refused.',
  expired: 'The sign-in took too long, or was begun in another browser. Try again.',
  unavailable: 'Nobody can be signed in at the moment. Try again in a minute.',
};

/** Asks for the account; the password is asked for by the authorization server. */
export function SignIn() {
  useDocumentTitle('Sign in · Sluice');
  const { to, error } = useSearch({ from: '/sign-in' });
  const [account, setAccount] = useState(() => localStorage.getItem(remembered) ?? '');
  const [fault, setFault] = useState(error ? (errors[error] ?? errors.denied) : undefined);
  const submit = (e: FormEvent) => {
    e.preventDefault();
    if (!/^\d{1,20}$/.test(account)) {
      setFault(errors.account);
      return;
    }
    localStorage.setItem(remembered, account);
    window.location.assign(`/ui/sign-in?${new URLSearchParams({ account, to: to ?? '/' }).toString()}`);
  };
  return (
    <Center mih="100vh" component="main">
      <Paper withBorder p="xl" w={380} maw="94vw">
        <form onSubmit={submit}>
          <Stack>
            <Title order={1} size="h2">
              Sign in to Sluice
            </Title>
            {fault && (
              <Alert color="red" role="alert" variant="light">
                {fault}
              </Alert>
            )}
            <TextInput label="Account" value={account} onChange={(e) => setAccount(e.currentTarget.value.trim())} inputMode="numeric" autoComplete="organization" required data-autofocus autoFocus />
            <Button type="submit">Continue</Button>
            <Text size="sm" c="dimmed">
              User and password are asked for on the next page.
            </Text>
          </Stack>
        </form>
      </Paper>
    </Center>
  );
}
