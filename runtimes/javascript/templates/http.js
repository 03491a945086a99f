/**
 * HTTP: asks another server, and calls back what it answered.
 *
 * The host has to be on the account's whitelist. The client takes the options of
 * request-promise: https://www.npmjs.com/package/request-promise
 */
const { Toolbelt } = require('lp-faas-toolbelt');

function lambda(input, callback) {
  const httpClient = Toolbelt.HTTPClient();
  const url = 'https://www.example.com/';

  httpClient(url, {
    method: 'GET',
    headers: { Accept: 'text/html' },
    simple: false, // true: an answer that is no success is an error
    resolveWithFullResponse: true, // false: only the body
  })
    .then((response) => {
      console.info('The server has answered', { statusCode: response.statusCode });
      callback(null, { statusCode: response.statusCode, body: response.body });
    })
    .catch((error) => {
      // No connection, no answer in time, or a host that is not on the whitelist.
      console.error('The server could not be asked', { url, reason: error.message });
      callback(error);
    });
}
