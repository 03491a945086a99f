/**
 * Default Template of a third-party bot: what the bot says is decided here.
 *
 * The result has `messages`, each a text, { structuredContent, metadata } or
 * { delay, typing }, and `context`, which can hold an action:
 *   { action: 'TRANSFER', actionParameters: { skill: '…' } }
 *   { action: 'CLOSE_CONVERSATION' }
 *   { action: 'CHANGE_TTR', actionParameters: { ttrType: 'URGENT' } }
 * beside intentName and confidenceScore, for reports.
 */
const INTENTS = [
  {
    intentName: 'agent',
    pattern: /\b(agent|human|person)\b/i,
    reply: () => ({
      messages: ['I will find somebody for you.'],
      context: { action: 'TRANSFER', actionParameters: { skill: 'support' } }, // the name of a skill of yours
    }),
  },
  {
    intentName: 'order status',
    pattern: /\border\s+([a-z]-\d+)/i,
    reply: ([, number]) => ({
      messages: [{ delay: 1, typing: true }, `Order ${number} is on its way to you.`],
      context: {},
    }),
  },
  {
    intentName: 'good-bye',
    pattern: /\b(bye|thanks|thank you)\b/i,
    reply: () => ({ messages: ['Have a nice day!'], context: { action: 'CLOSE_CONVERSATION' } }),
  },
];

function lambda(input, callback) {
  const { message, convId } = input.payload;
  const text = String(message ?? '');

  for (const { intentName, pattern, reply } of INTENTS) {
    const match = pattern.exec(text);
    if (match === null) continue;
    const { messages, context } = reply(match);
    console.info('The bot has an answer', { convId, intentName });
    callback(null, { messages, context: { ...context, intentName, confidenceScore: 1 } });
    return;
  }

  console.warn('The bot has no answer', { convId });
  callback(null, {
    messages: ['I did not understand that. Ask me for an order, such as "order A-1047", or for an agent.'],
    context: { intentName: 'fallback', confidenceScore: 0 },
  });
}
