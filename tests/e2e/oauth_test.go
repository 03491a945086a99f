package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/sluice-faas/sluice/tests/dev"
)

// websiteCallback is where the demo app with a code sends its users; nobody
// listens there unless a test does.
const websiteCallback = "http://localhost:3000/callback"

// called is the answer to a call of a lambda.
type called struct {
	Status int             `json:"status"`
	Body   json.RawMessage `json:"body"`
}

// flow is what the scripts of the client libraries report.
type flow struct {
	Callback, State        string
	TokenType              string
	ExpiresIn              int
	Expired, Rotated       bool
	Claims                 map[string]any
	RefreshedClaims        map[string]any
	Called, CalledAgain    called
	AfterReplay            called
	AfterRevocation        called
	Replayed               oauthRefusal
	RefreshAfterRevocation oauthRefusal
}

type oauthRefusal struct {
	Error  string
	Status int
}

// greeter is a lambda that says hello.
func greeter(t *testing.T, g *dev.Gateway) string {
	t.Helper()
	return deployed(t, developer(t, g), "greeter", `function lambda(input, callback) { callback(null, 'Hello, ' + input.payload.name) }`).ID
}

// runScript runs one of the scripts in clients, which reaches nothing but the
// gateway's own listener, and decodes what it printed.
func runScript(t *testing.T, g *dev.Gateway, script string, setup map[string]any, report any) {
	t.Helper()
	install(t, "clients")
	node, err := dev.Node()
	require.NoError(t, err)
	address := hostOf(t, listener(g))
	ports, err := json.Marshal(map[string]string{address: address})
	require.NoError(t, err)
	arguments, err := json.Marshal(setup)
	require.NoError(t, err)
	dir, err := filepath.Abs("clients")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "--require", filepath.Join(dir, "connect-map.js"), filepath.Join(dir, script), string(arguments))
	cmd.Env = []string{"CONNECT_MAP=" + string(ports), "NODE_EXTRA_CA_CERTS=" + g.Info.CA}
	var out, faults bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &faults
	require.NoError(t, cmd.Run(), "%s", faults.String())
	require.NoError(t, json.Unmarshal(out.Bytes(), report), "%s", out.String())
}

// website is what a script needs to know of the demo app and one of its users.
func website(t *testing.T, g *dev.Gateway, role, lambdaID, authentication string) map[string]any {
	t.Helper()
	app, err := g.Info.App("authorization_code")
	require.NoError(t, err)
	user, err := g.Info.User(role)
	require.NoError(t, err)
	return map[string]any{
		"sentinel": g.Info.URLs["sentinel"], "gateway": g.Info.URLs["faasGW"], "accountId": g.Info.AccountID, "lambda": lambdaID,
		"user":     map[string]string{"username": user.Username, "password": user.Password},
		"clientId": app.ClientID, "clientSecret": app.ClientSecret, "redirectURI": websiteCallback, "authentication": authentication,
	}
}

func requireHello(t *testing.T, c called) {
	t.Helper()
	require.Equal(t, 200, c.Status, "%s", c.Body)
	require.JSONEq(t, `"Hello, Ada"`, string(c.Body))
}

func TestOpenIDClientLogsIn(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	lambdaID := greeter(t, g)
	for _, authentication := range []string{"ClientSecretPost", "ClientSecretBasic"} {
		t.Run(authentication, func(t *testing.T) {
			var f flow
			runScript(t, g, "openid.js", website(t, g, "FaaS-Invocation", lambdaID, authentication), &f)
			require.Equal(t, websiteCallback, f.Callback)
			require.Equal(t, "bearer", f.TokenType, "the library writes it in small letters")
			require.Equal(t, 28800, f.ExpiresIn)
			user, err := g.Info.User("FaaS-Invocation")
			require.NoError(t, err)
			for _, claims := range []map[string]any{f.Claims, f.RefreshedClaims} {
				require.Equal(t, user.UserID, claims["sub"])
				require.Equal(t, "Sentinel", claims["iss"])
				require.Equal(t, false, claims["is_admin"])
				require.Equal(t, false, claims["is_lpa"])
				require.NotZero(t, claims["auth_time"])
			}
			requireHello(t, f.Called)
			requireHello(t, f.CalledAgain)
			require.Equal(t, oauthRefusal{"invalid_grant", 400}, f.Replayed)
			require.Equal(t, 401, f.AfterReplay.Status, "the whole family has ended")
			require.Equal(t, 401, f.AfterRevocation.Status)
			require.Equal(t, oauthRefusal{"invalid_grant", 400}, f.RefreshAfterRevocation)
		})
	}
}

