/**
 * Messaging Conversation Idle: does something about a conversation in which nothing
 * happens any more.
 *
 * The times after which one counts as idle come along: `agentNonResponsive`,
 * `consumerNonResponsive` and `convNotTakenTime`, each with time and timeUnits.
 * The result is a list of commands, of each type one at most: systemMessage,
 * transfer with skillId, closeConversation.
 *
 * If the environment variable BACKUP_SKILL_ID holds the id of a skill,
 * conversations that wait for an agent are transferred to it.
 */
const UNITS = { seconds: 1000, minutes: 60 * 1000, hours: 60 * 60 * 1000 };

function lambda(input, callback) {
  const { general, idle } = input.payload;
  const now = general.serverTimestamp;
  const silence = now - idle.lastConsumerMsgTs;
  let commands;

  if (general.lastMessageComposer === 'CONSUMER') {
    commands = whenAgentsAreSilent();
  } else if (silence >= milliseconds(idle.consumerNonResponsive)) {
    commands = [
      { type: 'systemMessage', text: 'We have not heard from you for a while, so we close this conversation. Write to us whenever you like.' },
      { type: 'closeConversation' },
    ];
  } else {
    commands = [{ type: 'systemMessage', text: 'Are you still there? We wait for your answer.' }];
  }

  console.info('A conversation is idle', { convId: general.convId, silentFor: silence, commands: commands.map((c) => c.type) });
  callback(null, commands);
}

function whenAgentsAreSilent() {
  const commands = [{ type: 'systemMessage', text: 'Sorry that you have to wait. We are looking for somebody who has time for you.' }];
  const skillId = process.env.BACKUP_SKILL_ID;
  if (skillId) {
    commands.push({ type: 'transfer', skillId });
  }
  return commands;
}

function milliseconds({ time, timeUnits }) {
  return time * (UNITS[String(timeUnits).toLowerCase()] ?? UNITS.minutes);
}
