package e2e_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/sdk/client"
)

// blabber tells the secrets that it reads in every way it knows, and ends as its
// payload says.
const blabber = `const { Toolbelt } = require('lp-faas-toolbelt');
let kept;
async function lambda({ payload }, callback) {
  const { password, app } = payload;
  if (password) kept = (await Toolbelt.SecretClient().readSecret(password)).value;
  const credentials = app ? (await Toolbelt.SecretClient().readSecret(app)).value : {};
  console.info('the password is ' + kept, { password: kept, [kept]: true }, credentials);
  console.warn('Basic ' + Buffer.from('me:' + kept).toString('base64'), JSON.stringify(credentials));
  switch (payload.end) {
    case 'error': return callback(new Error('refused: ' + kept));
    case 'string': return callback('refused: ' + kept);
    case 'exit': setTimeout(() => { throw new Error('uncaught ' + kept); }); return;
    case 'kill': console.error('last words: ' + kept); return process.kill(process.pid, 'SIGKILL');
    default: return callback(null, kept);
  }
}`

func TestSecretsAreMaskedInWhatIsStored(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, t.TempDir(), "--no-sample")
	const password = `pass"word\with/odd signs`
	admin := adminOf(t, g)
	keep(t, admin, "password", password)
	keep(t, admin, "app", map[string]any{"consumerKey": "the-consumer-key", "pin": 1234567890})
	l := deployed(t, developer(t, g), "blabber", blabber)
	everyday := newCaller(t, g, appToken(t, g))

	call := func(t *testing.T, body string) (reply, client.Record) {
		t.Helper()
		r := everyday.invoke(t, l.ID, body)
		stored := invocationOf(t, g, r.header.Get("X-Request-Id"), true)
		text, err := json.Marshal(stored)
		require.NoError(t, err)
		for _, value := range []string{password, `pass\"word`, `pass\\\"word`, "the-consumer-key", "1234567890", "nRoL29kZCBza"} {
			require.NotContains(t, string(text), value)
		}
		return r, *stored
	}
	_ = call
}
