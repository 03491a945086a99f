/**
 * Messaging Participants Change: tells a consumer who has joined or left.
 *
 * A participant has an id and a role: ASSIGNED_AGENT, AGENT, CONSUMER or
 * CONTROLLER. The result is a list of commands: systemMessage, transfer,
 * closeConversation. Without a systemMessage the account's own automatic message is
 * sent; one with an empty list as text sends none at all.
 */
function lambda(input, callback) {
  const { general, participantChange } = input.payload;
  const { oldParticipants, newParticipants } = participantChange;
  const joined = missingFrom(oldParticipants, newParticipants);
  const left = missingFrom(newParticipants, oldParticipants);

  console.info('The participants have changed', { convId: general.convId, joined, left });
  callback(null, [{ type: 'systemMessage', text: describe(joined, left) }]);
}

/** Those of the second list that the first has not. */
function missingFrom(list, others) {
  return others.filter(({ id, role }) => !list.some((p) => p.id === id && p.role === role));
}

function describe(joined, left) {
  const has = (list, role) => list.some((participant) => participant.role === role);
  if (has(joined, 'ASSIGNED_AGENT')) {
    return 'An agent has taken your conversation and will be with you in a moment.';
  }
  if (has(joined, 'AGENT')) {
    return 'Another colleague has joined to help you.';
  }
  if (has(left, 'ASSIGNED_AGENT')) {
    return 'You are back in line. Another agent will take over soon.';
  }
  return []; // nothing that a consumer needs to know: no message
}
