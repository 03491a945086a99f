// The MTLSClient: HTTPS with a certificate of the caller's own. Its agent goes the way
// out like all others (egress.ts), and speaks TLS with that certificate in the tunnel.

import { Agent, request } from 'node:https';
import { createSecureContext } from 'node:tls';
import { because, ToolbeltError } from './errors.ts';
import type { Kit } from './secret.ts';

/** What a lambda can wait for anyway, milliseconds; inferred. */
const TIMEOUT = 30_000;

/** The longest answer, bytes; inferred. It is held in memory. */
const LONGEST = 32 << 20;

/** Connections with one certificate to one host; more requests wait for one of them. */
const CONNECTIONS = 20;

/** How long a connection is kept for the next request, milliseconds. */
const KEPT = 5000;

/** Certificates whose connections are kept. */
const MAX_AGENTS = 16;

/** The agents of a process: clients are made anew in every call, and use the same connections. */
const agents = new Map<string, Agent>();

export interface MTLSConfig {
  cert: string | Buffer;
  key: string | Buffer;
  ca?: string | Buffer;
}

export interface MTLSOptions {
  /** Takes any certificate of the server. */
  allowSelfSigned?: boolean;
  /** Decodes the body of the answer if it is JSON. */
  json?: boolean;
  /** Milliseconds until there must be an answer. */
  timeout?: number;
}

export interface MTLSResponse {
  statusCode: number;
  headers: NodeJS.Dict<string | string[]>;
  body: unknown;
}

type Headers = Record<string, string | number | string[]>;
type Call = (url: string, headers?: Headers | null, body?: unknown, options?: MTLSOptions) => Promise<MTLSResponse>;

export interface MTLSClient {
  get: Call;
  post: Call;
  put: Call;
  patch: Call;
  delete: Call;
  head: Call;
  options: Call;
}

/** Makes the client. Its methods need no this. Throws when the certificate or the key is malformed, or they do not fit. */
export function makeMTLSClient(kit: Kit, config: MTLSConfig): MTLSClient {
  const secure = secureOptions(config);
  const call = (method: string): Call => async (url, headers, body, options) => {
    const { allowSelfSigned = false, json = false, timeout = TIMEOUT } = options ?? {};
    if (!(typeof timeout === 'number' && timeout > 0)) throw new TypeError('options.timeout must be a number of milliseconds above 0');
    const target = targetOf(url);
    const [content, type] = encode(body);
    const sent: Headers = { 'User-Agent': `LP-Lambda-${kit.environment['LAMBDA_UUID'] ?? ''}`, ...headers };
    if (type !== undefined && !Object.keys(sent).some((name) => name.toLowerCase() === 'content-type')) sent['Content-Type'] = type;
    if (content !== undefined) sent['Content-Length'] = content.length;
    const answer = await send(target, { method, headers: sent, agent: agentFor(secure, !allowSelfSigned) }, content, timeout);
    return json ? { ...answer, body: decode(answer.body) } : answer;
  };
  return {
    get: call('GET'), post: call('POST'), put: call('PUT'), patch: call('PATCH'),
    delete: call('DELETE'), head: call('HEAD'), options: call('OPTIONS'),
  };
}

interface Secure {
  cert: string;
  key: string;
  ca?: string;
}

function agentFor(secure: Secure, checked: boolean): Agent {
  const name = JSON.stringify([secure.cert, secure.key, secure.ca, checked]);
  const agent = agents.get(name) ?? new Agent({ ...secure, rejectUnauthorized: checked, keepAlive: true, maxSockets: CONNECTIONS, timeout: KEPT });
  agents.delete(name); // the one that was used last is the last
  agents.set(name, agent);
  // What it keeps open ends by itself.
  if (agents.size > MAX_AGENTS) agents.delete(agents.keys().next().value!);
  return agent;
}

function secureOptions(config: Partial<MTLSConfig> | null | undefined): Secure {
  if (!config?.cert || !config.key) throw new ToolbeltError(undefined, 'The MTLSClient needs cert and key, both in PEM format.');
  const secure: Secure = { cert: pem(config.cert, 'cert', 'CERTIFICATE'), key: pem(config.key, 'key', 'PRIVATE KEY') };
  if (config.ca) secure.ca = pem(config.ca, 'ca', 'CERTIFICATE');
  try {
    createSecureContext(secure);
  } catch (error) {
    throw because('cert and key can not be used', error);
  }
  return secure;
}

/** Secrets that were written on one line have \n for the ends of lines. */
function pem(value: string | Buffer, name: string, label: string): string {
  const text = value.toString();
  if (!text.includes('-----BEGIN ') || !text.includes(`${label}-----`)) {
    throw new ToolbeltError(undefined, `${name} is not in PEM format: it must have a line that begins with -----BEGIN and ends with ${label}-----.`);
  }
  return text.includes('\n') ? text : text.replaceAll('\\n', '\n');
}

function targetOf(url: string): URL {
  const target = URL.canParse(url) ? new URL(url) : undefined;
  if (target?.protocol !== 'https:') throw new TypeError('url must begin with https://: there are no certificates without TLS');
  return target;
}

function encode(body: unknown): [Buffer?, string?] {
  if (body === undefined || body === null) return [];
  if (typeof body === 'string') return [Buffer.from(body)];
  if (body instanceof Uint8Array) return [Buffer.from(body)];
  const text = JSON.stringify(body) as string | undefined;
  if (text === undefined) throw new TypeError('body must be text, bytes, or what JSON can hold');
  return [Buffer.from(text), 'application/json'];
}

function decode(body: unknown): unknown {
  try {
    return JSON.parse(body as string);
  } catch {
    return body;
  }
}

/** Redirects are answers like others: they are not followed. */
function send(url: URL, options: object, content: Buffer | undefined, timeout: number): Promise<MTLSResponse> {
  return new Promise((resolve, reject) => {
    const sent = request(url, options, (response) => {
      const chunks: Buffer[] = [];
      let length = 0;
      response.on('data', (chunk: Buffer) => {
        length += chunk.length;
        if (length > LONGEST) sent.destroy(new ToolbeltError('EMSGSIZE', `The answer of ${url.host} is longer than the limit of ${String(LONGEST)} bytes.`));
        else chunks.push(chunk);
      });
      response.on('error', fail);
      response.on('end', () => {
        clearTimeout(timer);
        resolve({ statusCode: response.statusCode!, headers: response.headers, body: Buffer.concat(chunks).toString() });
      });
    });
    const timer = setTimeout(() => {
      sent.destroy(new ToolbeltError('ETIMEDOUT', `There was no answer of ${url.host} within ${String(timeout)} ms.`));
    }, Math.min(timeout, 0x7fffffff));
    function fail(error: Error): void {
      clearTimeout(timer);
      reject(error);
    }
    sent.on('error', fail);
    sent.end(content);
  });
}
