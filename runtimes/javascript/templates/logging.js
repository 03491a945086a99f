/**
 * Logging: writes to the lambda's log at each level.
 *
 * console.<level>(message, ...extras): the message is a text, extras are any values,
 * which can be looked at beside it. Of one invocation 10 entries with 6000
 * characters in all are kept.
 */
function lambda(input, callback) {
  // Debug entries are seen when you invoke the lambda yourself, and are not stored.
  console.debug('This is what the lambda was called with', input);

  // Info: what happens, in the order of things.
  console.info('An order has come in', { orderId: 'A-1047', items: 3 });

  // Warn: something is not as it should be, and the lambda goes on.
  console.warn('One item is out of stock', { item: 'teapot' }, { left: 0 });

  // Error: something failed. An Error as extra keeps its name and message.
  console.error('The warehouse does not answer', new Error('timeout after 2 s'));

  // Never log what is secret: whoever may read the log can read it.
  callback(null, 'Four entries were logged');
}
