/**
 * Messaging New Conversation: welcomes a consumer.
 *
 * The result is a command or a list of them, of each type one at most:
 *   { type: 'systemMessage', text: '…' }   a message into the conversation
 *   { type: 'transfer', skillId: '…' }     to another skill; agentId is optional
 *   { type: 'closeConversation' }
 * Without a systemMessage the account's own automatic message is sent. Answer
 * within a second: the consumer is waiting.
 */
const WELCOME = {
  de: { first: 'Willkommen! Schön, dass Sie da sind.', again: 'Schön, Sie wiederzusehen!' },
  en: { first: 'Welcome! It is good to have you here.', again: 'Welcome back!' },
};
const CLOSED = {
  de: 'Gerade ist niemand da. Wir antworten, sobald wir wieder öffnen.',
  en: 'Nobody is here right now. We will answer as soon as we open again.',
};

function lambda(input, callback) {
  const { general, start } = input.payload;
  const language = String(general.clientLanguage || 'en').slice(0, 2).toLowerCase();
  const welcome = WELCOME[language] ?? WELCOME.en;

  let text = start.firstConversation ? welcome.first : welcome.again;
  if (general.inOffHours) {
    text += ` ${CLOSED[language] ?? CLOSED.en}`;
  }

  console.info('A conversation has begun', { convId: general.convId, language, inOffHours: general.inOffHours });
  callback(null, { type: 'systemMessage', text });
}
