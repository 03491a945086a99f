package e2e_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/sdk/client"
)

// conductor invokes the lambdas of its payload, each with its name, and forgets its
// environment before.
const conductor = `const { Toolbelt, ErrorStrategy } = require('lp-faas-toolbelt');
const domain = process.env.DOMAIN;
async function lambda({ payload }, callback) {
  for (const name of Object.keys(process.env)) delete process.env[name];
  try {
    const answers = await Toolbelt.OrchestratorClient().invoke(
      payload.uuids.map((uuid) => ({ uuid, payload: { name: 'you' }, headers: { from: 'conductor' } })),
      20000, { invokeParallel: true, errorStrategy: ErrorStrategy.CONTINUE_ON_ERROR });
    callback(null, { domain, answers: answers.map(({ body, statusCode, error }) => ({ body, statusCode, message: error && error.message })) });
  } catch (error) { callback(error) }
}`

// A lambda leaves its sandbox by the proxy, finds the gateway by the Domain API, trusts
// the gateway's own authority, and is let in as an application of the account.
func TestALambdaInvokesOthers(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, t.TempDir(), "--no-sample")
	c := developer(t, g)
	greeter := deployed(t, c, "greeter", `function lambda({ payload, headers }, callback) { callback(null, 'Hello ' + payload.name + ' from ' + headers[0].value) }`)
	grumbler := deployed(t, c, "grumbler", `function lambda(input, callback) { callback(new Error('not today')) }`)
	l := deployed(t, c, "conductor", conductor)
	everyday := newCaller(t, g, appToken(t, g))
	payload, err := json.Marshal(map[string]any{"payload": map[string]any{"uuids": []string{greeter.ID, grumbler.ID, noLambda}}})
	require.NoError(t, err)

	app, err := g.Info.App("client_credentials")
	require.NoError(t, err)
	r := everyday.invoke(t, l.ID, string(payload))
	require.Equal(t, http.StatusOK, r.status, r.body)
	require.Contains(t, r.body, "There is no Secret lp-faas-orchestrator-app-key for this account: the operator of the gateway sets it with `sluice secret set lp-faas-orchestrator-app-key --account "+g.Info.AccountID+"`")

	o := newOperator(t, g.DataDir())
	o.object(t, `{"clientId":"mistaken","clientSecret":"x"}`, "secret", "set", "lp-faas-orchestrator-app-key")
	key := filepath.Join(t.TempDir(), "key.json")
	text, err := json.Marshal(map[string]any{"clientId": app.ClientID, "clientSecret": app.ClientSecret})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(key, text, 0o600))
	require.NotContains(t, o.ok(t, "secret", "set", "lp-faas-orchestrator-app-key", "--file", key), app.ClientSecret)
	require.Regexp(t, `(?m)^lp-faas-orchestrator-app-key +json `, o.ok(t, "secret", "list"))
	r = everyday.invoke(t, l.ID, string(payload))
	require.Equal(t, http.StatusOK, r.status, r.body)
	var got struct {
		Domain  string `json:"domain"`
		Answers []struct {
			Body       any    `json:"body"`
			StatusCode int    `json:"statusCode"`
			Message    string `json:"message"`
		} `json:"answers"`
	}
	require.NoError(t, json.Unmarshal([]byte(r.body), &got))
	require.Equal(t, hostOf(t, g.Info.URLs["faasGW"]), got.Domain)
	require.Len(t, got.Answers, 3)
	require.Equal(t, "Hello you from conductor", got.Answers[0].Body, r.body)
	require.Equal(t, client.StatusLambdaFailed, got.Answers[1].StatusCode)
	require.Equal(t, "Invocation of "+grumbler.ID+" failed: not today", got.Answers[1].Message)
	require.Equal(t, http.StatusNotFound, got.Answers[2].StatusCode)
}
