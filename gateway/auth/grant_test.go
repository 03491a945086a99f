package auth_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/auth"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

func (g *gateway) tokenPath() string  { return "/sentinel/api/account/" + g.account + "/token?v=2.0" }
func (g *gateway) revokePath() string { return "/sentinel/api/account/" + g.account + "/token/revoke" }

// form is a body with the website's credentials and these pairs; a pair without
// value takes a field away.
func form(pairs ...string) string {
	f := url.Values{"client_id": {website}, "client_secret": {clientSecret}}
	for i := 0; i < len(pairs); i += 2 {
		if f.Set(pairs[i], pairs[i+1]); pairs[i+1] == "" {
			f.Del(pairs[i])
		}
	}
	return f.Encode()
}

func codeForm(code string, pairs ...string) string {
	return form(append([]string{"grant_type", "authorization_code", "code", code, "redirect_uri", callback}, pairs...)...)
}

func refreshForm(token string, pairs ...string) string {
	return form(append([]string{"grant_type", "refresh_token", "refresh_token", token}, pairs...)...)
}

type issued struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	ID      string `json:"id_token"`
}

// issued requires tokens.
func (g *gateway) issued(w *httptest.ResponseRecorder) issued {
	g.t.Helper()
	require.Equal(g.t, http.StatusOK, w.Code, w.Body)
	require.NoError(g.t, g.failed)
	require.Equal(g.t, "application/json", w.Header().Get("Content-Type"))
	require.Equal(g.t, "no-store", w.Header().Get("Cache-Control"))
	require.Equal(g.t, "no-cache", w.Header().Get("Pragma"))
	var tokens issued
	require.NoError(g.t, json.Unmarshal(w.Body.Bytes(), &tokens))
	return tokens
}

// oauthFault requires an error answer of RFC 6749 §5.2.
func (g *gateway) oauthFault(w *httptest.ResponseRecorder, status int, code string) string {
	g.t.Helper()
	require.Equal(g.t, status, w.Code, w.Body)
	require.Equal(g.t, "application/json", w.Header().Get("Content-Type"))
	require.Equal(g.t, "no-store", w.Header().Get("Cache-Control"))
	require.Equal(g.t, status == 401, w.Header().Get("WWW-Authenticate") != "")
	var answer map[string]string
	require.NoError(g.t, json.Unmarshal(w.Body.Bytes(), &answer))
	require.Len(g.t, answer, 2)
	require.Equal(g.t, code, answer["error"], answer)
	require.Regexp(g.t, `^[\x20-\x21\x23-\x5b\x5d-\x7e]+$`, answer["error_description"])
	require.Error(g.t, g.failed, "the log is told")
	require.NotContains(g.t, g.failed.Error()+w.Body.String(), clientSecret)
	return answer["error_description"]
}

func (g *gateway) redeem(code string, pairs ...string) *httptest.ResponseRecorder {
	g.t.Helper()
	return g.post(g.tokenPath(), codeForm(code, pairs...), formType)
}

func (g *gateway) refresh(token string, pairs ...string) *httptest.ResponseRecorder {
	g.t.Helper()
	return g.post(g.tokenPath(), refreshForm(token, pairs...), formType)
}

// signedIn is a gateway with a user, a website, and the user's browser, which is
// logged in.
func signedIn(t testing.TB) (*gateway, *browser) {
	g := start(t)
	g.user("dev", lambda.RoleDeveloper)
	g.website()
	b := g.browser()
	b.logIn(query(), "dev")
	return g, b
}

func (b *browser) newCode(pairs ...string) string {
	b.g.t.Helper()
	return b.code(b.authorize(query(pairs...)))
}

func TestTokensAreTheContracts(t *testing.T) {
	g := start(t)
	u := g.user("dev", lambda.RoleAdmin)
	g.website()
	b := g.browser()
	code := b.logIn(query("nonce", "n-0S6_WzA2Mj", "max_age", "100"), "dev")
	loggedIn := g.clock.Now()
	g.clock.Add(59 * time.Second)
	w := g.redeem(code)
	tokens := g.issued(w)
	var answer map[string]any
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer))
	require.Len(t, answer, 5)
	require.Equal(t, "Bearer", answer["token_type"])
	require.EqualValues(t, 28800, answer["expires_in"])
	require.Regexp(t, `^[0-9a-f]{64}$`, tokens.Access)
	require.Regexp(t, `^[0-9a-f]{128}$`, tokens.Refresh)
	require.Equal(t, &auth.Principal{
		Account: g.account, UserID: u.ID, LoginName: "dev", ClientID: website, Kind: auth.Access,
		Permissions: auth.Permissions([]lambda.Role{lambda.RoleAdmin}),
	}, g.accepted(tokens.Access))

	var header, claims map[string]any
	part(t, tokens.ID, 0, &header)
	part(t, tokens.ID, 1, &claims)
	require.Equal(t, map[string]any{"alg": "RS256", "typ": "JWT", "kid": g.stored()[0]}, header)
	now := float64(g.clock.Now().Unix())
	require.Equal(t, map[string]any{
		"iss": "Sentinel", "sub": u.ID, "aud": website, "iat": now, "exp": now + 600, "is_admin": true, "is_lpa": false,
		"nonce": "n-0S6_WzA2Mj", "auth_time": float64(loggedIn.Unix()),
	}, claims)
	verifies(t, tokens.ID, g.post("/sentinel/well-known/jwks", "").Body.Bytes())
	g.refused(tokens.ID, "neither") // it is for the app, and opens nothing here

	second := g.issued(g.refresh(tokens.Refresh))
	claims = nil
	part(t, second.ID, 1, &claims)
	require.NotContains(t, claims, "nonce", "OpenID Connect Core §12.2")
	require.EqualValues(t, loggedIn.Unix(), claims["auth_time"], "of the login, not of the refresh")
	everywhere := everything(t)
	for _, secret := range []string{code, tokens.Access, tokens.Refresh, tokens.Refresh[:64], second.Access, second.Refresh[64:]} {
		require.NotContains(t, everywhere, secret)
	}
}

