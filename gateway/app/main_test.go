package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sluice-faas/sluice/gateway/app"
	"github.com/sluice-faas/sluice/gateway/config"
	"github.com/sluice-faas/sluice/plugins/sandbox/launch"
	"github.com/sluice-faas/sluice/sdk/client"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

// TestMain lets the test binary be the installed runtime too: the gateway under
// test is the real one, but needs no Node.
func TestMain(m *testing.M) {
	launch.Main()
	if len(os.Args) > 1 && os.Args[1] == "as-runtime" {
		runtime.Serve("tiny", loadTiny, runtime.WithDescription(runtime.Description{DisplayName: "Tiny 1", SampleSource: "sample"}))
		return
	}
	for _, name := range []string{"VAULT_ADDR", "VAULT_TOKEN"} { // the machine's own
		_ = os.Unsetenv(name)
	}
	goleak.VerifyTestMain(m,
		// The thread that starts processes is kept for the program's life.
		goleak.IgnoreAnyFunction("github.com/sluice-faas/sluice/plugins/sandbox.spawn"),
		goleak.Cleanup(func(code int) {
			if dir, err := runtimesDir(); err == nil {
				_ = os.RemoveAll(dir) // in the system's folder for such things
			}
			os.Exit(code)
		}))
}

// loadTiny makes a lambda of any source; it answers with its source, and takes
// its time or fetches an URL when the payload says so.
func loadTiny(_ context.Context, fn runtime.Function) (runtime.Handler, error) {
	return runtime.HandlerFunc(func(_ context.Context, call runtime.Call) (runtime.Result, error) {
		var order struct {
			Sleep time.Duration `json:"sleep"`
			Fetch string        `json:"fetch"`
		}
		if err := json.Unmarshal(call.Payload, &order); err != nil {
			return runtime.Result{}, err
		}
		time.Sleep(order.Sleep)
		if order.Fetch != "" {
			return fetch(order.Fetch)
		}
		payload, err := json.Marshal(string(fn.Artifact))
		return runtime.Result{Payload: payload}, err
	}), nil
}

// runtimesDir is a folder with the tiny runtime in it.
var runtimesDir = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "runtimes")
	if err != nil {
		return "", err
	}
	binary, err := os.Executable()
	if err != nil {
		return "", err
	}
	if err := os.Mkdir(filepath.Join(dir, "tiny"), 0o755); err != nil {
		return "", err
	}
	manifest := fmt.Sprintf("name: tiny\ncommand: %s\nargs: [as-runtime]\nprotocol: 1\nprestart: 1\n", binary)
	return dir, os.WriteFile(filepath.Join(dir, "tiny", "runtime.yaml"), []byte(manifest), 0o600)
})

// settings are those of `sluice dev` on dir, on free ports, with further flags.
func settings(t *testing.T, dir string, args ...string) config.Config {
	t.Helper()
	runtimes, err := runtimesDir()
	require.NoError(t, err)
	fs := pflag.NewFlagSet("dev", pflag.ContinueOnError)
	config.Flags(fs, config.Dev())
	require.NoError(t, fs.Parse(append([]string{
		"--data-dir", dir, "--https-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0",
		"--runtimes-dir", runtimes,
		// The runtime is this test, which under the race detector asks for more memory
		// than a sandbox gives. tests/e2e has the sandbox.
		"--sandbox", "off",
	}, args...)))
	c, err := config.Load(fs, config.Dev(), nil)
	require.NoError(t, err)
	return c
}

// output is a buffer that a gateway may write to while a test reads.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// gateway is one in this process.
type gateway struct {
	*app.App
	dir    string
	people *output
	log    *output
}

func open(t *testing.T, dir string, args ...string) (*gateway, error) {
	t.Helper()
	g := &gateway{dir: dir, people: &output{}, log: &output{}}
	var err error
	g.App, err = app.Open(t.Context(), app.Options{Config: settings(t, dir, args...), Version: "v0.0.0-test", Log: g.log, People: g.people})
	return g, err
}

// start starts a gateway that is closed when the test ends, if it is not before.
func start(t *testing.T, dir string, args ...string) *gateway {
	t.Helper()
	g, err := open(t, dir, args...)
	require.NoError(t, err, "%s", g.log)
	t.Cleanup(func() { require.NoError(t, g.Close(context.Background())) })
	return g
}

func (g *gateway) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, g.Close(context.Background()))
}

// caller is a client of the gateway without a token.
func (g *gateway) caller(t *testing.T) *client.Client {
	t.Helper()
	i := g.Info()
	c, err := client.New(i.AccountID, client.WithCAFile(i.CA), client.WithEndpoints(client.Endpoints{
		Invocation: i.URLs.FaasGW, Management: i.URLs.FaasUI, Sentinel: i.URLs.Sentinel, Login: i.URLs.AgentVep,
	}))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func (g *gateway) brand(t *testing.T) *client.Client {
	t.Helper()
	c := g.caller(t)
	app := g.Info().Apps[0]
	return c.With(client.AppCredentials(c, app.ClientID, app.ClientSecret))
}

func (g *gateway) as(t *testing.T, role string) *client.Client {
	t.Helper()
	c := g.caller(t)
	for _, u := range g.Info().Users {
		if string(u.Role) == role {
			session, err := c.Login(t.Context(), u.Username, u.Password)
			require.NoError(t, err)
			return c.With(session)
		}
	}
	t.Fatalf("no user has the role %s", role)
	return nil
}

// admin asks the admin listener.
func (g *gateway) admin(t *testing.T, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.Info().URLs.Admin+path, nil)
	require.NoError(t, err)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

func read(t *testing.T, elements ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(elements...))
	require.NoError(t, err)
	return string(text)
}

// edit changes a JSON file as a user could.
func edit(t *testing.T, path string, change func(map[string]any)) {
	t.Helper()
	var v map[string]any
	require.NoError(t, json.Unmarshal([]byte(read(t, path)), &v))
	change(v)
	text, err := json.Marshal(v)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, text, 0o600))
}

// lines are the log's lines with that message.
func (g *gateway) lines(msg string) []map[string]any {
	var found []map[string]any
	for line := range strings.Lines(g.log.String()) {
		var v map[string]any
		if json.Unmarshal([]byte(line), &v) == nil && v["msg"] == msg {
			found = append(found, v)
		}
	}
	return found
}
