// Package e2e drives the built gateway, with its real etcd and Node, the way
// its users do. Run `make build` first; SLUICE_BIN names another program.
package e2e_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/sdk/client"
	"github.com/sluice-faas/sluice/tests/dev"
)

// runLimit is how long a lambda may run in these tests, so that one that never
// ends costs no half minute.
const runLimit = 4 * time.Second

func TestMain(m *testing.M) {
	if _, err := dev.Binary(); err != nil {
		fmt.Fprintln(os.Stderr, "the end-to-end tests need the built gateway:", err)
		os.Exit(1)
	}
	code := m.Run()
	if err := stopShared(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the shared gateway:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// shared is one gateway for all tests that need none of their own.
var shared struct {
	sync.Once
	*dev.Gateway
	dir string
	err error
}

func sharedGateway(t *testing.T) *dev.Gateway {
	t.Helper()
	shared.Do(func() {
		shared.dir, shared.err = os.MkdirTemp("", "sluice-e2e")
		if shared.err != nil {
			return
		}
		shared.Gateway, shared.err = dev.Start(context.Background(), dev.Options{
			DataDir: filepath.Join(shared.dir, "data"),
			Args:    []string{"--no-sample", "--limit", "run-time=" + runLimit.String(), "--limit", dev.NoLimits},
		})
	})
	require.NoError(t, shared.err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the shared gateway printed last:\n%s", last(shared.Output(), 8<<10))
		}
	})
	return shared.Gateway
}

// stopShared ends the shared gateway and asks of it what every test may: that it
// survived them all, ends with code 0 and leaves no process.
func stopShared() error {
	if shared.Gateway == nil {
		return nil
	}
	defer func() { _ = os.RemoveAll(shared.dir) }()
	below := shared.Processes()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if err := shared.Stop(ctx); err != nil {
		return err
	}
	if left := dev.WaitGone(below, 5*time.Second); len(left) > 0 {
		return fmt.Errorf("processes are left behind: %v", left)
	}
	return nil
}

// ownGateway starts a gateway for one test. It is stopped, if it still runs,
// when the test ends.
func ownGateway(t *testing.T, dir string, args ...string) *dev.Gateway {
	t.Helper()
	g, err := dev.Start(t.Context(), dev.Options{DataDir: dir, Args: args})
	require.NoError(t, err)
	owned(t, g)
	return g
}

func owned(t *testing.T, g *dev.Gateway) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_ = g.Stop(ctx) // how it ends is the subject of tests of its own
		if t.Failed() {
			t.Logf("the gateway printed last:\n%s", last(g.Output(), 8<<10))
		}
	})
}

func last(s string, n int) string { return s[max(0, len(s)-n):] }

// as gives a client with a session of the demo user with that role.
func as(t *testing.T, g *dev.Gateway, role string) *client.Client {
	t.Helper()
	c, err := g.Login(t.Context(), role)
	require.NoError(t, err)
	return c
}

// developer is the session that most tests write and deploy with; one login for
// all, as each costs an argon2id hash.
var developers sync.Map // *dev.Gateway → *client.Client

func developer(t *testing.T, g *dev.Gateway) *client.Client {
	t.Helper()
	if c, ok := developers.Load(g); ok {
		return c.(*client.Client)
	}
	c := as(t, g, "FaaS-Developer")
	developers.Store(g, c)
	return c
}

// brand is a client that calls as an external brand does, with client credentials.
func brand(t *testing.T, g *dev.Gateway) *client.Client {
	t.Helper()
	c, err := g.AppClient()
	require.NoError(t, err)
	return c
}

var names atomic.Int64

// newName gives a lambda name that no other test has.
func newName(word string) string { return fmt.Sprintf("%s_%d", word, names.Add(1)) }

// deployed creates a lambda of code and makes it live.
func deployed(t *testing.T, c *client.Client, word, code string) *client.Lambda {
	t.Helper()
	l, err := c.CreateLambda(t.Context(), client.LambdaSpec{Name: newName(word), Description: "made by " + t.Name(), Code: code})
	require.NoError(t, err)
	l, err = c.DeployAndWait(t.Context(), l.ID)
	require.NoError(t, err)
	return l
}

