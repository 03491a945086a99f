// The errors of the toolbelt (contract/javascript-runtime.md §6.3, §6.4, §6.8).

/** The codes that errors of the toolbelt have. */
export const ErrorCodes = {
  Platform: {
    Secret: { NoToken: 'com.liveperson.faas.handler.no-sa-token' },
  },
  Secret: {
    Invalid: 'com.liveperson.faas.secret.invalid-format',
    Failure: 'com.liveperson.faas.secret.op-failed',
    NotFound: 'com.liveperson.faas.secret.not-found',
    AuthFailure: 'com.liveperson.faas.secret.auth-failed',
  },
  Csds: {
    NotFound: 'com.liveperson.faas.csds.domain.not-found',
    Failure: 'com.liveperson.faas.csds.op-failed',
  },
};

/** Why a secret was not read or changed. */
export class SecretError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }

  static {
    Object.defineProperty(this.prototype, 'name', { value: 'SecretError', writable: true, configurable: true });
  }
}

/** Codes of the ContextServiceClient. The spelling is the service's. */
export const ContextServiceErrorCodes = {
  General: {
    Issue: 'com.liveperson.context-service-sdk.internal-server-error',
    Unknown: 'com.liveperson.context-service-sdk.unkown',
    Timeout: 'com.liveperson.context-service-sdk.response-timeout',
  },
  Parameter: { Incorrect: 'com.liveperson.context-service-sdk.parameter.invalid' },
  Authorization: { Invalid: 'com.liveperson.context-service-sdk.authorization.invalid' },
  Data: { NotFound: 'com.liveperson.context-service-sdk.data.does-not-exist' },
};

/** Why a client of the toolbelt could not do what it was asked to; secrets have SecretError. cause is what went wrong beneath. */
export class ToolbeltError extends Error {
  /** As far as what went wrong has one. */
  readonly code: string | undefined;

  constructor(code: string | undefined, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }

  static {
    Object.defineProperty(this.prototype, 'name', { value: 'ToolbeltError', writable: true, configurable: true });
  }
}

/** What an error says, whatever was thrown. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The code of an error, or of what caused it: errors of requests keep that of the connection in cause. */
export function codeOf(error: unknown): string | undefined {
  for (let at: unknown = error, depth = 0; typeof at === 'object' && at !== null && depth < 4; depth++) {
    const { code, cause, error: inner } = at as { code?: unknown; cause?: unknown; error?: unknown };
    if (typeof code === 'string') return code;
    at = cause ?? inner;
  }
  return undefined;
}

/** The same error under the text of the method that failed; its code stays. */
export function because(text: string, error: unknown): ToolbeltError {
  return new ToolbeltError(codeOf(error), `${text}: ${reasonOf(error)}`, error);
}
