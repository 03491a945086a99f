package e2e_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/sdk/client"
	"github.com/sluice-faas/sluice/tests/dev"
)

// keeper reads and changes secrets as its payload says, a list of steps; it
// answers with what each came to.
const keeper = `const { Toolbelt, SecretError, ErrorCodes } = require('lp-faas-toolbelt');
const secrets = Toolbelt.SecretClient();
const step = ({ read, update, value }) => read === undefined ? secrets.updateSecret({ key: update, value }) : secrets.readSecret(read);
async function lambda({ payload }, callback) {
  const outcomes = [];
  for (const one of payload) {
    await step(one).then(
      (secret) => outcomes.push(secret),
      (e) => outcomes.push({ code: e.code, message: e.message, known: e instanceof SecretError && Object.values(ErrorCodes.Secret).includes(e.code) }));
  }
  callback(null, outcomes);
}`

// step is one order to keeper.
type step struct {
	Read   string `json:"read,omitempty"`
	Update string `json:"update,omitempty"`
	Value  any    `json:"value,omitempty"`
}

// came is what became of it.
type came struct {
	Key     string `json:"key"`
	Value   any    `json:"value"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Known   bool   `json:"known"`
}

func steps(t *testing.T, brand *client.Client, lambdaID string, all ...step) []came {
	t.Helper()
	body, err := brand.Invoke(t.Context(), lambdaID, all)
	require.NoError(t, err)
	var outcomes []came
	require.NoError(t, json.Unmarshal(body, &outcomes), "%s", clip(string(body)))
	require.Len(t, outcomes, len(all))
	return outcomes
}

// keep creates a secret as an admin.
func keep(t *testing.T, admin *caller, key string, value any) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"key": key, "value": value})
	require.NoError(t, err)
	r := admin.send(t, http.MethodPost, "/api/account/"+admin.account+"/secrets", body)
	require.Equal(t, http.StatusCreated, r.status, "%s", clip(r.body))
}

// kept reads a secret as an admin.
func kept(t *testing.T, admin *caller, key string) any {
	t.Helper()
	r := admin.send(t, http.MethodGet, "/api/account/"+admin.account+"/secrets/"+key, nil)
	require.Equal(t, http.StatusOK, r.status, "%s", clip(r.body))
	var s struct {
		Value any `json:"value"`
	}
	require.NoError(t, json.Unmarshal([]byte(r.body), &s))
	return s.Value
}

func adminOf(t *testing.T, g *dev.Gateway) *caller {
	t.Helper()
	admin := newCaller(t, g, sessionToken(t, g, "FaaS-Admin"))
	admin.base = g.Info.URLs["faasUI"]
	return admin
}

func TestALambdaReadsAndChangesSecrets(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	admin, caller := adminOf(t, g), brand(t, g)
	keep(t, admin, "lambda-text", "first")
	keep(t, admin, "lambda-number", 4.5)
	keep(t, admin, "lambda-object", map[string]any{"user": "u", "scopes": []any{"a", 1.0}})
	l := deployed(t, developer(t, g), "secrets", keeper)

	const refused = "com.liveperson.faas.secret."
	got := steps(t, caller, l.ID,
		step{Read: "lambda-text"}, step{Read: "lambda-number"}, step{Read: "lambda-object"},
		step{Update: "lambda-text", Value: "second"}, step{Read: "lambda-text"},
		step{Read: "lambda-none"}, step{Update: "lambda-none", Value: "x"},
		step{Read: "../other/lambda-text"}, step{Read: g.Info.AccountID + "/lambda-text"},
		step{Update: "lambda-text", Value: strings.Repeat("x", 10_001)},
		step{Update: "lambda-text", Value: 7}, step{Update: "lambda-text", Value: true},
		step{Update: "lambda-text", Value: strings.Repeat("😀", 10_000)},
	)
	require.Equal(t, []came{
		{Key: "lambda-text", Value: "first"}, {Key: "lambda-number", Value: 4.5},
		{Key: "lambda-object", Value: map[string]any{"user": "u", "scopes": []any{"a", 1.0}}},
		{Key: "lambda-text", Value: "second"}, {Key: "lambda-text", Value: "second"},
		{Code: refused + "not-found", Message: "There is no Secret lambda-none for this account", Known: true},
		{Code: refused + "op-failed", Message: "Updating Secret lambda-none failed", Known: true},
		{Code: refused + "not-found", Message: "There is no Secret ../other/lambda-text for this account", Known: true},
		{Code: refused + "not-found", Message: "There is no Secret " + g.Info.AccountID + "/lambda-text for this account", Known: true},
		{Code: refused + "invalid-format", Message: "Provided Secret Value exceeds allowed length of 10000", Known: true},
	}, got[:10])
	require.Equal(t, refused+"invalid-format", got[10].Code, "another type")
	require.Contains(t, got[10].Message, "a string")
	require.Equal(t, refused+"invalid-format", got[11].Code, "no type that a secret has")
	require.Equal(t, strings.Repeat("😀", 10_000), got[12].Value)
	require.Equal(t, strings.Repeat("😀", 10_000), kept(t, admin, "lambda-text"))

	t.Run("and what an admin changes is what it reads next", func(t *testing.T) {
		r := admin.send(t, http.MethodPut, "/api/account/"+admin.account+"/secrets/lambda-number", []byte(`{"value":5}`))
		require.Equal(t, http.StatusOK, r.status, "%s", clip(r.body))
		require.Equal(t, []came{{Key: "lambda-number", Value: 5.0}}, steps(t, caller, l.ID, step{Read: "lambda-number"}))
	})
	t.Run("and a rejection that it leaves alone is its failure", func(t *testing.T) {
		careless := deployed(t, developer(t, g), "careless", `const { Toolbelt } = require('core-functions-toolbelt');
async function lambda(input, callback) { callback(null, (await Toolbelt.SecretClient().readSecret('lambda-none')).value) }`)
		_, err := caller.Invoke(t.Context(), careless.ID, nil)
		require.ErrorContains(t, err, "There is no Secret lambda-none for this account")
	})
}

func TestALambdaHasNoSecretsOfAnotherAccount(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, t.TempDir(), "--no-sample", "--limit", dev.NoLimits)
	keep(t, adminOf(t, g), "theirs", "of the demo account")
	o, in := newOperator(t, g.DataDir()), []string{"--account", brandAccount}
	o.ok(t, "account", "create", brandAccount, "--name", "The Brand")
	u := o.object(t, "", append([]string{"user", "add", "author@brand.example", "--role", "FaaS-Developer"}, in...)...)
	app := o.object(t, callerApp, append([]string{"app", "install", "-"}, in...)...)
	there := visitor(t, g, brandAccount)
	session, err := there.Login(t.Context(), "author@brand.example", u["password"].(string))
	require.NoError(t, err)
	caller := there.With(client.AppCredentials(there, app["client_id"].(string), app["client_secret"].(string)))
	l := deployed(t, there.With(session), "thief", keeper)
	for _, key := range []string{"theirs", g.Info.AccountID + "/theirs", "../" + g.Info.AccountID + "/theirs"} {
		got := steps(t, caller, l.ID, step{Read: key}, step{Update: key, Value: "mine"})
		require.Equal(t, "com.liveperson.faas.secret.not-found", got[0].Code)
		require.Equal(t, "com.liveperson.faas.secret.op-failed", got[1].Code)
	}
	require.Equal(t, "of the demo account", kept(t, adminOf(t, g), "theirs"))
}
