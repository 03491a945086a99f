package auth_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/auth"
)

const (
	formType = "Content-Type: application/x-www-form-urlencoded"
	grant    = "grant_type=client_credentials"
)

func basic(id, secret string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
}

func part(t testing.TB, token string, i int, v any) {
	t.Helper()
	parts := strings.Split(token, ".")
	require.Len(t, parts, 3)
	text, err := base64.RawURLEncoding.DecodeString(parts[i])
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, v))
}

func kidOf(t testing.TB, token string) string {
	t.Helper()
	var header struct{ Kid string }
	part(t, token, 0, &header)
	return header.Kid
}

// verifies checks a JWT against a JWKS with nothing but the standard library.
func verifies(t *testing.T, token string, jwks []byte) {
	t.Helper()
	var set struct{ Keys []struct{ Kid, N, E string } }
	require.NoError(t, json.Unmarshal(jwks, &set))
	for _, k := range set.Keys {
		if k.Kid != kidOf(t, token) {
			continue
		}
		n, err := base64.RawURLEncoding.DecodeString(k.N)
		require.NoError(t, err)
		e, err := base64.RawURLEncoding.DecodeString(k.E)
		require.NoError(t, err)
		public := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
		dot := strings.LastIndexByte(token, '.')
		signature, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
		require.NoError(t, err)
		sum := sha256.Sum256([]byte(token[:dot]))
		require.NoError(t, rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], signature))
		return
	}
	t.Fatal("the key is not published")
}

func TestAppTokenRequestsThatSucceed(t *testing.T) {
	g := start(t)
	g.app("my-app", scopeInvoke)
	a := g.app("odd", scopeInvoke)
	a.SecretHash = auth.Hash("a+b%2F c:ä")
	require.NoError(t, g.store.PutApp(t.Context(), a))
	g.seen()
	v1, v2 := "/sentinel/api/account/"+g.account+"/app/token", "/sentinel/api/v2/account/"+g.account+"/app/token"
	client := "client_id=my-app&client_secret=" + clientSecret
	odd := url.QueryEscape("a+b%2F c:ä")
	for name, c := range map[string]struct {
		path, body string
		header     []string
	}{
		"as the Node.js client sends it":           {v1 + "?v=2.0", "grant_type=client_credentials&scope=&" + client, []string{formType}},
		"as the Java client sends it":              {v1 + "?v=2.0&" + grant + "&" + client, "", nil},
		"Java, with a content type and no body":    {v1 + "?v=2.0&" + grant + "&" + client, "", []string{"Content-Type: application/json"}},
		"v=1.0":                                    {v1 + "?v=1.0", grant + "&" + client, []string{formType}},
		"the v2 path":                              {v2, grant + "&" + client, []string{formType}},
		"a charset":                                {v1, grant + "&" + client, []string{formType + ";charset=UTF-8"}},
		"no content type":                          {v1, grant + "&" + client, nil},
		"HTTP Basic":                               {v1, grant, []string{formType, basic("my-app", clientSecret)}},
		"HTTP Basic, scheme in small letters":      {v1, grant, []string{strings.Replace(basic("my-app", clientSecret), "Basic", "basic", 1)}},
		"HTTP Basic and the id in the body":        {v1, grant + "&client_id=my-app", []string{formType, basic("my-app", clientSecret)}},
		"HTTP Basic and all in the body":           {v1, grant + "&" + client, []string{formType, basic("my-app", clientSecret)}},
		"the same twice, in body and query":        {v1 + "?" + grant + "&" + client, grant + "&" + client, []string{formType}},
		"one half in the body, one in the query":   {v1 + "?" + grant, client, []string{formType}},
		"an empty one beside a full one":           {v1 + "?client_id=", grant + "&" + client, []string{formType}},
		"unknown parameters and scopes":            {v1 + "?x=1", grant + "&" + client + "&scope=openid+profile&y=2", []string{formType}},
		"a secret of odd characters":               {v1, grant + "&client_id=odd&client_secret=" + odd, []string{formType}},
		"a secret of odd characters, Basic, as is": {v1, grant, []string{formType, basic("odd", "a+b%2F c:ä")}},
		"a secret of odd characters, Basic, form":  {v1, grant, []string{formType, basic("odd", odd)}},
	} {
		t.Run(name, func(t *testing.T) {
			w := g.post(c.path, c.body, c.header...)
			require.Equal(t, http.StatusOK, w.Code, w.Body)
			require.NoError(t, g.failed)
			require.Equal(t, "application/json", w.Header().Get("Content-Type"))
			require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
			var answer map[string]string
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer))
			require.Len(t, answer, 2)
			require.Equal(t, "Bearer", answer["token_type"])
			require.Equal(t, auth.App, g.accepted(answer["access_token"]).Kind)
		})
	}
}

