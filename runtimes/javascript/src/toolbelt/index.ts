// The toolbelt: what require('lp-faas-toolbelt') gives. A file of its own
// (toolbelt.cjs), read when a lambda asks for it.

import type { Parts } from '../require.ts';
import { ConversationContentTypes, ErrorStrategy, LpServices, SDETypes } from './constants.ts';
import { type ContextServiceClient, type ContextServiceConfig, makeContextServiceClient } from './context-service.ts';
import { type ConversationUtil, makeConversationUtil } from './conversation.ts';
import { makeDomains } from './csds.ts';
import { ContextServiceErrorCodes, ErrorCodes, SecretError, ToolbeltError } from './errors.ts';
import { type GDPRUtil, makeGDPRUtil } from './gdpr.ts';
import { type HttpClient, httpErrors, makeHttpClient } from './http/index.ts';
import { type LpClient, makeLpClient } from './lp.ts';
import { makeMTLSClient, type MTLSClient, type MTLSConfig } from './mtls.ts';
import { makeOrchestratorClient, type OrchestratorClient } from './orchestrator.ts';
import { type SalesforceClient, salesforceClient } from './salesforce.ts';
import { makeSDEUtil, type SDEUtil } from './sde.ts';
import { type Kit, type SecretClient, secretClient } from './secret.ts';

/** Makes the module and the packages that come with it, once in a process. */
export function make(kit: Kit): Parts {
  const secrets = secretClient(kit);
  const http = makeHttpClient(kit);
  const domains = makeDomains(kit, http);
  const lp = makeLpClient(http, secrets, domains);
  const conversationUtil = makeConversationUtil(kit, lp);
  const sdeUtil = makeSDEUtil(kit, lp);
  const gdprUtil = makeGDPRUtil(http, domains);
  const orchestrator = makeOrchestratorClient(kit, http, secrets, domains);
  const salesforce = salesforceClient(kit);
  // eslint-disable-next-line @typescript-eslint/no-extraneous-class -- authors write Toolbelt.SecretClient()
  class Toolbelt {
    static SecretClient(): SecretClient {
      return secrets;
    }

    static HTTPClient(): HttpClient {
      return http;
    }

    static LpClient(): LpClient {
      return lp;
    }

    static ConversationUtil(): ConversationUtil {
      return conversationUtil;
    }

    static SDEUtil(): SDEUtil {
      return sdeUtil;
    }

    static GDPRUtil(): GDPRUtil {
      return gdprUtil;
    }

    static ContextServiceClient(config: ContextServiceConfig): ContextServiceClient {
      return makeContextServiceClient(kit, http, domains, config);
    }

    static MTLSClient(config: MTLSConfig): MTLSClient {
      return makeMTLSClient(kit, config);
    }

    static OrchestratorClient(): OrchestratorClient {
      return orchestrator;
    }

    static SFClient(): SalesforceClient {
      return salesforce;
    }
  }
  return {
    module: {
      Toolbelt, SecretError, ErrorCodes, LpServices, ConversationContentTypes, SDETypes, ErrorStrategy, ToolbeltError, ContextServiceErrorCodes,
    },
    packages: {
      'request-promise': http,
      'request-promise-native': http,
      'request-promise/errors': httpErrors,
      'request-promise-native/errors': httpErrors,
      'request-promise-core/errors': httpErrors,
    },
  };
}
