// The toolbelt: what require('lp-faas-toolbelt') gives. A file of its own
// (toolbelt.cjs), read when a lambda asks for it.

import { ErrorCodes, SecretError } from './errors.ts';
import { type Kit, type SecretClient, secretClient } from './secret.ts';

/** Makes the module, once in a process. */
export function make(kit: Kit): object {
  const secrets = secretClient(kit);
  // eslint-disable-next-line @typescript-eslint/no-extraneous-class -- authors write Toolbelt.SecretClient()
  class Toolbelt {
    static SecretClient(): SecretClient {
      return secrets;
    }
  }
  return { Toolbelt, SecretError, ErrorCodes };
}
