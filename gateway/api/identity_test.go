package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/api"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

const (
	users    = "/configuration/le-users/users"
	profiles = "/configuration/le-users/profiles"
	installs = "/configuration/app-install/installations"
)

// lpa asks as platform staff and wants that status.
func (g *gateway) lpa(want int, method, path, body string, headers ...string) reply {
	g.t.Helper()
	r := g.do(method, path, g.tokens[lambda.RoleLPA], body, headers...)
	require.Equal(g.t, want, r.StatusCode, "%s %s %s: %s", method, path, body, r.body)
	require.NotContains(g.t, r.body, "argon2")
	require.NotContains(g.t, strings.ToLower(r.body), `hash":`)
	return r
}

func (r reply) object() map[string]any {
	r.t.Helper()
	var v map[string]any
	require.NoError(r.t, json.Unmarshal([]byte(r.body), &v), r.body)
	return v
}

func (r reply) list() []map[string]any {
	r.t.Helper()
	var v []map[string]any
	require.NoError(r.t, json.Unmarshal([]byte(r.body), &v), r.body)
	return v
}

func (r reply) message() string { r.t.Helper(); return r.object()["errorMsg"].(string) }

// signIn logs a user in and gives the status and the bearer.
func (g *gateway) signIn(login, password string) (int, string) {
	g.t.Helper()
	body, err := json.Marshal(map[string]string{"username": login, "password": password})
	require.NoError(g.t, err)
	r := g.do("POST", "/login?v=1.3", "", string(body))
	bearer, _ := r.object()["bearer"].(string)
	return r.StatusCode, bearer
}

