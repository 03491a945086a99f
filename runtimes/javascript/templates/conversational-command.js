/**
 * Conversational Command: answers a command that an agent types in a conversation.
 *
 * The agent sees this lambda's name and description, and the result, which is a text
 * or a number. What was typed after the command's name are the arguments.
 */
const ORDERS = new Map([
  // In earnest you would ask your shop here.
  ['A-1047', 'left the warehouse yesterday'],
  ['B-2210', 'waits for its payment'],
]);

const COMMANDS = new Map([
  ['order', (number) => (number ? `Order ${number} ${ORDERS.get(number) ?? 'is not known'}.` : 'Say which order: order A-1047')],
  ['orders', () => ORDERS.size],
]);

function lambda(input, callback) {
  const { conversationId, arguments: words = [] } = input.payload;
  const [name = '', ...rest] = words;
  const command = COMMANDS.get(name.toLowerCase());

  console.info('An agent has asked', { conversationId, command: name });
  if (command === undefined) {
    callback(null, `I know these commands: ${[...COMMANDS.keys()].join(', ')}`);
    return;
  }
  callback(null, command(...rest));
}
