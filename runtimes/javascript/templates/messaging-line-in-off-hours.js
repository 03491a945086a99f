/**
 * Messaging Line in Off-Hours: answers what a consumer wrote while nobody is at work.
 *
 * `mid.openedInOffHours` says whether the conversation was begun in off-hours too.
 * The result is a list of commands: systemMessage, transfer, closeConversation.
 * Without a systemMessage the account's own automatic message is sent.
 *
 * The opening hours are an environment variable of this lambda, OPENING_HOURS.
 */
function lambda(input, callback) {
  const { general, mid } = input.payload;
  const hours = process.env.OPENING_HOURS || 'Monday to Friday, 9 to 17';

  const text = mid.openedInOffHours
    ? `Thank you, we have noted this as well. We are back: ${hours}.`
    : `We have closed for today and will go on here when we are back: ${hours}.`;

  console.info('A line in off-hours', { convId: general.convId, openedInOffHours: mid.openedInOffHours });
  callback(null, [{ type: 'systemMessage', text }]);
}