func TestAppTokenIsTheContracts(t *testing.T) {
	g := start(t)
	g.app("my-app", "msg.consumer "+scopeInvoke)
	token := g.appToken("my-app")
	var header, claims map[string]any
	part(t, token, 0, &header)
	part(t, token, 1, &claims)
	require.Equal(t, map[string]any{"alg": "RS256", "typ": "JWT", "kid": g.stored()[0]}, header)
	now := float64(g.clock.Now().Unix())
	require.Equal(t, map[string]any{
		"iss": "Sentinel", "aud": g.account, "azp": "my-app", "scope": "msg.consumer " + scopeInvoke, "iat": now, "exp": now + 3600,
	}, claims)
	w := g.post("/sentinel/well-known/jwks", "")
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	verifies(t, token, w.Body.Bytes())
}

func TestAppTokenRequestsThatFail(t *testing.T) {
	g := start(t)
	g.app("my-app", scopeInvoke)
	g.app("code-only", scopeInvoke, "authorization_code")
	none := g.app("no-secret", scopeInvoke)
	none.SecretHash = ""
	require.NoError(t, g.store.PutApp(t.Context(), none))
	g.seen()
	path := "/sentinel/api/account/" + g.account + "/app/token"
	client := "client_id=my-app&client_secret=" + clientSecret
	wrong := auth.NewClientSecret()
	for name, c := range map[string]struct {
		path, body string
		header     []string
		status     int
		code       string
	}{
		"nothing at all":                {path, "", nil, 400, "invalid_request"},
		"no grant type":                 {path, client, nil, 400, "invalid_request"},
		"an unknown grant type":         {path, client + "&grant_type=password", nil, 400, "unsupported_grant_type"},
		"another endpoint's grant type": {path, client + "&grant_type=authorization_code", nil, 400, "unsupported_grant_type"},
		"no client":                     {path, grant, nil, 401, "invalid_client"},
		"no secret":                     {path, grant + "&client_id=my-app", nil, 401, "invalid_client"},
		"an empty secret":               {path, grant + "&client_id=my-app&client_secret=", nil, 401, "invalid_client"},
		"an app that has no secret":     {path, grant + "&client_id=no-secret&client_secret=", nil, 401, "invalid_client"},
		"an app that has no secret, b":  {path, grant, []string{basic("no-secret", "")}, 401, "invalid_client"},
		"a wrong secret":                {path, grant + "&client_id=my-app&client_secret=" + wrong, nil, 401, "invalid_client"},
		"the hash for a secret":         {path, grant + "&client_id=my-app&client_secret=" + auth.Hash(clientSecret), nil, 401, "invalid_client"},
		"an unknown client":             {path, grant + "&client_id=ghost&client_secret=" + clientSecret, nil, 401, "invalid_client"},
		"a client id that is a path":    {path, grant + "&client_id=..%2Fmy-app&client_secret=" + clientSecret, nil, 401, "invalid_client"},
		"a client id with a NUL":        {path, grant + "&client_id=my-app%00&client_secret=" + clientSecret, nil, 401, "invalid_client"},
		"a client id that is too long":  {path, grant + "&client_id=" + strings.Repeat("a", 200) + "&client_secret=x", nil, 401, "invalid_client"},
		"a secret that is too long":     {path, grant + "&client_id=my-app&client_secret=" + strings.Repeat("a", 9999), nil, 401, "invalid_client"},
		"another account's client":      {"/sentinel/api/account/99/app/token", grant + "&" + client, nil, 401, "invalid_client"},
		"an account with letters":       {"/sentinel/api/account/le12/app/token", grant + "&" + client, nil, 400, "invalid_request"},
		"an app for another grant":      {path, grant + "&client_id=code-only&client_secret=" + clientSecret, nil, 400, "unauthorized_client"},
		"a wrong secret by Basic":       {path, grant, []string{basic("my-app", wrong)}, 401, "invalid_client"},
		"Basic without a colon":         {path, grant, []string{"Authorization: Basic bXktYXBw"}, 401, "invalid_client"},
		"Basic that is not base64":      {path, grant, []string{"Authorization: Basic !!!"}, 401, "invalid_client"},
		"a bearer token":                {path, grant, []string{"Authorization: Bearer x"}, 401, "invalid_client"},
		"Basic twice":                   {path, grant, []string{basic("my-app", clientSecret), basic("my-app", clientSecret)}, 400, "invalid_request"},
		"Basic and another id":          {path, grant + "&client_id=other", []string{basic("my-app", clientSecret)}, 400, "invalid_request"},
		"Basic and another secret":      {path, grant + "&client_secret=other", []string{basic("my-app", clientSecret)}, 400, "invalid_request"},
		"two client ids":                {path, grant + "&client_id=a&client_id=b&client_secret=x", nil, 400, "invalid_request"},
		"two secrets":                   {path + "?client_secret=y", grant + "&client_id=a&client_secret=x", nil, 400, "invalid_request"},
		"two grant types":               {path + "?grant_type=password", grant + "&" + client, nil, 400, "invalid_request"},
		"JSON":                          {path, `{"grant_type":"client_credentials"}`, []string{"Content-Type: application/json"}, 400, "invalid_request"},
		"a body that is no form":        {path, "%zz", []string{formType}, 400, "invalid_request"},
		"a semicolon in the form":       {path, "a;b", []string{formType}, 400, "invalid_request"},
		"a query that is none":          {path + "?%zz", "", nil, 400, "invalid_request"},
		"a content type that is none":   {path, grant, []string{"Content-Type: ;;"}, 400, "invalid_request"},
		"a body above the limit":        {path, strings.Repeat("a", 64<<10+1), []string{formType}, 413, "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			header := c.header
			if c.body != "" && !strings.Contains(strings.Join(header, " "), "Content-Type") {
				header = append([]string{formType}, header...)
			}
			w := g.post(c.path, c.body, header...)
			require.Equal(t, c.status, w.Code, w.Body)
			require.Error(t, g.failed, "the log is told")
			require.NotContains(t, g.failed.Error(), clientSecret)
			require.NotContains(t, w.Body.String(), clientSecret)
			require.Equal(t, "application/json", w.Header().Get("Content-Type"))
			require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
			require.Equal(t, c.status == 401, w.Header().Get("WWW-Authenticate") != "")
			var answer map[string]string
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer))
			require.Equal(t, c.code, answer["error"])
			require.NotEmpty(t, answer["error_description"])
			require.NotContains(t, answer["error_description"], `"`)
			require.Len(t, answer, 2)
		})
	}
}