func TestUsers(t *testing.T) {
	g := newGateway(t)
	made := g.lpa(201, "POST", users, `{"loginName":"new@example.com","roles":["FaaS-Invocation"]}`)
	u := made.object()
	id, password := u["id"].(string), u["password"].(string)
	require.Len(t, password, 20)
	require.Equal(t, "new@example.com", u["loginName"])
	require.Equal(t, []any{"FaaS-Invocation"}, u["effectiveRoles"])
	require.Equal(t, `"`+u["revision"].(string)+`"`, made.Header.Get("ETag"))
	require.Equal(t, "no-store", made.Header.Get("Cache-Control"))
	status, token := g.signIn("new@example.com", password)
	require.Equal(t, 200, status)

	t.Run("the password is told once", func(t *testing.T) {
		require.NotContains(t, g.lpa(200, "GET", users+"/"+id, "").object(), "password")
		all := g.lpa(200, "GET", users, "").list()
		require.Len(t, all, 5)
		for i, one := range all {
			require.NotContains(t, one, "password")
			if i > 0 {
				require.Less(t, all[i-1]["loginName"], one["loginName"])
			}
		}
		require.NotContains(t, g.log.String(), password)
	})
	t.Run("other roles count at once under the token that the user has", func(t *testing.T) {
		require.Equal(t, 403, g.do("GET", "/lambdas", token, "").StatusCode)
		g.lpa(200, "PUT", users+"/"+id, `{"roles":["FaaS-Admin","FaaS-Developer"]}`)
		require.Equal(t, 200, g.do("GET", "/lambdas", token, "").StatusCode)
		g.lpa(201, "PUT", profiles+"/Callers", `{"roles":["FaaS-Invocation"]}`)
		r := g.lpa(200, "PUT", users+"/"+id, `{"profile":"Callers"}`)
		require.Equal(t, []any{}, r.object()["roles"])
		require.Equal(t, []any{"FaaS-Invocation"}, r.object()["effectiveRoles"])
		require.Equal(t, 403, g.do("GET", "/lambdas", token, "").StatusCode)
	})
	t.Run("what was read can be sent back", func(t *testing.T) {
		before := g.lpa(200, "GET", users+"/"+id, "")
		after := g.lpa(200, "PUT", users+"/"+id, before.body, "If-Match", before.Header.Get("ETag"))
		require.JSONEq(t, before.body, after.body)
	})
	t.Run("a write can demand the state that was read", func(t *testing.T) {
		tag := g.lpa(200, "GET", users+"/"+id, "").Header.Get("ETag")
		g.lpa(200, "PUT", users+"/"+id, `{"roles":["LPA"]}`, "If-Match", tag)
		r := g.lpa(412, "PUT", users+"/"+id, `{"roles":["FaaS-Admin"]}`, "If-Match", tag)
		require.Equal(t, lambda.CodeIdentityConflict, r.code())
		g.lpa(412, "DELETE", users+"/"+id, "", "If-Match", tag)
		g.lpa(200, "PUT", users+"/"+id, `{"roles":["FaaS-Admin"]}`, "If-Match", "*")
		for _, bad := range []string{"1", `"1"`, `W/` + tag, tag + "," + tag} {
			require.Contains(t, g.lpa(400, "PUT", users+"/"+id, `{"roles":["LPA"]}`, "If-Match", bad).message(), "If-Match must be the ETag")
		}
	})
	t.Run("a new password ends the sessions, and the old one is worth nothing", func(t *testing.T) {
		next := g.lpa(200, "POST", users+"/"+id+"/password", "").object()["password"].(string)
		require.Len(t, next, 20)
		require.NotEqual(t, password, next)
		require.Equal(t, 401, g.do("GET", "/lambdas", token, "").StatusCode)
		status, _ := g.signIn("new@example.com", password)
		require.Equal(t, 401, status)
		status, token = g.signIn("new@example.com", next)
		require.Equal(t, 200, status)

		r := g.lpa(200, "POST", users+"/"+id+"/password", `{"password":"of my own choice"}`)
		require.NotContains(t, r.body, "of my own choice")
		require.NotContains(t, r.object(), "password")
		status, token = g.signIn("new@example.com", "of my own choice")
		require.Equal(t, 200, status)
		require.NotContains(t, g.log.String(), "of my own choice")
	})
	t.Run("a new password lets in who guessed the old one too often", func(t *testing.T) {
		status := 0
		for i := 0; i < 10 && status != 429; i++ {
			status, _ = g.signIn("new@example.com", "not the password")
		}
		require.Equal(t, 429, status)
		next := g.lpa(200, "POST", users+"/"+id+"/password", "").object()["password"].(string)
		status, token = g.signIn("new@example.com", next)
		require.Equal(t, 200, status)
	})
	t.Run("a user who is removed is nobody at once", func(t *testing.T) {
		require.Equal(t, 200, g.do("GET", "/lambdas", token, "").StatusCode)
		g.lpa(200, "DELETE", users+"/"+id, "")
		require.Equal(t, 401, g.do("GET", "/lambdas", token, "").StatusCode)
		g.lpa(404, "DELETE", users+"/"+id, "")
		g.lpa(404, "GET", users+"/"+id, "")
		g.lpa(404, "PUT", users+"/"+id, `{"roles":["LPA"]}`)
		g.lpa(404, "POST", users+"/"+id+"/password", "")
		status, _ := g.signIn("new@example.com", "of my own choice")
		require.Equal(t, 401, status)
		g.lpa(201, "POST", users, `{"loginName":"new@example.com","roles":["LPA"]}`)
	})
}

