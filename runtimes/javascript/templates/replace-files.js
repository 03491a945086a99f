/**
 * Replace Files for Conversation: puts a placeholder in the place of the files that a
 * consumer has sent, once the conversation has ended.
 *
 * The account needs the secret "lp-faas-default-app-key" for the messaging history, and
 * here "file-storage", an object with username and password, for the files.
 */
const { Toolbelt } = require('lp-faas-toolbelt');

async function lambda(input, callback) {
  const { convId } = input.payload.general;
  try {
    const conversation = await Toolbelt.ConversationUtil().getConversationById(convId, ['messageRecords']);
    const { value: credentials } = await Toolbelt.SecretClient().readSecret('file-storage');

    // Without a replacement of your own, { body: Buffer, contentType }, it is a black pixel.
    const replaced = await Toolbelt.GDPRUtil().replaceConversationFiles(conversation, credentials, shouldReplace);

    console.info('Files were replaced', { convId, files: replaced.length });
    // No commands for the conversation: the account's own automatic message is sent.
    callback(null, []);
  } catch (error) {
    console.error('The files could not be replaced', { convId, reason: error.message });
    callback(error);
  }
}

/** Decides of one file. Here all of them are replaced. */
function shouldReplace() {
  return true;
}
