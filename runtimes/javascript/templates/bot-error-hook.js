/**
 * Error-Hook of a third-party bot: notes that the bot's vendor, or one of the other
 * hooks, has failed.
 *
 * The payload has `error`, with errorId and name, `vendor`, and what was sent to the
 * vendor, in a field that each has of its own. The result is not used.
 */
const SENT = {
  faas: 'faasPayload',
  dialogflowv2: 'dfV2request',
  dialogflowcx: 'dfCxrequest',
  lex: 'lexQuery',
  microsoft: 'msPayload',
  watson: 'watsonV1Payload',
  watsonv2: 'watsonV2Payload',
};

function lambda(input, callback) {
  const { error, vendor } = input.payload;
  const sent = input.payload[SENT[vendor]];

  console.error('A bot has failed', { vendor, errorId: error?.errorId, name: error?.name, convId: sent?.convId });

  // What was sent may hold what a consumer wrote: it is shown in your own tests only.
  console.debug('This was sent', sent);
  callback(null, 'ok');
}
