// The ContextServiceClient: the Conversation Context Service, which keeps properties
// of sessions in namespaces.
//
// Where it is, in this order: baseUrl of the configuration (ours); the lambda's
// variable CONTEXT_SERVICE_ENVIRONMENT, which the public local runner wants too; the
// service contextService of the Domain API (ours: the operator of a gateway sets it
// once for all); the region in DC, which the gateway gives.

import { isObject } from './conversation.ts';
import type { Domains, HttpClient } from './csds.ts';
import { codeOf, ContextServiceErrorCodes as Codes, ErrorCodes, reasonOf, ToolbeltError } from './errors.ts';
import type { HttpOptions } from './http/index.ts';
import type { Kit } from './secret.ts';
import { inTime, sleep } from './wait.ts';

/** How long one attempt may take, and the pauses between attempts; milliseconds. */
const DEADLINE = 10_000;
const PAUSES = [2000, 4000];

const RETRIED = new Set(['ECONNRESET', 'ENOTFOUND', 'ESOCKETTIMEDOUT', 'ETIMEDOUT', 'ECONNREFUSED', 'EHOSTUNREACH', 'EPIPE', 'EAI_AGAIN']);

const DEFAULT_SESSION = '__default__';
const BUILT_IN = ['faas', 'consumer', 'custom', 'operational', 'conversation'];

const HOSTS: Record<string, string> = {
  z1: 'z1.context.liveperson.net',
  z2: 'z2.context.liveperson.net',
  z3: 'z3.context.liveperson.net',
  'z1-a': 'va-a.context.liveperson.net',
  va: 'z1.context.liveperson.net',
  lo: 'z2.context.liveperson.net',
  sy: 'z3.context.liveperson.net',
  'va-a': 'va-a.context.liveperson.net',
};

export interface ContextServiceConfig {
  apiKey: string;
  accountId: string;
  baseUrl?: string;
}

interface Namespace {
  name: string;
  createdAt?: Date;
  ttlSecond?: number;
}

type Properties = Record<string, unknown>;

export interface ContextServiceClient {
  createNamespace(namespace: string, options?: { ttl?: number }): Promise<Namespace | undefined>;
  deleteNamespace(namespace: string): Promise<void>;
  getListOfNamespaces(): Promise<Namespace[]>;
  setPropertiesInNamespace(namespace: string, properties: Properties, sessionId?: string): Promise<Properties>;
  updatePropertiesInNamespace(namespace: string, properties: Properties, sessionId?: string): Promise<Properties>;
  getAllPropertiesInSession(namespace: string, sessionId?: string): Promise<Properties>;
  getSelectedPropertiesInSession(namespace: string, propertyNames: string[], sessionId?: string): Promise<Properties>;
  getPropertyInSession(namespace: string, propertyName: string, sessionId?: string): Promise<unknown>;
  deletePropertyInSession(namespace: string, propertyName: string, sessionId?: string): Promise<void>;
  deleteSession(namespace: string, sessionId: string): Promise<void>;
  getListOfSessions(namespace: string): Promise<string[]>;
}