func TestUsersThatAreRefused(t *testing.T) {
	g := newGateway(t)
	path := users + "/id-" + strings.ToLower(string(lambda.RoleAdmin))
	for name, c := range map[string]struct{ body, says string }{
		"an empty body":                    {``, "loginName is missing"},
		"a list":                           {`[]`, "must be a JSON object"},
		"broken JSON":                      {`{"loginName":`, "not valid JSON"},
		"two objects":                      {`{} {}`, "not valid JSON"},
		"no UTF-8":                         {"{\"loginName\":\"\xff\"}", "UTF-8"},
		"no login name":                    {`{"roles":["LPA"]}`, "loginName is missing"},
		"a login name that is null":        {`{"loginName":null,"roles":["LPA"]}`, "loginName is missing"},
		"a login name that is a number":    {`{"loginName":5,"roles":["LPA"]}`, "loginName must be a string"},
		"a login name with a slash":        {`{"loginName":"a/b","roles":["LPA"]}`, "slash"},
		"no role":                          {`{"loginName":"x"}`, "roles and profile are missing"},
		"an empty list of roles":           {`{"loginName":"x","roles":[]}`, "roles and profile are missing"},
		"a role that is none":              {`{"loginName":"x","roles":["Admin"]}`, `"Admin", which is no role: use LPA, FaaS-Admin, FaaS-Developer, FaaS-Invocation`},
		"roles that are a string":          {`{"loginName":"x","roles":"LPA"}`, "roles must be an array of strings"},
		"a role that is a number":          {`{"loginName":"x","roles":[1]}`, "roles must be an array of strings"},
		"a role that is null":              {`{"loginName":"x","roles":[null]}`, `"", which is no role`},
		"a key in another case":            {`{"LoginName":"x","roles":["LPA"]}`, `"LoginName" is no field here: use loginName, password, profile, roles`},
		"a key that is misspelt":           {`{"loginName":"x","role":["LPA"]}`, `"role" is no field here`},
		"a key twice":                      {`{"loginName":"x","roles":["FaaS-Invocation"],"roles":["LPA"]}`, "roles is given twice"},
		"an id of the caller's":            {`{"id":"x","loginName":"x","roles":["LPA"]}`, `"id" is no field here`},
		"a hash":                           {`{"loginName":"x","roles":["LPA"],"passwordHash":"x"}`, `"passwordHash" is no field here`},
		"a profile that does not exist":    {`{"loginName":"x","profile":"none"}`, `profile "none" does not exist in account 12345678`},
		"a profile and roles":              {`{"loginName":"x","profile":"none","roles":["LPA"]}`, "both given"},
		"a short password":                 {`{"loginName":"x","roles":["LPA"],"password":"1234567"}`, "password has 7 characters: give 8 or more"},
		"a password that is too long":      {`{"loginName":"x","roles":["LPA"],"password":"` + strings.Repeat("p", 1025) + `"}`, "1025 bytes: the limit is 1024"},
		"a key as long as the body allows": {`{"` + strings.Repeat("k", 60_000) + `":1}`, "is no field here"},
	} {
		t.Run(name, func(t *testing.T) {
			r := g.lpa(400, "POST", users, c.body)
			require.Equal(t, lambda.CodeBadInput, r.code())
			require.Contains(t, r.message(), c.says)
			require.Less(t, len(r.body), 1000)
		})
	}
	require.Contains(t, g.lpa(400, "PUT", path, `{"loginName":"other","roles":["LPA"]}`).message(), "loginName cannot change after creation")
	require.Contains(t, g.lpa(400, "PUT", path, `{}`).message(), "roles and profile are missing")
	require.Contains(t, g.lpa(400, "POST", path+"/password", `{"password":"short"}`).message(), "give 8 or more")
	g.lpa(413, "POST", users, `{"loginName":"`+strings.Repeat("x", 70_000)+`"}`)
	require.Len(t, g.lpa(200, "GET", users, "").list(), 4)
}

func TestTwoUsersOfOneName(t *testing.T) {
	g := newGateway(t)
	var wait sync.WaitGroup
	statuses := make([]int, 6)
	for i := range statuses {
		wait.Go(func() {
			statuses[i] = g.do("POST", users, g.tokens[lambda.RoleLPA], `{"loginName":"same","roles":["LPA"],"password":"a good password"}`).StatusCode
		})
	}
	wait.Wait()
	counts := map[int]int{}
	for _, s := range statuses {
		counts[s]++
	}
	require.Equal(t, map[int]int{201: 1, 409: 5}, counts)
}