func TestSimpleOAuth2LogsIn(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	lambdaID := greeter(t, g)
	for _, authentication := range []string{"body", "header"} {
		t.Run(authentication, func(t *testing.T) {
			var f flow
			runScript(t, g, "simple.js", website(t, g, "FaaS-Developer", lambdaID, authentication), &f)
			require.Equal(t, "a state", f.State)
			require.False(t, f.Expired)
			require.True(t, f.Rotated)
			requireHello(t, f.Called)
			requireHello(t, f.CalledAgain)
			require.Equal(t, 401, f.AfterRevocation.Status)
			require.Equal(t, oauthRefusal{"invalid_grant", 400}, f.RefreshAfterRevocation)
		})
	}
}

// person is a browser that keeps cookies and stops before it leaves the gateway.
type person struct {
	*http.Client
	gateway *dev.Gateway
}

func newPerson(t *testing.T, g *dev.Gateway) *person {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &person{gateway: g, Client: &http.Client{
		Jar: jar, Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: trust(t, g), ForceAttemptHTTP2: true},
		CheckRedirect: func(r *http.Request, _ []*http.Request) error {
			if r.URL.Hostname() == "localhost" {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}}
}

// logIn opens the URL that an app sent the person to, fills the form if there is
// one, and gives the callback's query.
func (p *person) logIn(t *testing.T, at, role string) url.Values {
	t.Helper()
	resp, err := p.Get(at)
	require.NoError(t, err)
	if resp.StatusCode == http.StatusOK {
		require.NoError(t, resp.Body.Close())
		user, err := p.gateway.Info.User(role)
		require.NoError(t, err)
		resp, err = p.PostForm(resp.Request.URL.String(), url.Values{"username": {user.Username}, "password": {user.Password}})
		require.NoError(t, err)
	}
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusFound, resp.StatusCode, "%s", clip(string(body)))
	to, err := resp.Location()
	require.NoError(t, err)
	require.Equal(t, websiteCallback, to.Scheme+"://"+to.Host+to.Path)
	return to.Query()
}

// goClient is the demo app, by golang.org/x/oauth2.
func goClient(t *testing.T, g *dev.Gateway) *oauth2.Config {
	t.Helper()
	app, err := g.Info.App("authorization_code")
	require.NoError(t, err)
	base := g.Info.URLs["sentinel"] + "/sentinel/api/account/" + g.Info.AccountID
	return &oauth2.Config{
		ClientID: app.ClientID, ClientSecret: app.ClientSecret, RedirectURL: websiteCallback, Scopes: []string{"openid"},
		Endpoint: oauth2.Endpoint{AuthURL: base + "/authorize?v=1.0", TokenURL: base + "/token?v=2.0", AuthStyle: oauth2.AuthStyleAutoDetect},
	}
}

// token logs in and gives the tokens.
func (p *person) token(ctx context.Context, t *testing.T, c *oauth2.Config, role string) *oauth2.Token {
	t.Helper()
	verifier := oauth2.GenerateVerifier()
	q := p.logIn(t, c.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)), role)
	require.Equal(t, "state", q.Get("state"))
	token, err := c.Exchange(ctx, q.Get("code"), oauth2.VerifierOption(verifier))
	require.NoError(t, err)
	return token
}