func TestAnAppThatMayNotRefreshGetsNoRefreshToken(t *testing.T) {
	g, b := signedIn(t)
	a := g.website()
	a.GrantTypes = []string{"authorization_code"}
	require.NoError(t, g.store.PutApp(t.Context(), a))
	g.seen()
	w := g.redeem(b.newCode())
	tokens := g.issued(w)
	require.NotContains(t, w.Body.String(), "refresh_token")
	g.accepted(tokens.Access)
	g.clock.Add(8 * time.Hour)
	g.refused(tokens.Access, "log in again")
}

func TestTokenRequestsThatSucceed(t *testing.T) {
	g, b := signedIn(t)
	path := "/sentinel/api/account/" + g.account + "/token"
	for name, send := range map[string]func(code string) *httptest.ResponseRecorder{
		"credentials in the body": func(c string) *httptest.ResponseRecorder { return g.post(path+"?v=2.0", codeForm(c), formType) },
		"v=1.0 and a charset": func(c string) *httptest.ResponseRecorder {
			return g.post(path+"?v=1.0", codeForm(c), formType+";charset=UTF-8")
		},
		"no version": func(c string) *httptest.ResponseRecorder { return g.post(path, codeForm(c), formType) },
		"HTTP Basic": func(c string) *httptest.ResponseRecorder {
			return g.post(path, codeForm(c, "client_id", "", "client_secret", ""), formType, basic(website, clientSecret))
		},
		"HTTP Basic and the id": func(c string) *httptest.ResponseRecorder {
			return g.post(path, codeForm(c, "client_secret", ""), formType, basic(website, clientSecret))
		},
		"all in the query":       func(c string) *httptest.ResponseRecorder { return g.post(path+"?v=2.0&"+codeForm(c), "") },
		"some in body and query": func(c string) *httptest.ResponseRecorder { return g.post(path+"?"+form(), codeForm(c), formType) },
		"unknown fields": func(c string) *httptest.ResponseRecorder {
			return g.post(path, codeForm(c, "scope", "x y", "audience", "z"), formType)
		},
	} {
		t.Run(name, func(t *testing.T) {
			g.in(t)
			g.accepted(g.issued(send(b.newCode())).Access)
		})
	}
	t.Run("a redirect URI that was left out stays out, or is the one", func(t *testing.T) {
		g.in(t)
		g.issued(g.redeem(b.newCode("redirect_uri", ""), "redirect_uri", ""))
		g.issued(g.redeem(b.newCode("redirect_uri", "")))
	})
}

