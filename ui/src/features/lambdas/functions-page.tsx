import { ActionIcon, Card, Code, Group, Menu, NativeSelect, Skeleton, Stack, Text, TextInput } from '@mantine/core';
import { IconDots, IconRocket, IconSearch, IconTrash, IconX } from '@tabler/icons-react';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { useState } from 'react';

import { api, got } from '~/shared/api/client';
import { useEvents, useLambdas } from '~/shared/api/lambdas';
import type { Lambda } from '~/shared/api/types';
import { useAccount, useMay } from '~/shared/session';
import { Confirm } from '~/shared/ui/confirm';
import { done, failed } from '~/shared/ui/notify';
import { EmptyState, ErrorState, Page } from '~/shared/ui/page';
import { deploymentOf, standing, StateChip } from '~/shared/ui/state-chip';
import { TimeAgo } from '~/shared/ui/time';

import { matching } from './matching';
import type { FunctionsSearch } from './routes';

const states = ['Draft', 'Productive', 'Modified', 'Marked Undeployed', 'Deploying', 'Build Error', 'Deploy Error'];

/** The lambdas of the account, and what can be done with each. */
export function FunctionsPage() {
  const lambdas = useLambdas();
  const search = useSearch({ strict: false }) as FunctionsSearch;
  const navigate = useNavigate();
  const change = (next: FunctionsSearch) => void navigate({ to: '.', search: { ...search, ...next }, replace: true });
  const shown = lambdas.data && matching(lambdas.data, search);
  return (
    <Page title="Functions" note={lambdas.data && `${lambdas.data.length} on this account`}>
      <Group gap="sm" align="flex-end">
        <TextInput
          label="Search"
          value={search.q ?? ''}
          onChange={(e) => change({ q: e.currentTarget.value || undefined })}
          leftSection={<IconSearch size={16} aria-hidden />}
          rightSection={
            search.q && (
              <ActionIcon variant="subtle" color="gray" onClick={() => change({ q: undefined })} aria-label="Clear the search">
                <IconX size={14} />
              </ActionIcon>
            )
          }
          flex="1 1 220px"
          maw={420}
        />
        <NativeSelect label="State" data={[{ value: '', label: 'Any' }, ...states]} value={search.state ?? ''} onChange={(e) => change({ state: e.currentTarget.value || undefined })} />
      </Group>
      {lambdas.isPending && Array.from({ length: 4 }, (_, i) => <Skeleton key={i} height={76} />)}
      {lambdas.isError && !lambdas.data && <ErrorState error={lambdas.error} retry={() => void lambdas.refetch()} />}
      {lambdas.data?.length === 0 && <EmptyState title="No functions yet">A function is a lambda that is called by an event, by schedule or over HTTPS. The public command line creates and deploys one.</EmptyState>}
      {shown && lambdas.data.length > 0 && shown.length === 0 && <EmptyState title="No function matches">Change the search or the state.</EmptyState>}
      <Stack gap="xs" component="ul" m={0} p={0} style={{ listStyle: 'none' }}>
        {shown?.map((lambda) => <Row key={lambda.uuid} lambda={lambda} />)}
      </Stack>
    </Page>
  );
}

function Row({ lambda }: { lambda: Lambda }) {
  const events = useEvents();
  const deployment = deploymentOf(lambda);
  const event = lambda.eventId ? (events.data?.find((e) => e.eventId === lambda.eventId)?.eventName ?? lambda.eventId) : 'No event';
  return (
    <Card component="li" withBorder padding="sm">
      <Group justify="space-between" wrap="nowrap" align="flex-start">
        <div style={{ minWidth: 0 }}>
          <Group gap="xs">
            <Text fw={600} style={{ overflowWrap: 'anywhere' }}>
              {lambda.name}
            </Text>
            <StateChip state={standing(lambda)} />
          </Group>
          <Text size="sm" lineClamp={2}>
            {lambda.description}
          </Text>
          <Text size="sm" c="dimmed">
            {event} · {lambda.runtime.name} · version {lambda.version} · changed <TimeAgo at={lambda.updatedAt} /> by {lambda.updatedBy}
          </Text>
          {deployment?.deploymentError && (
            <Code block mt={6} style={{ whiteSpace: 'pre-wrap' }}>
              {deployment.deploymentError.errorMsg}
            </Code>
          )}
        </div>
        <RowMenu lambda={lambda} />
      </Group>
    </Card>
  );
}

function RowMenu({ lambda }: { lambda: Lambda }) {
  const account = useAccount();
  const client = useQueryClient();
  const mayDeploy = useMay('Deploy');
  const mayWrite = useMay('WriteLambdas');
  const [asking, setAsking] = useState<'delete' | 'undeploy'>();
  const path = { account, id: lambda.uuid };
  const again = () => client.invalidateQueries({ queryKey: [account, 'lambdas'] });
  const live = lambda.state === 'Productive' || lambda.state === 'Modified';
  const deploy = useMutation({
    mutationFn: () => got(api.POST('/api/account/{account}/deployments/{id}', { params: { path } })),
    onSuccess: () => {
      done(`The deployment of ${lambda.name} has begun`);
      return again();
    },
    onError: (e) => failed(`${lambda.name} was not deployed`, e),
  });
  return (
    <>
      <Menu position="bottom-end" withinPortal>
        <Menu.Target>
          <ActionIcon variant="subtle" color="gray" aria-label={`Actions for ${lambda.name}`} loading={deploy.isPending}>
            <IconDots size={18} />
          </ActionIcon>
        </Menu.Target>
        <Menu.Dropdown>
          {!mayDeploy.allowed && <Menu.Label maw={260}>{mayDeploy.reason}</Menu.Label>}
          <Menu.Item leftSection={<IconRocket size={16} />} disabled={!mayDeploy.allowed} onClick={() => deploy.mutate()}>
            Deploy
          </Menu.Item>
          <Menu.Item disabled={!mayDeploy.allowed || !live} onClick={() => setAsking('undeploy')}>
            {live ? 'Undeploy' : 'Undeploy (is not deployed)'}
          </Menu.Item>
          <Menu.Item leftSection={<IconTrash size={16} />} color="red" disabled={!mayWrite.allowed} onClick={() => setAsking('delete')}>
            Delete
          </Menu.Item>
        </Menu.Dropdown>
      </Menu>
      <Confirm
        opened={asking === 'undeploy'}
        close={() => setAsking(undefined)}
        title={`Undeploy ${lambda.name}`}
        action="Undeploy"
        confirm={async () => {
          await got(api.DELETE('/api/account/{account}/deployments/{id}', { params: { path } }));
          await again();
        }}
      >
        Calls of this function will be refused until it is deployed again. Its code stays.
      </Confirm>
      <Confirm
        opened={asking === 'delete'}
        close={() => setAsking(undefined)}
        title={`Delete ${lambda.name}`}
        action="Delete"
        name={lambda.name}
        confirm={async () => {
          await api.DELETE('/api/account/{account}/lambdas/{id}', { params: { path } });
          done(`${lambda.name} is deleted`);
          await again();
        }}
      >
        The function, its code and its history go for good.
      </Confirm>
    </>
  );
}
