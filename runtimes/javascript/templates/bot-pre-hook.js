/**
 * Pre-Hook of a third-party bot: changes a request before it is sent to the bot's
 * vendor.
 *
 * The payload is that request, and the result is what is sent in its place. Its
 * form is the vendor's; a custom integration has convId, context and message. So
 * this one keeps the form, and makes card numbers unreadable in every text.
 */
const CARD_NUMBER = /\b(?:\d[ -]?){9,15}(\d{4})\b/g;

function lambda(input, callback) {
  let masked = 0;
  const request = mapTexts(input.payload, (text) =>
    text.replace(CARD_NUMBER, (_, lastFour) => {
      masked += 1;
      return `**** ${lastFour}`;
    }),
  );

  if (masked > 0) {
    console.warn('Card numbers were masked', { convId: input.payload.convId, masked });
  }
  callback(null, request);
}

/** A copy of a value with every text in it changed. */
function mapTexts(value, change) {
  if (typeof value === 'string') return change(value);
  if (Array.isArray(value)) return value.map((item) => mapTexts(item, change));
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, mapTexts(item, change)]));
  }
  return value;
}
