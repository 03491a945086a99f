/**
 * Messaging Conversation Routing: tells a consumer who is in charge, when a
 * conversation has been transferred to another skill.
 *
 * Skills are known by their ids, which you find in the settings of your account.
 * The result is a list of commands: systemMessage, transfer, closeConversation.
 * Without a systemMessage the account's own automatic message is sent.
 */
const TEAMS = new Map([
  // Put your own skills in here.
  ['234215', 'billing'],
  ['481516', 'sales'],
]);

function lambda(input, callback) {
  const { general, routing } = input.payload;
  const { oldSkillId, newSkillId } = routing;
  const team = TEAMS.get(String(newSkillId));
  const commands = [];

  if (team !== undefined) {
    commands.push({ type: 'systemMessage', text: `Our ${team} team has what you need and will take over now.` });
  } else {
    console.warn('This skill has no name here: the automatic message of the account is sent', { newSkillId });
  }

  console.info('A conversation was routed', { convId: general.convId, from: oldSkillId, to: newSkillId });
  callback(null, commands);
}