// caller makes requests by hand, as no well-behaved client would.
type caller struct {
	*http.Client
	base    string
	account string
	token   string
}

func newCaller(t *testing.T, g *dev.Gateway, token string) *caller {
	t.Helper()
	return &caller{
		Client: &http.Client{Transport: &http.Transport{TLSClientConfig: trust(t, g), ForceAttemptHTTP2: true}, Timeout: 60 * time.Second},
		base:   g.Info.URLs["faasGW"], account: g.Info.AccountID, token: token,
	}
}

func trust(t *testing.T, g *dev.Gateway) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(g.Info.CA)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(pem))
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// reply is an answer, read to its end.
type reply struct {
	status int
	header http.Header
	body   string
}

// code is the errorCode of an error answer.
func (r reply) code() string {
	var v struct {
		Code string `json:"errorCode"`
	}
	_ = json.Unmarshal([]byte(r.body), &v) // then it has none
	return v.Code
}

func (r reply) message() string {
	var v struct {
		Message string `json:"errorMsg"`
	}
	_ = json.Unmarshal([]byte(r.body), &v) // then it has none
	return v.Message
}

// send makes one request; headers come as name, value, name, value.
func (c *caller) send(t *testing.T, method, path string, body []byte, headers ...string) reply {
	t.Helper()
	r, err := c.try(t.Context(), method, path, body, headers...)
	require.NoError(t, err)
	return r
}

func (c *caller) try(ctx context.Context, method, path string, body []byte, headers ...string) (reply, error) {
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, reader)
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(text)}, err
}

// invoke calls a lambda with a body as it is.
func (c *caller) invoke(t *testing.T, lambdaID, body string, headers ...string) reply {
	t.Helper()
	return c.send(t, http.MethodPost, c.invokePath(lambdaID), []byte(body), headers...)
}

func (c *caller) invokePath(lambdaID string) string {
	return "/api/account/" + c.account + "/lambdas/" + url.PathEscape(lambdaID) + "/invoke?v=1&externalSystem=e2e"
}

// requireError checks status, code and the form of an error answer: JSON with
// the contract's keys and no others, never empty.
func requireError(t *testing.T, r reply, status int, code string) {
	t.Helper()
	require.Equal(t, status, r.status, "%s", clip(r.body))
	requireErrorForm(t, r)
	require.Equal(t, code, r.code(), "%s", clip(r.body))
}

func requireErrorForm(t *testing.T, r reply) {
	t.Helper()
	require.True(t, strings.HasPrefix(r.header.Get("Content-Type"), "application/json"), "content type %q of %s", r.header.Get("Content-Type"), clip(r.body))
	var fields map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(r.body), &fields), "%s", clip(r.body))
	for key := range fields {
		require.Contains(t, []string{"errorCode", "errorMsg", "errorLogs"}, key)
	}
	require.NotEmpty(t, r.code())
	require.NotEmpty(t, r.message())
	require.NotEmpty(t, r.header.Get("X-Request-Id"))
}

func clip(s string) string { return s[:min(len(s), 500)] }

// appToken gets a token of the demo app.
func appToken(t *testing.T, g *dev.Gateway) string {
	t.Helper()
	c, err := g.Client()
	require.NoError(t, err)
	app, err := g.Info.App("client_credentials")
	require.NoError(t, err)
	token, err := c.AppToken(t.Context(), app.ClientID, app.ClientSecret)
	require.NoError(t, err)
	return token
}

// sessionToken logs a demo user in and gives the bearer.
func sessionToken(t *testing.T, g *dev.Gateway, role string) string {
	t.Helper()
	c, err := g.Client()
	require.NoError(t, err)
	user, err := g.Info.User(role)
	require.NoError(t, err)
	s, err := c.Login(t.Context(), user.Username, user.Password)
	require.NoError(t, err)
	return s.Bearer
}
