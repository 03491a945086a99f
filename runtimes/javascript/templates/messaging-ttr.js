/**
 * Messaging TTR: tells a consumer how soon an answer can be expected, when the
 * time to respond (TTR) of the conversation has changed.
 *
 * A TTR has a ttrType (URGENT, NORMAL, PRIORITIZED or CUSTOM) and a value in
 * seconds. The result is a list of commands: systemMessage, transfer,
 * closeConversation. Without a systemMessage the account's own automatic message is
 * sent.
 */
function lambda(input, callback) {
  const { general, ttr } = input.payload;
  const { oldTtr, newTtr } = ttr;
  const commands = [];

  if (newTtr.ttrType === 'URGENT' && oldTtr.ttrType !== 'URGENT') {
    commands.push({ type: 'systemMessage', text: `We have marked this as urgent. You will hear from us within ${inWords(newTtr.value)}.` });
  } else if (newTtr.value > oldTtr.value) {
    commands.push({ type: 'systemMessage', text: `It takes a little longer: please give us ${inWords(newTtr.value)}.` });
  }

  console.info('The time to respond has changed', { convId: general.convId, from: oldTtr, to: newTtr });
  callback(null, commands);
}

function inWords(seconds) {
  const minutes = Math.max(1, Math.ceil(seconds / 60));
  if (minutes < 60) {
    return minutes === 1 ? '1 minute' : `${minutes} minutes`;
  }
  const hours = Math.ceil(minutes / 60);
  return hours === 1 ? '1 hour' : `${hours} hours`;
}