// TestTokenRequestsThatFail walks RFC 6749 §5.2.
func TestTokenRequestsThatFail(t *testing.T) {
	g, b := signedIn(t)
	other := g.website()
	other.ClientID, other.ClientName, other.RedirectURIs = "other", "other", []string{callback}
	require.NoError(t, g.store.PutApp(t.Context(), other))
	g.app("machine", scopeInvoke)
	noRefresh := g.website()
	noRefresh.ClientID, noRefresh.ClientName, noRefresh.GrantTypes = "no-refresh", "no-refresh", []string{"authorization_code"}
	require.NoError(t, g.store.PutApp(t.Context(), noRefresh))
	g.seen()
	code := b.newCode()
	tokens := g.issued(g.redeem(b.newCode()))
	path := g.tokenPath()
	for name, c := range map[string]struct {
		path, body string
		header     []string
		status     int
		code       string
	}{
		"nothing":                       {path, "", nil, 401, "invalid_client"},
		"no grant type":                 {path, form(), nil, 400, "invalid_request"},
		"the password grant":            {path, form("grant_type", "password", "username", "dev", "password", password), nil, 400, "unsupported_grant_type"},
		"client credentials":            {path, form("grant_type", "client_credentials"), nil, 400, "unsupported_grant_type"},
		"a grant type in capitals":      {path, codeForm(code, "grant_type", "AUTHORIZATION_CODE"), nil, 400, "unsupported_grant_type"},
		"no code":                       {path, codeForm(""), nil, 400, "invalid_request"},
		"an unknown code":               {path, codeForm(auth.NewToken()), nil, 400, "invalid_grant"},
		"the hash of a code":            {path, codeForm(auth.Hash(code)), nil, 400, "invalid_grant"},
		"a code that is a path":         {path, codeForm("../view/keys/x"), nil, 400, "invalid_grant"},
		"a code in capitals":            {path, codeForm(strings.ToUpper(code)), nil, 400, "invalid_grant"},
		"an access token for a code":    {path, codeForm(tokens.Access), nil, 400, "invalid_grant"},
		"another app's code":            {path, codeForm(code, "client_id", "other"), nil, 400, "invalid_grant"},
		"another account":               {"/sentinel/api/account/99/token", codeForm(code), nil, 401, "invalid_client"},
		"an account that cannot be":     {"/sentinel/api/account/le1/token", codeForm(code), nil, 400, "invalid_request"},
		"an app without the grant":      {path, codeForm(code, "client_id", "machine"), nil, 400, "unauthorized_client"},
		"no secret":                     {path, codeForm(code, "client_secret", ""), nil, 401, "invalid_client"},
		"a wrong secret":                {path, codeForm(code, "client_secret", auth.NewClientSecret()), nil, 401, "invalid_client"},
		"an unknown client":             {path, codeForm(code, "client_id", "ghost"), nil, 401, "invalid_client"},
		"a wrong secret by Basic":       {path, codeForm(code, "client_id", "", "client_secret", ""), []string{basic(website, "x")}, 401, "invalid_client"},
		"two ways that differ":          {path, codeForm(code), []string{basic("other", clientSecret)}, 400, "invalid_request"},
		"a code twice":                  {path, codeForm(code) + "&code=" + code, nil, 400, "invalid_request"},
		"two redirect URIs":             {path, codeForm(code) + "&redirect_uri=x", nil, 400, "invalid_request"},
		"two codes, in body and query":  {path + "&code=" + auth.NewToken(), codeForm(code), nil, 400, "invalid_request"},
		"anything twice":                {path, codeForm(code) + "&x=1&x=1", nil, 400, "invalid_request"},
		"a version twice":               {path + "&v=2.0", codeForm(code), nil, 400, "invalid_request"},
		"JSON":                          {path, `{"grant_type":"authorization_code"}`, []string{"Content-Type: application/json"}, 400, "invalid_request"},
		"a body that is no form":        {path, "%zz", nil, 400, "invalid_request"},
		"a body above the limit":        {path, strings.Repeat("a", 64<<10+1), nil, 413, "invalid_request"},
		"no refresh token":              {path, refreshForm(""), nil, 400, "invalid_request"},
		"an unknown refresh token":      {path, refreshForm(auth.NewToken() + auth.NewToken()), nil, 400, "invalid_grant"},
		"an access token for it":        {path, refreshForm(tokens.Access), nil, 400, "invalid_grant"},
		"a part of a refresh token":     {path, refreshForm(tokens.Refresh[:127]), nil, 400, "invalid_grant"},
		"a refresh token in capitals":   {path, refreshForm(strings.ToUpper(tokens.Refresh)), nil, 400, "invalid_grant"},
		"another app's refresh token":   {path, refreshForm(tokens.Refresh, "client_id", "other"), nil, 400, "invalid_grant"},
		"an app that may not refresh":   {path, refreshForm(tokens.Refresh, "client_id", "no-refresh"), nil, 400, "unauthorized_client"},
		"a scope that is malformed":     {path, refreshForm(tokens.Refresh, "scope", `"`), nil, 400, "invalid_scope"},
		"a refresh with a wrong secret": {path, refreshForm(tokens.Refresh, "client_secret", "x"), nil, 401, "invalid_client"},
	} {
		t.Run(name, func(t *testing.T) {
			header := c.header
			if c.body != "" && !strings.Contains(strings.Join(header, " "), "Content-Type") {
				header = append([]string{formType}, header...)
			}
			g.in(t).oauthFault(g.post(c.path, c.body, header...), c.status, c.code)
		})
	}
	g.issued(g.redeem(code)) // none of that harmed it
	g.accepted(g.issued(g.refresh(tokens.Refresh)).Access)
}

