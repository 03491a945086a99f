// The OrchestratorClient: a lambda invokes other lambdas of its account.
//
// The secret lp-faas-orchestrator-app-key says as whom. It holds clientId and
// clientSecret of an OAuth application of the account that may use client
// credentials with scope faas.lambda.invoke, which is what gateways of ours know; or an
// API key like the LpClient's, with which the request is signed.

import { randomUUID } from 'node:crypto';
import { ErrorStrategy } from './constants.ts';
import type { Domains, HttpClient } from './csds.ts';
import { because, codeOf, reasonOf, ToolbeltError } from './errors.ts';
import { accountPath, urlOf } from './lp.ts';
import { type AppKey, appKeyOf, sign } from './oauth1.ts';
import type { Kit, SecretClient } from './secret.ts';
import { inTime, sleep } from './wait.ts';

const APP_KEY = 'lp-faas-orchestrator-app-key';

/** The longest that all of it may take, milliseconds. */
const MAX_DEADLINE = 25_000;

/** How many lambdas one invoke may name; inferred. */
const MAX_INVOCATIONS = 100;

const RETRIES = 3;
const PAUSE = 350; // milliseconds, times the number of the repetition

/** What is repeated by default. A lambda that has run and failed answers 901, and is not. */
const RETRIED_STATUSES = new Set([429, 500, 502, 503, 504]);
const RETRIED_CODES = new Set(['ENOTFOUND', 'ECONNRESET', 'ETIMEDOUT', 'ESOCKETTIMEDOUT']);

/** A token is used for so much less than it is valid, milliseconds. */
const MARGIN = 60_000;

const CODES = {
  Timeout: 'com.liveperson.faas.orchestrator-fn.timeout',
  Status: 'com.liveperson.faas.orchestrator-fn.invocation.status-error',
  Credentials: 'com.liveperson.faas.orchestrator-fn.creds.op-failed',
};

export interface Invocation {
  uuid: string;
  payload?: unknown;
  headers?: Record<string, string> | { key: string; value: string }[];
  retries?: number;
  /** Says whether to try again. error.cause.code is that of the connection, if there was no answer. */
  retryFunction?: (statusCode: number | undefined, error: OrchestratorError) => boolean;
}

export interface OrchestratorOptions {
  /** Milliseconds for each attempt. */
  timeout?: number;
  invokeParallel?: boolean;
  errorStrategy?: string;
}

export interface OrchestratorResponse {
  uuid: string;
  body?: unknown;
  headers?: Record<string, unknown>;
  statusCode?: number;
  error?: OrchestratorError;
}

export interface OrchestratorClient {
  invoke(invocations: Invocation[], deadline?: number, options?: OrchestratorOptions): Promise<OrchestratorResponse[]>;
}

/** Why an invocation failed, with the answer if there was one. */
export class OrchestratorError extends ToolbeltError {
  readonly uuid: string;
  statusCode: number | undefined;
  body: unknown;
  headers: Record<string, unknown> | undefined;

  constructor(code: string | undefined, message: string, uuid: string, cause: object) {
    super(code, message, cause);
    this.uuid = uuid;
  }
}

interface Answer {
  statusCode: number;
  headers: Record<string, unknown>;
  body: unknown;
}

/** Gives the Authorization header of a POST to the URL. */
type Authorize = (url: URL, fresh: boolean) => Promise<string>;

/** Makes the client. Its method needs no this. */
export function makeOrchestratorClient(kit: Kit, http: HttpClient, secrets: SecretClient, domains: Domains): OrchestratorClient {
  const authorize = makeAuthorize(kit, http, secrets, domains);
  return {
    async invoke(invocations, deadline = MAX_DEADLINE, options = {}) {
      check(invocations, deadline, options);
      if (deadline > MAX_DEADLINE) {
        kit.warn(`Deadline exceeds maximum allowed value, ${String(MAX_DEADLINE)}ms will be used instead`);
        deadline = MAX_DEADLINE;
      }
      const end = Date.now() + deadline;
      const { invokeParallel = false, errorStrategy = ErrorStrategy.ExitOnError } = options;
      // In order, each has its share; in parallel, each has it all.
      const timeout = options.timeout ?? Math.floor(invokeParallel ? deadline : deadline / invocations.length);
      const exits = errorStrategy === ErrorStrategy.ExitOnError;
      const one = async (invocation: Invocation): Promise<OrchestratorResponse> => {
        try {
          return await invokeOne(kit, http, domains, authorize, invocation, timeout, end);
        } catch (error) {
          if (exits) throw error;
          const failed = error as OrchestratorError;
          const { statusCode, headers, body } = failed;
          return { uuid: invocation.uuid, error: failed, ...(statusCode !== undefined && { statusCode, headers: headers!, body }) };
        }
      };
      if (invokeParallel) return Promise.all(invocations.map(one));
      const responses: OrchestratorResponse[] = [];
      for (const invocation of invocations) responses.push(await one(invocation));
      return responses;
    },
  };
}

