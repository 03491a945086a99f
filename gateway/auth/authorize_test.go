package auth_test

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/julienschmidt/httprouter"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/auth"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

const (
	callback = "http://localhost:3000/callback"
	website  = "web"
	verifier = "a-verifier-of-the-least-length-that-is-allowed_0123456789~."
	// challenge is the SHA-256 of verifier, made with openssl.
	challenge = "a8RWCBuHBwmJ4YZqkBKrSjKtiWXw1vUtiW5IY7FAIf4"
)

// website installs an app that users log in to.
func (g *gateway) website(uris ...string) *lambda.App {
	g.t.Helper()
	if uris == nil {
		uris = []string{callback}
	}
	a := &lambda.App{
		ClientID: website, Account: g.account, ClientName: "website", DisplayName: "The <b>Website</b>", Scope: scopeInvoke,
		GrantTypes: []string{"authorization_code", "refresh_token"}, RedirectURIs: uris, ResponseTypes: []string{"code"},
		SecretHash: auth.Hash(clientSecret),
	}
	require.NoError(g.t, g.store.PutApp(g.t.Context(), a))
	g.seen()
	return a
}

// routed gives r as the router hands it to a handler, for calls made at once.
func (g *gateway) routed(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), httprouter.ParamsKey, httprouter.Params{{Key: "account", Value: g.account}}))
}

// browser is a person's browser: it keeps cookies.
type browser struct {
	g       *gateway
	cookies map[string]string
}

func (g *gateway) browser() *browser { return &browser{g, map[string]string{}} }

func (b *browser) do(method, path, body string, header ...string) *httptest.ResponseRecorder {
	b.g.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := httptest.NewRecorder()
	b.g.failed = nil
	b.g.router.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		b.cookies[c.Name] = c.Value
	}
	return w
}

func (g *gateway) authorizePath() string { return "/sentinel/api/account/" + g.account + "/authorize" }
func (g *gateway) loginPath() string     { return "/sentinel/account/" + g.account + "/login" }

// query is a good request to authorize, changed by pairs; a pair without value
// takes the parameter away.
func query(pairs ...string) url.Values {
	q := url.Values{"v": {"1.0"}, "response_type": {"code"}, "client_id": {website}, "redirect_uri": {callback}, "state": {"s t&?ä"}}
	for i := 0; i < len(pairs); i += 2 {
		if q.Set(pairs[i], pairs[i+1]); pairs[i+1] == "" {
			q.Del(pairs[i])
		}
	}
	return q
}

func (b *browser) authorize(q url.Values) *httptest.ResponseRecorder {
	b.g.t.Helper()
	return b.do("GET", b.g.authorizePath()+"?"+q.Encode(), "")
}

func (b *browser) submit(q url.Values, name, password string) *httptest.ResponseRecorder {
	b.g.t.Helper()
	return b.do("POST", b.g.loginPath()+"?"+q.Encode(), url.Values{"username": {name}, "password": {password}}.Encode(),
		formType, "Sec-Fetch-Site: same-origin")
}

// location requires a redirect and gives where it leads.
func location(t testing.TB, w *httptest.ResponseRecorder, status int) *url.URL {
	t.Helper()
	require.Equal(t, status, w.Code, w.Body)
	require.Zero(t, w.Body.Len())
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	require.Equal(t, "no-referrer", w.Header().Get("Referrer-Policy"))
	u, err := url.Parse(w.Header().Get("Location"))
	require.NoError(t, err)
	return u
}

// toLogin requires that the browser is sent to the login page.
func (b *browser) toLogin(w *httptest.ResponseRecorder) url.Values {
	b.g.t.Helper()
	u := location(b.g.t, w, http.StatusFound)
	require.Equal(b.g.t, b.g.loginPath(), u.Path)
	require.Empty(b.g.t, u.Host)
	return u.Query()
}

// code requires that the browser is sent to the app with a code.
func (b *browser) code(w *httptest.ResponseRecorder) string {
	b.g.t.Helper()
	u := location(b.g.t, w, http.StatusFound)
	require.True(b.g.t, strings.HasPrefix(u.String(), callback+"?code="), u.String())
	require.Equal(b.g.t, "s t&?ä", u.Query().Get("state"))
	require.Len(b.g.t, u.Query(), 2)
	require.Len(b.g.t, u.Query().Get("code"), 64)
	return u.Query().Get("code")
}

