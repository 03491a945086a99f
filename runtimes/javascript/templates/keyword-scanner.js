/**
 * Keyword Scanner: looks for words in a conversation that has ended.
 *
 * It loads the conversation from the messaging history, for which the account needs
 * the secret "lp-faas-default-app-key". A keyword is a regular expression, and upper
 * and lower case are the same.
 */
const { Toolbelt } = require('lp-faas-toolbelt');

const KEYWORDS = ['refund', 'cancel(led|lation)?', 'not working'];

async function lambda(input, callback) {
  const { convId } = input.payload.general;
  try {
    const conversationUtil = Toolbelt.ConversationUtil();
    const conversation = await conversationUtil.getConversationById(convId, ['messageRecords']);
    const found = conversationUtil.scanConversationForKeywords(conversation, KEYWORDS);

    if (found.length > 0) {
      // Each has message, sentTimestamp, sentBy and tag. Tell another system of them here.
      console.warn('Keywords were used', { convId, tags: [...new Set(found.map(({ tag }) => tag))], messages: found.length });
    }

    // No commands for the conversation: the account's own automatic message is sent.
    callback(null, []);
  } catch (error) {
    console.error('The conversation could not be scanned', { convId, reason: error.message });
    callback(error);
  }
}