/** Makes the client. Its methods need no this. */
export function makeContextServiceClient(kit: Kit, http: HttpClient, domains: Domains, config: ContextServiceConfig): ContextServiceClient {
  check(config);
  const { apiKey, accountId, baseUrl } = config;
  const account = segment(accountId, 'accountId');

  async function ask(method: string, path: string, options: { body?: object; done?: readonly number[] } = {}): Promise<string> {
    const base = baseUrl === undefined ? `https://${await hostOf(kit, domains)}` : baseOf(baseUrl);
    const headers: Record<string, string> = { 'maven-api-key': apiKey, Accept: 'application/json' };
    const request: HttpOptions = {
      method, headers, timeout: DEADLINE, simple: false, resolveWithFullResponse: true,
    };
    if (options.body !== undefined) {
      headers['Content-Type'] = 'application/json';
      request.body = JSON.stringify(options.body);
    }
    const { statusCode, body } = await attempts(http, `${base}/v1/account/${account}${path}`, request);
    if (statusCode >= 200 && statusCode <= 299) return body;
    if (options.done?.includes(statusCode) === true) return '{}';
    throw refusal(statusCode, body);
  }

  const client: ContextServiceClient = {
    /** Resolves also when the namespace is there already. */
    async createNamespace(namespace, options) {
      const name = custom(namespace, 'create');
      const ttl = options?.ttl;
      if (ttl !== undefined && !(Number.isInteger(ttl) && ttl > 0)) throw invalid('TTL needs to be a positive integer above 0');
      await ask('POST', ttl === undefined ? '' : `?ttlSecond=${String(ttl)}`, { body: { name }, done: [409] });
      return (await client.getListOfNamespaces()).find((one) => one.name === name);
    },
    /** Resolves also when the namespace is not there. */
    async deleteNamespace(namespace) {
      await ask('DELETE', `/${segment(custom(namespace, 'delete'), 'namespace')}`, { done: [404] });
    },
    async getListOfNamespaces() {
      const list = listOf<{ name: string; createdAt?: number | string; ttlSecond?: number }>(await ask('GET', ''));
      return list.map(({ name, createdAt, ttlSecond }) => ({
        name,
        ...(createdAt !== undefined && { createdAt: new Date(createdAt) }),
        ...(ttlSecond !== undefined && { ttlSecond }),
      }));
    },
    /** Resolves to all the properties that the session then has. */
    async setPropertiesInNamespace(namespace, properties, sessionId) {
      if (!isObject(properties) || Array.isArray(properties)) throw invalid('Properties must be an object');
      const at = session(namespace, sessionId);
      await ask('PATCH', `${at}/properties`, { body: properties });
      return objectOf(await ask('GET', `${at}/properties`));
    },
    updatePropertiesInNamespace: (namespace, properties, sessionId) => client.setPropertiesInNamespace(namespace, properties, sessionId),
    async getAllPropertiesInSession(namespace, sessionId) {
      return objectOf(await ask('GET', `${session(namespace, sessionId)}/properties`));
    },
    /** Properties that are not there are left out; so are all when the session is not there. */
    async getSelectedPropertiesInSession(namespace, propertyNames, sessionId) {
      if (!Array.isArray(propertyNames)) throw invalid('Property names must be an array of strings');
      const all = objectOf(await ask('GET', `${session(namespace, sessionId)}/properties`, { done: [404] }));
      return Object.fromEntries(propertyNames.filter((name) => Object.hasOwn(all, name)).map((name) => [name, all[name]]));
    },
    async getPropertyInSession(namespace, propertyName, sessionId) {
      const text = await ask('GET', `${session(namespace, sessionId)}/properties/${segment(propertyName, 'Property name')}`);
      try {
        return JSON.parse(text) as unknown;
      } catch {
        return text; // the service gives text as it is
      }
    },
    /** Resolves also when the property is not there; so do the next ones. */
    async deletePropertyInSession(namespace, propertyName, sessionId) {
      await ask('DELETE', `${session(namespace, sessionId)}/properties/${segment(propertyName, 'Property name')}`, { done: [404] });
    },
    async deleteSession(namespace, sessionId) {
      await ask('DELETE', session(namespace, sessionId), { done: [404] });
    },
    async getListOfSessions(namespace) {
      return listOf<string>(await ask('GET', `/${segment(namespace, 'Namespace')}/session-ids`));
    },
  };
  return client;
}

function check(config: Partial<ContextServiceConfig> | null | undefined): void {
  if (!config) throw new Error('No valid configuration was provided');
  if (!config.apiKey) throw new Error('No valid API-key was provided');
  if (!config.accountId) throw new Error('No valid accountId was provided');
}

async function hostOf(kit: Kit, domains: Domains): Promise<string> {
  const region = kit.environment['CONTEXT_SERVICE_ENVIRONMENT'];
  if (region !== undefined && Object.hasOwn(HOSTS, region)) return HOSTS[region]!;
  try {
    return await domains.get('contextService');
  } catch (error) {
    if (codeOf(error) !== ErrorCodes.Csds.NotFound) throw error;
  }
  const center = kit.environment['DC'] ?? '';
  if (Object.hasOwn(HOSTS, center)) return HOSTS[center]!;
  throw new ToolbeltError(
    Codes.General.Unknown,
    'Where the Context Service is, is not known. Set the environment variable CONTEXT_SERVICE_ENVIRONMENT to z1 (US), z2 (EMEA), z3 (APAC) or z1-a, or give the client a baseUrl.',
  );
}

