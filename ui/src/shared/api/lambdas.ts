import { queryOptions, useQuery } from '@tanstack/react-query';

import { useAccount } from '~/shared/session';

import { api, got } from './client';
import type { Lambda } from './types';

// What several features read. Keys begin with the account: a change of account
// shares nothing.

export const lambdasQuery = (account: string) =>
  queryOptions({
    queryKey: [account, 'lambdas'],
    queryFn: ({ signal }) => got(api.GET('/api/account/{account}/lambdas', { params: { path: { account } }, signal })),
    // While something is being deployed, its steps are looked for.
    refetchInterval: ({ state }) => (state.data?.some(busy) ? 1000 : 30_000),
  });

const busy = ({ state, lastDeployment: d }: Lambda) => state === 'Marked Undeployed' || ('deploymentState' in d && d.deploymentState !== 'Deploy Finish' && !d.deploymentState.endsWith('Error'));

export const lambdaQuery = (account: string, id: string) =>
  queryOptions({
    queryKey: [account, 'lambda', id],
    queryFn: ({ signal }) => got(api.GET('/api/account/{account}/lambdas/{id}', { params: { path: { account, id } }, signal })),
  });

export const eventsQuery = (account: string) =>
  queryOptions({
    queryKey: [account, 'events'],
    queryFn: ({ signal }) => got(api.GET('/api/account/{account}/events', { params: { path: { account } }, signal })),
    staleTime: 10 * 60_000,
  });

export const templatesQuery = (account: string) =>
  queryOptions({
    queryKey: [account, 'templates'],
    queryFn: ({ signal }) => got(api.GET('/api/account/{account}/templates', { params: { path: { account } }, signal })),
    staleTime: 10 * 60_000,
  });

export const runtimesQuery = (account: string) =>
  queryOptions({
    queryKey: [account, 'runtimes'],
    queryFn: ({ signal }) => got(api.GET('/api/account/{account}/runtimes', { params: { path: { account } }, signal })),
    staleTime: 10 * 60_000,
  });

export const historyQuery = (account: string, id: string) =>
  queryOptions({
    queryKey: [account, 'history', id],
    queryFn: ({ signal }) => got(api.GET('/api/account/{account}/deployments/{id}/history', { params: { path: { account, id } }, signal })),
  });

export const limitsQuery = queryOptions({
  queryKey: ['limits'],
  queryFn: async ({ signal }) => {
    const { limits } = await got(api.GET('/limits', { signal }));
    return Object.fromEntries(limits.map((l) => [l.name, l]));
  },
  staleTime: Infinity,
});

export const useLambdas = () => useQuery(lambdasQuery(useAccount()));
export const useLambda = (id: string) => useQuery(lambdaQuery(useAccount(), id));
export const useEvents = () => useQuery(eventsQuery(useAccount()));
export const useTemplates = () => useQuery(templatesQuery(useAccount()));
export const useRuntimes = () => useQuery(runtimesQuery(useAccount()));
export const useLimits = () => useQuery(limitsQuery);
