// The toolbelt: what require('lp-faas-toolbelt') gives. A file of its own
// (toolbelt.cjs), read when a lambda asks for it.

import { ErrorCodes, SecretError } from './errors.ts';
import { type HttpClient, httpErrors, makeHttpClient } from './http/index.ts';
import { type Kit, type SecretClient, secretClient } from './secret.ts';

/** What is made once in a process. */
export interface Made {
  /** The toolbelt's module. */
  readonly module: object;
  /** The modules of other names that are made of the same. */
  readonly packages: Readonly<Record<string, unknown>>;
}

export function make(kit: Kit): Made {
  const secrets = secretClient(kit);
  const http = makeHttpClient(kit);
  // eslint-disable-next-line @typescript-eslint/no-extraneous-class -- authors write Toolbelt.SecretClient()
  class Toolbelt {
    static SecretClient(): SecretClient {
      return secrets;
    }

    static HTTPClient(): HttpClient {
      return http;
    }
  }
  return {
    module: { Toolbelt, SecretError, ErrorCodes },
    packages: {
      'request-promise': http,
      'request-promise-native': http,
      'request-promise/errors': httpErrors,
      'request-promise-native/errors': httpErrors,
      'request-promise-core/errors': httpErrors,
    },
  };
}
