/**
 * Salesforce: reads contacts from Salesforce.
 *
 * The tokens are in the secret "salesforce-tokens", an object with accessToken and
 * refreshToken. The host of your Salesforce has to be on the account's whitelist.
 * The connection is one of JSforce: https://jsforce.github.io/
 */
const { Toolbelt } = require('lp-faas-toolbelt');

const LOGIN_URL = 'https://test.salesforce.com';
const QUERY = 'SELECT Id, Name, Email FROM Contact ORDER BY LastModifiedDate DESC LIMIT 10';

async function lambda(input, callback) {
  try {
    const { value: tokens } = await Toolbelt.SecretClient().readSecret('salesforce-tokens');

    const connection = Toolbelt.SFClient().connectToSalesforce({
      loginUrl: LOGIN_URL,
      accessToken: tokens.accessToken,
      refreshToken: tokens.refreshToken,
    });

    connection.query(QUERY, (error, result) => {
      if (error) {
        console.error('Salesforce refused the query', { reason: error.message });
        callback(error);
        return;
      }
      console.info('Salesforce has answered', { records: result.totalSize });
      callback(null, result.records);
    });
  } catch (error) {
    console.error('There is no way to Salesforce', { reason: error.message });
    callback(error);
  }
}