function check(invocations: unknown, deadline: unknown, options: OrchestratorOptions): void {
  if (!Array.isArray(invocations) || invocations.length === 0) throw new TypeError('invocations must be an array of { uuid, payload }, with one at least');
  if (invocations.length > MAX_INVOCATIONS) throw new TypeError(`invocations has ${String(invocations.length)} entries, more than the limit of ${String(MAX_INVOCATIONS)}`);
  for (const { uuid, retries, retryFunction } of invocations as Partial<Invocation>[]) {
    if (typeof uuid !== 'string' || uuid === '') throw new TypeError('uuid of an invocation must be a string: that of a lambda');
    if (retries !== undefined && !(Number.isInteger(retries) && retries >= 0)) throw new TypeError('retries of an invocation must be a whole number');
    if (retryFunction !== undefined && typeof retryFunction !== 'function') throw new TypeError('retryFunction of an invocation must be a function');
  }
  if (typeof deadline !== 'number' || !(deadline > 0)) throw new TypeError(`deadline must be a number of milliseconds, ${String(MAX_DEADLINE)} at most`);
  const { timeout, errorStrategy } = options;
  if (timeout !== undefined && !(typeof timeout === 'number' && timeout > 0)) throw new TypeError('options.timeout must be a number of milliseconds above 0');
  if (errorStrategy !== undefined && !Object.values(ErrorStrategy).includes(errorStrategy)) throw new TypeError('options.errorStrategy must be one of ErrorStrategy');
}

async function invokeOne(
  kit: Kit, http: HttpClient, domains: Domains, authorize: Authorize, invocation: Invocation, timeout: number, end: number,
): Promise<OrchestratorResponse> {
  const { uuid, retries = RETRIES, retryFunction = isRetried } = invocation;
  const requestId = randomUUID(); // the same for all attempts, so that a gateway runs it once
  for (let attempt = 1; ; attempt++) {
    try {
      const left = end - Date.now();
      if (left <= 0) throw late(uuid);
      // The look-up and the token count as well.
      const answer = await inTime(attemptOne(kit, http, domains, authorize, invocation, requestId, Math.min(timeout, left)), left, () => late(uuid));
      return { uuid, body: answer.body, headers: answer.headers, statusCode: answer.statusCode };
    } catch (error) {
      const failed = error instanceof OrchestratorError ? error : wrapped(uuid, error);
      if (failed.code === CODES.Timeout || failed.code === CODES.Credentials || attempt > retries || !retryFunction(failed.statusCode, failed)) throw failed;
      const pause = Math.max(PAUSE * attempt, 1000 * (Number(failed.headers?.['retry-after']) || 0));
      if (Date.now() + pause >= end) throw failed;
      await sleep(pause);
    }
  }
}

async function attemptOne(
  kit: Kit, http: HttpClient, domains: Domains, authorize: Authorize, invocation: Invocation, requestId: string, timeout: number,
): Promise<Answer> {
  const { uuid, payload = {} } = invocation;
  const caller = kit.environment['LAMBDA_UUID'] ?? 'unknown';
  const query = `v=1&userId=${encodeURIComponent(caller)}&externalSystem=${encodeURIComponent(`lambda-${caller}`)}`;
  const url = urlOf(await domains.get('faasGW'), `/api/account/${accountPath(kit)}/lambdas/${encodeURIComponent(uuid)}/invoke?${query}`);
  const body = { timestamp: Date.now(), headers: headersOf(invocation.headers), payload };
  for (let fresh = false; ; fresh = true) {
    const headers = { Authorization: await authorize(url, fresh), 'X-Request-ID': requestId };
    const answer = (await http(url.href, {
      method: 'POST', headers, body, json: true, simple: false, resolveWithFullResponse: true, timeout,
    })) as Answer;
    if (answer.statusCode >= 200 && answer.statusCode <= 299) return answer;
    if (answer.statusCode !== 401 || fresh) throw refused(uuid, answer); // a token can be revoked before its time
  }
}