// logIn goes all the way of a person who logs in, and gives the code.
func (b *browser) logIn(q url.Values, name string) string {
	b.g.t.Helper()
	at := b.toLogin(b.authorize(q))
	back := location(b.g.t, b.submit(at, name, password), http.StatusSeeOther)
	require.Equal(b.g.t, b.g.authorizePath(), back.Path)
	require.Empty(b.g.t, back.Host)
	return b.code(b.do("GET", back.String(), ""))
}

func TestALoginLeadsBackToTheAppWithACode(t *testing.T) {
	g := start(t)
	g.user("dev", lambda.RoleInvocation)
	g.website()
	b := g.browser()
	q := query("scope", "openid profile offline_access whatever:unknown", "unknown", "ignored")
	at := b.toLogin(b.authorize(q))
	q.Del("unknown")
	require.Equal(t, q, at, "the login page is asked the same")
	w := b.submit(at, "dev", password)
	cookie := w.Result().Cookies()[0]
	require.Equal(t, "__Host-sluice-"+g.account, cookie.Name)
	require.Len(t, cookie.Value, 64)
	require.True(t, cookie.Secure && cookie.HttpOnly)
	require.Equal(t, http.SameSiteLaxMode, cookie.SameSite)
	require.Equal(t, "/", cookie.Path)
	require.Empty(t, cookie.Domain)
	require.Zero(t, cookie.MaxAge, "the session's end is kept here, as refreshing moves it")
	first := b.code(b.do("GET", location(t, w, http.StatusSeeOther).String(), ""))
	second := b.code(b.authorize(query()))
	require.NotEqual(t, first, second, "the session goes on")
	require.NotContains(t, everything(t), first)
	require.NotContains(t, everything(t), cookie.Value)
}

func TestAuthorizeWithoutWhatMayBeLeftOut(t *testing.T) {
	g := start(t)
	g.user("dev")
	g.website()
	b := g.browser()
	b.logIn(query(), "dev")
	for _, name := range []string{"v", "scope", "redirect_uri"} {
		b.code(b.authorize(query(name, "")))
	}
	u := location(t, b.authorize(query("state", "")), http.StatusFound)
	require.Len(t, u.Query(), 1, "no state, no state")
	b.code(b.authorize(query("v", "nonsense", "response_mode", "query", "prompt", "consent", "display", "popup", "ui_locales", "de")))
}

func TestASessionEnds(t *testing.T) {
	g := start(t)
	u := g.user("dev")
	g.website()
	b := g.browser()
	b.logIn(query(), "dev")
	g.clock.Add(8*time.Hour - time.Second)
	b.code(b.authorize(query()))
	g.clock.Add(time.Second)
	b.toLogin(b.authorize(query()))

	b.logIn(query(), "dev")
	require.NoError(t, g.store.EndUserSessions(t.Context(), g.account, u.ID))
	b.toLogin(b.authorize(query()))

	b.logIn(query(), "dev")
	r, err := etcd(t).Delete(t.Context(), "/sluice/view/users/"+g.account+"/"+u.ID)
	require.NoError(t, err)
	require.NoError(t, g.views.WaitFor(t.Context(), r.Header.Revision))
	b.toLogin(b.authorize(query()))
}

func TestCookiesThatAreNoSessionOfTheAccount(t *testing.T) {
	g, other := start(t), start(t)
	g.user("dev")
	g.website()
	other.user("dev")
	other.website()
	b := other.browser()
	b.logIn(query(), "dev")
	foreign := b.cookies["__Host-sluice-"+other.account]
	bearer := g.login("dev")
	for name, value := range map[string]string{
		"another account's session": foreign, "a session of the login service": bearer.SessionID, "a bearer token": bearer.Bearer,
		"an unknown one": auth.NewToken(), "undefined": "undefined", "a path": "../../x", "nothing": "",
	} {
		t.Run(name, func(t *testing.T) {
			b := g.in(t).browser()
			b.cookies["__Host-sluice-"+g.account] = value
			b.toLogin(b.authorize(query()))
		})
	}
	b = g.browser()
	b.cookies["__Host-sluice-"+other.account] = foreign
	b.toLogin(b.authorize(query()))
}

// refused requires that the app is told of an error.
func (b *browser) refusedAt(w *httptest.ResponseRecorder, code string) {
	b.g.t.Helper()
	u := location(b.g.t, w, http.StatusFound)
	require.True(b.g.t, strings.HasPrefix(u.String(), callback+"?error="), u.String())
	q := u.Query()
	require.Equal(b.g.t, code, q.Get("error"), q)
	require.NotEmpty(b.g.t, q.Get("error_description"))
	require.Regexp(b.g.t, `^[\x20-\x21\x23-\x5b\x5d-\x7e]+$`, q.Get("error_description"), "RFC 6749, appendix A.8")
	require.Error(b.g.t, b.g.failed, "the log is told")
}