// TestACodeThatItsOwnAppMisusesIsSpent: RFC 9700 §4.5 has codes bound to what the
// app said before; whoever fails may not try on.
func TestACodeThatItsOwnAppMisusesIsSpent(t *testing.T) {
	g, b := signedIn(t)
	g.website(callback, "http://localhost/callback")
	plain := verifier
	for name, c := range map[string]struct {
		authorize, use, right []string
	}{
		"another redirect URI of the app":      {nil, []string{"redirect_uri", "http://localhost/callback"}, nil},
		"a redirect URI that almost matches":   {nil, []string{"redirect_uri", callback + "/"}, nil},
		"no redirect URI":                      {nil, []string{"redirect_uri", ""}, nil},
		"a verifier where there was none":      {nil, []string{"code_verifier", verifier}, nil}, // RFC 9700 §2.1.1, downgrade
		"no verifier":                          {[]string{"code_challenge", challenge, "code_challenge_method", "S256"}, nil, []string{"code_verifier", verifier}},
		"another verifier":                     {[]string{"code_challenge", challenge, "code_challenge_method", "S256"}, []string{"code_verifier", verifier + "x"}, []string{"code_verifier", verifier}},
		"a verifier in other letters":          {[]string{"code_challenge", challenge, "code_challenge_method", "S256"}, []string{"code_verifier", strings.ToUpper(verifier)}, []string{"code_verifier", verifier}},
		"the challenge for a verifier":         {[]string{"code_challenge", challenge, "code_challenge_method", "S256"}, []string{"code_verifier", challenge}, []string{"code_verifier", verifier}},
		"a method that the app changes":        {[]string{"code_challenge", challenge, "code_challenge_method", "S256"}, []string{"code_verifier", challenge, "code_challenge_method", "plain"}, []string{"code_verifier", verifier}},
		"the verifier of a plain one, as S256": {[]string{"code_challenge", challenge}, []string{"code_verifier", verifier}, []string{"code_verifier", challenge}},
		"no verifier of a plain one":           {[]string{"code_challenge", plain, "code_challenge_method", "plain"}, nil, []string{"code_verifier", plain}},
		"a verifier that is too long":          {[]string{"code_challenge", plain}, []string{"code_verifier", strings.Repeat("a", 129)}, []string{"code_verifier", plain}},
	} {
		t.Run(name, func(t *testing.T) {
			g.in(t)
			g.issued(g.redeem(b.newCode(c.authorize...), c.right...))
			code := b.newCode(c.authorize...)
			g.oauthFault(g.redeem(code, c.use...), 400, "invalid_grant")
			g.oauthFault(g.redeem(code, c.right...), 400, "invalid_grant")
		})
	}
}

func TestACodeIsGoodForAMinute(t *testing.T) {
	g, b := signedIn(t)
	code := b.newCode()
	g.clock.Add(time.Minute)
	g.oauthFault(g.redeem(code), 400, "invalid_grant")
	code = b.newCode()
	g.clock.Add(time.Minute - time.Second)
	g.issued(g.redeem(code))
}

// TestACodeUsedTwiceEndsWhatItBegan: RFC 6749 §4.1.2, §10.5.
func TestACodeUsedTwiceEndsWhatItBegan(t *testing.T) {
	for name, later := range map[string]time.Duration{"at once": 0, "long after it ended": 20 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			g, b := signedIn(t)
			code := b.newCode()
			tokens := g.issued(g.redeem(code))
			bystander := g.issued(g.redeem(b.newCode()))
			g.clock.Add(later)
			tokens = g.issued(g.refresh(tokens.Refresh))
			bystander = g.issued(g.refresh(bystander.Refresh))
			g.oauthFault(g.redeem(code), 400, "invalid_grant")
			g.refused(tokens.Access, "log in again")
			g.oauthFault(g.refresh(tokens.Refresh), 400, "invalid_grant")
			g.oauthFault(g.redeem(code), 400, "invalid_grant")
			g.accepted(bystander.Access)
		})
	}
	t.Run("also with a fault beside", func(t *testing.T) {
		g, b := signedIn(t)
		code := b.newCode()
		tokens := g.issued(g.redeem(code))
		g.oauthFault(g.redeem(code, "redirect_uri", "http://x"), 400, "invalid_grant")
		g.refused(tokens.Access, "log in again")
	})
	t.Run("but not by another app", func(t *testing.T) {
		g, b := signedIn(t)
		other := g.website()
		other.ClientID, other.ClientName = "other", "other"
		require.NoError(t, g.store.PutApp(t.Context(), other))
		g.seen()
		code := b.newCode()
		tokens := g.issued(g.redeem(code))
		g.oauthFault(g.redeem(code, "client_id", "other"), 400, "invalid_grant")
		g.accepted(tokens.Access)
	})
	t.Run("by many at once", func(t *testing.T) {
		g, b := signedIn(t)
		code := b.newCode()
		won, rest := g.race(20, codeForm(code))
		require.Len(t, won, 1)
		require.Equal(t, 19, rest)
		g.refused(won[0].Access, "log in again")
		g.oauthFault(g.refresh(won[0].Refresh), 400, "invalid_grant")
	})
}

