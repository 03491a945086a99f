// The SDEUtil: engagement attributes (SDEs) of visitors and conversations.

import { LpServices } from './constants.ts';
import { type Conversation, type ConversationRecord, isObject, recordsOf } from './conversation.ts';
import { because } from './errors.ts';
import { accountPath, type LpClient } from './lp.ts';
import type { Kit } from './secret.ts';

interface Events {
  events: { serverTimeStamp?: number }[];
}

export interface SDEUtil {
  addSDEs(sdes: object[], visitorId: string, sessionId: string): Promise<void>;
  getSDEsFromConv(conversation: Conversation | ConversationRecord): { sdes: Events; unAuthSdes: Events };
}

/** Makes the util. Its methods need no this. */
export function makeSDEUtil(kit: Kit, lp: LpClient): SDEUtil {
  return {
    async addSDEs(sdes, visitorId, sessionId) {
      if (!Array.isArray(sdes) || sdes.length === 0) throw new Error('Please provide one or more SDEs');
      try {
        const visit = `/monitoring/visitors/${part(visitorId, 'visitorId')}/visits/current/events?v=1&sid=${part(sessionId, 'sessionId')}`;
        await lp(LpServices.SMT, `/api/account/${accountPath(kit)}${visit}`, { method: 'PUT', body: sdes, json: true });
      } catch (error) {
        throw because('Error while setting SDEs', error);
      }
    },
    getSDEsFromConv(conversation) {
      try {
        if (!isObject(conversation)) throw new Error('Please provide a valid conversation.');
        const [record] = recordsOf(conversation);
        if (record === undefined) throw new Error('Please provide a valid conversation.');
        return { sdes: sorted(record.sdes), unAuthSdes: sorted(record.unAuthSdes) };
      } catch (error) {
        throw because('Error while getting SDEs from conversation', error);
      }
    },
  };
}

/** The latest comes last. The conversation stays as it is. */
function sorted(sdes: Partial<Events> | undefined): Events {
  const events = [...(sdes?.events ?? [])];
  return { events: events.sort((a, b) => (a.serverTimeStamp ?? 0) - (b.serverTimeStamp ?? 0)) };
}

function part(id: unknown, name: string): string {
  if ((typeof id !== 'string' && typeof id !== 'number') || id === '') throw new Error(`${name} must be a string that is not empty`);
  return encodeURIComponent(id);
}
