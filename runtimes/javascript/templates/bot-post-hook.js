/**
 * Post-Hook of a third-party bot: changes the bot's answer before the consumer gets it.
 *
 * The payload has `context` and `messages`, each a text, { structuredContent,
 * metadata } or { delay, typing }. The result has the same form.
 */
const LONGEST_DELAY = 5; // seconds
const CLOSING = 'Is there anything else that I can do for you?';

function lambda(input, callback) {
  const { context = {}, messages = [] } = input.payload;

  const changed = messages.map((message) => {
    if (typeof message === 'string') return message.trim();
    if (message.delay > LONGEST_DELAY) return { ...message, delay: LONGEST_DELAY };
    return message;
  });

  // Not when the bot hands over to an agent or says good-bye.
  if (context.action !== 'TRANSFER' && context.action !== 'CLOSE_CONVERSATION') {
    changed.push(CLOSING);
  }

  console.info('The answer of the bot was changed', { before: messages.length, after: changed.length });
  callback(null, { context, messages: changed });
}