// race sends the same to the token endpoint many times at once. It gives what was
// issued, and how many got invalid_grant.
func (g *gateway) race(n int, body string) (won []issued, lost int) {
	g.t.Helper()
	answers := make([]*httptest.ResponseRecorder, n)
	var all sync.WaitGroup
	for i := range answers {
		answers[i] = httptest.NewRecorder()
		all.Go(func() {
			r := httptest.NewRequest("POST", g.tokenPath(), strings.NewReader(body))
			r.Header.Set("Content-Type", strings.TrimPrefix(formType, "Content-Type: "))
			_ = g.service.HandleToken(answers[i], g.routed(r))
		})
	}
	all.Wait()
	for _, w := range answers {
		if w.Code == http.StatusOK {
			g.failed = nil
			tokens := issued{}
			require.NoError(g.t, json.Unmarshal(w.Body.Bytes(), &tokens))
			won = append(won, tokens)
			continue
		}
		require.Equal(g.t, http.StatusBadRequest, w.Code, w.Body)
		require.Contains(g.t, w.Body.String(), `"invalid_grant"`)
		lost++
	}
	return won, lost
}

func TestRefreshing(t *testing.T) {
	g, b := signedIn(t)
	first := g.issued(g.redeem(b.newCode()))
	g.clock.Add(7 * time.Hour)
	second := g.issued(g.refresh(first.Refresh, "scope", "openid whatever"))
	require.NotEqual(t, first.Refresh, second.Refresh)
	require.Equal(t, first.Refresh[:64], second.Refresh[:64], "the family")
	g.accepted(second.Access)
	g.accepted(first.Access)
	g.clock.Add(time.Hour)
	g.refused(first.Access, "log in again") // its own end
	g.accepted(second.Access)
	third := g.issued(g.refresh(second.Refresh))
	fourth := g.issued(g.refresh(third.Refresh))
	g.seen()
	g.refused(second.Access, "log in again")
	g.accepted(third.Access)
	g.accepted(fourth.Access)
	b.code(b.authorize(query())) // 8 h after the login: the browser's session lives on
	g.clock.Add(30*24*time.Hour - time.Second)
	fifth := g.issued(g.refresh(fourth.Refresh))
	b.toLogin(b.authorize(query())) // that one had ended
	g.clock.Add(30 * 24 * time.Hour)
	g.oauthFault(g.refresh(fifth.Refresh), 400, "invalid_grant")
}

// TestReplayedRefreshTokensEndTheFamily: RFC 9700 §2.2.2, §4.14.2.
func TestReplayedRefreshTokensEndTheFamily(t *testing.T) {
	for name, rounds := range map[string]int{"the one before": 1, "one of long ago": 4} {
		t.Run(name, func(t *testing.T) {
			g, b := signedIn(t)
			stolen := g.issued(g.redeem(b.newCode()))
			bystander := g.issued(g.redeem(b.newCode()))
			tokens, before := stolen, stolen
			for range rounds {
				before, tokens = tokens, g.issued(g.refresh(tokens.Refresh))
			}
			g.seen()
			g.accepted(tokens.Access)
			g.oauthFault(g.refresh(stolen.Refresh), 400, "invalid_grant")
			g.refused(tokens.Access, "log in again")
			g.refused(before.Access, "log in again")
			g.oauthFault(g.refresh(tokens.Refresh), 400, "invalid_grant")
			g.accepted(bystander.Access)
			b.newCode() // the person stays logged in
		})
	}
	t.Run("another app learns nothing and ends nothing", func(t *testing.T) {
		g, b := signedIn(t)
		other := g.website()
		other.ClientID, other.ClientName = "other", "other"
		require.NoError(t, g.store.PutApp(t.Context(), other))
		g.seen()
		first := g.issued(g.redeem(b.newCode()))
		second := g.issued(g.refresh(first.Refresh))
		unknown := g.oauthFault(g.refresh(auth.NewToken()+auth.NewToken(), "client_id", "other"), 400, "invalid_grant")
		for _, stolen := range []string{first.Refresh, second.Refresh} {
			require.Equal(t, unknown, g.oauthFault(g.refresh(stolen, "client_id", "other"), 400, "invalid_grant"))
		}
		g.issued(g.refresh(second.Refresh))
	})
	t.Run("a right family with a wrong secret", func(t *testing.T) {
		g, b := signedIn(t)
		tokens := g.issued(g.redeem(b.newCode()))
		g.oauthFault(g.refresh(tokens.Refresh[:64]+auth.NewToken()), 400, "invalid_grant")
		g.refused(tokens.Access, "log in again")
	})
}

func TestOfManyWhoRefreshAtOnceOneWinsAndTheFamilyEnds(t *testing.T) {
	g, b := signedIn(t)
	for range 3 {
		first := g.issued(g.redeem(b.newCode()))
		won, lost := g.race(20, refreshForm(first.Refresh))
		require.Len(t, won, 1)
		require.Equal(t, 19, lost)
		g.refused(won[0].Access, "log in again")
		g.refused(first.Access, "log in again")
		g.oauthFault(g.refresh(won[0].Refresh), 400, "invalid_grant")
	}
}