func TestGoOAuth2LogsIn(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	lambdaID := greeter(t, g)
	p, c := newPerson(t, g), goClient(t, g)
	ctx := context.WithValue(t.Context(), oauth2.HTTPClient, newCaller(t, g, "").Client)
	first := p.token(ctx, t, c, "LPA")
	require.NotEmpty(t, first.Extra("id_token"))
	require.WithinDuration(t, time.Now().Add(8*time.Hour), first.Expiry, time.Minute)

	url := g.Info.URLs["faasGW"] + newCaller(t, g, "").invokePath(lambdaID)
	invoke := func(client *http.Client) called {
		resp, err := client.Post(url, "application/json", bytes.NewReader([]byte(`{"timestamp":0,"headers":[],"payload":{"name":"Ada"}}`)))
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return called{resp.StatusCode, body}
	}
	requireHello(t, invoke(c.Client(ctx, first)))
	old := *first
	old.Expiry = time.Now().Add(-time.Minute) // so the library refreshes by itself
	source := c.TokenSource(ctx, &old)
	second, err := source.Token()
	require.NoError(t, err)
	require.NotEqual(t, first.RefreshToken, second.RefreshToken)
	requireHello(t, invoke(oauth2.NewClient(ctx, source)))

	_, err = c.TokenSource(ctx, &old).Token()
	var refused *oauth2.RetrieveError
	require.True(t, errors.As(err, &refused), "%v", err)
	require.Equal(t, "invalid_grant", refused.ErrorCode)
	require.Equal(t, 401, invoke(oauth2.NewClient(ctx, source)).Status, "the whole family has ended")

	third := p.token(ctx, t, c, "LPA") // the browser still has its session
	post := newCaller(t, g, "")
	resp, err := post.PostForm(g.Info.URLs["sentinel"]+"/sentinel/api/account/"+g.Info.AccountID+"/token/revoke?v=1.0",
		map[string][]string{"token": {third.RefreshToken}, "client_id": {c.ClientID}, "client_secret": {c.ClientSecret}})
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, 401, invoke(c.Client(ctx, third)).Status)
	resp, err = p.Get(c.AuthCodeURL("state"))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode, "the login page: the browser's session has ended too")
}

// TestLoginsSurviveAKill kills the gateway after each step of a login: what it
// answered is still so.
func TestLoginsSurviveAKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()

	g := ownGateway(t, dir, "--no-sample")
	restart := func() {
		g.Kill()
		var err error
		g, err = g.Restart(t.Context())
		require.NoError(t, err)
		owned(t, g)
	}
	p := newPerson(t, g)
	ctx := context.WithValue(t.Context(), oauth2.HTTPClient, newCaller(t, g, "").Client)
	code := p.logIn(t, goClient(t, g).AuthCodeURL("state"), "FaaS-Developer").Get("code")
	restart()
	first, err := goClient(t, g).Exchange(ctx, code)
	require.NoError(t, err, "a code")
	restart()
	works := func(token *oauth2.Token) int {
		return newCaller(t, g, token.AccessToken).send(t, "GET", "/api/account/"+g.Info.AccountID+"/lambdas", nil).status
	}
	require.Equal(t, 200, works(first), "an access token")
	refresh := func(token *oauth2.Token) (*oauth2.Token, error) {
		return goClient(t, g).TokenSource(ctx, &oauth2.Token{RefreshToken: token.RefreshToken}).Token()
	}
	second, err := refresh(first)
	require.NoError(t, err, "a refresh token")
	restart()
	require.Equal(t, 200, works(second))
	p.gateway = g
	again := p.logIn(t, goClient(t, g).AuthCodeURL("state"), "nobody").Get("code")
	require.NotEmpty(t, again, "the browser's session")
	_, err = refresh(first)
	require.ErrorContains(t, err, "invalid_grant", "an old refresh token is still known as one")
	restart()
	require.Equal(t, 401, works(second), "and what it ended stays ended")
	_, err = goClient(t, g).Exchange(ctx, code)
	require.ErrorContains(t, err, "invalid_grant")
	_, err = goClient(t, g).Exchange(ctx, again)
	require.NoError(t, err, "another code is none the worse")
}