// TestErrorsThatTheAppIsTold walks RFC 6749 §4.1.2.1, RFC 7636 §4.4.1 and OpenID
// Connect Core §3.1.2.6.
func TestErrorsThatTheAppIsTold(t *testing.T) {
	g := start(t)
	g.user("dev")
	g.website()
	machine := g.website()
	machine.ClientID, machine.ClientName, machine.GrantTypes = "machine", "machine", []string{"client_credentials"}
	require.NoError(t, g.store.PutApp(t.Context(), machine))
	token := g.website()
	token.ClientID, token.ClientName, token.ResponseTypes = "token-only", "token-only", []string{"token"}
	require.NoError(t, g.store.PutApp(t.Context(), token))
	g.seen()
	for name, c := range map[string]struct {
		query url.Values
		code  string
	}{
		"no response type":                   {query("response_type", ""), "invalid_request"},
		"the implicit flow":                  {query("response_type", "token"), "unsupported_response_type"},
		"the implicit flow of OpenID":        {query("response_type", "id_token token"), "unsupported_response_type"},
		"a hybrid flow":                      {query("response_type", "code id_token"), "unsupported_response_type"},
		"the response type in capitals":      {query("response_type", "CODE"), "unsupported_response_type"},
		"an app without the grant":           {query("client_id", "machine"), "unauthorized_client"},
		"an app without the response type":   {query("client_id", "token-only"), "unauthorized_client"},
		"an answer in the fragment":          {query("response_mode", "fragment"), "invalid_request"},
		"an answer by form":                  {query("response_mode", "form_post"), "invalid_request"},
		"a scope with a quote":               {query("scope", `a"b`), "invalid_scope"},
		"a scope with two spaces":            {query("scope", "a  b"), "invalid_scope"},
		"a scope with an umlaut":             {query("scope", "ä"), "invalid_scope"},
		"a scope with a line break":          {query("scope", "a\r\nb"), "invalid_scope"},
		"nobody is logged in, and no prompt": {query("prompt", "none"), "login_required"},
		"none and something":                 {query("prompt", "none login"), "invalid_request"},
		"an age that is no number":           {query("max_age", "young"), "invalid_request"},
		"an age below zero":                  {query("max_age", "-1"), "invalid_request"},
		"an age beyond all numbers":          {query("max_age", "99999999999999999999"), "invalid_request"},
		"a nonce that is too long":           {query("nonce", strings.Repeat("n", 1025)), "invalid_request"},
		"a nonce that is no text":            {query("nonce", "\xff"), "invalid_request"},
		"a request object":                   {query("request", "e30.e30."), "request_not_supported"},
		"a request object elsewhere":         {query("request_uri", "https://example.com/r"), "request_uri_not_supported"},
		"a registration":                     {query("registration", "{}"), "registration_not_supported"},
		"a challenge that is too short":      {query("code_challenge", strings.Repeat("a", 42)), "invalid_request"},
		"a challenge that is too long":       {query("code_challenge", strings.Repeat("a", 129)), "invalid_request"},
		"a challenge of other characters":    {query("code_challenge", strings.Repeat("a", 42)+"+"), "invalid_request"},
		"S256 that is too long":              {query("code_challenge", challenge+"a", "code_challenge_method", "S256"), "invalid_request"},
		"S256 that is no base64url":          {query("code_challenge", challenge[1:]+"~", "code_challenge_method", "S256"), "invalid_request"},
		"a method without a challenge":       {query("code_challenge_method", "S256"), "invalid_request"},
		"an unknown method":                  {query("code_challenge", challenge, "code_challenge_method", "S512"), "invalid_request"},
		"a method in small letters":          {query("code_challenge", challenge, "code_challenge_method", "s256"), "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			b := g.in(t).browser()
			w := b.authorize(c.query)
			b.refusedAt(w, c.code)
			require.Equal(t, "s t&?ä", location(t, w, 302).Query().Get("state"))
			if c.code == "login_required" {
				return
			}
			b.refusedAt(b.do("GET", g.loginPath()+"?"+c.query.Encode(), ""), c.code)
			b.refusedAt(b.submit(c.query, "dev", password), c.code)
			require.Empty(t, b.cookies, "nobody was logged in")
		})
	}
	for _, name := range []string{"response_type", "scope", "state", "nonce", "prompt", "max_age", "code_challenge", "code_challenge_method", "v"} {
		t.Run("twice: "+name, func(t *testing.T) {
			q := query()
			q[name] = []string{"code", "code"}
			b := g.in(t).browser()
			w := b.authorize(q)
			b.refusedAt(w, "invalid_request")
			if name == "state" {
				require.NotContains(t, location(t, w, 302).Query(), "state", "nobody can tell which")
			}
		})
	}
}

