package auth_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/julienschmidt/httprouter"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/sluice-faas/sluice/gateway/auth"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
	"github.com/sluice-faas/sluice/gateway/store/embedded"
)

var (
	_ auth.Store = (*store.Store)(nil)
	_ auth.Views = (*store.Views)(nil)
)

// shared is the one etcd of all tests here; each test uses accounts of its own.
var shared struct {
	once   sync.Once
	server *embedded.Server
	dir    string
	err    error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.server != nil {
		if err := shared.server.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		_ = os.RemoveAll(shared.dir)
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func etcd(t testing.TB) *clientv3.Client {
	t.Helper()
	shared.once.Do(func() {
		if shared.dir, shared.err = os.MkdirTemp("", "s"); shared.err == nil {
			shared.server, shared.err = embedded.Start(context.Background(), embedded.Config{Dir: shared.dir, Log: zerolog.Nop()})
		}
	})
	require.NoError(t, shared.err)
	return shared.server.Client()
}

// clock is a time that tests set.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// counted counts what reaches etcd on behalf of callers.
type counted struct {
	*store.Store
	reads atomic.Int64
	down  atomic.Bool
	// before, if set, is called once before the next session is written.
	before func()
	// lost makes the answer to a write that took place get lost, and dead makes a
	// write not take place, as when the gateway is killed around it.
	lost, dead bool
}

func (c *counted) CreateSession(ctx context.Context, user *lambda.User, session *lambda.Session, token *lambda.Token) error {
	if before := c.before; before != nil {
		c.before = nil
		before()
	}
	return c.Store.CreateSession(ctx, user, session, token)
}

// killed makes a write as a gateway does that is killed before or after it.
func (c *counted) killed(write func() error) error {
	if c.dead {
		return errDown
	}
	if err := write(); err != nil || !c.lost {
		return err
	}
	return errDown
}

func (c *counted) CreateCode(ctx context.Context, code *lambda.Code, request string, must bool) error {
	return c.killed(func() error { return c.Store.CreateCode(ctx, code, request, must) })
}

func (c *counted) UseCode(ctx context.Context, grant *lambda.Grant, token *lambda.Token) error {
	return c.killed(func() error { return c.Store.UseCode(ctx, grant, token) })
}

func (c *counted) RotateGrant(ctx context.Context, id, old, refresh string, until time.Time, token *lambda.Token) error {
	return c.killed(func() error { return c.Store.RotateGrant(ctx, id, old, refresh, until, token) })
}

func (c *counted) EndGrant(ctx context.Context, id string) error {
	return c.killed(func() error { return c.Store.EndGrant(ctx, id) })
}

func (c *counted) EndBrowserSessions(ctx context.Context, account, user string) error {
	return c.killed(func() error { return c.Store.EndBrowserSessions(ctx, account, user) })
}

func (c *counted) Code(ctx context.Context, hash string) (*lambda.Code, error) {
	return count(c, func() (*lambda.Code, error) { return c.Store.Code(ctx, hash) })
}

func (c *counted) Grant(ctx context.Context, id string) (*lambda.Grant, error) {
	return count(c, func() (*lambda.Grant, error) { return c.Store.Grant(ctx, id) })
}

var errDown = &lambda.Error{Kind: lambda.KindUnavailable, Message: "the network is cut"}

func count[T any](c *counted, get func() (T, error)) (T, error) {
	c.reads.Add(1)
	if c.down.Load() {
		var none T
		return none, errDown
	}
	return get()
}

func (c *counted) Token(ctx context.Context, hash string) (*lambda.Token, error) {
	return count(c, func() (*lambda.Token, error) { return c.Store.Token(ctx, hash) })
}

func (c *counted) User(ctx context.Context, account, id string) (*lambda.User, error) {
	return count(c, func() (*lambda.User, error) { return c.Store.User(ctx, account, id) })
}

func (c *counted) UserByLogin(ctx context.Context, account, name string) (*lambda.User, error) {
	return count(c, func() (*lambda.User, error) { return c.Store.UserByLogin(ctx, account, name) })
}

func (c *counted) App(ctx context.Context, account, id string) (*lambda.App, error) {
	return count(c, func() (*lambda.App, error) { return c.Store.App(ctx, account, id) })
}

func (c *counted) Profile(ctx context.Context, account, name string) (*lambda.Profile, error) {
	return count(c, func() (*lambda.Profile, error) { return c.Store.Profile(ctx, account, name) })
}

func (c *counted) Session(ctx context.Context, id string) (*lambda.Session, error) {
	return count(c, func() (*lambda.Session, error) { return c.Store.Session(ctx, id) })
}

func (c *counted) SigningKeys(ctx context.Context) ([]lambda.SigningKey, int64, error) {
	c.reads.Add(1)
	if c.down.Load() {
		return nil, 0, errDown
	}
	return c.Store.SigningKeys(ctx)
}

// blind are views that no watch has reached yet.
type blind struct{}

func (blind) Token(string) (*lambda.Token, bool)             { return nil, false }
func (blind) User(string, string) (*lambda.User, bool)       { return nil, false }
func (blind) App(string, string) (*lambda.App, bool)         { return nil, false }
func (blind) Profile(string, string) (*lambda.Profile, bool) { return nil, false }
func (blind) WaitFor(ctx context.Context, _ int64) error     { return ctx.Err() }

// gateway is all of auth over the shared etcd, with one account.
type gateway struct {
	t             testing.TB
	account       string
	clock         *clock
	store         *counted
	views         *store.Views
	keeper        *auth.Keeper
	service       *auth.Service
	authenticator *auth.Authenticator
	router        *httprouter.Router
	failed        error // what the last handler returned
}

var accounts atomic.Int64

// firstKey is made once: every test begins at the same time, with the same key.
var firstKey *lambda.SigningKey

// start makes a gateway with a fresh account and one signing key.
func start(t testing.TB) *gateway {
	t.Helper()
	_, err := etcd(t).Delete(t.Context(), "/sluice/view/keys/", clientv3.WithPrefix())
	require.NoError(t, err)
	g := join(t, newClock(), auth.Config{})
	_, revision, err := g.store.SigningKeys(t.Context())
	require.NoError(t, err)
	if firstKey != nil {
		require.NoError(t, g.store.PutSigningKey(t.Context(), *firstKey, revision))
	}
	g.account = fmt.Sprint(10_000_000 + accounts.Add(1))
	require.NoError(t, g.store.PutAccount(t.Context(), &lambda.Account{ID: g.account, Name: "test"}))
	require.NoError(t, g.keeper.Check(t.Context()))
	keys, _, err := g.store.SigningKeys(t.Context())
	require.NoError(t, err)
	require.Len(t, keys, 1)
	firstKey = &keys[0]
	return g
}

// join makes another gateway of the same region.
func join(t testing.TB, c *clock, cfg auth.Config) *gateway {
	t.Helper()
	g := &gateway{t: t, clock: c, store: &counted{Store: store.New(etcd(t), zerolog.Nop())}}
	g.store.Now = c.Now
	var err error
	g.views, err = g.store.OpenViews(t.Context())
	require.NoError(t, err)
	t.Cleanup(g.views.Close)
	g.build(cfg, g.views)
	return g
}

// build puts auth over g's store and the given views.
func (g *gateway) build(cfg auth.Config, views auth.Views) {
	g.t.Helper()
	cfg.Now = g.clock.Now
	if cfg.ReadTimeout == 0 {
		cfg.ReadTimeout = 30 * time.Second // the machine of the tests may be busy
	}
	var err error
	g.keeper, err = auth.NewKeeper(cfg, g.store, zerolog.Nop())
	require.NoError(g.t, err)
	g.service, err = auth.NewService(cfg, g.store, views, g.keeper, zerolog.Nop())
	require.NoError(g.t, err)
	g.authenticator, err = auth.NewAuthenticator(cfg, g.store, views, g.keeper)
	require.NoError(g.t, err)
	g.router = httprouter.New()
	for path, handle := range map[string]func(http.ResponseWriter, *http.Request) error{
		"/sentinel/api/account/:account/app/token":    g.service.HandleAppToken,
		"/sentinel/api/v2/account/:account/app/token": g.service.HandleAppToken,
		"/api/account/:account/login":                 g.service.HandleLogin,
		"/api/account/:account/refresh":               g.service.HandleRefresh,
		"/api/account/:account/logout":                g.service.HandleLogout,
		"/sentinel/well-known/jwks":                   g.service.HandleJWKS,
		"/sentinel/api/account/:account/token":        g.service.HandleToken,
		"/sentinel/api/account/:account/token/revoke": g.service.HandleRevoke,
		"/sentinel/account/:account/login":            g.service.HandleLoginForm,
	} {
		g.router.HandlerFunc("POST", path, func(w http.ResponseWriter, r *http.Request) { g.failed = handle(w, r) })
	}
	for path, handle := range map[string]func(http.ResponseWriter, *http.Request) error{
		"/sentinel/api/account/:account/authorize": g.service.HandleAuthorize,
		"/sentinel/account/:account/login":         g.service.HandleLoginPage,
	} {
		g.router.HandlerFunc("GET", path, func(w http.ResponseWriter, r *http.Request) { g.failed = handle(w, r) })
	}
}

// in lets a subtest fail in its own name.
func (g *gateway) in(t *testing.T) *gateway {
	outer := g.t
	g.t = t
	t.Cleanup(func() { g.t = outer })
	return g
}

// seen waits until the views have everything that g wrote.
func (g *gateway) seen() {
	g.t.Helper()
	require.NoError(g.t, g.views.WaitFor(g.t.Context(), g.store.Written()))
}

const password = "correct horse battery staple"

var passwordHash struct {
	once sync.Once
	text string
}

// user adds a user with those roles, who has the password of all tests.
func (g *gateway) user(name string, roles ...lambda.Role) *lambda.User {
	g.t.Helper()
	passwordHash.once.Do(func() {
		var err error
		passwordHash.text, err = g.service.HashPassword(g.t.Context(), "1", password)
		require.NoError(g.t, err)
	})
	u := &lambda.User{ID: "id-" + name, Account: g.account, LoginName: name, PasswordHash: passwordHash.text, Roles: roles}
	require.NoError(g.t, g.store.PutUser(g.t.Context(), u))
	g.seen()
	return u
}

const clientSecret = "k3jh5g6k3jh5g6k3jh5g6k3jh5g6k3jh"

// app installs an app with that scope.
func (g *gateway) app(id, scope string, grants ...string) *lambda.App {
	g.t.Helper()
	if grants == nil {
		grants = []string{"client_credentials"}
	}
	a := &lambda.App{ClientID: id, Account: g.account, ClientName: id, GrantTypes: grants, Scope: scope, SecretHash: auth.Hash(clientSecret)}
	require.NoError(g.t, g.store.PutApp(g.t.Context(), a))
	g.seen()
	return a
}

// login gives the bearer token of a user.
func (g *gateway) login(name string) auth.LoginResult {
	g.t.Helper()
	r, err := g.service.Login(g.t.Context(), g.account, name, password)
	require.NoError(g.t, err)
	g.seen()
	return r
}

// appToken gives a JWT of an app.
func (g *gateway) appToken(id string) string {
	g.t.Helper()
	token, err := g.service.AppToken(g.t.Context(), g.account, "client_credentials", id, clientSecret)
	require.NoError(g.t, err)
	return token
}

func (g *gateway) authenticate(header string) (*auth.Principal, error) {
	return g.authenticator.Authenticate(g.t.Context(), header, g.account)
}

// refused requires that a token is answered 401 with words that hold text.
func (g *gateway) refused(token, text string) {
	g.t.Helper()
	p, err := g.authenticate("Bearer " + token)
	require.Nil(g.t, p)
	require.Truef(g.t, lambda.Is(err, lambda.KindUnauthorized), "got %v", err)
	e := lambda.As(err)
	require.Equal(g.t, lambda.CodeUnauthorized, e.Code)
	require.Equal(g.t, lambda.PhaseAuthenticate, e.Phase)
	require.Contains(g.t, e.Message, text)
	if len(token) > 10 {
		require.NotContains(g.t, err.Error(), token, "no token belongs in a message")
	}
}

func (g *gateway) accepted(token string) *auth.Principal {
	g.t.Helper()
	p, err := g.authenticate("Bearer " + token)
	require.NoError(g.t, err)
	return p
}

// post sends a request to the service; header holds lines of "Name: value".
func (g *gateway) post(path, body string, header ...string) *httptest.ResponseRecorder {
	g.t.Helper()
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	g.failed = nil
	g.router.ServeHTTP(w, r)
	return w
}

func TestConfigNamesAllFaults(t *testing.T) {
	_, err := auth.NewKeeper(auth.Config{TokenLifetime: 30 * time.Minute, KeyRotation: time.Minute, Hashes: -1}, nil, zerolog.Nop())
	require.ErrorContains(t, err, "TokenLifetime is 30m0s: give 31m0s or more")
	require.ErrorContains(t, err, "KeyRotation")
	require.ErrorContains(t, err, "Hashes")
}
