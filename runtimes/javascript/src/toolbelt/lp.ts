// The LpClient: LivePerson's APIs, found by the Domain API and signed with an API key
// that is a secret of the account.

import { accountOf, type Domains, type HttpClient } from './csds.ts';
import { because } from './errors.ts';
import { arrayFormat } from './http/body.ts';
import type { HttpOptions } from './http/index.ts';
import { stringify, withQuery } from './http/query.ts';
import { type AppKey, appKeyOf, sign } from './oauth1.ts';
import type { Kit, SecretClient } from './secret.ts';

const DEFAULT_APP_KEY = 'lp-faas-default-app-key';

/** Those of the HTTPClient, and appKeySecretName. */
export type LpClientOptions = HttpOptions & { appKeySecretName?: string };

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- it answers whatever the service does
export type LpClient = (service: string, path: string, options?: LpClientOptions) => Promise<any>;

/** Makes the client. */
export function makeLpClient(http: HttpClient, secrets: SecretClient, domains: Domains): LpClient {
  return async (service, path, options = {}) => {
    const { appKeySecretName = DEFAULT_APP_KEY, method = 'GET', qs, form, ...rest } = options;
    const url = urlOf(await domains.get(service), path);
    // Here and not by the HTTPClient, because what is signed must be what is sent.
    const style = { arrayFormat: arrayFormat(options), skipNulls: options.qsStringifyOptions?.skipNulls };
    if (qs !== undefined && qs !== null) url.search = withQuery(url.search.slice(1), qs, style);
    const encoded = typeof form === 'object' && form !== null ? stringify(form, style, 'form') : (form as string | undefined);
    const key = await readKey(secrets, appKeySecretName);
    const request: HttpOptions = { json: !isBytes(rest.body), ...rest, method };
    for (const other of ['uri', 'url', 'baseUrl']) Reflect.deleteProperty(request, other); // the path has said it
    if (encoded !== undefined) request.form = encoded;
    request.headers = { ...without(rest.headers, 'authorization'), Authorization: sign(key, method, url, encoded) };
    return http(url.href, request) as Promise<unknown>;
  };
}

async function readKey(secrets: SecretClient, name: string): Promise<AppKey> {
  try {
    return appKeyOf(name, (await secrets.readSecret(name)).value);
  } catch (error) {
    throw because('Could not fetch App Key credentials from secret storage', error);
  }
}

/** The URL of a path: of nothing else, whatever the path says. */
export function urlOf(host: string, path: string): URL {
  if (typeof path !== 'string') throw new TypeError('path must be a string: what follows the host');
  return new URL(`https://${host}${path.startsWith('/') ? '' : '/'}${path}`);
}

/** The account's part of a path. */
export function accountPath(kit: Kit): string {
  return encodeURIComponent(accountOf(kit));
}

/** Text and bytes are sent as they are, unless json says that the text is a value to encode. */
function isBytes(body: unknown): boolean {
  return typeof body === 'string' || body instanceof Uint8Array;
}

function without(headers: HttpOptions['headers'], name: string): Record<string, unknown> {
  return Object.fromEntries(Object.entries(headers ?? {}).filter(([other]) => other.toLowerCase() !== name));
}