func TestProfiles(t *testing.T) {
	g := newGateway(t)
	made := g.lpa(201, "PUT", profiles+"/Agent%20Manager", `{"roles":["FaaS-Developer"]}`)
	p := made.object()
	require.Equal(t, "Agent Manager", p["name"])
	require.Equal(t, 0.0, p["users"])
	var tokens []string
	for _, name := range []string{"a", "b"} {
		password := g.lpa(201, "POST", users, `{"loginName":"`+name+`","profile":"Agent Manager"}`).object()["password"].(string)
		_, token := g.signIn(name, password)
		tokens = append(tokens, token)
	}
	t.Run("a change of it counts at once for all who have it", func(t *testing.T) {
		for _, token := range tokens {
			require.Equal(t, 201, g.do("POST", "/lambdas", token, createBody("l"+token[:8], "x")).StatusCode)
		}
		r := g.lpa(200, "PUT", profiles+"/Agent%20Manager", `{"roles":["FaaS-Admin"]}`)
		require.Equal(t, p["createdAt"], r.object()["createdAt"])
		require.Equal(t, 2.0, r.object()["users"])
		for _, token := range tokens {
			require.Equal(t, 403, g.do("POST", "/lambdas", token, createBody("m"+token[:8], "x")).StatusCode)
		}
		for _, u := range g.lpa(200, "GET", users, "").list()[:2] {
			require.Equal(t, []any{"FaaS-Admin"}, u["effectiveRoles"])
			require.Equal(t, "Agent Manager", u["profile"])
		}
	})
	t.Run("a write can demand the state that was read", func(t *testing.T) {
		path := profiles + "/Agent%20Manager"
		read := g.lpa(200, "GET", path, "")
		g.lpa(412, "PUT", path, `{"roles":["LPA"]}`, "If-Match", made.Header.Get("ETag"))
		g.lpa(412, "DELETE", path, "", "If-Match", made.Header.Get("ETag"))
		g.lpa(412, "PUT", profiles+"/new", `{"roles":["LPA"]}`, "If-Match", "*")
		g.lpa(412, "PUT", profiles+"/new", `{"roles":["LPA"]}`, "If-Match", read.Header.Get("ETag"))
		g.lpa(200, "PUT", path, read.body, "If-Match", read.Header.Get("ETag"))
	})
	t.Run("one that users have cannot be removed", func(t *testing.T) {
		r := g.lpa(409, "DELETE", profiles+"/Agent%20Manager", "")
		require.Equal(t, lambda.CodeProfileInUse, r.code())
		require.Contains(t, r.message(), "in use by 2 users")
		for _, u := range g.lpa(200, "GET", users, "").list()[:2] {
			g.lpa(200, "DELETE", users+"/"+u["id"].(string), "")
		}
		require.Len(t, g.lpa(200, "GET", profiles, "").list(), 1)
		g.lpa(200, "DELETE", profiles+"/Agent%20Manager", "")
		g.lpa(404, "DELETE", profiles+"/Agent%20Manager", "")
		g.lpa(404, "GET", profiles+"/Agent%20Manager", "")
		require.Empty(t, g.lpa(200, "GET", profiles, "").list())
	})
	for name, c := range map[string]struct{ path, body, says string }{
		"no roles":               {"/p", `{}`, "roles is empty"},
		"a role that is none":    {"/p", `{"roles":["x"]}`, "no role"},
		"another name":           {"/p", `{"name":"q","roles":["LPA"]}`, `name is "q" in the body and "p" in the path`},
		"a name too long":        {"/" + strings.Repeat("p", 65), `{"roles":["LPA"]}`, "65 characters: the limit is 64"},
		"a name with a control":  {"/a%01b", `{"roles":["LPA"]}`, "control character"},
		"a key that is misspelt": {"/p", `{"role":["LPA"]}`, `"role" is no field here: use name, roles`},
	} {
		t.Run(name+" is refused", func(t *testing.T) {
			require.Contains(t, g.lpa(400, "PUT", profiles+c.path, c.body).message(), c.says)
		})
	}
}

// The examples of contract/oauth2.md §1.5.
const (
	callerJSON = `{ "client_name": "my-faas-caller", "description": "…", "grant_types": ["client_credentials"],
  "response_types": ["token"], "scope": "faas.lambda.invoke" }`
	websiteJSON = `{ "client_name": "my-user-caller", "grant_types": ["authorization_code","refresh_token"],
  "redirect_uris": ["http://localhost:3000/callback"], "response_types": ["code"], "scope": "faas.lambda.invoke" }`
)

// appStatus asks Sentinel for a token with an app's credentials.
func (g *gateway) appToken(id, secret string) (int, string) {
	g.t.Helper()
	r := g.do("POST", "/sentinel/api/account/"+account+"/app/token?v=2.0", "",
		"grant_type=client_credentials&scope=&client_id="+id+"&client_secret="+secret, "Content-Type", "application/x-www-form-urlencoded")
	token, _ := r.object()["access_token"].(string)
	return r.StatusCode, token
}

