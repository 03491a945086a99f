/**
 * Chat Post Survey E-Mail Transcript: decides who gets the transcript of a chat by
 * mail, from what the consumer answered in the survey after it.
 *
 * The result is a list of commands, one for each mail: targetEmail, senderName,
 * senderEmail and subject. An empty list sends none. After an error none is sent
 * either, and the lambda is not called again.
 *
 * The addresses are environment variables of this lambda.
 */
const LOW_RATING = 2; // of 1 to 5
const ALARMING = ['cancel', 'lawyer', 'complaint'];

function lambda(input, callback) {
  const { csatRank, skillName, agentName, questionWithAnswers } = input.payload;
  const mails = [];

  // Somebody was not happy: tell the team's lead.
  if (csatRank >= 1 && csatRank <= LOW_RATING) {
    mails.push(mailTo('TEAM_LEAD_EMAIL', `Rated ${csatRank} of 5: ${agentName} (${skillName})`));
  }

  // Somebody has used one of the words above: tell who keeps customers.
  const word = alarmingWord(questionWithAnswers);
  if (word !== undefined) {
    mails.push(mailTo('RETENTION_EMAIL', `A consumer wrote "${word}" in the survey of ${skillName}`));
  }

  console.info('The survey was looked at', { csatRank, skillName, mails: mails.length });
  callback(null, mails);
}

function mailTo(variable, subject) {
  const targetEmail = process.env[variable];
  if (!targetEmail) {
    throw new Error(`Set the environment variable ${variable} to the address that the mail is for.`);
  }
  return {
    targetEmail,
    senderName: process.env.SENDER_NAME || 'Chat survey',
    senderEmail: process.env.SENDER_EMAIL || 'no-reply@example.com',
    subject,
  };
}

/** The first alarming word of all answers. Several answers to a question come as "a;b". */
function alarmingWord(questionWithAnswers = []) {
  const answers = questionWithAnswers.flatMap(({ answer }) => String(answer ?? '').toLowerCase().split(';'));
  return ALARMING.find((word) => answers.some((answer) => answer.includes(word)));
}