// TestRedirectURIsThatAlmostMatch are those of RFC 9700 §4.1 and what attackers try
// besides.
func TestRedirectURIsThatAlmostMatch(t *testing.T) {
	g := start(t)
	g.user("dev")
	g.website("https://app.example.com/cb", "https://app.example.com/with?query=1")
	b := g.browser()
	b.cookies["__Host-sluice-"+g.account] = "x"
	for _, uri := range []string{
		"https://app.example.com/cb/", "https://app.example.com/cb?", "https://app.example.com/cb#", "https://app.example.com/cb?x=1",
		"https://app.example.com/cb#x", "https://app.example.com/CB", "https://APP.example.com/cb", "HTTPS://app.example.com/cb",
		"http://app.example.com/cb", "https://app.example.com:443/cb", "https://app.example.com:8443/cb", "https://app.example.com/",
		"https://app.example.com", "https://app.example.com/c", "https://app.example.com/cbx", "https://app.example.com/x/../cb",
		"https://app.example.com/./cb", "https://app.example.com//cb", "https://app.example.com/%63b", "https://app.example.com/cb%00",
		"https://app.example.com/cb%2f", "https://app.example.com/cb;x", "https://user@app.example.com/cb",
		"https://app.example.com@evil.example/cb", "https://app.example.com.evil.example/cb", "https://evil.example/cb",
		"https://app.example.com./cb", "https://app.example.com\\@evil.example/cb", "//app.example.com/cb", "/cb",
		" https://app.example.com/cb", "https://app.example.com/cb ", "https://app.example.com/cb\n", "javascript:alert(1)",
		"https://app.example.com/with", "https://app.example.com/with?query=1&x=2", "https://app.example.com/with?query=2",
		"https://app.example.com/cb https://app.example.com/with?query=1", "null", "*",
	} {
		q := query("redirect_uri", uri)
		for _, w := range []*httptest.ResponseRecorder{
			b.authorize(q), b.do("GET", g.loginPath()+"?"+q.Encode(), ""), b.submit(q, "dev", password),
		} {
			require.Equal(t, http.StatusBadRequest, w.Code, uri)
			require.Empty(t, w.Header().Get("Location"), uri)
		}
	}
	w := b.authorize(query("redirect_uri", ""))
	require.Equal(t, http.StatusBadRequest, w.Code, "two are registered: which one?")
	require.Contains(t, w.Body.String(), "installed with 2 of them")
	for _, uri := range []string{"https://app.example.com/cb", "https://app.example.com/with?query=1"} {
		b.toLogin(b.authorize(query("redirect_uri", uri)))
	}
	u := location(t, b.authorize(query("redirect_uri", "https://app.example.com/with?query=1", "prompt", "none")), 302)
	require.True(t, strings.HasPrefix(u.String(), "https://app.example.com/with?query=1&error=login_required&"), "the query that it has stays")
}

// TestRegisteredRedirectURIsThatCannotBeUsed has apps that no installation of
// today would let through.
func TestRegisteredRedirectURIsThatCannotBeUsed(t *testing.T) {
	g := start(t)
	for uri, says := range map[string]string{
		"javascript:alert(1)": "not absolute", "data:text/html,x": "not absolute", "file:///etc/passwd": "not absolute",
		"/callback": "not absolute", "//example.com/cb": "not absolute", "https:///cb": "no host", "com.example.app:/cb": "not absolute",
		"https://example.com/cb#f": "fragment", "https://u:p@example.com/": "user name", "http://example.com/cb": "in clear",
	} {
		g.website(uri)
		g.seen()
		for _, q := range []url.Values{query("redirect_uri", uri), query("redirect_uri", "")} {
			w := g.browser().authorize(q)
			require.Equal(t, http.StatusBadRequest, w.Code, uri)
			require.Contains(t, w.Body.String(), "cannot be used", uri)
			require.Contains(t, w.Body.String(), says, uri)
			require.Empty(t, w.Header().Get("Location"), uri)
		}
	}
}