function baseOf(baseUrl: string): string {
  const url = /^https?:\/\//.test(baseUrl) ? baseUrl : `https://${baseUrl}`;
  return url.endsWith('/') ? url.slice(0, -1) : url;
}

/** Asks, and asks again when the network failed. Each attempt has its own deadline. */
async function attempts(http: HttpClient, url: string, request: HttpOptions): Promise<{ statusCode: number; body: string }> {
  for (let attempt = 0; ; attempt++) {
    try {
      return (await inTime(http(url, request), DEADLINE, late)) as { statusCode: number; body: string };
    } catch (error) {
      const code = codeOf(error);
      const pause = PAUSES[attempt];
      if (pause === undefined || code === undefined || !RETRIED.has(code)) throw failure(error);
      await sleep(pause);
    }
  }
}

function late(): ToolbeltError {
  return new ToolbeltError(Codes.General.Timeout, `Request exceeded Deadline of ${String(DEADLINE)}ms`);
}

/** An error of the network keeps its own code, such as ECONNREFUSED. */
function failure(error: unknown): ToolbeltError {
  return error instanceof ToolbeltError ? error : new ToolbeltError(codeOf(error) ?? Codes.General.Unknown, reasonOf(error), error);
}

function refusal(status: number, body: string): ToolbeltError {
  const said = messageOf(body) ?? `status ${String(status)}`;
  switch (status) {
    case 400:
      return new ToolbeltError(Codes.Parameter.Incorrect, `The Context Service refused the request: ${said}`);
    case 401:
    case 403:
      return new ToolbeltError(Codes.Authorization.Invalid, 'Provided API Key is either invalid or lacks permission');
    case 404:
      return new ToolbeltError(Codes.Data.NotFound, `Requested Ressource does not exist: ${said}`);
    case 500:
    case 503:
      return new ToolbeltError(Codes.General.Issue, `Internal Server Error occured during processing request: ${said}`);
    default:
      return new ToolbeltError(Codes.General.Unknown, `Unkown Error occured: ${said}`);
  }
}

function messageOf(body: string): string | undefined {
  try {
    const { message } = JSON.parse(body) as { message?: unknown };
    return typeof message === 'string' ? message : undefined;
  } catch {
    return undefined;
  }
}

function session(namespace: string, sessionId = DEFAULT_SESSION): string {
  return `/${segment(namespace, 'Namespace')}/${segment(sessionId, 'Session id')}`;
}

/** A part of a path. What URLs take as a way up is no name. */
function segment(name: unknown, what: string): string {
  if (typeof name !== 'string' || name === '') throw invalid(`${what} can not be null, undefined or empty string`);
  if (name === '.' || name === '..') throw invalid(`${what} can not be ${name}`);
  return encodeURIComponent(name);
}

function custom(namespace: string, doing: string): string {
  segment(namespace, 'Namespace');
  if (BUILT_IN.includes(namespace)) throw invalid(`Can not ${doing} a built-in namespace`);
  return namespace;
}

function invalid(message: string): ToolbeltError {
  return new ToolbeltError(Codes.Parameter.Incorrect, message);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ToolbeltError(Codes.General.Unknown, 'Unkown Error occured: the answer is no JSON', error);
  }
}

function listOf<T>(text: string): T[] {
  const list = parse(text);
  if (!Array.isArray(list)) throw new ToolbeltError(Codes.General.Unknown, 'Unkown Error occured: the answer is no list');
  return list as T[];
}

function objectOf(text: string): Properties {
  const value = parse(text);
  if (!isObject(value)) throw new ToolbeltError(Codes.General.Unknown, 'Unkown Error occured: the answer is no object');
  return value as Properties;
}
