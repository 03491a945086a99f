package api_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/api"
	"github.com/sluice-faas/sluice/gateway/auth"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

// mayCall is who may call each route, written down from user-guide.md (FaaS
// Permissions) and contract/oauth2.md §3, not from the route table: a route that
// is not here fails the walk, and so does one whose permission differs.
var mayCall = map[string][]string{
	"GET /api/account/:account/service/:service":       anyone,
	"GET /api/account/:account/service/:service/:file": anyone,

	"POST /sentinel/api/account/:account/app/token":    anyone,
	"POST /sentinel/api/v2/account/:account/app/token": anyone,
	"GET /sentinel/api/account/:account/authorize":     anyone,
	"GET /sentinel/account/:account/login":             anyone,
	"POST /sentinel/account/:account/login":            anyone,
	"POST /sentinel/api/account/:account/token":        anyone,
	"POST /sentinel/api/account/:account/token/revoke": anyone,
	"GET /sentinel/well-known/jwks":                    anyone,
	"POST /api/account/:account/login":                 anyone,
	"POST /api/account/:account/refresh":               anyone,
	"POST /api/account/:account/logout":                anyone,
	"GET /ui/session":                                  anyone,
	"GET /ui/sign-in":                                  anyone,
	"GET /ui/callback":                                 anyone,
	"POST /ui/sign-out":                                anyone,

	"POST /api/account/:account/lambdas/:id/invoke":         {"LPA", "FaaS-Developer", "FaaS-Invocation", "app"},
	"GET /api/account/:account/events/:event/isImplemented": {"LPA", "FaaS-Developer", "FaaS-Invocation", "app"},
	"POST /api/account/:account/events/:event/invoke":       {"LPA", "FaaS-Developer", "FaaS-Invocation", "app"},
	"GET /api/account/:account/events":                      {"LPA", "FaaS-Admin", "FaaS-Developer"},
	"GET /api/account/:account/templates":                   {"LPA", "FaaS-Admin", "FaaS-Developer"},
	"GET /api/account/:account/lambdas":                     {"LPA", "FaaS-Admin", "FaaS-Developer"},
	"GET /api/account/:account/lambdas/":                    {"LPA", "FaaS-Admin", "FaaS-Developer"},
	"GET /api/account/:account/lambdas/:id":                 {"LPA", "FaaS-Admin", "FaaS-Developer"},
	"POST /api/account/:account/lambdas":                    {"LPA", "FaaS-Developer"},
	"PUT /api/account/:account/lambdas/:id":                 {"LPA", "FaaS-Developer"},
	"DELETE /api/account/:account/lambdas/:id":              {"LPA", "FaaS-Developer"},
	"GET /api/account/:account/lambdas/:id/processes":       {"LPA", "FaaS-Admin", "FaaS-Developer"},
	"PUT /api/account/:account/lambdas/:id/processes":       {"LPA", "FaaS-Developer"},
	"GET /api/account/:account/deployments":                 {"LPA", "FaaS-Admin", "FaaS-Developer"},
	"GET /api/account/:account/deployments/:id/history":     {"LPA", "FaaS-Admin", "FaaS-Developer"},
	"POST /api/account/:account/deployments/:id":            {"LPA", "FaaS-Developer"},
	"DELETE /api/account/:account/deployments/:id":          {"LPA", "FaaS-Developer"},
	"GET /api/account/:account/runtimes":                    {"LPA", "FaaS-Admin", "FaaS-Developer"},
	"GET /api/account/:account/schedules":                   {"LPA", "FaaS-Admin", "FaaS-Developer", "FaaS-Invocation"},
	"POST /api/account/:account/schedules":                  {"LPA", "FaaS-Admin", "FaaS-Developer"},
	"PUT /api/account/:account/schedules/:id":               {"LPA", "FaaS-Admin", "FaaS-Developer"},
	"DELETE /api/account/:account/schedules/:id":            {"LPA", "FaaS-Admin", "FaaS-Developer"},
	"GET /api/account/:account/proxy-settings":              {"LPA", "FaaS-Admin", "FaaS-Developer"},
	"POST /api/account/:account/proxy-settings":             {"LPA", "FaaS-Admin"},
	"DELETE /api/account/:account/proxy-settings/:id":       {"LPA", "FaaS-Admin"},
	"GET /api/account/:account/secrets":                     {"LPA", "FaaS-Admin", "FaaS-Developer"},
	"POST /api/account/:account/secrets":                    {"LPA", "FaaS-Admin"},
	"GET /api/account/:account/secrets/:key":                {"LPA", "FaaS-Admin"},
	"PUT /api/account/:account/secrets/:key":                {"LPA", "FaaS-Admin"},
	"DELETE /api/account/:account/secrets/:key":             {"LPA", "FaaS-Admin"},
	"GET /api/account/:account/reports/lambdaCounts":        {"LPA", "FaaS-Admin", "FaaS-Developer", "FaaS-Invocation"},
	"GET /api/account/:account/reports/limitCounts":         {"LPA", "FaaS-Admin", "FaaS-Developer", "FaaS-Invocation"},

	"GET /api/account/:account/logs":                     {"LPA", "FaaS-Admin", "FaaS-Developer", "FaaS-Invocation"},
	"GET /api/account/:account/logs/export":              {"LPA", "FaaS-Admin", "FaaS-Developer", "FaaS-Invocation"},
	"GET /api/account/:account/logs/tail":                {"LPA", "FaaS-Admin", "FaaS-Developer", "FaaS-Invocation"},
	"GET /api/account/:account/invocations":              {"LPA", "FaaS-Admin", "FaaS-Developer", "FaaS-Invocation"},
	"GET /api/account/:account/reports/invocations/:id":  {"LPA", "FaaS-Admin", "FaaS-Developer", "FaaS-Invocation"},
	"GET /api/account/:account/reports/latency/:id":      {"LPA", "FaaS-Admin", "FaaS-Developer", "FaaS-Invocation"},
	"GET /api/account/:account/reports/invocationCounts": {"LPA", "FaaS-Admin", "FaaS-Developer", "FaaS-Invocation"},
	"GET /api/account/:account/activities":               {"LPA", "FaaS-Admin", "FaaS-Developer"},
	"GET /api/account/:account/egress/attempts":          {"LPA", "FaaS-Admin", "FaaS-Developer", "FaaS-Invocation"},
	"POST /api/account/:account/egress/check":            {"LPA", "FaaS-Admin", "FaaS-Developer"},

	"GET /api/account/:account/configuration/le-users/users":                        {"LPA"},
	"POST /api/account/:account/configuration/le-users/users":                       {"LPA"},
	"GET /api/account/:account/configuration/le-users/users/:id":                    {"LPA"},
	"PUT /api/account/:account/configuration/le-users/users/:id":                    {"LPA"},
	"DELETE /api/account/:account/configuration/le-users/users/:id":                 {"LPA"},
	"POST /api/account/:account/configuration/le-users/users/:id/password":          {"LPA"},
	"GET /api/account/:account/configuration/le-users/profiles":                     {"LPA"},
	"GET /api/account/:account/configuration/le-users/profiles/:name":               {"LPA"},
	"PUT /api/account/:account/configuration/le-users/profiles/:name":               {"LPA"},
	"DELETE /api/account/:account/configuration/le-users/profiles/:name":            {"LPA"},
	"GET /api/account/:account/configuration/app-install/installations":             {"LPA"},
	"POST /api/account/:account/configuration/app-install/installations":            {"LPA"},
	"GET /api/account/:account/configuration/app-install/installations/:id":         {"LPA"},
	"PUT /api/account/:account/configuration/app-install/installations/:id":         {"LPA"},
	"DELETE /api/account/:account/configuration/app-install/installations/:id":      {"LPA"},
	"POST /api/account/:account/configuration/app-install/installations/:id/secret": {"LPA"},

	"GET /api/accounts":  operator,
	"POST /api/accounts": operator,

	"GET /limits":       anyone,
	"GET /openapi.json": anyone,
	"GET /openapi.yaml": anyone,
}

