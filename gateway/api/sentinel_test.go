package api_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/auth"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

const appCallback = "http://localhost/callback"

// sentinel makes one request, follows no redirect, and holds the answer against
// openapi.yaml.
func (g *gateway) sentinel(method, path, body string, headers ...string) reply {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), method, g.url+path, strings.NewReader(body))
	require.NoError(g.t, err)
	if body != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	require.NoError(g.t, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(g.t, err)
	checkAnswer(g.t, req, resp, text)
	return reply{resp, g.t, string(text)}
}

func TestTheCodeFlowOverItsRoutes(t *testing.T) {
	g := newGateway(t)
	secret := auth.NewClientSecret()
	require.NoError(t, g.store.PutApp(t.Context(), &lambda.App{
		ClientID: "web", Account: account, ClientName: "website", GrantTypes: []string{"authorization_code", "refresh_token"},
		RedirectURIs: []string{appCallback}, Scope: "faas.lambda.invoke", SecretHash: auth.Hash(secret),
	}))
	base := "/sentinel/api/account/" + account
	query := url.Values{"v": {"1.0"}, "response_type": {"code"}, "client_id": {"web"}, "redirect_uri": {appCallback}, "state": {"xyz"}}
	var answers []reply
	call := func(status int, method, path, body string, headers ...string) reply {
		t.Helper()
		r := g.sentinel(method, path, body, headers...)
		require.Equal(t, status, r.StatusCode, r.body)
		answers = append(answers, r)
		return r
	}

	login := call(http.StatusFound, "GET", base+"/authorize?"+query.Encode(), "").Header.Get("Location")
	require.Contains(t, call(http.StatusOK, "GET", login, "").body, "<form")
	require.Contains(t, call(http.StatusUnauthorized, "POST", login, "username=faas-developer&password=wrong").body, `role="alert"`)
	in := call(http.StatusSeeOther, "POST", login, url.Values{"username": {"faas-developer"}, "password": {"a password"}}.Encode())
	cookie := in.Cookies()[0]
	back := call(http.StatusFound, "GET", in.Header.Get("Location"), "", "Cookie", cookie.Name+"="+cookie.Value)
	location, err := url.Parse(back.Header.Get("Location"))
	require.NoError(t, err)
	require.Equal(t, "xyz", location.Query().Get("state"))
	code := location.Query().Get("code")

	client := url.Values{"client_id": {"web"}, "client_secret": {secret}}.Encode()
	redeem := client + "&grant_type=authorization_code&redirect_uri=" + url.QueryEscape(appCallback) + "&code=" + code
	var tokens struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	require.NoError(t, json.Unmarshal([]byte(call(http.StatusOK, "POST", base+"/token?v=2.0", redeem).body), &tokens))
	require.Equal(t, http.StatusOK, g.do("POST", "/lambdas/x/invoke", tokens.Access, "{}").StatusCode)
	require.Equal(t, http.StatusUnauthorized, g.doAt(other, "POST", "/lambdas/x/invoke", tokens.Access, "{}").StatusCode)
	first := tokens
	require.NoError(t, json.Unmarshal([]byte(call(http.StatusOK, "POST", base+"/token?v=2.0", client+"&grant_type=refresh_token&refresh_token="+tokens.Refresh).body), &tokens))
	require.Empty(t, call(http.StatusOK, "POST", base+"/token/revoke?v1.0", client+"&token="+tokens.Refresh).body)
	require.Equal(t, http.StatusUnauthorized, g.do("POST", "/lambdas/x/invoke", tokens.Access, "{}").StatusCode)

	call(http.StatusBadRequest, "POST", base+"/token", redeem)
	call(http.StatusUnauthorized, "GET", base+"/authorize?client_id=ghost", "")
	call(http.StatusUnauthorized, "GET", base+"/authorize?client_id=ghost", "", "Accept", "text/html")
	call(http.StatusFound, "GET", base+"/authorize?"+query.Encode()+"&prompt=none", "")
	call(http.StatusForbidden, "POST", login, "username=a&password=b", "Sec-Fetch-Site", "cross-site")
	for _, a := range answers {
		require.Equal(t, "no-store", a.Header.Get("Cache-Control"), a.Request.URL.Path)
		require.NotEmpty(t, a.Header.Get("X-Request-ID"))
	}
	for _, secret := range []string{code, first.Access, first.Refresh, tokens.Access, tokens.Refresh, cookie.Value, secret, "a password"} {
		require.NotContains(t, g.log.String(), secret)
	}
	for _, path := range []string{"/authorize", "/token", "/token/revoke"} {
		r := g.sentinel("PUT", base+path, "")
		require.Equal(t, http.StatusMethodNotAllowed, r.StatusCode)
		r.code() // JSON, as everywhere
	}
	require.Equal(t, http.StatusNotFound, g.sentinel("GET", base+"/authorize/x", "").StatusCode)
}
