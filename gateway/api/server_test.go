package api_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/api"
	"github.com/sluice-faas/sluice/gateway/auth"
	"github.com/sluice-faas/sluice/gateway/directory"
	"github.com/sluice-faas/sluice/gateway/egress"
	"github.com/sluice-faas/sluice/gateway/invoke"
	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/secret"
	"github.com/sluice-faas/sluice/gateway/store"
	"github.com/sluice-faas/sluice/gateway/store/embedded"
	"github.com/sluice-faas/sluice/plugins/host"
	"github.com/sluice-faas/sluice/plugins/pool"
)

const account, other = "12345678", "87654321"

// language plays the runtime: its builder refuses what contains "broken", and
// its lambdas answer what the test says. Processes are the subject of tests/e2e.
type language struct {
	mu     sync.Mutex
	calls  []lambda.Invocation
	answer func(lambda.Invocation) (lambda.Result, error)
}

func (l *language) Describe(context.Context, string) (host.Description, error) {
	return host.Description{Name: "javascript", DisplayName: "Node.js 24"}, nil
}

func (l *language) Build(_ context.Context, _, source string, _ []host.Dependency) (host.BuildResult, error) {
	if strings.Contains(source, "broken") {
		return host.BuildResult{Diagnostics: []host.Diagnostic{{Severity: host.SeverityError, Code: "syntax", Message: "unexpected token", Line: 2, Column: 5}}}, nil
	}
	return host.BuildResult{Artifact: []byte(source)}, nil
}

func (l *language) Invoke(_ context.Context, inv lambda.Invocation) (lambda.Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, inv)
	return l.answer(inv)
}

type gateway struct {
	*language
	t        *testing.T
	url      string
	ops      string // the operator's front
	server   *api.Server
	store    *store.Store
	views    *store.Views
	journal  *diary
	diaryDir string
	secrets  *secret.Service
	egress   *egress.Proxy
	tokens   map[lambda.Role]string
	app      string // token of an app with scope faas.lambda.invoke
	log      *lines
	registry *prometheus.Registry
	status   atomic.Pointer[pool.Status] // of whatever is live
}

// diary is the journal, whose Note fails when a test says so.
type diary struct {
	*journal.Journal
	full atomic.Bool
}

func (d *diary) Note(ctx context.Context, a journal.Activity) error {
	if d.full.Load() {
		return syscall.ENOSPC
	}
	return d.Journal.Note(ctx, a)
}

type lines struct {
	mu  sync.Mutex
	all []byte
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, b...)
	return len(b), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.all)
}

// newGateway serves the API over a real etcd with one user of each role.
func newGateway(t *testing.T, change ...func(*lambda.Limits)) *gateway {
	t.Helper()
	ctx := t.Context()
	dir, err := os.MkdirTemp("", "s")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	etcd, err := embedded.Start(ctx, embedded.Config{Dir: dir, Log: zerolog.Nop()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, etcd.Close()) })
	st := store.New(etcd.Client(), zerolog.Nop())
	require.NoError(t, st.Open(ctx))
	views, err := st.OpenViews(ctx)
	require.NoError(t, err)
	t.Cleanup(views.Close)

	keys, err := auth.NewKeeper(auth.Config{}, st, zerolog.Nop())
	require.NoError(t, err)
	require.NoError(t, keys.Check(ctx))
	dns, _, err := directory.New(directory.Config{Base: "127.0.0.1:8443", Domains: map[string]string{"faasGW": "gw.example.com", "sentinel": "sentinel.example.com", "faasUI": "ui.example.com"}})
	require.NoError(t, err)

	service, err := auth.NewService(auth.Config{Hosts: dns}, st, views, keys, zerolog.Nop())
	require.NoError(t, err)
	authenticator, err := auth.NewAuthenticator(auth.Config{}, st, views, keys)
	require.NoError(t, err)

	limits := lambda.DefaultLimits()
	limits.Payload, limits.AccountRequests = 100_000, 0
	for _, f := range change {
		f(&limits)
	}
	st.Limits = limits
	g := &gateway{t: t, language: &language{}, store: st, views: views, tokens: map[lambda.Role]string{}, log: &lines{}, registry: prometheus.NewRegistry()}
	g.diaryDir = filepath.Join(dir, "journal")
	kept, err := journal.Open(journal.Config{Dir: g.diaryDir, Log: zerolog.Nop(), Limits: limits})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, kept.Close(context.WithoutCancel(ctx))) })
	g.journal = &diary{Journal: kept}
	g.secrets = newSecrets(t, st, limits, zerolog.New(g.log))
	g.egress, err = egress.New(egress.Config{Whitelist: views, Services: []string{"127.0.0.1:8443"}, Resolver: addresses{}, Log: zerolog.Nop()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.egress.Close(context.WithoutCancel(ctx))) })
	g.status.Store(&pool.Status{State: pool.Idle})
	g.server = api.New(api.Config{
		Egress:  g.egress,
		Journal: g.journal,
		Log:     zerolog.New(g.log), Lambdas: st, Domains: st, Schedules: st, Secrets: g.secrets, Receipts: st, Identity: st, Views: views, Live: views, Authenticate: authenticator, Auth: service, Directory: dns,
		Invoker: g.language, Replays: invoke.NewReplays(invoke.ReplaysConfig{}), Runtimes: g.language, Condition: func(*lambda.Live) pool.Status { return *g.status.Load() },
		RuntimeNames: []string{"javascript"}, Templates: templates, Metrics: g.registry, Limits: limits, UI: testPages(t), Version: "test",
	})
	server, control := httptest.NewServer(g.server), httptest.NewServer(g.server.Control())
	t.Cleanup(server.Close)
	t.Cleanup(control.Close)
	g.url, g.ops = server.URL, control.URL
	g.answer = func(lambda.Invocation) (lambda.Result, error) {
		return lambda.Result{Payload: json.RawMessage(`"hello"`), Version: 3}, nil
	}
	g.addPeople(service)
	return g
}

