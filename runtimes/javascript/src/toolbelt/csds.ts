// The Domain API (contract/invocation.md §1): on which host a service of the
// account is.
//
// The gateway says in the variable DOMAIN where its own Domain API is. Without it,
// it is the one that lambdas have always asked.

import { ErrorCodes, reasonOf, ToolbeltError } from './errors.ts';
import type { HttpOptions } from './http/index.ts';
import type { Kit } from './secret.ts';

/** The HTTPClient, as clients that are built on it see it. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- it answers whatever the server does
export type HttpClient = (uri: string, options: HttpOptions) => Promise<any>;

const DEFAULT_HOST = 'api.liveperson.net';

/** How long hosts are kept, milliseconds. */
const KEPT = 600_000;

/** How long the Domain API may take, milliseconds; inferred. */
const PATIENCE = 10_000;

export interface Domains {
  /** The host, or host:port, of a service. Rejects with a ToolbeltError with one of ErrorCodes.Csds. */
  get(service: string): Promise<string>;
}

interface Entry {
  service: string;
  baseURI: string;
}

/** Makes the look-up of a process: all of its clients share what it keeps. */
export function makeDomains(kit: Kit, http: HttpClient): Domains {
  let kept: readonly Entry[] = [];
  let until = 0;
  let asking: Promise<readonly Entry[]> | undefined;

  /** Asks once for all who want to know at the moment. Only an answer that has hosts is kept. */
  function list(): Promise<readonly Entry[]> {
    if (Date.now() < until) return Promise.resolve(kept);
    asking ??= ask(kit, http)
      .then((entries) => {
        if (entries.length > 0) {
          kept = entries;
          until = Date.now() + KEPT;
        }
        return entries;
      })
      .finally(() => {
        asking = undefined;
      });
    return asking;
  }

  return {
    async get(service) {
      for (const entry of await list()) if (entry.service === service && entry.baseURI !== '') return entry.baseURI;
      throw new ToolbeltError(ErrorCodes.Csds.NotFound, `Service "${service}" could not be found.`);
    },
  };
}

async function ask(kit: Kit, http: HttpClient): Promise<readonly Entry[]> {
  const host = kit.environment['DOMAIN'] ?? DEFAULT_HOST;
  try {
    const url = `https://${host}/api/account/${encodeURIComponent(accountOf(kit))}/service/baseURI.json?version=1.0`;
    const answer = (await http(url, { json: true, timeout: PATIENCE })) as { baseURIs?: Entry[] } | undefined;
    if (!Array.isArray(answer?.baseURIs)) throw new Error('the answer has no baseURIs');
    return answer.baseURIs;
  } catch (error) {
    throw new ToolbeltError(ErrorCodes.Csds.Failure, `The Domain API at ${host} could not be asked: ${reasonOf(error)}`, error);
  }
}

/** The account that the lambda belongs to. */
export function accountOf(kit: Kit): string {
  const account = kit.environment['BRAND_ID'];
  if (account === undefined || account === '') throw new Error('the variable BRAND_ID, the account of the lambda, is missing');
  return account;
}
