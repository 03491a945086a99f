/**
 * Messaging Survey Ended: notes how the survey after a conversation went.
 *
 * The answer that was given last comes along; all answers are in the messaging
 * history of the conversation. The result is not used: answer "ok".
 */
const LOW_SCORE = 2;

function lambda(input, callback) {
  const survey = input.payload;
  const dialog = survey.dialogs.find(({ dialogType }) => dialogType === 'POST_SURVEY');
  const answer = survey.lastContentEventNotification?.event?.message;

  console.info('A survey has ended', {
    conversationId: survey.conversationId,
    surveyId: survey.surveyId,
    skillId: survey.skillId,
    closedBy: dialog?.closedBy,
    seconds: dialog && Math.round((dialog.endTs - dialog.creationTs) / 1000),
    lastQuestionId: survey.lastQuestionId,
    answer,
  });

  // Where the last question asks for a score, a low one may be worth a call.
  const score = Number.parseInt(answer, 10);
  if (score <= LOW_SCORE) {
    console.warn('The consumer was not happy', { conversationId: survey.conversationId, score });
  }
  callback(null, 'ok');
}
