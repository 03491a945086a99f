package api_test

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/api"
	"github.com/sluice-faas/sluice/gateway/auth"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/web"
)

// browser is one person's, with cookies; it follows no redirect by itself.
type browser struct {
	g      *gateway
	client *http.Client
	origin string
}

// browse gives a new browser, and the gateway over HTTPS, without which there are no
// cookies.
func (g *gateway) browse() *browser {
	g.t.Helper()
	server := httptest.NewTLSServer(g.server)
	g.t.Cleanup(server.Close)
	jar, err := cookiejar.New(nil)
	require.NoError(g.t, err)
	return &browser{g, &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}, //nolint:gosec // the test's own server
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, server.URL}
}

// ask makes one request of an address or of a path.
func (b *browser) ask(method, address, body string, headers ...string) reply {
	b.g.t.Helper()
	if strings.HasPrefix(address, "/") {
		address = b.origin + address
	}
	req, err := http.NewRequestWithContext(b.g.t.Context(), method, address, strings.NewReader(body))
	require.NoError(b.g.t, err)
	if body != "" && !strings.HasPrefix(body, "{") {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := b.client.Do(req)
	require.NoError(b.g.t, err)
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	require.NoError(b.g.t, err)
	return reply{res, b.g.t, string(text)}
}

// to follows one redirect's address.
func (b *browser) to(r reply) string {
	b.g.t.Helper()
	require.Contains(b.g.t, []int{http.StatusFound, http.StatusSeeOther}, r.StatusCode, r.body)
	u, err := r.Location()
	require.NoError(b.g.t, err)
	return u.String()
}

// signIn goes the whole way, up to the callback's answer.
func (b *browser) signIn(role lambda.Role, to string) reply {
	b.g.t.Helper()
	login := b.to(b.ask("GET", b.to(b.ask("GET", "/ui/sign-in?"+url.Values{"account": {account}, "to": {to}}.Encode(), "")), ""))
	require.Contains(b.g.t, login, "/login?")
	form := url.Values{"username": {strings.ToLower(string(role))}, "password": {"a password"}}.Encode()
	back := b.to(b.ask("GET", b.to(b.ask("POST", login, form)), ""))
	require.Contains(b.g.t, back, auth.WebCallback)
	return b.ask("GET", back, "")
}

type webSession struct {
	User *struct {
		AccountID, UserID, LoginName string
		Roles, Permissions           []string
	}
	Hosts map[string]string
}

func (b *browser) session() (s webSession) {
	b.g.t.Helper()
	r := b.ask("GET", "/ui/session", "")
	require.Equal(b.g.t, http.StatusOK, r.StatusCode, r.body)
	require.NoError(b.g.t, json.Unmarshal([]byte(r.body), &s))
	return s
}

const lambdasPath = "/api/account/" + account + "/lambdas"

func TestSigningInToTheWebUI(t *testing.T) {
	g := newGateway(t)
	b := g.browse()
	require.Nil(t, b.session().User)
	in := b.signIn(lambda.RoleDeveloper, "/functions?state=Draft")
	require.Equal(t, "/functions?state=Draft", in.Header.Get("Location"))
	for _, c := range in.Cookies() {
		require.True(t, c.Secure && c.HttpOnly && c.SameSite == http.SameSiteLaxMode && c.Path == "/" && c.Domain == "", c.Name)
	}
	s := b.session()
	require.Equal(t, account, s.User.AccountID)
	require.Equal(t, "faas-developer", s.User.LoginName)
	require.Equal(t, []string{"FaaS-Developer"}, s.User.Roles)
	require.Contains(t, s.User.Permissions, "Deploy")
	require.NotContains(t, s.User.Permissions, "WriteSecrets")
	require.Equal(t, "gw.example.com", s.Hosts["faasGW"])

	require.Equal(t, http.StatusOK, b.ask("GET", lambdasPath, "").StatusCode)
	require.Equal(t, http.StatusUnauthorized, b.ask("GET", strings.Replace(lambdasPath, account, other, 1), "").StatusCode)

	// What is called is called by hand: the answer has the logs.
	manual := b.ask("POST", lambdasPath+"/x/invoke", "{}")
	require.Equal(t, http.StatusOK, manual.StatusCode, manual.body)
	require.Contains(t, manual.body, `"logs"`)

	user, err := g.store.User(t.Context(), account, s.User.UserID)
	require.NoError(t, err)
	_, err = g.store.UpdateUser(t.Context(), account, user.ID, func(u *lambda.User) error { u.Roles = []lambda.Role{lambda.RoleInvocation}; return nil })
	require.NoError(t, err)
	require.NoError(t, g.views.WaitFor(t.Context(), g.store.Written()))
	require.Equal(t, http.StatusForbidden, b.ask("GET", lambdasPath, "").StatusCode, "a role that is taken away")
	require.Equal(t, []string{"FaaS-Invocation"}, b.session().User.Roles)

	require.Equal(t, http.StatusForbidden, b.ask("POST", "/ui/sign-out", "", "Sec-Fetch-Site", "cross-site").StatusCode)
	cookies := b.client.Jar.Cookies(mustURL(t, b.origin))
	require.Equal(t, http.StatusNoContent, b.ask("POST", "/ui/sign-out", "").StatusCode)
	require.Nil(t, b.session().User)
	b.client.Jar.SetCookies(mustURL(t, b.origin), cookies)
	require.Equal(t, http.StatusUnauthorized, b.ask("GET", lambdasPath, "").StatusCode, "who kept the cookie")
	require.Contains(t, b.to(b.ask("GET", "/ui/sign-in?account="+account, "")), "prompt=login", "whoever comes next has to log in")
}

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	require.NoError(t, err)
	return u
}

