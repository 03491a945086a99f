// The errors of the toolbelt (contract/javascript-runtime.md §6.3).

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