function headersOf(headers: Invocation['headers']): { key: string; value: string }[] {
  if (headers === undefined) return [];
  return Array.isArray(headers) ? headers : Object.entries(headers).map(([key, value]) => ({ key, value }));
}

function isRetried(statusCode: number | undefined, error: OrchestratorError): boolean {
  if (statusCode !== undefined) return RETRIED_STATUSES.has(statusCode);
  const code = codeOf(error);
  return code !== undefined && RETRIED_CODES.has(code);
}

function refused(uuid: string, { statusCode, headers, body }: Answer): OrchestratorError {
  const { errorCode, errorMsg } = (typeof body === 'object' && body !== null ? body : {}) as { errorCode?: string; errorMsg?: string };
  const said = errorMsg ?? `status ${String(statusCode)}`;
  return Object.assign(new OrchestratorError(errorCode ?? CODES.Status, `Invocation of ${uuid} failed: ${said}`, uuid, {}), { statusCode, headers, body });
}

function wrapped(uuid: string, error: unknown): OrchestratorError {
  const code = codeOf(error);
  return new OrchestratorError(code, `Invocation of ${uuid} failed: ${reasonOf(error)}`, uuid, { code, message: reasonOf(error), error });
}

function late(uuid: string): OrchestratorError {
  return new OrchestratorError(CODES.Timeout, `Invocation of ${uuid} failed: the deadline is over`, uuid, {});
}

/** Tokens are kept until shortly before their end; who asks at the same time shares one request. */
function makeAuthorize(kit: Kit, http: HttpClient, secrets: SecretClient, domains: Domains): Authorize {
  let kept: { header: string; id: string; until: number } | undefined;
  let asking: Promise<string> | undefined;

  async function ask(application: Application): Promise<string> {
    const { header, expires } = await tokenOf(kit, http, domains, application);
    kept = { header, id: application.clientId, until: expires - MARGIN };
    return header;
  }

  return async (url, fresh) => {
    const credentials = await readCredentials(secrets);
    if ('consumerKey' in credentials) return sign(credentials, 'POST', url);
    if (!fresh && kept?.id === credentials.clientId && Date.now() < kept.until) return kept.header;
    asking ??= ask(credentials).finally(() => {
      asking = undefined;
    });
    return asking;
  };
}

async function readCredentials(secrets: SecretClient): Promise<Application | AppKey> {
  try {
    return credentialsOf((await secrets.readSecret(APP_KEY)).value);
  } catch (error) {
    throw new ToolbeltError(CODES.Credentials, `Could not fetch App Key credentials from secret storage: ${reasonOf(error)}`, error);
  }
}

interface Application {
  clientId: string;
  clientSecret: string;
}

/** Both spellings of the parts are in use. */
function credentialsOf(value: unknown): Application | AppKey {
  const { clientId, clientSecret, client_id, client_secret } = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>;
  const id = clientId ?? client_id;
  const secret = clientSecret ?? client_secret;
  if (typeof id === 'string' && typeof secret === 'string') return { clientId: id, clientSecret: secret };
  try {
    return appKeyOf(APP_KEY, value);
  } catch {
    throw new Error(`the secret ${APP_KEY} must be an object with clientId and clientSecret of an OAuth application, or with consumerKey, consumerSecret, token and tokenSecret of an API key`);
  }
}

async function tokenOf(kit: Kit, http: HttpClient, domains: Domains, { clientId, clientSecret }: Application): Promise<{ header: string; expires: number }> {
  try {
    const url = urlOf(await domains.get('sentinel'), `/sentinel/api/account/${accountPath(kit)}/app/token?v=2.0`);
    const form = { grant_type: 'client_credentials', scope: '', client_id: clientId, client_secret: clientSecret };
    const answer = (await http(url.href, { method: 'POST', form, json: true })) as { access_token?: string; token_type?: string } | undefined;
    if (typeof answer?.access_token !== 'string') throw new Error('the answer has no access_token');
    return { header: `${answer.token_type ?? 'Bearer'} ${answer.access_token}`, expires: expiry(answer.access_token) };
  } catch (error) {
    throw because(`Could not get a token for the application of the secret ${APP_KEY}`, error);
  }
}

/** When a JWT expires; one that does not say so is not kept. */
function expiry(token: string): number {
  try {
    const { exp } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as { exp?: unknown };
    return typeof exp === 'number' ? exp * 1000 : 0;
  } catch {
    return 0;
  }
}
