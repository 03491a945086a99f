/**
 * Messaging Survey Started: notes that a consumer is being asked the survey after a
 * conversation.
 *
 * The result is not used: answer "ok", and do here what other systems should know,
 * for example with the HTTPClient of the toolbelt.
 */
function lambda(input, callback) {
  const survey = input.payload;
  const dialog = survey.dialogs.find(({ dialogType }) => dialogType === 'POST_SURVEY');

  console.info('A survey has begun', {
    conversationId: survey.conversationId,
    surveyId: survey.surveyId,
    surveyRevision: survey.surveyRevision,
    skillId: survey.skillId,
    firstConversation: survey.firstConversation,
    startedAt: dialog && new Date(dialog.creationTs).toISOString(),
  });
  callback(null, 'ok');
}
