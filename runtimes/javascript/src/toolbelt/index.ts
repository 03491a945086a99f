// The toolbelt: what require('lp-faas-toolbelt') gives. A file of its own
// (toolbelt.cjs), read when a lambda asks for it.

import type { Parts } from '../require.ts';
import { ErrorCodes, SecretError } from './errors.ts';
import { type HttpClient, httpErrors, makeHttpClient } from './http/index.ts';
import { type SalesforceClient, salesforceClient } from './salesforce.ts';
import { type Kit, type SecretClient, secretClient } from './secret.ts';

/** Makes the module and the packages that come with it, once in a process. */
export function make(kit: Kit): Parts {
  const secrets = secretClient(kit);
  const http = makeHttpClient(kit);
  const salesforce = salesforceClient(kit);
  // eslint-disable-next-line @typescript-eslint/no-extraneous-class -- authors write Toolbelt.SecretClient()
  class Toolbelt {
    static SecretClient(): SecretClient {
      return secrets;
    }

    static HTTPClient(): HttpClient {
      return http;
    }

    static SFClient(): SalesforceClient {
      return salesforce;
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
