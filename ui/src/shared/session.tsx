import { useQuery, useQueryClient } from '@tanstack/react-query';
import { createContext, useContext, useEffect, type ReactNode } from 'react';

import { apiError, signedOut } from './api/client';
import type { Role } from './api/types';

/** The rights of gateway/auth/permission.go. */
export type Permission =
  | 'ReadLambdas'
  | 'WriteLambdas'
  | 'Deploy'
  | 'Invoke'
  | 'ReadDomains'
  | 'WriteDomains'
  | 'ReadSecrets'
  | 'ReadSecretsPlain'
  | 'WriteSecrets'
  | 'ReadSchedules'
  | 'WriteSchedules'
  | 'ReadLogs'
  | 'ReadReports'
  | 'ManageUsers'
  | 'ManageApps';

export interface SessionUser {
  accountId: string;
  userId: string;
  loginName: string;
  roles: Role[];
  permissions: string[];
}

export interface SessionInfo {
  user: SessionUser | null;
  gateway?: string;
  expiresAt?: string;
  /** Where each service of the account is, as host[:port]. */
  hosts?: Record<string, string>;
}

async function readSession(): Promise<SessionInfo> {
  const response = await fetch('/ui/session', { credentials: 'same-origin' });
  if (!response.ok) throw await apiError(response);
  return (await response.json()) as SessionInfo;
}

/** Who is signed in, read once and again whenever a request is answered 401. */
export function useSessionInfo() {
  const client = useQueryClient();
  useEffect(() => {
    const again = () => void client.invalidateQueries({ queryKey: ['session'] });
    signedOut.addEventListener('signed-out', again);
    return () => signedOut.removeEventListener('signed-out', again);
  }, [client]);
  return useQuery({ queryKey: ['session'], queryFn: readSession, staleTime: 5 * 60_000, refetchInterval: 10 * 60_000 });
}

const Session = createContext<SessionInfo & { user: SessionUser } | null>(null);

export function SessionProvider({ info, children }: { info: SessionInfo & { user: SessionUser }; children: ReactNode }) {
  return <Session.Provider value={info}>{children}</Session.Provider>;
}

/** The session of a page that only people who are signed in see. */
export function useSession() {
  const session = useContext(Session);
  if (!session) throw new Error('useSession outside of SessionProvider');
  return session;
}

/** The account that all requests of the page are about. */
export function useAccount(): string {
  return useSession().user.accountId;
}

/** Which roles bring a right, for the reason beside a disabled control. */
const holders: Record<Permission, string> = {
  ReadLambdas: 'FaaS-Developer or FaaS-Admin',
  WriteLambdas: 'FaaS-Developer',
  Deploy: 'FaaS-Developer',
  Invoke: 'FaaS-Developer',
  ReadDomains: 'FaaS-Developer or FaaS-Admin',
  WriteDomains: 'FaaS-Admin',
  ReadSecrets: 'FaaS-Developer or FaaS-Admin',
  ReadSecretsPlain: 'FaaS-Admin',
  WriteSecrets: 'FaaS-Admin',
  ReadSchedules: 'FaaS-Developer or FaaS-Admin',
  WriteSchedules: 'FaaS-Developer or FaaS-Admin',
  ReadLogs: 'FaaS-Developer or FaaS-Admin',
  ReadReports: 'FaaS-Developer or FaaS-Admin',
  ManageUsers: 'LPA',
  ManageApps: 'LPA',
};

export interface May {
  allowed: boolean;
  /** Why not, for people; undefined when it is allowed. */
  reason?: string;
}

/** Whether the user may do something, and if not, why. */
export function useMay(permission: Permission): May {
  const { user } = useSession();
  if (user.permissions.includes(permission)) return { allowed: true };
  return { allowed: false, reason: `This needs the permission ${holders[permission]}, which you do not have.` };
}
