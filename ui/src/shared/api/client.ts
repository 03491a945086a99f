import createClient, { type Middleware } from 'openapi-fetch';

import type { paths } from './schema';

/** What the gateway, or the network, refused. Every failing request throws one. */
export class ApiError extends Error {
  constructor(
    message: string,
    /** The HTTP status; 0 when no answer came. 901 is a failure of the lambda itself. */
    readonly status: number,
    /** The contract's code, for programs. */
    readonly code: string,
    /** Names the request in the gateway's log. */
    readonly requestId: string,
    /** Seconds after which to repeat, if the gateway said so. */
    readonly retryAfter?: number,
    readonly body?: unknown,
  ) {
    super(message);
    this.name = 'ApiError';
  }
}

/** Turns an answer that is no success into an ApiError. */
export async function apiError(response: Response): Promise<ApiError> {
  const text = await response.text();
  let body: { errorCode?: string; errorMsg?: string } | undefined;
  try {
    body = JSON.parse(text) as typeof body;
  } catch {
    body = undefined;
  }
  const retry = Number(response.headers.get('Retry-After') ?? NaN);
  return new ApiError(
    body?.errorMsg ?? `The gateway answered ${response.status} ${response.statusText}`.trim(),
    response.status,
    body?.errorCode ?? '',
    response.headers.get('X-Request-ID') ?? '',
    Number.isFinite(retry) ? retry : undefined,
    body,
  );
}

const failures: Middleware = {
  async onResponse({ response }) {
    if (response.status === 401) signedOut.dispatchEvent(new Event('signed-out'));
    if (!response.ok) throw await apiError(response);
  },
  onError({ error }) {
    if (error instanceof ApiError || (error instanceof DOMException && error.name === 'AbortError')) return error;
    return new ApiError('The gateway could not be reached: check the connection, then try again', 0, '', '');
  },
};

/** Hears of every answer 401: the session has ended. */
export const signedOut = new EventTarget();

/**
 * The typed client of the gateway's API. Requests carry the session's cookie, and
 * those that fail throw an ApiError, so `data` of an answer is always there:
 * read it with `got`.
 */
export const api = createClient<paths>({ baseUrl: '/', credentials: 'same-origin' });
api.use(failures);

/** The body of an answer that succeeded. */
export async function got<T>(answer: Promise<{ data?: T }>): Promise<NonNullable<T>> {
  return (await answer).data as NonNullable<T>;
}