func TestTwoGatewaysShareGrants(t *testing.T) {
	g, b := signedIn(t)
	neighbour := join(t, g.clock, auth.Config{})
	neighbour.account = g.account
	require.NoError(t, neighbour.keeper.Check(t.Context()))
	code := b.newCode()
	first := neighbour.issued(neighbour.redeem(code))
	g.accepted(first.Access) // by a read, before the watch tells of it
	second := g.issued(g.refresh(first.Refresh))
	neighbour.oauthFault(neighbour.refresh(first.Refresh), 400, "invalid_grant")
	neighbour.refused(second.Access, "log in again")
	require.NoError(t, g.views.WaitFor(t.Context(), neighbour.store.Written()))
	g.refused(second.Access, "log in again")
}

func TestTokensEndWithTheirAppAndTheirUser(t *testing.T) {
	g, b := signedIn(t)
	tokens := g.issued(g.redeem(b.newCode()))
	g.seen()
	a := g.website()
	a.GrantTypes = []string{"client_credentials"}
	require.NoError(t, g.store.PutApp(t.Context(), a))
	g.seen()
	g.refused(tokens.Access, "no longer installed")
	require.NoError(t, g.store.DeleteApp(t.Context(), g.account, website, nil))
	g.seen()
	g.refused(tokens.Access, "no longer installed")
	g.oauthFault(g.refresh(tokens.Refresh), 401, "invalid_client")
	g.website()
	g.clock.Add(3 * time.Second) // strangers are remembered so long
	g.accepted(tokens.Access)
	code := b.newCode()
	r, err := etcd(t).Delete(t.Context(), "/sluice/view/users/"+g.account+"/id-dev")
	require.NoError(t, err)
	require.NoError(t, g.views.WaitFor(t.Context(), r.Header.Revision))
	g.refused(tokens.Access, "no longer exists")
	g.oauthFault(g.redeem(code), 400, "invalid_grant")
	g.oauthFault(g.refresh(tokens.Refresh), 400, "invalid_grant")
	g.user("dev")
	g.oauthFault(g.refresh(tokens.Refresh), 400, "invalid_grant") // it does not come back
}

func TestATokenOfAnotherAccountIsRefused(t *testing.T) {
	g, b := signedIn(t)
	tokens := g.issued(g.redeem(b.newCode()))
	other := start(t)
	other.website()
	other.refused(tokens.Access, "another account")
	other.oauthFault(other.refresh(tokens.Refresh), 400, "invalid_grant")
	other.oauthFault(other.redeem(b.newCode()), 400, "invalid_grant")
	w := other.revoke(tokens.Refresh)
	other.oauthFault(w, 400, "invalid_grant")
	g.accepted(tokens.Access)
}

// TestKilledBetweenSteps: whatever moment a gateway is killed at, the next request
// meets a state that was whole.
func TestKilledBetweenSteps(t *testing.T) {
	g, b := signedIn(t)
	unavailable := func(w *httptest.ResponseRecorder) {
		t.Helper()
		g.oauthFault(w, 503, "temporarily_unavailable")
		require.Equal(t, "1", w.Header().Get("Retry-After"))
		g.store.lost, g.store.dead = false, false
	}
	g.store.dead = true
	require.Equal(t, http.StatusServiceUnavailable, b.authorize(query()).Code)
	g.store.dead = false
	code := b.newCode()
	g.store.dead = true
	unavailable(g.redeem(code))
	first := g.issued(g.redeem(code)) // nothing had happened

	g.store.dead = true
	unavailable(g.refresh(first.Refresh))
	second := g.issued(g.refresh(first.Refresh))

	code = b.newCode()
	g.store.lost = true
	unavailable(g.redeem(code))
	g.oauthFault(g.redeem(code), 400, "invalid_grant") // it was used; nobody has the tokens

	g.store.lost = true
	unavailable(g.refresh(second.Refresh))
	g.oauthFault(g.refresh(second.Refresh), 400, "invalid_grant") // strict: it was replaced
	g.refused(second.Access, "log in again")

	// A replay whose end is not written yet ends at the next one.
	third := g.issued(g.redeem(b.newCode()))
	fourth := g.issued(g.refresh(third.Refresh))
	g.store.dead = true
	unavailable(g.refresh(third.Refresh))
	g.accepted(fourth.Access)
	g.oauthFault(g.refresh(third.Refresh), 400, "invalid_grant")
	g.refused(fourth.Access, "log in again")

	fifth := g.issued(g.redeem(b.newCode()))
	g.store.dead = true
	unavailable(g.revoke(fifth.Refresh))
	g.accepted(fifth.Access)
	g.revoked(g.revoke(fifth.Refresh))
	g.refused(fifth.Access, "log in again")
}

func TestTokensWhileEtcdIsAway(t *testing.T) {
	g, b := signedIn(t)
	code := b.newCode()
	tokens := g.issued(g.redeem(b.newCode()))
	g.store.down.Store(true)
	for _, w := range []*httptest.ResponseRecorder{g.redeem(code), g.refresh(tokens.Refresh), g.revoke(tokens.Refresh)} {
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.Equal(t, "1", w.Header().Get("Retry-After"))
		require.Contains(t, w.Body.String(), "temporarily_unavailable")
		require.ErrorIs(t, g.failed, errDown)
	}
	g.store.down.Store(false)
	g.issued(g.redeem(code))
}

