import { Anchor, Box, Button, Group, Stack, Text, Title } from '@mantine/core';
import { useDocumentTitle } from '@mantine/hooks';
import type { ReactNode } from 'react';

import { ApiError } from '~/shared/api/client';

import { CopyText } from './copy';

/** The frame of every page: one h1, what can be done beside it, and the content. */
export function Page({ title, actions, children, note }: { title: string; actions?: ReactNode; note?: ReactNode; children: ReactNode }) {
  useDocumentTitle(`${title} · Sluice`);
  return (
    <Stack gap="md" component="section" aria-labelledby="page-title">
      <Group justify="space-between" gap="sm" wrap="wrap">
        <Box>
          <Title order={1} size="h2" id="page-title" tabIndex={-1}>
            {title}
          </Title>
          {note && (
            <Text c="dimmed" size="sm">
              {note}
            </Text>
          )}
        </Box>
        {actions && <Group gap="xs">{actions}</Group>}
      </Group>
      {children}
    </Stack>
  );
}

/** Nothing is here: what the page is for, and the one next step. */
export function EmptyState({ title, children, action }: { title: string; children?: ReactNode; action?: ReactNode }) {
  return (
    <Stack align="center" gap="xs" py="xl" px="md" ta="center">
      <Title order={2} size="h4">
        {title}
      </Title>
      {children && (
        <Text c="dimmed" maw={520}>
          {children}
        </Text>
      )}
      {action}
    </Stack>
  );
}

/** What went wrong, for people: the gateway's own words, the request's id, and a way to go on. */
export function ErrorState({ error, retry, title = 'This could not be read' }: { error: unknown; retry?: () => void; title?: string }) {
  const failure = error instanceof ApiError ? error : undefined;
  return (
    <Stack role="alert" align="center" gap="xs" py="xl" px="md" ta="center">
      <Title order={2} size="h4">
        {failure?.status === 0 ? 'The gateway does not answer' : failure?.status === 403 ? 'You may not see this' : failure?.status === 404 ? 'There is nothing here' : title}
      </Title>
      <Text maw={620}>{error instanceof Error ? error.message : String(error)}</Text>
      <RequestId error={error} />
      {retry && (
        <Button variant="default" onClick={retry}>
          Try again
        </Button>
      )}
    </Stack>
  );
}

/** The id under which the gateway's log has a failed request, to be copied. */
export function RequestId({ error }: { error: unknown }) {
  if (!(error instanceof ApiError) || !error.requestId) return null;
  return (
    <Group gap={6} justify="center">
      <Text size="xs" c="dimmed">
        Request {error.requestId}
      </Text>
      <CopyText text={error.requestId} label="Copy the request id" />
    </Group>
  );
}

/** A link that leaves for another site, in a tab of its own. */
export function Outside({ href, children }: { href: string; children: ReactNode }) {
  return (
    <Anchor href={href} target="_blank" rel="noreferrer noopener">
      {children}
    </Anchor>
  );
}