func (g *gateway) addPeople(service *auth.Service) {
	ctx := g.t.Context()
	for _, id := range []string{account, other} {
		require.NoError(g.t, g.store.PutAccount(ctx, &lambda.Account{ID: id, Name: id, CreatedAt: time.Now()}))
	}
	hash, err := service.HashPassword(ctx, account, "a password")
	require.NoError(g.t, err)
	for _, role := range []lambda.Role{lambda.RoleLPA, lambda.RoleAdmin, lambda.RoleDeveloper, lambda.RoleInvocation} {
		name := strings.ToLower(string(role))
		require.NoError(g.t, g.store.PutUser(ctx, &lambda.User{ID: "id-" + name, Account: account, LoginName: name, PasswordHash: hash, Roles: []lambda.Role{role}}))
		login, err := service.Login(ctx, account, name, "a password")
		require.NoError(g.t, err)
		g.tokens[role] = login.Bearer
	}
	secret := auth.NewClientSecret()
	require.NoError(g.t, g.store.PutApp(ctx, &lambda.App{ClientID: "app-1", Account: account, ClientName: "app", GrantTypes: []string{"client_credentials"}, Scope: "faas.lambda.invoke", SecretHash: auth.Hash(secret)}))
	g.app, err = service.AppToken(ctx, account, "client_credentials", "app-1", secret)
	require.NoError(g.t, err)
}

// oneAnswer follows no redirect.
var oneAnswer = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// reply is what came back.
type reply struct {
	*http.Response
	t    *testing.T
	body string
}

func (r reply) code() string {
	r.t.Helper()
	var e map[string]any
	require.NoError(r.t, json.Unmarshal([]byte(r.body), &e), "an error answer is JSON: %s", r.body)
	for k := range e {
		require.Contains(r.t, []string{"errorCode", "errorMsg", "errorLogs"}, k, "an error answer has no other key")
	}
	code, _ := e["errorCode"].(string)
	require.NotEmpty(r.t, e["errorMsg"])
	return code
}

func (g *gateway) do(method, path, token, body string, headers ...string) reply {
	g.t.Helper()
	return g.doAt(account, method, path, token, body, headers...)
}

// doAt makes a request for a path of an account, or of Sentinel.
func (g *gateway) doAt(account, method, path, token, body string, headers ...string) reply {
	g.t.Helper()
	if !strings.HasPrefix(path, "/sentinel") {
		path = "/api/account/" + account + path
	}
	return g.send(method, g.url+path, token, body, headers...)
}

// operate sends a request to the operator's front; path is all of it.
func (g *gateway) operate(method, path, body string, headers ...string) reply {
	g.t.Helper()
	return g.send(method, g.ops+path, "", body, headers...)
}

func (g *gateway) send(method, address, token, body string, headers ...string) reply {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), method, address, strings.NewReader(body))
	require.NoError(g.t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
	}
	resp, err := oneAnswer.Do(req)
	require.NoError(g.t, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(g.t, err)
	checkAnswer(g.t, req, resp, text)
	return reply{resp, g.t, string(text)}
}

// metrics are what /metrics would show.
func (g *gateway) metrics() string {
	w := httptest.NewRecorder()
	promhttp.HandlerFor(g.registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

func (g *gateway) create(name string) map[string]any {
	g.t.Helper()
	r := g.do("POST", "/lambdas", g.tokens[lambda.RoleDeveloper], createBody(name, "function lambda(i, cb) { cb(null, 1) }"))
	require.Equal(g.t, http.StatusCreated, r.StatusCode, r.body)
	var l map[string]any
	require.NoError(g.t, json.Unmarshal([]byte(r.body), &l))
	return l
}

// createBody is what the public CLI sends for a new lambda.
func createBody(name, code string) string {
	body, _ := json.Marshal(map[string]any{
		"timestamp": 0, "uuid": "", "version": -1, "name": name, "description": "an example", "state": "Draft",
		"implementation": map[string]any{"code": code, "dependencies": []any{}, "environmentVariables": []any{map[string]string{"key": "K", "value": "v"}, map[string]string{"key": "", "value": ""}}},
	})
	return string(body)
}