func TestErrorsThatThePersonIsTold(t *testing.T) {
	g := start(t)
	g.website()
	for name, c := range map[string]struct {
		path   string
		status int
		code   string
		says   string
	}{
		"an unknown account":          {"/sentinel/api/account/99/authorize?" + query().Encode(), 401, "invalid_client", "no app with this client_id"},
		"an account that cannot be":   {"/sentinel/api/account/le1/authorize?" + query().Encode(), 401, "invalid_client", "no app with this client_id"},
		"an unknown client":           {g.authorizePath() + "?" + query("client_id", "ghost").Encode(), 401, "invalid_client", "no app with this client_id"},
		"a client that cannot be":     {g.authorizePath() + "?" + query("client_id", "../web").Encode(), 401, "invalid_client", "no app with this client_id"},
		"no client":                   {g.authorizePath() + "?" + query("client_id", "").Encode(), 400, "invalid_request", "client_id is missing"},
		"no query":                    {g.authorizePath(), 400, "invalid_request", "client_id is missing"},
		"two clients":                 {g.authorizePath() + "?" + query().Encode() + "&client_id=web", 400, "invalid_request", "client_id is given more than once"},
		"two redirect URIs":           {g.authorizePath() + "?" + query().Encode() + "&redirect_uri=x", 400, "invalid_request", "redirect_uri is given more than once"},
		"a query that is none":        {g.authorizePath() + "?%zz", 400, "invalid_request", "not well-formed"},
		"a semicolon":                 {g.authorizePath() + "?a;b", 400, "invalid_request", "not well-formed"},
		"a query that is too long":    {g.authorizePath() + "?" + query("state", strings.Repeat("s", 8<<10)).Encode(), 400, "invalid_request", "the limit is 8192"},
		"the login page's own errors": {g.loginPath() + "?" + query("client_id", "ghost").Encode(), 401, "invalid_client", "no app with this client_id"},
	} {
		t.Run(name, func(t *testing.T) {
			g.in(t)
			for _, accept := range []string{"", "*/*", "application/json", "application/json, text/html;q=0.5", "text/*;q=0.3, */*;q=0.5", "nonsense"} {
				w := g.browser().do("GET", c.path, "", "Accept: "+accept)
				require.Equal(t, c.status, w.Code, w.Body)
				require.Equal(t, "application/json", w.Header().Get("Content-Type"), accept)
				require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
				require.Empty(t, w.Header().Get("Location"))
				var answer map[string]string
				require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer))
				require.Len(t, answer, 2)
				require.Equal(t, c.code, answer["error"])
				require.Contains(t, answer["error_description"], c.says)
				require.Error(t, g.failed)
			}
			for _, accept := range []string{"text/html", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/*, application/json;q=0.9", "TEXT/HTML;q=0.2, application/json;q=0.1"} {
				w := g.browser().do("GET", c.path, "", "Accept: "+accept)
				require.Equal(t, c.status, w.Code)
				requirePage(t, w, "'none'")
				require.Contains(t, w.Body.String(), c.says, accept)
				require.NotContains(t, w.Header().Get("WWW-Authenticate"), "Basic", "no browser shall ask for a password")
			}
		})
	}
}

func TestAuthorizeWhileEtcdIsAway(t *testing.T) {
	g := start(t)
	g.user("dev")
	g.website()
	b := g.browser()
	b.logIn(query(), "dev")
	g.store.down.Store(true)
	for _, accept := range []string{"text/html", "application/json"} {
		w := b.do("GET", g.authorizePath()+"?"+query().Encode(), "", "Accept: "+accept)
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.Equal(t, "1", w.Header().Get("Retry-After"))
		require.ErrorIs(t, g.failed, errDown)
	}
	b.refusedAt(b.authorize(query("prompt", "none")), "temporarily_unavailable")
	w := b.authorize(query("client_id", "not-in-memory"))
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	w = g.browser().submit(query(), "dev", password)
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Equal(t, "1", w.Header().Get("Retry-After"))
	require.Contains(t, w.Body.String(), "<form", "the form is there to try again")
}

func TestPromptAndAgeAskForOneLoginAndNoMore(t *testing.T) {
	g := start(t)
	g.user("dev")
	g.website()
	b := g.browser()
	b.logIn(query(), "dev")
	for name, q := range map[string]url.Values{
		"login": query("prompt", "login"), "another user": query("prompt", "select_account"), "login and consent": query("prompt", "consent login"),
		"an age of nothing": query("max_age", "0"), "both": query("prompt", "login", "max_age", "0"),
	} {
		t.Run(name, func(t *testing.T) {
			g.in(t)
			g.clock.Add(time.Minute)
			before := maps.Clone(b.cookies)
			b.logIn(q, "dev") // though there is a session, and then no second time
			require.NotEqual(t, before, b.cookies, "a login has a new session")
			b.toLogin(b.authorize(q)) // a login answers one request
			b.code(b.authorize(query()))
		})
	}
	t.Run("an age that the login has not reached", func(t *testing.T) {
		g.in(t)
		b.logIn(query("prompt", "login"), "dev")
		g.clock.Add(time.Hour)
		b.code(b.authorize(query("max_age", "3600")))
		b.code(b.authorize(query("max_age", "3600", "prompt", "none")))
		g.clock.Add(time.Second)
		b.refusedAt(b.authorize(query("max_age", "3600", "prompt", "none")), "login_required")
		b.logIn(query("max_age", "3600"), "dev")
		b.code(b.authorize(query("max_age", "3600")))
	})
	t.Run("a login that was left lying does not answer", func(t *testing.T) {
		g.in(t)
		q := query("prompt", "login")
		back := location(t, b.submit(b.toLogin(b.authorize(q)), "dev", password), 303)
		g.clock.Add(time.Minute)
		b.toLogin(b.do("GET", back.String(), ""))
	})
	t.Run("nobody is asked without a prompt", func(t *testing.T) {
		g.in(t)
		b.logIn(query("prompt", "login"), "dev")
		b.code(b.authorize(query("prompt", "none")))
	})
	t.Run("of two that come back at once one is answered", func(t *testing.T) {
		g.in(t)
		back := location(t, b.submit(b.toLogin(b.authorize(query("prompt", "login"))), "dev", password), 303)
		answers := make(chan string, 8)
		var all sync.WaitGroup
		for range cap(answers) {
			all.Go(func() {
				r := httptest.NewRequest("GET", back.String(), nil)
				r.AddCookie(&http.Cookie{Name: "__Host-sluice-" + g.account, Value: b.cookies["__Host-sluice-"+g.account]})
				w := httptest.NewRecorder()
				_ = g.service.HandleAuthorize(w, g.routed(r))
				answers <- w.Header().Get("Location")
			})
		}
		all.Wait()
		close(answers)
		won := 0
		for to := range answers {
			if strings.HasPrefix(to, callback) {
				won++
				continue
			}
			require.Contains(t, to, g.loginPath())
		}
		require.Equal(t, 1, won)
	})
}

func TestANewLoginEndsTheSessionBefore(t *testing.T) {
	g := start(t)
	g.user("dev")
	g.user("other")
	g.website()
	b := g.browser()
	b.logIn(query(), "dev")
	before := &browser{g, maps.Clone(b.cookies)}
	before.code(before.authorize(query()))
	b.logIn(query("prompt", "login"), "other")
	before.toLogin(before.authorize(query()))
	b.code(b.authorize(query()))
}

func FuzzAuthorizeQuery(f *testing.F) {
	g := start(f)
	g.website(callback, "https://app.example.com/cb?x=1")
	for _, seed := range []string{
		query().Encode(), query("redirect_uri", "https://app.example.com/cb?x=1", "prompt", "none").Encode(),
		"", "%", "a;b", "client_id=web&redirect_uri=" + callback + "&state=%0d%0aX:1", "client_id=web&client_id=web",
		query("max_age", "1e3", "scope", "\x00").Encode(), query("code_challenge", challenge, "code_challenge_method", "S256").Encode(),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		for _, path := range []string{g.authorizePath(), g.loginPath()} {
			r := httptest.NewRequest("GET", path, nil)
			r.URL.RawQuery = raw
			w := httptest.NewRecorder()
			g.router.ServeHTTP(w, r)
			to := w.Header().Get("Location")
			require.NotContains(t, to, "\n")
			require.NotContains(t, to, "\r")
			switch w.Code {
			case http.StatusFound:
				known := strings.HasPrefix(to, callback+"?error=") || strings.HasPrefix(to, "https://app.example.com/cb?x=1&error=") ||
					strings.HasPrefix(to, g.loginPath()+"?")
				require.True(t, known, to)
				_, err := url.Parse(to)
				require.NoError(t, err)
			case http.StatusOK:
				require.Equal(t, g.loginPath(), path)
			case http.StatusBadRequest, http.StatusUnauthorized:
				require.Empty(t, to)
			default:
				t.Fatal(w.Code)
			}
		}
	})
}
