package e2e_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

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
    case 'stray': setTimeout(() => { console.log('stray ' + kept, { kept }); process.stderr.write('raw ' + kept + '\n'); }, 100); return callback(null);
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

	reader := as(t, g, invocationRole)
	const masked = "[secret password]"
	n := 0
	// call makes one call and gives its answer and what is stored of it, in which no
	// value may be.
	call := func(t *testing.T, body string) (reply, client.PastInvocation, []client.LogLine) {
		t.Helper()
		r := everyday.invoke(t, l.ID, body)
		n++
		calls := journalled(t, reader, l.ID, n)
		lines, _, err := reader.Logs(t.Context(), client.Query{LambdaID: l.ID, RequestID: r.header.Get("X-Request-Id"), Oldest: true})
		require.NoError(t, err)
		text, err := json.Marshal([]any{calls[n-1], lines})
		require.NoError(t, err)
		requireMasked(t, string(text))
		return r, calls[n-1], lines
	}
	both := `"password":"password","app":"app"`

	r, _, lines := call(t, `{"payload":{`+both+`}}`)
	require.Equal(t, http.StatusOK, r.status, r.body)
	require.Contains(t, r.body, "odd signs", "a result is the lambda's")
	require.Equal(t, "the password is "+masked, lines[0].Message)
	require.JSONEq(t, `[{"password":"[secret password]","[secret password]":true},{"consumerKey":"[secret app]","pin":"[secret app]"}]`, string(lines[0].Extras))
	require.Regexp(t, `^Basic bWU6\[secret password\]`, lines[1].Message)
	require.JSONEq(t, `["{\"consumerKey\":\"[secret app]\",\"pin\":[secret app]}"]`, string(lines[1].Extras))

	t.Run("of a call that has it from another", func(t *testing.T) {
		_, _, lines := call(t, `{"payload":{}}`)
		require.Equal(t, "the password is "+masked, lines[0].Message)
	})
	for end, says := range map[string]string{"error": "refused: " + masked, "string": "refused: " + masked} {
		t.Run("of a call that fails with an "+end, func(t *testing.T) {
			r, stored, lines := call(t, `{"payload":{`+both+`,"end":"`+end+`"}}`)
			requireError(t, r, client.StatusLambdaFailed, client.CodeCustomFailure)
			require.Equal(t, says, r.message())
			require.Equal(t, says, stored.Message)
			require.Len(t, lines, 3)
		})
	}
	t.Run("of a call whose process ends by an exception", func(t *testing.T) {
		r, stored, lines := call(t, `{"payload":{`+both+`,"end":"exit"}}`)
		requireError(t, r, client.StatusLambdaFailed, client.CodeCustomFailure)
		require.Contains(t, r.message(), "uncaught "+masked)
		require.Equal(t, r.message(), stored.Message)
		require.Contains(t, lines[len(lines)-1].Message, "uncaught "+masked)
	})
	t.Run("of a call whose process is killed, by what was found of its log", func(t *testing.T) {
		_, _, lines := call(t, `{"payload":{`+both+`,"end":"kill"}}`)
		var all []string
		for _, line := range lines {
			all = append(all, line.Message)
		}
		require.Contains(t, all, "last words: "+masked)
	})
	t.Run("in the gateway's own log and the state of the processes", func(t *testing.T) {
		_, _, _ = call(t, `{"payload":{`+both+`,"end":"stray"}}`)
		require.Eventually(t, func() bool { return strings.Contains(g.Output(), "stray "+masked) }, 10*time.Second, 20*time.Millisecond)
		_, _, _ = call(t, `{"payload":{`+both+`,"end":"exit"}}`)
		require.Eventually(t, func() bool { return strings.Contains(g.Output(), "uncaught "+masked) }, 10*time.Second, 20*time.Millisecond, "why a process ended")
		requireMasked(t, g.Output())
		requireMasked(t, admin.send(t, http.MethodGet, "/api/account/"+admin.account+"/lambdas/"+l.ID+"/processes", nil).body)
	})
	t.Run("a manual run shows what its author logged", func(t *testing.T) {
		_, err := developer(t, g).InvokeManual(t.Context(), l.ID, map[string]string{"password": "password", "end": "error"})
		n++
		var e *client.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, "refused: "+password, e.Message)
		require.Equal(t, "the password is "+password, e.Logs[0].Message)
		require.Equal(t, "refused: "+masked, journalled(t, reader, l.ID, n)[n-1].Message, "the journal does not")
	})
}

// requireMasked checks that no form of a secret is in a text.
func requireMasked(t *testing.T, text string) {
	t.Helper()
	for _, value := range []string{"word\\with", "odd signs", "the-consumer-key", "1234567890", "c3MiXCJ3b3Jk", "cGFzcyJ3b3Jk"} {
		require.NotContains(t, text, value)
	}
}