func TestApps(t *testing.T) {
	g := newGateway(t)
	made := g.lpa(201, "POST", installs, callerJSON)
	a := made.object()
	id, secret := a["client_id"].(string), a["client_secret"].(string)
	require.Len(t, id, 36)
	require.GreaterOrEqual(t, len(secret), 26)
	require.Equal(t, "…", a["description"])
	require.Equal(t, false, a["quick_launch_enabled"])
	require.Equal(t, []any{}, a["redirect_uris"])
	status, token := g.appToken(id, secret)
	require.Equal(t, 200, status)
	require.Equal(t, 200, g.do("POST", "/lambdas/x/invoke", token, "").StatusCode)
	website := g.lpa(201, "POST", installs, websiteJSON).object()
	require.Equal(t, []any{"http://localhost:3000/callback"}, website["redirect_uris"])
	require.Equal(t, []any{"code"}, website["response_types"])

	t.Run("the secret is told once", func(t *testing.T) {
		require.NotContains(t, g.lpa(200, "GET", installs+"/"+id, "").object(), "client_secret")
		for _, one := range g.lpa(200, "GET", installs, "").list() {
			require.NotContains(t, one, "client_secret")
		}
		require.NotContains(t, g.log.String(), secret)
	})
	t.Run("a name is taken", func(t *testing.T) {
		r := g.lpa(409, "POST", installs, callerJSON)
		require.Equal(t, lambda.CodeIdentityConflict, r.code())
		require.Contains(t, r.message(), "client_name my-faas-caller is taken")
		r = g.lpa(409, "PUT", installs+"/"+id, websiteJSON)
		require.Contains(t, r.message(), "my-user-caller is taken")
	})
	t.Run("what was read can be sent back, and a write can demand it", func(t *testing.T) {
		read := g.lpa(200, "GET", installs+"/"+id, "")
		tag := read.Header.Get("ETag")
		require.Equal(t, made.Header.Get("ETag"), tag)
		require.JSONEq(t, read.body, g.lpa(200, "PUT", installs+"/"+id, read.body, "If-Match", tag).body)
		g.lpa(200, "PUT", installs+"/"+id, strings.Replace(callerJSON, "…", "new", 1), "If-Match", tag)
		g.lpa(412, "PUT", installs+"/"+id, callerJSON, "If-Match", tag)
		g.lpa(412, "DELETE", installs+"/"+id, "", "If-Match", tag)
	})
	t.Run("a change keeps id and secret, and tokens are worth what it allows", func(t *testing.T) {
		r := g.lpa(200, "PUT", installs+"/"+id, `{"client_name":"renamed","grant_types":["client_credentials"],"scope":"msg.consumer"}`)
		require.Empty(t, r.object()["description"], "what is absent is empty")
		require.Equal(t, a["createdAt"], r.object()["createdAt"])
		require.Equal(t, 403, g.do("POST", "/lambdas/x/invoke", token, "").StatusCode)
		status, _ := g.appToken(id, secret)
		require.Equal(t, 200, status)
		g.lpa(200, "PUT", installs+"/"+id, callerJSON)
		require.Equal(t, 200, g.do("POST", "/lambdas/x/invoke", token, "").StatusCode)
	})
	t.Run("a new secret takes the place of the old one", func(t *testing.T) {
		next := g.lpa(200, "POST", installs+"/"+id+"/secret", "").object()["client_secret"].(string)
		status, _ := g.appToken(id, secret)
		require.Equal(t, 401, status)
		status, _ = g.appToken(id, next)
		require.Equal(t, 200, status)
		require.Contains(t, g.lpa(400, "POST", installs+"/"+id+"/secret", `{"client_secret":"mine"}`).message(), `"client_secret" is no field here: send no body`)
	})
	t.Run("one that is uninstalled is worth nothing at once", func(t *testing.T) {
		g.lpa(200, "DELETE", installs+"/"+id, "")
		require.Equal(t, 401, g.do("POST", "/lambdas/x/invoke", token, "").StatusCode)
		for _, method := range []string{"GET", "DELETE"} {
			g.lpa(404, method, installs+"/"+id, "")
		}
		g.lpa(404, "PUT", installs+"/"+id, callerJSON)
		g.lpa(404, "POST", installs+"/"+id+"/secret", "")
		g.lpa(201, "POST", installs, callerJSON)
	})
}