func (g *gateway) revoke(token string, pairs ...string) *httptest.ResponseRecorder {
	g.t.Helper()
	return g.post(g.revokePath()+"?v=1.0", form(append([]string{"token", token}, pairs...)...), formType)
}

// revoked requires the answer of a revocation: nothing.
func (g *gateway) revoked(w *httptest.ResponseRecorder) {
	g.t.Helper()
	require.Equal(g.t, http.StatusOK, w.Code, w.Body)
	require.Zero(g.t, w.Body.Len())
	require.Equal(g.t, "application/json", w.Header().Get("Content-Type"), "simple-oauth2 takes no other")
	require.Equal(g.t, "no-store", w.Header().Get("Cache-Control"))
	require.NoError(g.t, g.failed)
}

// TestRevoking walks RFC 7009 §2.1.
func TestRevoking(t *testing.T) {
	for name, pick := range map[string]func(old, now issued) string{
		"a refresh token":          func(_, now issued) string { return now.Refresh },
		"an access token":          func(_, now issued) string { return now.Access },
		"the access token before":  func(old, _ issued) string { return old.Access },
		"the refresh token before": func(old, _ issued) string { return old.Refresh },
	} {
		t.Run(name, func(t *testing.T) {
			g, b := signedIn(t)
			elsewhere := g.browser()
			elsewhere.logIn(query(), "dev")
			bearer := g.login("dev").Bearer
			unused := elsewhere.newCode()
			first := g.issued(g.redeem(b.newCode()))
			second := g.issued(g.refresh(first.Refresh))
			g.seen()
			g.revoked(g.revoke(pick(first, second)))
			g.refused(first.Access, "log in again")
			g.refused(second.Access, "log in again")
			g.oauthFault(g.refresh(second.Refresh), 400, "invalid_grant")
			b.toLogin(b.authorize(query()))
			elsewhere.toLogin(elsewhere.authorize(query()))
			g.oauthFault(g.redeem(unused), 400, "invalid_grant")
			g.accepted(bearer) // of the login service: it has its own logout
			g.revoked(g.revoke(pick(first, second)))
		})
	}
}

func TestRevocationsOfWhatIsNotThere(t *testing.T) {
	g, b := signedIn(t)
	tokens := g.issued(g.redeem(b.newCode()))
	for name, token := range map[string]string{
		"an unknown access token": auth.NewToken(), "an unknown refresh token": auth.NewToken() + auth.NewToken(), "words": "let me out",
		"a part of one": tokens.Refresh[:100], "a path": "../../view", "binary": "\xff\x00", "very long": strings.Repeat("a", 30_000),
	} {
		t.Run(name, func(t *testing.T) { g.in(t).revoked(g.revoke(token)) })
	}
	g.accepted(tokens.Access)
}

func TestRevocationRequests(t *testing.T) {
	g, b := signedIn(t)
	other := g.website()
	other.ClientID, other.ClientName = "other", "other"
	require.NoError(t, g.store.PutApp(t.Context(), other))
	g.app("app", scopeInvoke)
	tokens := g.issued(g.redeem(b.newCode()))
	path := g.revokePath()
	token := "token=" + tokens.Refresh
	for name, c := range map[string]struct {
		path, body string
		header     []string
		status     int
		code       string
	}{
		"no token":                        {path, form(), nil, 400, "invalid_request"},
		"an empty token":                  {path, form() + "&token=", nil, 400, "invalid_request"},
		"a token twice":                   {path, form() + "&" + token + "&" + token, nil, 400, "invalid_request"},
		"no client":                       {path, token, nil, 401, "invalid_client"},
		"a wrong secret":                  {path, form("client_secret", "x", "token", tokens.Refresh), nil, 401, "invalid_client"},
		"another app":                     {path, form("client_id", "other", "token", tokens.Refresh), nil, 400, "invalid_grant"},
		"another app, an access token":    {path, form("client_id", "other", "token", tokens.Access), nil, 400, "invalid_grant"},
		"a token of the login service":    {path, form("token", g.login("dev").Bearer), nil, 400, "invalid_grant"},
		"an app's JWT":                    {path, form("token", g.appToken("app")), nil, 400, "unsupported_token_type"},
		"an id token":                     {path, form("token", tokens.ID), nil, 400, "unsupported_token_type"},
		"another account":                 {"/sentinel/api/account/99/token/revoke", form("token", tokens.Refresh), nil, 401, "invalid_client"},
		"an account that cannot be":       {"/sentinel/api/account/x/token/revoke", form("token", tokens.Refresh), nil, 400, "invalid_request"},
		"JSON":                            {path, `{"token":"x"}`, []string{"Content-Type: application/json"}, 400, "invalid_request"},
		"a query that is not well-formed": {path + "?%zz", form("token", tokens.Refresh), nil, 400, "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			header := c.header
			if header == nil {
				header = []string{formType}
			}
			g.in(t).oauthFault(g.post(c.path, c.body, header...), c.status, c.code)
			g.accepted(tokens.Access)
		})
	}
	for name, send := range map[string]func(issued) *httptest.ResponseRecorder{
		"v=1.0": func(i issued) *httptest.ResponseRecorder {
			return g.post(path+"?v=1.0", form("token", i.Refresh), formType)
		},
		"v1.0": func(i issued) *httptest.ResponseRecorder {
			return g.post(path+"?v1.0", form("token", i.Refresh), formType)
		},
		"no version": func(i issued) *httptest.ResponseRecorder { return g.post(path, form("token", i.Refresh), formType) },
		"HTTP Basic": func(i issued) *httptest.ResponseRecorder {
			return g.post(path, "token="+i.Refresh, formType, basic(website, clientSecret))
		},
		"a hint": func(i issued) *httptest.ResponseRecorder {
			return g.post(path, form("token", i.Refresh, "token_type_hint", "refresh_token"), formType)
		},
		"a wrong hint": func(i issued) *httptest.ResponseRecorder {
			return g.post(path, form("token", i.Access, "token_type_hint", "refresh_token"), formType)
		},
		"an odd hint": func(i issued) *httptest.ResponseRecorder {
			return g.post(path, form("token", i.Refresh, "token_type_hint", "x"), formType)
		},
	} {
		t.Run(name, func(t *testing.T) {
			g.in(t)
			b := g.browser()
			tokens := g.issued(g.redeem(b.logIn(query(), "dev")))
			g.revoked(send(tokens))
			g.refused(tokens.Access, "log in again")
		})
	}
}

