package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/sdk/client"
	"github.com/sluice-faas/sluice/tests/dev"
)

// The names under which the gateway presents itself to public clients. They
// must not hold "functions", or the Node client speaks another API.
const (
	gatewayName  = "gw.sluice.test"
	uiName       = "ui.sluice.test"
	sentinelName = "sentinel.sluice.test"
	loginName    = "vep.sluice.test"
	// csdsName is compiled into liveperson-functions-client.
	csdsName = "adminlogin.liveperson.net"
)

// callOutcome is what came of one call of the client.
type callOutcome struct {
	Value json.RawMessage `json:"value"`
	Error string          `json:"error"`
	Text  string          `json:"text"`
	Cause string          `json:"cause"`
}

const (
	greets  = `function lambda(input, callback) { callback(null, { text: input.payload.text, from: input.headers[0].value }) }`
	givesUp = `function lambda(input, callback) { callback(new Error('no luck today')) }`
)

func TestThePublicNodeClientWorksUnmodified(t *testing.T) {
	t.Parallel()
	install(t, "clients")
	g := ownGateway(t, t.TempDir(), "--no-sample",
		"--domain", "faasGW="+gatewayName, "--domain", "faasUI="+uiName,
		"--domain", "sentinel="+sentinelName, "--domain", "agentVep="+loginName)
	author := namedClient(t, g)
	l, failing := deployed(t, author, "greets", greets), deployed(t, author, "fails", givesUp)
	const event, failingEvent, commands = "controllerbot_messaging_ttr", "controllerbot_messaging_conversation_end", "conversational_command"
	listens := listening(t, author, "listens", event, greets)
	listening(t, author, "gives_up", failingEvent, givesUp)
	sells := listening(t, author, "sells", commands, greets, "sales")
	breaks := listening(t, author, "breaks", commands, givesUp, "support")
	app, err := g.Info.App("client_credentials")
	require.NoError(t, err)

	for name, csds := range map[string]map[string]string{
		"with its own look-up of the Domain API": nil,
		"with its getCsdsEntry override":         {"faasGW": gatewayName, "faasUI": uiName, "sentinel": sentinelName},
	} {
		t.Run(name, func(t *testing.T) {
			report := runNodeClient(t, g, map[string]any{
				"accountId": g.Info.AccountID, "clientId": app.ClientID, "clientSecret": app.ClientSecret, "csds": csds,
				"lambda": l.ID, "failing": failing.ID, "missing": noLambda, "event": event,
				"failingEvent": failingEvent, "commands": commands, "skill": "sales",
			})
			require.Empty(t, report["invoke"].Error, "%+v", report["invoke"])
			var answer struct {
				OK     bool            `json:"ok"`
				Status int             `json:"status"`
				Body   json.RawMessage `json:"body"`
			}
			require.NoError(t, json.Unmarshal(report["invoke"].Value, &answer))
			require.True(t, answer.OK)
			require.Equal(t, 200, answer.Status)
			require.JSONEq(t, `{"text":"grüße","from":"node"}`, string(answer.Body))

			require.Equal(t, "FaaSLambdaError", report["failing"].Error, "%+v", report["failing"])
			require.Contains(t, report["failing"].Cause+report["failing"].Text, "no luck today")
			require.Equal(t, "FaaSInvokeError", report["missing"].Error, "an error of the platform is none of the lambda")
			require.JSONEq(t, `true`, string(report["isImplemented"].Value), "%+v", report["isImplemented"])
			require.JSONEq(t, `false`, string(report["isNotImplemented"].Value), "%+v", report["isNotImplemented"])

			fired := func(name string) []client.EventResult {
				require.Empty(t, report[name].Error, "%s: %+v", name, report[name])
				var answer struct {
					Status int                  `json:"status"`
					Body   []client.EventResult `json:"body"`
				}
				require.NoError(t, json.Unmarshal(report[name].Value, &answer), "%s", report[name].Value)
				require.Equal(t, 200, answer.Status)
				return answer.Body
			}
			require.Len(t, fired("event"), 1)
			require.Equal(t, listens.ID, fired("event")[0].LambdaID)
			require.WithinDuration(t, time.Now(), fired("event")[0].At, time.Hour)
			require.JSONEq(t, `{"text":"grüße","from":"node"}`, string(fired("event")[0].Result))
			require.Equal(t, "FaaSLambdaError", report["failingEvent"].Error, "%+v", report["failingEvent"])
			require.Empty(t, fired("noEvent"))
			require.Len(t, fired("allSkills"), 2)
			require.Equal(t, breaks.ID, fired("allSkills")[0].LambdaID)
			require.JSONEq(t, `{"errorCode":"com.liveperson.faas.handler.custom-failure","errorMsg":"no luck today"}`, string(fired("allSkills")[0].Result))
			require.Equal(t, sells.ID, fired("allSkills")[1].LambdaID)
			require.Len(t, fired("oneSkill"), 1)
			require.Equal(t, sells.ID, fired("oneSkill")[0].LambdaID)
			require.Empty(t, fired("noSkill"))
			require.JSONEq(t, `true`, string(report["skillIsImplemented"].Value), "%+v", report["skillIsImplemented"])
			require.JSONEq(t, `false`, string(report["skillIsNotImplemented"].Value), "%+v", report["skillIsNotImplemented"])
		})
	}
}

