package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/api"
	"github.com/sluice-faas/sluice/gateway/auth"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

// TestEveryRouteByEveryCaller walks the whole table: no token 401, a token
// without the permission 403, one with it neither.
func TestEveryRouteByEveryCaller(t *testing.T) {
	g := newGateway(t)
	callers := map[string]struct {
		token string
		may   auth.Permission
	}{"app": {g.app, auth.Invoke}}
	for role, token := range g.tokens {
		callers[string(role)] = struct {
			token string
			may   auth.Permission
		}{token, auth.Permissions([]lambda.Role{role})}
	}
	for _, row := range api.Routes() {
		if row.Permission == auth.Anyone {
			continue
		}
		t.Run(row.Method+" "+row.Path, func(t *testing.T) {
			path := strings.TrimPrefix(row.Path, "/api/account/:account")
			path = strings.NewReplacer(":id", "00000000-0000-0000-0000-000000000000", ":event", "e").Replace(path)
			none := g.do(row.Method, path, "", "{}")
			require.Equal(t, http.StatusUnauthorized, none.StatusCode)
			require.Equal(t, lambda.CodeUnauthorized, none.code())
			foreign, err := http.NewRequestWithContext(t.Context(), row.Method, g.url+"/api/account/"+other+path, strings.NewReader("{}"))
			require.NoError(t, err)
			foreign.Header.Set("Authorization", "Bearer "+g.tokens[lambda.RoleLPA])
			resp, err := http.DefaultClient.Do(foreign)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, http.StatusUnauthorized, resp.StatusCode, "a token of another account is no token")
			for name, caller := range callers {
				r := g.do(row.Method, path, caller.token, "{}")
				if caller.may&row.Permission == row.Permission {
					require.NotContains(t, []int{http.StatusUnauthorized, http.StatusForbidden}, r.StatusCode, "%s: %s", name, r.body)
					continue
				}
				require.Equal(t, http.StatusForbidden, r.StatusCode, name)
				require.Equal(t, lambda.CodeForbidden, r.code())
				require.Equal(t, "authorize", r.Header.Get("X-Sluice-Phase"))
			}
		})
	}
}

func TestMisuseIsTheCallersFault(t *testing.T) {
	g := newGateway(t)
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/nothing", 404},
		{"GET", "/lambdas/a/b/c", 404},
		{"GET", "/lambdas/..%2f..%2fetc", 404},
		{"GET", "/lambdas%2fx", 404},
		{"GET", "%2Flambdas", 404},
		{"GET", "//lambdas", 404},
		{"PATCH", "/lambdas", 405},
		{"GET", "/lambdas/x/invoke", 405},
		{"OPTIONS", "/lambdas", 405},
		{"GET", "/lambdas/%00", 404},
		{"GET", "/lambdas/" + strings.Repeat("a", 8000), 404},
		{"GET", "/lambdas/%ff%fe", 404},
	} {
		t.Run(c.method+" "+c.path[:min(len(c.path), 40)], func(t *testing.T) {
			r := g.do(c.method, c.path, g.tokens[lambda.RoleLPA], "")
			require.Equal(t, c.status, r.StatusCode, r.body)
			r.code()
			require.NotEmpty(t, r.Header.Get("X-Request-ID"))
		})
	}
}

func TestAConfiguredHostServesItsOwnService(t *testing.T) {
	g := newGateway(t)
	lpa := g.tokens[lambda.RoleLPA]
	require.Equal(t, 404, g.do("GET", "/lambdas", lpa, "", "Host", "gw.example.com").StatusCode)
	require.Equal(t, 404, g.do("POST", "/lambdas/x/invoke", lpa, "", "Host", "sentinel.example.com:443").StatusCode)
	require.Equal(t, 200, g.do("POST", "/lambdas/x/invoke", lpa, "", "Host", "gw.example.com").StatusCode)
	require.Equal(t, 200, g.do("POST", "/lambdas/x/invoke", lpa, "", "Host", "ui.example.com").StatusCode, "the web UI invokes on its own host")
	require.Equal(t, 200, g.do("GET", "/service/baseURI.json", "", "", "Host", "sentinel.example.com").StatusCode, "the Domain API answers on any host")
	require.Equal(t, 200, g.do("GET", "/sentinel/well-known/jwks", "", "", "Host", "sentinel.example.com").StatusCode)
}

func TestRequestIDs(t *testing.T) {
	g := newGateway(t)
	require.Equal(t, "any string ü", g.do("GET", "/lambdas", g.app, "", "X-Request-ID", "any string ü").Header.Get("X-Request-ID"))
	require.Equal(t, 400, g.do("GET", "/lambdas", g.app, "", "X-Request-ID", strings.Repeat("x", 257)).StatusCode)
	require.Contains(t, g.log.String(), `"requestId":"any string ü"`)
}

func TestNoSecretReachesTheLog(t *testing.T) {
	g := newGateway(t)
	r := g.do("POST", "/sentinel/api/account/"+account+"/app/token?grant_type=client_credentials&client_id=app-1&client_secret=very-secret-text", "", "")
	require.Equal(t, 401, r.StatusCode, r.body)
	g.do("GET", "/lambdas", g.tokens[lambda.RoleLPA], "")
	require.Contains(t, g.log.String(), "/app/token")
	require.NotContains(t, g.log.String(), "very-secret-text")
	require.NotContains(t, g.log.String(), g.tokens[lambda.RoleLPA])
}

func TestWhatACallerSaysOfItselfIsLogged(t *testing.T) {
	g := newGateway(t)
	g.do("POST", "/lambdas/"+strings.Repeat("z", 5000)+"/invoke?userId=somebody&externalSystem=crm", g.tokens[lambda.RoleInvocation], "")
	require.Contains(t, g.log.String(), `"externalSystem":"crm"`)
	require.Contains(t, g.log.String(), `"claimedUserId":"somebody"`)
	require.NotContains(t, g.log.String(), strings.Repeat("z", 400), "what a caller sends is cut")
}