func TestInstallationsThatAreRefused(t *testing.T) {
	g := newGateway(t)
	for name, c := range map[string]struct{ body, says string }{
		"an empty body":                {``, "client_name is missing"},
		"text":                         {`client_name: x`, "must be a JSON object"},
		"a comment":                    {`{"client_name":"x" /* mine */}`, "not valid JSON"},
		"an unknown key":               {`{"client_name":"x","grants":["client_credentials"]}`, `"grants" is no field here: use capabilities, client_name, description,`},
		"an id of the caller's":        {`{"client_id":"x","client_name":"x"}`, `"client_id" is no field here`},
		"a secret of the caller's":     {`{"client_secret":"x","client_name":"x"}`, `"client_secret" is no field here`},
		"a grant that is a string":     {`{"client_name":"x","grant_types":"client_credentials"}`, "grant_types must be an array of strings"},
		"a grant that is none":         {`{"client_name":"x","grant_types":["implicit"]}`, "grant_types holds"},
		"a flag that is a string":      {`{"client_name":"x","quick_launch_enabled":"yes"}`, "quick_launch_enabled must be true or false"},
		"a redirect that is in clear":  {strings.Replace(websiteJSON, "localhost", "example.com", 1), "redirect_uris: "},
		"codes without a redirect":     {`{"client_name":"x","grant_types":["authorization_code"]}`, "redirect_uris is missing"},
		"capabilities that are a list": {`{"client_name":"x","grant_types":["client_credentials"],"capabilities":[]}`, "capabilities must be an object"},
		"an unknown capability":        {`{"client_name":"x","grant_types":["client_credentials"],"capabilities":{"x":1}}`, `capabilities: "x" is no field here: use engagement, webhooks`},
		"a capability that is a word":  {`{"client_name":"x","grant_types":["client_credentials"],"capabilities":{"webhooks":"x"}}`, "capabilities.webhooks must be an object"},
	} {
		t.Run(name, func(t *testing.T) {
			r := g.lpa(400, "POST", installs, c.body)
			require.Equal(t, lambda.CodeBadInput, r.code())
			require.Contains(t, r.message(), c.says)
		})
	}
	require.Len(t, g.lpa(200, "GET", installs, "").list(), 1)
	full := g.lpa(201, "POST", installs, `{"client_name":"full","display_name":"Full","description":"d","grant_types":["authorization_code"],
		"redirect_uris":["https://example.com/a","https://example.com/b"],"scope":"a b","logo_uri":"https://example.com/l","entry_uri":"https://example.com/e",
		"quick_launch_enabled":true,"capabilities":{"engagement":{"x":[1,{"y":null}]},"webhooks":{}}}`).object()
	require.Equal(t, []any{"code"}, full["response_types"], "what the grants need")
	require.Equal(t, map[string]any{"engagement": map[string]any{"x": []any{1.0, map[string]any{"y": nil}}}, "webhooks": map[string]any{}}, full["capabilities"])
	require.Equal(t, true, full["quick_launch_enabled"])
}

func TestAccountsAreMadeByTheOperator(t *testing.T) {
	g := newGateway(t)
	require.Len(t, g.operate("GET", "/api/accounts", "").list(), 2)
	r := g.operate("POST", "/api/accounts", `{"id":"555","name":"Third"}`)
	require.Equal(t, 201, r.StatusCode, r.body)
	require.Equal(t, "Third", r.object()["name"])
	r = g.operate("POST", "/api/accounts", `{"id":"555","name":"Third"}`)
	require.Equal(t, 409, r.StatusCode)
	require.Contains(t, r.message(), "account 555 exists already")
	for body, says := range map[string]string{
		`{"id":"x","name":"x"}`:           "no account id",
		`{"id":555,"name":"x"}`:           "id must be a string",
		`{"id":"5"}`:                      "name is missing",
		`{"id":"5","name":"x","owner":1}`: `"owner" is no field here: use id, name`,
	} {
		r := g.operate("POST", "/api/accounts", body)
		require.Equal(t, 400, r.StatusCode)
		require.Contains(t, r.message(), says)
	}

	r = g.operate("POST", "/api/account/555"+users, `{"loginName":"first","roles":["LPA"],"password":"first password"}`)
	require.Equal(t, 201, r.StatusCode, r.body)
	login := g.send("POST", g.url+"/api/account/555/login?v=1.3", "", `{"username":"first","password":"first password"}`)
	require.Equal(t, 200, login.StatusCode)
	token := login.object()["bearer"].(string)
	require.Equal(t, 200, g.send("GET", g.url+"/api/account/555"+users, token, "").StatusCode)
	require.Equal(t, 401, g.do("GET", users, token, "").StatusCode, "staff of one account is nobody on another")
	made := g.operate("POST", "/api/account/"+account+"/lambdas", createBody("by_operator", "x"))
	require.Equal(t, 201, made.StatusCode, made.body)
	require.Equal(t, "operator", made.object()["createdBy"])
}