func TestConfigOfTheCodeFlow(t *testing.T) {
	g := start(t)
	for says, cfg := range map[string]auth.Config{
		"IDTokenLifetime is 2h0m0s: give TokenLifetime (1h0m0s) or less": {IDTokenLifetime: 2 * time.Hour},
		"GrantLifetime is 1h0m0s: give 8h0m0s or more":                   {GrantLifetime: time.Hour},
		"CodeLifetime is -1s": {CodeLifetime: -time.Second},
	} {
		_, err := auth.NewAuthenticator(cfg, g.store, g.views, g.keeper)
		require.ErrorContains(t, err, says)
	}
}

func FuzzToken(f *testing.F) {
	g := start(f)
	g.website()
	f.Add(codeForm(auth.NewToken()), "v=2.0", "")
	f.Add(refreshForm(auth.NewToken()+auth.NewToken()), "", "")
	f.Add(form("token", "a.b.c"), "v1.0", "Basic d2ViOng=")
	f.Add("%", "a;b", fmt.Sprint(basic(website, clientSecret)[len("Authorization: "):]))
	f.Fuzz(func(t *testing.T, body, query, authorization string) {
		header := map[string]string{"Authorization": authorization, "Content-Type": "application/x-www-form-urlencoded"}
		for path, statuses := range map[string][]int{
			"/sentinel/api/account/" + g.account + "/token":        {400, 401, 413},
			"/sentinel/api/account/" + g.account + "/token/revoke": {200, 400, 401, 413},
		} {
			w := fuzzPost(g, path, query, body, header)
			require.Contains(t, statuses, w.Code)
			require.True(t, w.Code == http.StatusOK || json.Valid(w.Body.Bytes()))
		}
	})
}

func TestAUserWhoWritesTooOftenIsHeldUp(t *testing.T) {
	g, b := signedIn(t)
	g.user("other", lambda.RoleDeveloper)
	other := g.browser()
	other.logIn(query(), "other")
	tokens := g.issued(g.redeem(b.newCode()))
	session := g.login("dev")

	within := 0
	for ; within < 300; within++ {
		if w := b.authorize(query()); w.Code != http.StatusFound {
			require.Equal(t, "1", w.Header().Get("Retry-After"))
			require.Equal(t, http.StatusTooManyRequests, w.Code)
			require.Contains(t, w.Body.String(), "temporarily_unavailable")
			break
		}
	}
	require.Less(t, within, 150)
	require.Greater(t, within, 50)
	g.oauthFault(g.refresh(tokens.Refresh), 429, "temporarily_unavailable")
	require.True(t, lambda.Is(g.service.Refresh(t.Context(), g.account, session.SessionID, session.CSRF), lambda.KindRateLimited))
	w := b.authorize(query("prompt", "none"))
	require.Contains(t, w.Header().Get("Location"), callback+"?error=temporarily_unavailable")
	other.newCode()

	g.clock.Add(time.Second)
	g.issued(g.refresh(tokens.Refresh)) // it was not spent
	require.NoError(t, g.service.Refresh(t.Context(), g.account, session.SessionID, session.CSRF))
	b.newCode()
}