func TestNoTokenIsIssuedWhileEtcdIsAway(t *testing.T) {
	g := start(t)
	g.store.down.Store(true)
	w := g.post("/sentinel/api/account/"+g.account+"/app/token", grant+"&client_id=not-in-memory&client_secret=x", formType)
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Equal(t, "1", w.Header().Get("Retry-After"))
	require.JSONEq(t, `{"error":"temporarily_unavailable","error_description":"no token can be issued at the moment: repeat the request"}`, w.Body.String())
	var e *auth.OAuthError
	require.ErrorAs(t, g.failed, &e)
	require.ErrorIs(t, g.failed, errDown)
}

func TestSecretsAreRandomAndSafeInAForm(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		secret, token := auth.NewClientSecret(), auth.NewToken()
		require.Len(t, secret, 32)
		require.Equal(t, secret, url.QueryEscape(secret))
		require.Len(t, token, 64)
		require.False(t, seen[secret] || seen[token])
		seen[secret], seen[token] = true, true
	}
}

func FuzzAppToken(f *testing.F) {
	g := start(f)
	g.app("my-app", scopeInvoke)
	f.Add(grant+"&client_id=a&client_secret=b", "v=2.0", "Basic YTpi", "application/x-www-form-urlencoded")
	f.Add("", grant, "basic bXktYXBwOg==", "")
	f.Add("%", ";", "Bearer x", "a/b; c=")
	f.Fuzz(func(t *testing.T, body, query, authorization, contentType string) {
		w := fuzzPost(g, "/sentinel/api/account/"+g.account+"/app/token", query, body, map[string]string{"Authorization": authorization, "Content-Type": contentType})
		require.Contains(t, []int{400, 401, 413}, w.Code)
		var answer map[string]string
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer))
		require.NotEmpty(t, answer["error"])
	})
}