var (
	// anyone needs no token.
	anyone = []string{"anyone"}
	// operator has no token, but a front of its own.
	operator = []string{"operator"}
)

// TestEveryRouteByEveryCaller walks every route by every caller: no token and a
// token that is none 401, a token of another account 401, a token without the
// permission 403, one with it neither.
func TestEveryRouteByEveryCaller(t *testing.T) {
	g := newGateway(t)
	callers := map[string]string{"app": g.app}
	for role, token := range g.tokens {
		callers[string(role)] = token
	}
	walked := map[string]bool{}
	for _, row := range api.Routes() {
		name := row.Method + " " + row.Path
		t.Run(name, func(t *testing.T) {
			allowed, ok := mayCall[name]
			require.True(t, ok, "who may call it stands nowhere")
			walked[name] = true
			require.Equal(t, slices.Equal(allowed, anyone), row.Permission == auth.Anyone)
			if row.Permission == auth.Anyone {
				return
			}
			if slices.Equal(allowed, operator) {
				require.Equal(t, auth.Operate, row.Permission)
				for caller, token := range callers {
					require.Equal(t, http.StatusNotFound, g.send(row.Method, g.url+row.Path, token, "{}").StatusCode, caller)
				}
				return
			}
			path := strings.TrimPrefix(fill(row.Path), "/api/account/"+account)
			for _, token := range []string{"", "undefined", strings.Repeat("0", 64), g.app + "x"} {
				r := g.do(row.Method, path, token, "{}")
				require.Equal(t, http.StatusUnauthorized, r.StatusCode, "token %q", token)
				require.Equal(t, lambda.CodeUnauthorized, r.code())
				require.Equal(t, "Bearer", r.Header.Get("WWW-Authenticate"))
			}
			for caller, token := range callers {
				foreign := g.doAt(other, row.Method, path, token, "{}")
				require.Equal(t, http.StatusUnauthorized, foreign.StatusCode, "a token of %s of another account is no token", caller)
				r := g.do(row.Method, path, token, "{}")
				if slices.Contains(allowed, caller) {
					require.NotContains(t, []int{http.StatusUnauthorized, http.StatusForbidden}, r.StatusCode, "%s: %s", caller, r.body)
					continue
				}
				require.Equal(t, http.StatusForbidden, r.StatusCode, caller)
				require.Equal(t, lambda.CodeForbidden, r.code())
				require.Equal(t, "authorize", r.Header.Get("X-Sluice-Phase"))
			}
		})
	}
	for name := range mayCall {
		require.True(t, walked[name], "%s is no route any more", name)
	}
}

