package auth_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// requirePage requires what every page of ours has: a policy that lets its own
// style through and nothing else, and no script.
func requirePage(t testing.TB, w *httptest.ResponseRecorder, formTargets string) {
	t.Helper()
	h := w.Header()
	require.Equal(t, "text/html; charset=utf-8", h.Get("Content-Type"))
	require.Equal(t, "no-store", h.Get("Cache-Control"))
	require.Equal(t, "same-origin", h.Get("Referrer-Policy"))
	require.Equal(t, "DENY", h.Get("X-Frame-Options"))
	require.Equal(t, "nosniff", h.Get("X-Content-Type-Options"))
	body := w.Body.String()
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(body)
	require.Len(t, style, 2)
	sum := sha256.Sum256([]byte(style[1]))
	require.Equal(t, "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'; form-action "+formTargets+
		"; frame-ancestors 'none'; base-uri 'none'", h.Get("Content-Security-Policy"))
	for _, bad := range []string{"<script", "style=", "onclick", "onload", "<img", "<link", "url("} {
		require.NotContains(t, body, bad)
	}
	_, err := html.Parse(strings.NewReader(body))
	require.NoError(t, err)
}

func TestTheLoginPageIsAForm(t *testing.T) {
	g := start(t)
	g.website()
	w := g.browser().do("GET", g.loginPath()+"?"+query("login_hint", `dev"><script>`).Encode(), "")
	require.Equal(t, http.StatusOK, w.Code)
	require.NoError(t, g.failed)
	requirePage(t, w, "'self' http://localhost:3000")
	body := w.Body.String()
	require.Contains(t, body, "The &lt;b&gt;Website&lt;/b&gt;", "the app's name is text")
	require.Contains(t, body, g.account)
	require.NotContains(t, body, `role="alert"`)
	for _, part := range []string{
		`<html lang="en">`, `<label for="username">`, `<label for="password">`, `type="password"`, `autocomplete="username"`,
		`autocomplete="current-password"`, `value="dev&#34;&gt;&lt;script&gt;"`, `<form method="post">`,
	} {
		require.Contains(t, body, part)
	}
	require.Equal(t, 1, strings.Count(body, " autofocus"))
	require.Regexp(t, `id="password"[^>]* autofocus`, body, "the name is there already")
	w = g.browser().do("GET", g.loginPath()+"?"+query().Encode(), "")
	require.Regexp(t, `id="username"[^>]* autofocus`, w.Body.String())
}

func TestTheAppIsCalledByTheNameThatItHas(t *testing.T) {
	g := start(t)
	a := g.website()
	a.DisplayName = ""
	require.NoError(t, g.store.PutApp(t.Context(), a))
	g.seen()
	require.Contains(t, g.browser().do("GET", g.loginPath()+"?"+query().Encode(), "").Body.String(), "<strong>website</strong>")
}

func TestTheFormMayLeadToTheApp(t *testing.T) {
	for uri, targets := range map[string]string{
		"http://localhost/callback":       "'self' http://localhost",
		"https://app.example.com:8443/cb": "'self' https://app.example.com:8443",
		"http://[::1]:3000/cb":            "'self' http:", // no policy can name it
		"https://a;script-src/cb":         "'self' https:",
		"https://a,b'unsafe-inline'/cb":   "'self' https:",
	} {
		t.Run(uri, func(t *testing.T) {
			g := start(t)
			g.website(uri)
			w := g.browser().do("GET", g.loginPath()+"?"+query("redirect_uri", uri).Encode(), "")
			require.Equal(t, http.StatusOK, w.Code, w.Body)
			requirePage(t, w, targets)
		})
	}
}

func TestLoginsAtThePageThatFail(t *testing.T) {
	g := start(t)
	g.user("dev")
	g.website()
	form := func(name, password string) string {
		return url.Values{"username": {name}, "password": {password}}.Encode()
	}
	for name, c := range map[string]struct {
		body, contentType string
		status            int
		says              string
	}{
		"a wrong password":      {form("dev", "x"), "", 401, "Username or password is wrong."},
		"an unknown user":       {form("ghost", password), "", 401, "Username or password is wrong."},
		"a name that is markup": {form(`"><script>alert(1)</script>`, "x"), "", 401, "Username or password is wrong."},
		"no password":           {form("dev", ""), "", 400, "needed"},
		"nothing":               {"", "", 400, "needed"},
		"a name too long":       {form(strings.Repeat("n", 257), "x"), "", 400, "the limit is 256"},
		"a name that is binary": {form("\xff", "x"), "", 400, "control character"},
		"two names":             {form("dev", "x") + "&username=other", "", 400, "not a well-formed form"},
		"broken encoding":       {"username=%zz", "", 400, "not a well-formed form"},
		"JSON":                  {`{"username":"dev"}`, "application/json", 400, "application/x-www-form-urlencoded"},
		"a file":                {"--x\r\n", "multipart/form-data; boundary=x", 400, "application/x-www-form-urlencoded"},
		"a body too large":      {"username=" + strings.Repeat("n", 64<<10), "", 413, "the limit of 65536 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.contentType == "" {
				c.contentType = strings.TrimPrefix(formType, "Content-Type: ")
			}
			b := g.in(t).browser()
			w := b.do("POST", g.loginPath()+"?"+query().Encode(), c.body, "Content-Type: "+c.contentType, "Sec-Fetch-Site: same-origin")
			require.Equal(t, c.status, w.Code)
			requirePage(t, w, "'self' http://localhost:3000")
			require.Contains(t, w.Body.String(), c.says)
			require.Contains(t, w.Body.String(), `role="alert"`)
			require.Contains(t, w.Body.String(), `aria-describedby="error"`)
			require.Contains(t, w.Body.String(), "<form")
			require.NotContains(t, w.Body.String(), password)
			require.NotContains(t, w.Header().Get("WWW-Authenticate"), "Basic")
			require.Empty(t, b.cookies)
			require.Error(t, g.failed)
			require.NotContains(t, g.failed.Error(), password)
		})
	}
}

