package e2e_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/tests/dev"
)

// newmanReport is what matters of newman's JSON report.
type newmanReport struct {
	Run struct {
		Stats struct {
			Requests   struct{ Total, Failed int } `json:"requests"`
			Assertions struct{ Total, Failed int } `json:"assertions"`
		} `json:"stats"`
		Failures []struct {
			Error  struct{ Message string } `json:"error"`
			Source struct{ Name string }    `json:"source"`
		} `json:"failures"`
	} `json:"run"`
}

// runCollection runs the Postman collection that ships in sdk/postman.
func runCollection(t *testing.T, g *dev.Gateway, variables map[string]string) (newmanReport, error) {
	t.Helper()
	install(t, "clients")
	node, err := dev.Node()
	require.NoError(t, err)
	root, err := dev.ModuleRoot()
	require.NoError(t, err)
	clients := filepath.Join(root, "tests", "e2e", "clients")
	dir := t.TempDir()

	type value struct {
		Key     string `json:"key"`
		Value   string `json:"value"`
		Enabled bool   `json:"enabled"`
	}
	var values []value
	for key, v := range variables {
		values = append(values, value{key, v, true})
	}
	environment, err := json.Marshal(map[string]any{"name": "dev.json", "values": values})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "environment.json"), environment, 0o600))
	address := hostOf(t, listener(g))
	ports, err := json.Marshal(map[string]string{address: address})
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "--require", filepath.Join(clients, "connect-map.js"),
		filepath.Join(clients, "node_modules", "newman", "bin", "newman.js"),
		"run", filepath.Join(root, "sdk", "postman", "sluice.postman_collection.json"),
		"--environment", filepath.Join(dir, "environment.json"), "--ssl-extra-ca-certs", g.Info.CA,
		"--reporters", "cli,json", "--reporter-json-export", filepath.Join(dir, "report.json"), "--color", "off", "--timeout-request", "20000")
	cmd.Env = []string{"CONNECT_MAP=" + string(ports), "HOME=" + dir}
	out, runErr := cmd.CombinedOutput()
	t.Logf("newman:\n%s", last(string(out), 12<<10))
	text, err := os.ReadFile(filepath.Join(dir, "report.json"))
	require.NoError(t, err)
	var report newmanReport
	require.NoError(t, json.Unmarshal(text, &report))
	return report, runErr
}

// collectionVariables are those of the collection's README, from dev.json.
func collectionVariables(t *testing.T, g *dev.Gateway, lambdaID string) map[string]string {
	t.Helper()
	user, err := g.Info.User("FaaS-Invocation")
	require.NoError(t, err)
	website, err := g.Info.App("authorization_code")
	require.NoError(t, err)
	machine, err := g.Info.App("client_credentials")
	require.NoError(t, err)
	return map[string]string{
		"sentinel": g.Info.URLs["sentinel"], "faasGW": g.Info.URLs["faasGW"], "accountId": g.Info.AccountID, "lambdaUUID": lambdaID,
		"userId": user.UserID, "username": user.Username, "password": user.Password,
		"clientId": website.ClientID, "clientSecret": website.ClientSecret,
		"appClientId": machine.ClientID, "appClientSecret": machine.ClientSecret,
	}
}

func TestThePostmanCollectionRuns(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, t.TempDir()) // with the sample lambda, as dev.json has it
	require.NotNil(t, g.Info.Lambda)
	variables := collectionVariables(t, g, g.Info.Lambda.UUID)
	report, err := runCollection(t, g, variables)
	require.NoError(t, err, "%+v", report.Run.Failures)
	require.Empty(t, report.Run.Failures)
	require.Equal(t, 12, report.Run.Stats.Requests.Total)
	require.GreaterOrEqual(t, report.Run.Stats.Assertions.Total, report.Run.Stats.Requests.Total, "each request checks something")
	require.Zero(t, report.Run.Stats.Assertions.Failed)

	variables["appClientSecret"] = "wrong"
	report, err = runCollection(t, g, variables)
	require.Error(t, err, "the collection's checks can fail")
	require.NotEmpty(t, report.Run.Failures)
	for _, f := range report.Run.Failures {
		require.NotContains(t, f.Error.Message, variables["clientSecret"])
	}
}

// TestThePostmanCollectionHoldsNoSecret: it is in the repository, and people
// export theirs over it.
func TestThePostmanCollectionHoldsNoSecret(t *testing.T) {
	root, err := dev.ModuleRoot()
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(root, "sdk", "postman", "sluice.postman_collection.json"))
	require.NoError(t, err)
	var collection struct {
		Variable []struct{ Key, Value string } `json:"variable"`
	}
	require.NoError(t, json.Unmarshal(text, &collection))
	require.NotEmpty(t, collection.Variable)
	for _, v := range collection.Variable {
		require.True(t, v.Value == "" || v.Key == "callbackURL", "variable %s has a value", v.Key)
	}
	require.NotRegexp(t, `[0-9a-f]{8}-[0-9a-f]{4}-|"(password|client_secret|clientSecret)",\s+"value": "[^{"]`, string(text))
}