func TestAnAccountsWritesAreBounded(t *testing.T) {
	g := newGateway(t, func(l *lambda.Limits) { l.Users, l.Apps, l.Profiles = 5, 2, 1 })
	g.lpa(201, "POST", users, `{"loginName":"fifth","roles":["LPA"],"password":"a good password"}`)
	r := g.lpa(409, "POST", users, `{"loginName":"sixth","roles":["LPA"],"password":"a good password"}`)
	require.Equal(t, lambda.CodeIdentityLimit, r.code())
	require.Contains(t, r.message(), "the account has 5 users: the limit is 5")
	g.lpa(201, "POST", installs, callerJSON)
	require.Contains(t, g.lpa(409, "POST", installs, websiteJSON).message(), "the account has 2 apps: the limit is 2")
	g.lpa(201, "PUT", profiles+"/one", `{"roles":["LPA"]}`)
	require.Contains(t, g.lpa(409, "PUT", profiles+"/two", `{"roles":["LPA"]}`).message(), "the account has 1 profiles: the limit is 1")

	id := g.lpa(200, "GET", installs, "").list()[1]["client_id"].(string)
	g.server.SpendAll(account)
	for _, c := range []struct{ method, path, body string }{
		{"POST", users, `{"loginName":"x","roles":["LPA"]}`},
		{"PUT", users + "/id-lpa", `{"roles":["LPA"]}`},
		{"POST", users + "/id-lpa/password", ""},
		{"PUT", profiles + "/one", `{"roles":["LPA"]}`},
		{"POST", installs, callerJSON},
		{"PUT", installs + "/" + id, callerJSON},
		{"POST", installs + "/" + id + "/secret", ""},
	} {
		require.NotEmpty(t, g.lpa(429, c.method, c.path, c.body).Header.Get("Retry-After"))
	}
	r = g.operate("PUT", "/api/account/"+account+profiles+"/one", `{"roles":["LPA"]}`)
	require.Equal(t, 200, r.StatusCode, "the operator does not wait: %s", r.body)
}

func FuzzInstallation(f *testing.F) {
	for _, s := range []string{
		callerJSON, websiteJSON, `{}`, ``, `[`, `{"client_name":"x","client_name":"y"}`, `{"capabilities":{"engagement":{}}}`,
		`{"client_name":"a","grant_types":["authorization_code"],"redirect_uris":["https://a\\b"]}`, `{"":1}`, "{\"a\":\"\xff\"}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := api.ParseInstallation(body)
		if err != nil {
			e := lambda.As(err)
			if e == nil || e.Kind != lambda.KindInvalid || e.Message == "" || len(e.Message) > 2000 {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		if err := a.Validate(); err != nil {
			t.Fatalf("%q was accepted: %v", body, err)
		}
		view, err := json.Marshal(api.ViewApp(a))
		require.NoError(t, err)
		again, err := api.ParseReplacement(view)
		require.NoError(t, err, "what was read cannot be sent back: %s", view)
		view2, err := json.Marshal(api.ViewApp(again))
		require.NoError(t, err)
		require.JSONEq(t, string(view), string(view2))
	})
}

// left has the caller leave as soon as the new password is written.
type left struct {
	api.Identity
	leave func()
}

func (l left) UpdateUser(ctx context.Context, account, id string, change func(*lambda.User) error) (*lambda.User, error) {
	u, err := l.Identity.UpdateUser(ctx, account, id, change)
	l.leave()
	waitToNotice(ctx)
	return u, err
}

// waitToNotice gives the gateway the moment that it takes to notice that the caller
// has left, if it looks.
func waitToNotice(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(500 * time.Millisecond):
	}
}

func TestSessionsEndWithTheOldPasswordAlsoWhenWhoResetItLeft(t *testing.T) {
	g := newGateway(t)
	ctx, leave := context.WithCancel(t.Context())
	g.server.SetIdentity(func(i api.Identity) api.Identity { return left{i, leave} })
	req, err := http.NewRequestWithContext(ctx, "POST", g.url+"/api/account/"+account+users+"/id-faas-developer/password", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+g.tokens[lambda.RoleLPA])
	_, err = http.DefaultClient.Do(req)
	require.ErrorIs(t, err, context.Canceled)
	require.Eventually(t, func() bool {
		return g.do("GET", "/lambdas", g.tokens[lambda.RoleDeveloper], "").StatusCode == http.StatusUnauthorized
	}, 5*time.Second, 20*time.Millisecond)
}