func TestOtherSitesChangeNothingByTheCookie(t *testing.T) {
	g := newGateway(t)
	b := g.browse()
	b.signIn(lambda.RoleDeveloper, "/")
	body := `{"name":"planted","description":"x","implementation":{"code":"function lambda(i, c) { c(null) }","dependencies":[],"environmentVariables":[]}}`
	for _, headers := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"}} {
		r := b.ask("POST", lambdasPath, body, headers...)
		require.Equal(t, http.StatusForbidden, r.StatusCode, "%v: %s", headers, r.body)
		require.Contains(t, r.body, "another site")
	}
	require.Equal(t, http.StatusForbidden, b.ask("POST", lambdasPath+"/x/invoke", "{}", "Sec-Fetch-Site", "cross-site").StatusCode)
	made := b.ask("POST", lambdasPath, body, "Sec-Fetch-Site", "same-origin")
	require.Equal(t, http.StatusCreated, made.StatusCode, made.body)
	// A token is no cookie: it comes from nowhere by itself.
	require.NotEqual(t, http.StatusForbidden, b.ask("POST", lambdasPath, body, "Origin", "https://site.example", "Authorization", "Bearer "+g.tokens[lambda.RoleDeveloper]).StatusCode)
}

func TestACodeOfTheWebUIIsForItsOwnBrowser(t *testing.T) {
	g := newGateway(t)
	victim, thief := g.browse(), g.browse()
	begun := victim.to(victim.ask("GET", "/ui/sign-in?account="+account, ""))
	login := victim.to(victim.ask("GET", begun, ""))
	back := victim.to(victim.ask("GET", victim.to(victim.ask("POST", login, "username=faas-admin&password=a+password")), ""))

	thief.origin = victim.origin
	require.Contains(t, thief.to(thief.ask("GET", back, "")), "/sign-in?error=expired", "without the cookie of who began")
	code := mustURL(t, back).Query().Get("code")
	mine := mustURL(t, thief.to(thief.ask("GET", "/ui/sign-in?account="+account, ""))).Query().Get("state")
	require.Contains(t, thief.to(thief.ask("GET", auth.WebCallback+"?state="+mine+"&code="+code, "")), "error=expired", "with another verifier")
	require.Nil(t, thief.session().User)
	require.Contains(t, victim.to(victim.ask("GET", back, "")), "error=expired", "a code that somebody tried is spoiled")

	silent := victim.to(victim.ask("GET", victim.to(victim.ask("GET", "/ui/sign-in?account="+account, "")), ""))
	require.Equal(t, "/", victim.ask("GET", silent, "").Header.Get("Location"), "who is logged in at Sentinel is not asked again")
	require.Equal(t, "faas-admin", victim.session().User.LoginName)
	require.Contains(t, victim.to(victim.ask("GET", back, "")), "error=expired")

	// Whoever asks authorize in its name is led to its own host, or nowhere.
	q := mustURL(t, begun).Query()
	for _, redirect := range []string{"https://evil.example/ui/callback", "http://ui.example.com/ui/callback", "https://ui.example.com/ui/callback/", "https://ui.example.com/functions", "https://127.0.0.1.evil.example/ui/callback"} {
		q.Set("redirect_uri", redirect)
		r := victim.ask("GET", "/sentinel/api/account/"+account+"/authorize?"+q.Encode(), "")
		require.Equal(t, http.StatusBadRequest, r.StatusCode, redirect)
		require.Empty(t, r.Header.Get("Location"))
	}
	q = mustURL(t, begun).Query()
	q.Del("code_challenge")
	q.Del("code_challenge_method")
	require.Contains(t, victim.to(victim.ask("GET", "/sentinel/api/account/"+account+"/authorize?"+q.Encode(), "")), "error=invalid_request", "without a challenge")
	// Its codes are no tokens.
	r := victim.ask("POST", "/sentinel/api/account/"+account+"/token", "grant_type=authorization_code&client_id=sluice-ui&code="+code)
	require.Equal(t, http.StatusUnauthorized, r.StatusCode, r.body)
}

