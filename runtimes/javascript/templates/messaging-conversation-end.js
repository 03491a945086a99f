/**
 * Messaging Conversation End: says good-bye, according to who has closed the
 * conversation: AGENT, CONSUMER or SYSTEM.
 *
 * The result is a command or a list of them. Without a systemMessage, as in an empty
 * list, the account's own automatic message is sent.
 */
const FAREWELL = new Map([
  ['AGENT', 'We hope that this was what you needed. If it was not, just write again.'],
  ['CONSUMER', 'Thank you for writing to us. See you soon!'],
]);

function lambda(input, callback) {
  const { general, end } = input.payload;
  const text = FAREWELL.get(end.closeReason);
  const minutes = Math.round((general.serverTimestamp - general.startTs) / 60000);

  console.info('A conversation has ended', { convId: general.convId, closeReason: end.closeReason, minutes });
  callback(null, text === undefined ? [] : [{ type: 'systemMessage', text }]);
}
