// The GDPRUtil: puts another file in the place of those that a conversation has.

import { type Conversation, type ConversationRecord, recordsOf } from './conversation.ts';
import type { Domains, HttpClient } from './csds.ts';
import { because } from './errors.ts';
import { urlOf } from './lp.ts';
import { sleep } from './wait.ts';

/** A black pixel. */
const PIXEL = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNgAAAAAgAB5Sfe/AAAAABJRU5ErkJggg==';

/** So many are on their way at once, and so many start at once before they are paced: a lambda may send 20 requests a second. */
const AT_ONCE = 5;
const BURST = 10;
const PACE = 100; // milliseconds

export interface Credentials {
  username: string;
  password: string;
}

export interface ReplacementFile {
  body: Uint8Array | string;
  contentType: string;
}

/** Says of a file's path whether it is replaced; a promise of that is waited for. */
export type ShouldReplace = (path: string) => boolean | Promise<boolean>;

export interface GDPRUtil {
  replaceConversationFiles(
    conversation: Conversation | ConversationRecord,
    credentials: Credentials,
    shouldReplace?: ShouldReplace,
    replacementFile?: ReplacementFile,
  ): Promise<string[]>;
}

/** Makes the util. Its method needs no this. */
export function makeGDPRUtil(http: HttpClient, domains: Domains): GDPRUtil {
  return {
    async replaceConversationFiles(conversation, credentials, shouldReplace = () => true, replacementFile = { body: Buffer.from(PIXEL, 'base64'), contentType: 'image/png' }) {
      check(credentials, shouldReplace, replacementFile);
      const paths: string[] = [];
      for (const path of pathsOf(conversation)) if (await shouldReplace(path)) paths.push(path);
      if (paths.length === 0) return paths;
      const { host, token } = await authorize(http, domains, credentials);
      await each(paths, (path) => replace(http, host, token, path, replacementFile));
      return paths;
    },
  };
}

function check(credentials: Partial<Credentials> | undefined, shouldReplace: unknown, file: Partial<ReplacementFile> | null): void {
  if (!credentials?.username || !credentials.password) throw new Error('Please provide the credentials of the file storage: username and password.');
  if (typeof shouldReplace !== 'function') throw new TypeError('shouldReplace must be a function that says of a path whether the file is replaced');
  const isBody = typeof file?.body === 'string' || file?.body instanceof Uint8Array;
  if (!isBody || typeof file.contentType !== 'string') throw new TypeError('replacementFile must be an object with body, a Buffer, and contentType');
}

/** The paths of the files that are there, each once. */
function pathsOf(conversation: Conversation | ConversationRecord): string[] {
  const messages = recordsOf(conversation).flatMap(({ messageRecords = [] }) => messageRecords);
  const paths = messages.filter(({ type }) => type === 'HOSTED_FILE').map(({ messageData }) => messageData?.file?.relativePath);
  return [...new Set(paths.filter((path) => typeof path === 'string' && path !== ''))] as string[];
}

async function authorize(http: HttpClient, domains: Domains, { username, password }: Credentials): Promise<{ host: string; token: string }> {
  try {
    const host = await domains.get('swift');
    const { headers } = (await http(`https://${host}/auth/v1.0`, {
      method: 'GET',
      resolveWithFullResponse: true,
      headers: { 'X-Auth-User': username, 'X-Auth-Key': password },
    })) as { headers: Record<string, string> };
    const token = headers['x-auth-token'];
    if (!token) throw new Error('the answer has no header x-auth-token');
    return { host, token };
  } catch (error) {
    throw because('Unable to authorize at Swift', error);
  }
}

async function replace(http: HttpClient, host: string, token: string, path: string, { body, contentType }: ReplacementFile): Promise<void> {
  try {
    await http(urlOf(host, path).href, { method: 'PUT', headers: { 'content-type': contentType, 'x-auth-token': token }, body });
  } catch (error) {
    throw because(`Unable to replace image ${path}`, error);
  }
}

/** Does it for each, in order, a few at once and not too fast. The first failure ends it, when what is on its way is done. */
async function each(paths: string[], work: (path: string) => Promise<void>): Promise<void> {
  let next = 0;
  let failed: { error: unknown } | undefined;
  const worker = async (): Promise<void> => {
    while (next < paths.length && failed === undefined) {
      const i = next++;
      if (i >= BURST) await sleep(PACE * AT_ONCE);
      try {
        await work(paths[i]!);
      } catch (error) {
        failed ??= { error };
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  if (failed !== undefined) throw (failed as { error: Error }).error;
}