func TestWhereASignInLeads(t *testing.T) {
	g := newGateway(t)
	b := g.browse()
	for _, to := range []string{"//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "evil", "/a\nb", "\\\\evil.example"} {
		require.Equal(t, "/", b.signIn(lambda.RoleDeveloper, to).Header.Get("Location"), to)
		b = g.browse()
	}
	for _, wrong := range []string{"", "x", "12 34", strings.Repeat("1", 40)} {
		require.Contains(t, b.to(b.ask("GET", "/ui/sign-in?account="+url.QueryEscape(wrong), "")), "/sign-in?error=account", wrong)
	}
	require.Contains(t, b.to(b.ask("GET", auth.WebCallback+"?state=0123456789&error=access_denied", "")), "error=expired")
	// Over plain HTTP no cookie is kept: on to where the web UI is.
	require.Equal(t, "https://ui.example.com/ui/sign-in?account="+account+"&to=%2Flogs", g.sentinel("GET", "/ui/sign-in?account="+account+"&to=/logs", "").Header.Get("Location"))
	// A host without Sentinel leads to the web UI's own, and from there to Sentinel's.
	there := b.ask("GET", "/ui/sign-in?account="+account, "")
	require.Contains(t, b.to(there), b.origin, "all services are here")
}

func FuzzPlace(f *testing.F) {
	for _, s := range []string{"/functions?a=b#c", "//x", "/\\x", "https://x", "/%2f%2fx", "/\t/x"} {
		f.Add(s)
	}
	base, _ := url.Parse("https://ui.example.com/ui/callback")
	f.Fuzz(func(t *testing.T, to string) {
		// Browsers read a backslash as a slash and drop control characters.
		place := api.Place(to)
		seen := strings.NewReplacer("\\", "/", "\t", "", "\n", "", "\r", "").Replace(place)
		u, err := base.Parse(seen)
		require.NoError(t, err)
		require.Equal(t, "ui.example.com", u.Host, "%q", to)
		require.Equal(t, "https", u.Scheme)
	})
}

func TestEveryOtherPathIsTheWebUI(t *testing.T) {
	g := newGateway(t)
	b := g.browse()
	for _, path := range []string{"/", "/functions", "/functions/x/invoke", "/sign-in", "/apis", "/sentinels"} {
		r := b.ask("GET", path, "")
		require.Equal(t, http.StatusOK, r.StatusCode, path)
		require.Equal(t, "<title>page</title>", r.body)
		require.Equal(t, "no-cache", r.Header.Get("Cache-Control"))
		policy := r.Header.Get("Content-Security-Policy")
		require.Contains(t, policy, "script-src 'self';")
		require.Contains(t, policy, "default-src 'none'")
	}
	r := b.ask("GET", "/assets/a.js", "", "Accept-Encoding", "identity")
	require.Equal(t, "text/javascript; charset=utf-8", r.Header.Get("Content-Type"))
	require.Contains(t, r.Header.Get("Cache-Control"), "immutable")
	require.Equal(t, http.StatusNotModified, b.ask("GET", "/assets/a.js", "", "Accept-Encoding", "identity", "If-None-Match", r.Header.Get("ETag")).StatusCode)
	require.Equal(t, "zipped", b.ask("GET", "/assets/a.js", "", "Accept-Encoding", "br, gzip").body)
	require.Equal(t, "plain", b.ask("GET", "/assets/a.js", "", "Accept-Encoding", "gzip;q=0").body)
	for _, path := range []string{"/assets/b.js", "/api/", "/api/x", "//api/x", "/API/x", "/x/../api/x", "/sentinel/x", "/ui/x", "/assets/../../etc/passwd"} {
		r := b.ask("GET", path, "")
		require.Contains(t, []int{http.StatusNotFound, http.StatusOK}, r.StatusCode, path)
		if r.StatusCode == http.StatusOK {
			require.Equal(t, "<title>page</title>", r.body, path)
		} else {
			require.Contains(t, r.body, "errorMsg", path)
		}
	}
	require.Equal(t, http.StatusNotFound, g.sentinel("POST", "/functions", "").StatusCode)
	req, err := http.NewRequestWithContext(t.Context(), "GET", g.url+"/functions", nil)
	require.NoError(t, err)
	req.Host = "gw.example.com"
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusNotFound, res.StatusCode, "a host for calls alone")
}

// testPages is a web UI of two files.
func testPages(t *testing.T) *web.UI {
	t.Helper()
	pages, err := web.New(fstest.MapFS{
		"index.html": {Data: []byte("<title>page</title>")}, "assets/a.js": {Data: []byte("plain")}, "assets/a.js.gz": {Data: []byte("zipped")},
	})
	require.NoError(t, err)
	require.True(t, pages.Built())
	return pages
}

func TestAGatewayWithoutItsWebUISaysHowToBuildIt(t *testing.T) {
	pages, err := web.New(fstest.MapFS{".gitkeep": {}})
	require.NoError(t, err)
	require.False(t, pages.Built())
	w := httptest.NewRecorder()
	require.NoError(t, pages.Serve(w, httptest.NewRequest("GET", "/functions", nil)))
	require.Equal(t, http.StatusOK, w.Code)
	require.Contains(t, w.Body.String(), "make build")
}
