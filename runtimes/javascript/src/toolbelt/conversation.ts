// The ConversationUtil: conversations of the messaging history.

import { LpServices } from './constants.ts';
import { because } from './errors.ts';
import { accountPath, type LpClient } from './lp.ts';
import type { Kit } from './secret.ts';

export interface Message {
  type?: string;
  messageData?: { msg?: { text?: string }; file?: { caption?: string; relativePath?: string } };
  timeL?: number;
  sentBy?: string;
}

interface Events {
  events?: { serverTimeStamp?: number }[];
}

/** One conversation, with what was retrieved of it. */
export interface ConversationRecord {
  messageRecords?: Message[];
  sdes?: Events;
  unAuthSdes?: Events;
  [content: string]: unknown;
}

/** What the messaging history answers. */
export interface Conversation {
  conversationHistoryRecords: ConversationRecord[];
  [key: string]: unknown;
}

export interface Found {
  message: string;
  sentTimestamp: number | undefined;
  sentBy: string | undefined;
  tag: string;
}

export interface ConversationUtil {
  getConversationById(conversationId: string, contentToRetrieve?: string[]): Promise<Conversation>;
  scanConversationForKeywords(conversation: Conversation | ConversationRecord, keywords: string[]): Found[];
}

/** Makes the util. Its methods need no this. */
export function makeConversationUtil(kit: Kit, lp: LpClient): ConversationUtil {
  return {
    async getConversationById(conversationId, contentToRetrieve) {
      if (!conversationId) throw new Error('Please provide a conversation ID.');
      try {
        const body = contentToRetrieve !== undefined && contentToRetrieve.length > 0 ? { conversationId, contentToRetrieve } : { conversationId };
        const path = `/messaging_history/api/account/${accountPath(kit)}/conversations/conversation/search?v=2`;
        const answer = (await lp(LpServices.MSG_HIST, path, { method: 'POST', body, json: true })) as Conversation | undefined;
        if (!Array.isArray(answer?.conversationHistoryRecords) || answer.conversationHistoryRecords.length === 0) {
          throw new Error(`Conversation "${conversationId}" not found.`);
        }
        return showFirst(answer);
      } catch (error) {
        throw because(`Error while fetching conversation "${conversationId}"`, error);
      }
    },
    scanConversationForKeywords(conversation, keywords) {
      const messages = textsOf(conversation);
      if (!Array.isArray(keywords) || keywords.length === 0) throw new Error('Please provide array containing keywords.');
      return keywords.flatMap((keyword) => {
        const pattern = patternOf(keyword);
        return messages.filter(({ message }) => pattern.test(message)).map((m) => ({ ...m, tag: `keywordRef:${keyword}` }));
      });
    },
  };
}

/**
 * The answer, through which its first record can be read too. Lambdas read
 * conversation.conversationHistoryRecords, because that is what the service and the
 * local runner give; the contract's short form, conversation.messageRecords, works as well.
 */
function showFirst(answer: Conversation): Conversation {
  const first = answer.conversationHistoryRecords[0]!;
  for (const key of Object.keys(first)) {
    if (!(key in answer)) Object.defineProperty(answer, key, { get: () => first[key], enumerable: false, configurable: true });
  }
  return answer;
}

export function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

/** The records of a conversation, which may be the answer of the service or one record of it. */
export function recordsOf(conversation: Conversation | ConversationRecord | null | undefined): ConversationRecord[] {
  if (!isObject(conversation)) throw new Error('Please provide conversation object.');
  const { conversationHistoryRecords: records } = conversation;
  return Array.isArray(records) ? (records as ConversationRecord[]) : [conversation];
}

function textsOf(conversation: Conversation | ConversationRecord): Omit<Found, 'tag'>[] {
  const records = recordsOf(conversation);
  if (!records.some(({ messageRecords }) => Array.isArray(messageRecords))) {
    throw new Error('The conversation has no messageRecords. Retrieve it without contentToRetrieve, or with ConversationContentTypes.MESSAGE_RECORDS in it.');
  }
  return records.flatMap(({ messageRecords = [] }) => messageRecords).flatMap(({ type, messageData, timeL, sentBy }) => {
    const message = type === 'TEXT_PLAIN' ? messageData?.msg?.text : type === 'HOSTED_FILE' ? messageData?.file?.caption : undefined;
    return typeof message === 'string' ? [{ message, sentTimestamp: timeL, sentBy }] : [];
  });
}

/** A keyword is a regular expression, and upper and lower case are the same. */
function patternOf(keyword: string): RegExp {
  if (typeof keyword !== 'string' || keyword === '') throw new Error('A keyword must be a string that is not empty.');
  try {
    return new RegExp(keyword, 'im');
  } catch (error) {
    throw because(`Keyword "${keyword}" is not a regular expression; put a \\ in front of characters such as ( to have them as they are`, error);
  }
}