func TestTheFormOfAnotherSiteIsRefused(t *testing.T) {
	g := start(t)
	g.user("dev")
	g.website()
	body := url.Values{"username": {"dev"}, "password": {password}}.Encode()
	send := func(header ...string) *httptest.ResponseRecorder {
		return g.browser().do("POST", g.loginPath()+"?"+query().Encode(), body, append(header, formType)...)
	}
	for name, header := range map[string][]string{
		"another site":          {"Sec-Fetch-Site: cross-site"},
		"a neighbour":           {"Sec-Fetch-Site: same-site"},
		"an old browser":        {"Origin: https://evil.example"},
		"a sandboxed frame":     {"Origin: null"},
		"another port":          {"Origin: http://example.com:1"},
		"ours, but not so said": {"Sec-Fetch-Site: cross-site", "Origin: http://example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			w := send(header...)
			require.Equal(t, http.StatusForbidden, w.Code)
			require.Empty(t, w.Result().Cookies())
			require.Contains(t, w.Body.String(), "another site")
		})
	}
	require.Equal(t, http.StatusSeeOther, send("Sec-Fetch-Site: same-origin", "Origin: null").Code, "what a referrer policy may make of Origin")
	require.Equal(t, http.StatusSeeOther, send("Origin: http://example.com").Code, "an old browser")
	require.Equal(t, http.StatusSeeOther, send().Code, "a program")
}

func TestTheLoginPageSharesTheBackOff(t *testing.T) {
	g := start(t)
	g.user("dev")
	g.website()
	for range 2 {
		require.Equal(t, http.StatusUnauthorized, g.browser().submit(query(), "dev", "x").Code)
	}
	for range 3 {
		g.wrong(home, "dev")
	}
	w := g.browser().submit(query(), "dev", password)
	require.Equal(t, http.StatusTooManyRequests, w.Code)
	require.Equal(t, "5", w.Header().Get("Retry-After"))
	require.Contains(t, w.Body.String(), "Too many failed logins of this user: try again in 5 seconds.")
	g.clock.Add(5 * time.Second)
	require.Equal(t, http.StatusSeeOther, g.browser().submit(query(), "dev", password).Code)
	require.Equal(t, http.StatusOK, g.attempt(home, "dev", password).Code)
}

func TestASessionNeedsThePasswordOfThatMoment(t *testing.T) {
	g := start(t)
	u := *g.user("dev")
	g.website()
	changed := u
	changed.PasswordHash = passwordHash.text + "x"
	g.store.before = func() { require.NoError(t, g.store.PutUser(t.Context(), &changed)) }
	w := g.browser().submit(query(), "dev", password)
	require.Equal(t, http.StatusUnauthorized, w.Code)
	require.Empty(t, w.Result().Cookies())
	_, err := g.service.Login(t.Context(), g.account, "dev", password)
	require.Error(t, err)
	require.True(t, lambda.Is(g.failed, lambda.KindUnauthorized), "the log is told")
}

func TestManyTypesOfAccept(t *testing.T) {
	g := start(t)
	for accept, isHTML := range map[string]bool{
		"text/html": true, "text/html;q=0": false, "text/html;q=0.9, application/json;q=0.9": false, "text/html, */*": false,
		"text/html;q=2": false, "text/html;q=x": false, ",,text/html,": true, "application/xhtml+xml": false,
		"text/html;level=1;q=0.7, */*;q=0.1": true, strings.Repeat("a/b,", 5000) + "text/html": true,
	} {
		w := g.browser().do("GET", g.authorizePath(), "", "Accept: "+accept)
		require.Equal(t, isHTML, strings.HasPrefix(w.Header().Get("Content-Type"), "text/html"), fmt.Sprintf("%.60s", accept))
	}
}
