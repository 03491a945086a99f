package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/control"
)

// operate asks a gateway through the socket in its data folder.
func (g *gateway) operate(t *testing.T, method, path, body string) (int, map[string]any) {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return control.Dial(ctx, g.dir) }}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://sluice"+path, strings.NewReader(body))
	require.NoError(t, err)
	resp, err := (&http.Client{Transport: transport}).Do(req)
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	var v map[string]any
	_ = json.Unmarshal(text, &v) // a list is of no interest here
	return resp.StatusCode, v
}

func TestTheOperatorHasASocketInTheDataFolder(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, control.File)
	left, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: socket})
	require.NoError(t, err)
	left.SetUnlinkOnClose(false) // as kill -9 leaves it
	require.NoError(t, left.Close())

	g := start(t, dir, "--no-sample")
	info, err := os.Stat(socket)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	status, made := g.operate(t, "POST", "/api/accounts", `{"id":"777","name":"Lucky"}`)
	require.Equal(t, http.StatusCreated, status, made)

	t.Run("a gateway that may not run here does not touch it", func(t *testing.T) {
		_, err := open(t, dir)
		require.ErrorContains(t, err, "in use")
		status, _ := g.operate(t, "GET", "/api/account/777/lambdas", "")
		require.Equal(t, http.StatusOK, status)
	})
	t.Run("what is there is not on the network", func(t *testing.T) {
		for _, base := range []string{g.Info().URLs.CSDS, g.Info().URLs.Admin} {
			resp, err := http.Get(base + "/api/accounts")
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, http.StatusNotFound, resp.StatusCode, base)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	g.stop(t) // the log is written in the background, and whole by then
	require.NoFileExists(t, socket)
	t.Run("the log names the operator, and the process", func(t *testing.T) {
		var seen map[string]any
		for _, line := range g.lines("request") {
			if line["path"] == "/api/accounts" && line["status"] == 201.0 {
				seen = line
			}
		}
		require.Equal(t, "operator", seen["caller"])
		require.Equal(t, fmt.Sprintf("user %d, process %d", os.Geteuid(), os.Getpid()), seen["remote"])
	})
}

func TestDemoCredentialsThatAreNotTrueAnyMoreAreNotShown(t *testing.T) {
	g := start(t, t.TempDir())
	before := g.Info()
	people, apps := "/api/account/"+before.AccountID+"/configuration/le-users/users/", "/api/account/"+before.AccountID+"/configuration/app-install/installations/"
	do := func(method, path, body string) {
		status, answer := g.operate(t, method, path, body)
		require.Equal(t, http.StatusOK, status, answer)
	}
	do("POST", people+before.Users[0].UserID+"/password", "")
	do("DELETE", people+before.Users[1].UserID, "")
	do("PUT", people+before.Users[2].UserID, `{"roles":["FaaS-Admin"]}`)
	do("POST", apps+before.Apps[0].ClientID+"/secret", "")
	g.stop(t)

	g = start(t, g.dir)
	after := g.Info()
	require.Equal(t, before.Users[3:], after.Users)
	require.Equal(t, before.Apps[1:], after.Apps)
	require.Contains(t, g.people.String(), "4 of the demo users and apps were changed or removed")
	require.NotContains(t, g.people.String(), before.Users[0].Password)
	require.NotContains(t, g.people.String(), before.Apps[0].ClientSecret)
	require.NotContains(t, g.people.String(), "curl", "there is nobody left to call as")
	require.NotNil(t, after.Lambda)
	do("DELETE", apps+before.Apps[0].ClientID, "")
	do("DELETE", apps+before.Apps[1].ClientID, "")
	do("DELETE", people+before.Users[3].UserID, "")
	g.stop(t)

	g = start(t, g.dir)
	require.Empty(t, g.Info().Users)
	require.Empty(t, g.Info().Apps)
	require.Contains(t, read(t, g.dir, "dev.json"), `"users": []`)
}
