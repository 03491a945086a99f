import { Alert, Anchor, Group, Skeleton, Stack, Text, Title } from '@mantine/core';
import { queryOptions, useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';

import { api, got } from '~/shared/api/client';
import type { Invocation } from '~/shared/api/types';
import { useAccount } from '~/shared/session';
import { CopyText } from '~/shared/ui/copy';
import { EmptyState, ErrorState } from '~/shared/ui/page';
import { TimeAgo } from '~/shared/ui/time';

import { LineList } from './line-list';
import { StateMark } from './marks';
import { Split } from './split';

const kept = 30 * 24 * 3600_000; // the longest that one question may be about

/** The invocations of a request: one, or those of several lambdas that an event called. */
export const invocationsOf = (account: string, requestId: string) =>
  queryOptions({
    queryKey: [account, 'invocation', requestId],
    queryFn: ({ signal }) =>
      got(
        api.GET('/api/account/{account}/invocations', {
          params: { path: { account }, query: { requestId, startTimestamp: Date.now() - kept + 60_000, logs: true, order: 'oldest' } },
          signal,
        }),
      ),
    // An entry is written a moment after the answer is sent.
    refetchInterval: ({ state }) => (state.data?.invocations.length === 0 && state.dataUpdateCount < 6 ? 700 : false),
  });

/** One request from its beginning to its end, with its log. */
export function RequestDetails({ requestId, height = 320 }: { requestId: string; height?: number }) {
  const { data, error, refetch, isFetching } = useQuery(invocationsOf(useAccount(), requestId));
  if (error && !data) return <ErrorState error={error} retry={() => void refetch()} title="The invocation could not be read" />;
  if (!data || (!data.invocations.length && isFetching)) return <Skeleton height={height} aria-label="Loading the invocation" />;
  if (!data.invocations.length) {
    return (
      <EmptyState title="No such invocation">
        Nothing is kept of the request {requestId}: it is older than 30 days, it reached no lambda, or it was none of this account.
      </EmptyState>
    );
  }
  return (
    <Stack gap="lg">
      {!!data.missing?.length && <MissingNote missing={data.missing.join(', ')} />}
      {data.invocations.map((i) => (
        <InvocationDetails key={i.lambdaUUID + i.timestamp} of={i} height={height} />
      ))}
    </Stack>
  );
}

/** Says what an answer lacks. */
export function MissingNote({ missing }: { missing: string }) {
  return (
    <Alert color="yellow" variant="light" title="A part could not be read">
      What is shown lacks this, because the gateway could not read it: {missing}.
    </Alert>
  );
}

const triggers: Record<Invocation['trigger'], string> = { call: 'API call', manual: 'Invoked by hand', event: 'Event', schedule: 'Schedule' };

export const triggerWord = (i: Pick<Invocation, 'trigger' | 'eventId'>) => (i.eventId ? `${triggers[i.trigger]} ${i.eventId}` : triggers[i.trigger]);

/** One invocation: how it ended, where its time went, and its log. */
export function InvocationDetails({ of: i, height = 320 }: { of: Invocation; height?: number }) {
  const lines = i.logs ?? [];
  return (
    <Stack gap="sm">
      <Group gap="sm">
        <StateMark state={i.state} />
        <Anchor component={Link} to="/functions/$id" params={{ id: i.lambdaUUID } as never} size="sm" fw={600}>
          {i.lambdaName}
        </Anchor>
        <Text size="sm" c="dimmed">
          version {i.version}
        </Text>
        <Text size="sm" c="dimmed">
          <TimeAgo at={i.timestamp} />
        </Text>
      </Group>
      <Split of={i} />
      <dl style={{ display: 'grid', gridTemplateColumns: 'max-content minmax(0, 1fr)', gap: '4px 16px', margin: 0, fontSize: 'var(--mantine-font-size-sm)' }}>
        <Fact name="Trigger">{triggerWord(i)}</Fact>
        <Fact name="Caller">{i.caller || '–'}</Fact>
        <Fact name="Process">{i.cold ? 'Cold: one was started or loaded for it' : 'Warm: one was ready'}</Fact>
        <Fact name="Request">
          <Group gap={4} wrap="nowrap">
            <span style={{ overflowWrap: 'anywhere' }}>{i.requestID}</span>
            <CopyText text={i.requestID} label="Copy the request id" />
          </Group>
        </Fact>
        {i.phase && <Fact name="Failed in">{i.phase}</Fact>}
        {i.errorCode && <Fact name="Error code">{i.errorCode}</Fact>}
      </dl>
      {i.errorMsg && (
        <Text size="sm" ff="monospace" style={{ whiteSpace: 'pre-wrap', overflowWrap: 'anywhere' }} c="var(--mantine-color-error)">
          {i.errorMsg}
        </Text>
      )}
      <Title order={3} size="h5">
        Log
      </Title>
      {i.trigger === 'manual' ? (
        <Text size="sm" c="dimmed">
          The log of a call by hand is in its answer and is not stored.
        </Text>
      ) : lines.length ? (
        <LineList lines={lines} label={`Log of ${i.requestID}`} height={Math.min(height, 36 * lines.length + 4)} since={i.timestamp} />
      ) : (
        <Text size="sm" c="dimmed">
          It wrote nothing.
        </Text>
      )}
      {i.droppedLogs > 0 && (
        <Text size="sm" c="dimmed">
          {i.droppedLogs.toLocaleString()} more {i.droppedLogs === 1 ? 'record was' : 'records were'} written and not stored: what is kept of one invocation is limited.
        </Text>
      )}
    </Stack>
  );
}

function Fact({ name, children }: { name: string; children: React.ReactNode }) {
  return (
    <>
      <Text component="dt" size="sm" c="dimmed">
        {name}
      </Text>
      <dd style={{ margin: 0, minWidth: 0, overflowWrap: 'anywhere' }}>{children}</dd>
    </>
  );
}
