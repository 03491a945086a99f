package e2e_test

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/tests/dev"
)

// look is what the login page looks like to a person and to a screen reader.
type look struct {
	Violations []string
	Overflow   bool
	Focused    string
}

type browserReport struct {
	WithoutScript struct {
		Lead, Alert, First, Second, Title string
		Kept                              []string
		Cookies                           []struct {
			Name             string
			Secure, HTTPOnly bool
			SameSite         string
		}
		Faults []string
	}
	Looks    map[string]struct{ Empty, Failed look }
	Requests []string
}

// TestTheLoginPageInChromium proves what only a browser can: that the form works
// without script, that the page's policy blocks neither its own style nor the way
// back to the app, and that the cookie is one that a browser keeps.
// SLUICE_SCREENSHOTS names a folder for pictures.
func TestTheLoginPageInChromium(t *testing.T) {
	t.Parallel()
	chromium, err := exec.LookPath("chromium")
	if err != nil && os.Getenv("CI") == "" {
		t.Skip("chromium is not installed: run tests/packages.sh")
	}
	require.NoError(t, err)
	install(t, "clients")
	g := ownGateway(t, t.TempDir(), "--no-sample") // for its failed logins are counted
	user, err := g.Info.User("FaaS-Invocation")
	require.NoError(t, err)
	authorize := goClient(t, g).AuthCodeURL("a state")
	report := runBrowser(t, g, map[string]any{
		"chromium": chromium, "authorizeURL": authorize, "callback": websiteCallback, "spki": spki(t, g),
		"user":        map[string]string{"username": user.Username, "password": user.Password},
		"screenshots": os.Getenv("SLUICE_SCREENSHOTS"),
	})

	w := report.WithoutScript
	require.Equal(t, "to continue to demo-website", w.Lead)
	require.Equal(t, "Username or password is wrong.", w.Alert)
	require.Equal(t, []string{user.Username, ""}, w.Kept)
	require.Equal(t, "the app", w.Title)
	require.Len(t, w.Cookies, 1)
	require.Equal(t, "__Host-sluice-"+g.Info.AccountID, w.Cookies[0].Name)
	require.True(t, w.Cookies[0].Secure && w.Cookies[0].HTTPOnly)
	require.Equal(t, "Lax", w.Cookies[0].SameSite)
	for _, fault := range w.Faults { // the answer to a wrong password is one
		require.Contains(t, fault, "status of 401", "nothing was blocked or failed: %v", w.Faults)
	}
	codes := map[string]bool{}
	for _, at := range []string{w.First, w.Second} {
		u, err := url.Parse(at)
		require.NoError(t, err)
		require.Equal(t, websiteCallback, u.Scheme+"://"+u.Host+u.Path)
		require.Equal(t, "a state", u.Query().Get("state"))
		require.Len(t, u.Query().Get("code"), 64)
		require.Contains(t, report.Requests, u.RequestURI(), "the app's server was asked")
		codes[u.Query().Get("code")] = true
	}
	require.Len(t, codes, 2)

	require.Len(t, report.Looks, 3)
	for name, l := range report.Looks {
		require.Empty(t, l.Empty.Violations, name)
		require.Empty(t, l.Failed.Violations, name)
		require.False(t, l.Empty.Overflow || l.Failed.Overflow, "%s: it scrolls sideways", name)
		require.Equal(t, "username", l.Empty.Focused, name)
		require.Equal(t, "password", l.Failed.Focused, name)
	}
}

func runBrowser(t *testing.T, g *dev.Gateway, setup map[string]any) browserReport {
	t.Helper()
	node, err := dev.Node()
	require.NoError(t, err)
	arguments, err := json.Marshal(setup)
	require.NoError(t, err)
	script, err := filepath.Abs(filepath.Join("clients", "browser.js"))
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), node, script, string(arguments))
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	out, err := cmd.Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		t.Fatalf("%s", last(string(failed.Stderr), 4<<10))
	}
	require.NoError(t, err)
	var report browserReport
	require.NoError(t, json.Unmarshal(out, &report), "%s", out)
	return report
}

// spki names the key of the gateway's certificate as Chromium takes it.
func spki(t *testing.T, g *dev.Gateway) string {
	t.Helper()
	conn, err := tls.Dial("tcp", hostOf(t, listener(g)), trust(t, g))
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	sum := sha256.Sum256(conn.ConnectionState().PeerCertificates[0].RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}