// namedClient logs in by way of the host names, as their certificate must hold.
func namedClient(t *testing.T, g *dev.Gateway) *client.Client {
	t.Helper()
	c, err := g.Client()
	require.NoError(t, err)
	user, err := g.Info.User("FaaS-Developer")
	require.NoError(t, err)
	session, err := c.Login(t.Context(), user.Username, user.Password)
	require.NoError(t, err)
	return c.With(session)
}

// runNodeClient runs the script with the names mapped to this gateway's ports.
func runNodeClient(t *testing.T, g *dev.Gateway, setup map[string]any) map[string]callOutcome {
	t.Helper()
	node, err := dev.Node()
	require.NoError(t, err)
	plain, secure := hostOf(t, g.Info.URLs["csds"]), hostOf(t, listener(g))
	ports, err := json.Marshal(map[string]string{
		csdsName + ":80": plain, gatewayName + ":443": secure, uiName + ":443": secure, sentinelName + ":443": secure,
	})
	require.NoError(t, err)
	arguments, err := json.Marshal(setup)
	require.NoError(t, err)
	dir, err := filepath.Abs("clients")
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "--require", filepath.Join(dir, "connect-map.js"), filepath.Join(dir, "liveperson.js"), string(arguments))
	cmd.Env = []string{"CONNECT_MAP=" + string(ports), "NODE_EXTRA_CA_CERTS=" + g.Info.CA}
	var out, errors bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errors
	require.NoError(t, cmd.Run(), "%s", errors.String())
	report := map[string]callOutcome{}
	require.NoError(t, json.Unmarshal(out.Bytes(), &report), "%s", out.String())
	return report
}

// listener is the address of the HTTPS listener itself, whatever names it has.
func listener(g *dev.Gateway) string { return g.Info.URLs["faasGW"] }

func hostOf(t *testing.T, base string) string {
	t.Helper()
	u, err := url.Parse(base)
	require.NoError(t, err)
	require.NotEmpty(t, u.Host, base)
	return u.Host
}

// installing is held while packages are installed.
var installing sync.Mutex

// install installs the locked packages of a folder, unless they are there
// already: the lockfile of the last installation is kept beside them.
func install(t *testing.T, folder string) {
	t.Helper()
	installing.Lock()
	defer installing.Unlock()
	locked, err := os.ReadFile(filepath.Join(folder, "package-lock.json"))
	require.NoError(t, err)
	done := filepath.Join(folder, "node_modules", ".installed-lock.json")
	if installed, err := os.ReadFile(done); err == nil && bytes.Equal(installed, locked) {
		return
	}
	cmd := exec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	cmd.Dir = folder
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "npm ci in tests/e2e/%s: %s", folder, strings.TrimSpace(string(out)))
	require.NoError(t, os.WriteFile(done, locked, 0o600))
}