// fill puts something in the place of each parameter of a path.
func fill(path string) string {
	return strings.NewReplacer(
		":account", account, ":id", "00000000-0000-0000-0000-000000000000", ":event", "e", ":name", "n", ":service", "s", ":file", "f", ":key", "k",
	).Replace(path)
}

// TestTheOperatorIsWhoeverComesInByTheOperatorsFront walks the whole table there,
// without a token, and then asks the public front for the same in every way in
// which a request can claim to be the operator's.
func TestTheOperatorIsWhoeverComesInByTheOperatorsFront(t *testing.T) {
	g := newGateway(t)
	refused := []int{http.StatusUnauthorized, http.StatusForbidden}
	for _, row := range api.Routes() {
		if row.Permission == auth.Anyone {
			continue
		}
		t.Run(row.Method+" "+row.Path, func(t *testing.T) {
			r := g.operate(row.Method, fill(row.Path), "{}")
			require.NotContains(t, refused, r.StatusCode, r.body)
			require.NotContains(t, []int{http.StatusMethodNotAllowed, http.StatusInternalServerError}, r.StatusCode, r.body)
			require.NotContains(t, r.body, "there is nothing at")
			require.Contains(t, g.log.String(), `"caller":"operator"`)
			if strings.Contains(row.Path, ":account") {
				r = g.operate(row.Method, strings.Replace(fill(row.Path), account, "99", 1), "{}")
				require.Equal(t, http.StatusNotFound, r.StatusCode, r.body)
				require.Contains(t, r.body, "There is no account 99")
			}
		})
	}
	for name, header := range map[string][]string{
		"no token":               nil,
		"the name as a token":    {"Authorization", "Bearer operator"},
		"a user id of that name": {"X-User-Id", "operator"},
		"a proxy's word":         {"X-Forwarded-For", "127.0.0.1", "Forwarded", "for=unix:", "X-Forwarded-User", "operator", "X-Real-IP", "127.0.0.1"},
		"the socket's name":      {"Host", "control.sock"},
		"the CLI's user agent":   {"User-Agent", "sluice-cli", "Host", "sluice"},
		"a method override":      {"X-HTTP-Method-Override", "GET", "X-Original-URL", "/api/accounts"},
	} {
		t.Run("in public, "+name, func(t *testing.T) {
			from := len(g.log.String())
			for _, row := range api.Routes() {
				r := g.send(row.Method, g.url+fill(row.Path), "", "{}", header...)
				switch row.Permission {
				case auth.Anyone:
				case auth.Operate:
					require.Equal(t, http.StatusNotFound, r.StatusCode, r.body)
				default:
					require.Contains(t, []int{http.StatusUnauthorized, http.StatusNotFound}, r.StatusCode, "%s %s: %s", row.Method, row.Path, r.body)
				}
			}
			require.NotContains(t, g.log.String()[from:], `"caller"`)
		})
	}
	for role, token := range g.tokens {
		t.Run("in public, with the token of "+string(role), func(t *testing.T) {
			for _, path := range []string{"/api/accounts", "/api/accounts/", "//api/accounts", "/api/account/../accounts", "/api/account/" + account + "/../../accounts"} {
				for _, method := range []string{"GET", "POST"} {
					r := g.send(method, g.url+path, token, `{"id":"1","name":"x"}`)
					require.Equal(t, http.StatusNotFound, r.StatusCode, r.body)
				}
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
