package auth_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/auth"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
)

type loginAnswer struct {
	Bearer, CSRF, SessionID string
	SessionTTL              string `json:"sessionTTl"`
	Config                  map[string]any
}

func fuzzPost(g *gateway, path, query, body string, header map[string]string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	r.URL.RawQuery = query
	for name, value := range header {
		r.Header[name] = []string{value}
	}
	w := httptest.NewRecorder()
	g.router.ServeHTTP(w, r)
	return w
}

func (g *gateway) path(end string) string { return "/api/account/" + g.account + "/" + end }

func (g *gateway) signIn(name string) (loginAnswer, *http.Cookie) {
	g.t.Helper()
	body, err := json.Marshal(map[string]string{"username": name, "password": password})
	require.NoError(g.t, err)
	w := g.post(g.path("login?v=1.3"), string(body), "Content-Type: application/json")
	require.Equal(g.t, http.StatusOK, w.Code, w.Body)
	require.NoError(g.t, g.failed)
	require.Equal(g.t, "application/json", w.Header().Get("Content-Type"))
	require.Equal(g.t, "no-store", w.Header().Get("Cache-Control"))
	var answer loginAnswer
	require.NoError(g.t, json.Unmarshal(w.Body.Bytes(), &answer))
	cookies := w.Result().Cookies()
	require.Len(g.t, cookies, 1)
	g.seen()
	return answer, cookies[0]
}

// loginFault requires the form that the login service's errors have.
func (g *gateway) loginFault(w *httptest.ResponseRecorder, status int, name string, code int) string {
	g.t.Helper()
	require.Equal(g.t, status, w.Code, w.Body)
	require.Equal(g.t, "application/json", w.Header().Get("Content-Type"))
	require.Error(g.t, g.failed, "the log is told")
	var answer struct{ Error map[string]any }
	require.NoError(g.t, json.Unmarshal(w.Body.Bytes(), &answer))
	require.Len(g.t, answer.Error, 4)
	require.Equal(g.t, name, answer.Error["responseStatus"])
	require.EqualValues(g.t, code, answer.Error["internalCode"])
	require.Equal(g.t, g.clock.Now().Format("2006-01-02T15:04:05.000Z"), answer.Error["time"])
	require.NotContains(g.t, w.Body.String()+g.failed.Error(), password)
	return answer.Error["message"].(string)
}

func TestLoginAnswersWhatTheCLIReads(t *testing.T) {
	g := start(t)
	g.user("dev@example.com", lambda.RoleDeveloper, lambda.RoleInvocation)
	answer, cookie := g.signIn("dev@example.com")
	for _, secret := range []string{answer.Bearer, answer.CSRF, answer.SessionID} {
		require.Len(t, secret, 64)
	}
	require.Equal(t, "28800000", answer.SessionTTL)
	require.Equal(t, map[string]any{
		"userId": "id-dev@example.com", "loginName": "dev@example.com", "userPrivileges": []any{3.0, 4.0}, "isAdmin": false, "isLPA": false,
		"serverCurrentTime": float64(g.clock.Now().UnixMilli()), "timeDiff": 0.0, "serverTimeZoneName": "UTC", "serverTimeGMTDiff": 0.0, "accountTimeZoneId": "UTC",
	}, answer.Config)
	require.Equal(t, "session_id", cookie.Name)
	require.Equal(t, answer.SessionID, cookie.Value)
	require.True(t, cookie.HttpOnly && cookie.Secure)
	require.Equal(t, http.SameSiteStrictMode, cookie.SameSite)
	require.Equal(t, "id-dev@example.com", g.accepted(answer.Bearer).UserID)
}

func TestLoginTellsAdminsAndStaff(t *testing.T) {
	g := start(t)
	for name, c := range map[string]struct {
		roles      []lambda.Role
		admin, lpa bool
	}{
		"admin": {[]lambda.Role{lambda.RoleAdmin}, true, false},
		"staff": {[]lambda.Role{lambda.RoleLPA}, true, true},
		"none":  {nil, false, false},
	} {
		g.user(name, c.roles...)
		answer, _ := g.signIn(name)
		require.Equal(t, c.admin, answer.Config["isAdmin"])
		require.Equal(t, c.lpa, answer.Config["isLPA"])
		require.NotNil(t, answer.Config["userPrivileges"], "a list, also when it is empty")
	}
}

func TestEtcdHoldsNoSecretInClear(t *testing.T) {
	g := start(t)
	g.user("dev", lambda.RoleDeveloper)
	g.app("app", scopeInvoke)
	answer, _ := g.signIn("dev")
	all := everything(t)
	for _, secret := range []string{answer.Bearer, answer.CSRF, answer.SessionID, password, clientSecret} {
		require.NotContains(t, all, secret)
	}
	require.Contains(t, all, auth.Hash(answer.Bearer))
}

func TestLoginsThatFail(t *testing.T) {
	g := start(t)
	g.user("dev", lambda.RoleDeveloper)
	broken := g.user("broken")
	broken.PasswordHash = "$argon2id$v=19$m=4294967295,t=9,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA"
	require.NoError(t, g.store.PutUser(t.Context(), broken))
	for name, c := range map[string]struct {
		path, body string
		status     int
		response   string
		code       int
		says       string
	}{
		"a wrong password":           {"", `{"username":"dev","password":"x"}`, 401, "UNAUTHORIZED", 3, "username or password is wrong"},
		"an unknown user":            {"", `{"username":"ghost","password":"x"}`, 401, "UNAUTHORIZED", 3, "username or password is wrong"},
		"a user name that is a path": {"", `{"username":"../dev","password":"x"}`, 401, "UNAUTHORIZED", 3, "username or password is wrong"},
		"another account":            {"/api/account/99/login", `{"username":"dev","password":"` + password + `"}`, 401, "UNAUTHORIZED", 3, "username or password is wrong"},
		"an account with letters":    {"/api/account/le1/login", `{"username":"dev","password":"x"}`, 400, "BAD_REQUEST", 2, "all digits"},
		"no body":                    {"", ``, 400, "BAD_REQUEST", 2, "username and password are needed"},
		"null":                       {"", `null`, 400, "BAD_REQUEST", 2, "must be a JSON object"},
		"a list":                     {"", `[]`, 400, "BAD_REQUEST", 2, "must be a JSON object"},
		"no password":                {"", `{"username":"dev"}`, 400, "BAD_REQUEST", 2, "username and password are needed"},
		"a null password":            {"", `{"username":"dev","password":null}`, 400, "BAD_REQUEST", 2, "username and password are needed"},
		"a numeric password":         {"", `{"username":"dev","password":1}`, 400, "BAD_REQUEST", 2, "password must be a string"},
		"an object for a name":       {"", `{"username":{},"password":"x"}`, 400, "BAD_REQUEST", 2, "username must be a string"},
		"broken JSON":                {"", `{"username":`, 400, "BAD_REQUEST", 2, "not valid JSON"},
		"two objects":                {"", `{}{}`, 400, "BAD_REQUEST", 2, "not valid JSON"},
		"no UTF-8":                   {"", "{\"username\":\"\xff\"}", 400, "BAD_REQUEST", 2, "UTF-8"},
		"a NUL in the name":          {"", `{"username":"dev\u0000","password":"x"}`, 400, "BAD_REQUEST", 2, "control character"},
		"a name that is too long":    {"", `{"username":"` + strings.Repeat("a", 257) + `","password":"x"}`, 400, "BAD_REQUEST", 2, "the limit is 256"},
		"a password that is":         {"", `{"username":"dev","password":"` + strings.Repeat("a", 1025) + `"}`, 400, "BAD_REQUEST", 2, "the limit is 1024"},
		"a body above the limit":     {"", `{"username":"` + strings.Repeat("a", 64<<10) + `"}`, 413, "REQUEST_ENTITY_TOO_LARGE", 2, "65536"},
		"deep nesting":               {"", strings.Repeat(`{"a":`, 10000) + "1", 400, "BAD_REQUEST", 2, "not valid JSON"},
		"a damaged hash":             {"", `{"username":"broken","password":"x"}`, 500, "INTERNAL_SERVER_ERROR", 1, "internal error"},
	} {
		t.Run(name, func(t *testing.T) {
			path := c.path
			if path == "" {
				path = g.path("login")
			}
			require.Contains(t, g.loginFault(g.post(path, c.body), c.status, c.response, c.code), c.says)
		})
	}
}

func TestBodyThatBreaksOff(t *testing.T) {
	g := start(t)
	for _, path := range []string{g.path("login"), g.path("refresh"), g.path("logout"), "/sentinel/api/account/" + g.account + "/app/token"} {
		w := httptest.NewRecorder()
		g.router.ServeHTTP(w, httptest.NewRequest("POST", path, iotest.ErrReader(errors.New("connection reset"))))
		require.Equal(t, http.StatusBadRequest, w.Code)
		require.True(t, json.Valid(w.Body.Bytes()))
	}
}

func TestLoginWhileEtcdIsAway(t *testing.T) {
	g := start(t)
	g.user("dev")
	answer, _ := g.signIn("dev")
	g.store.down.Store(true)
	w := g.post(g.path("login"), `{"username":"dev","password":"x"}`)
	g.loginFault(w, 503, "SERVICE_UNAVAILABLE", 5)
	require.Equal(t, "1", w.Header().Get("Retry-After"))
	w = g.post(g.path("refresh"), `{"csrf":"`+answer.CSRF+`"}`, "Cookie: session_id="+answer.SessionID)
	g.loginFault(w, 503, "SERVICE_UNAVAILABLE", 5)
}

func TestRefreshKeepsASessionAlive(t *testing.T) {
	g := start(t)
	g.user("dev", lambda.RoleDeveloper)
	answer, _ := g.signIn("dev")
	for _, cookie := range []string{"session_id", "Session_id", "other=1; session_id"} {
		g.clock.Add(7 * time.Hour)
		w := g.post(g.path("refresh"), `{"csrf":"`+answer.CSRF+`"}`, "Cookie: "+cookie+"="+answer.SessionID)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		require.NoError(t, g.failed)
		require.Zero(t, w.Body.Len())
		g.seen()
		g.accepted(answer.Bearer)
	}
	g.clock.Add(8 * time.Hour)
	g.refused(answer.Bearer, "log in again")
	w := g.post(g.path("refresh"), `{"csrf":"`+answer.CSRF+`"}`, "Cookie: session_id="+answer.SessionID)
	require.Equal(t, "CSRF token invalid!", g.loginFault(w, 401, "UNAUTHORIZED", 10))
}

func TestRefreshOfWhatIsNoSession(t *testing.T) {
	g := start(t)
	g.user("dev", lambda.RoleDeveloper)
	one, _ := g.signIn("dev")
	two, _ := g.signIn("dev")
	right := `{"csrf":"` + one.CSRF + `"}`
	for name, c := range map[string]struct{ account, cookie, body string }{
		"the CLI's second account":    {g.account, "session_id=undefined", `{}`},
		"undefined and a CSRF token":  {g.account, "session_id=undefined", right},
		"no cookie":                   {g.account, "", right},
		"an empty cookie":             {g.account, "session_id=", right},
		"a cookie that is no cookie":  {g.account, "=;;=\x01", right},
		"an unknown session":          {g.account, "session_id=" + auth.NewToken(), right},
		"the hash for the session":    {g.account, "session_id=" + auth.Hash(one.SessionID), right},
		"another session's CSRF":      {g.account, "session_id=" + one.SessionID, `{"csrf":"` + two.CSRF + `"}`},
		"an unknown CSRF token":       {g.account, "session_id=" + one.SessionID, `{"csrf":"` + auth.NewToken() + `"}`},
		"an empty CSRF token":         {g.account, "session_id=" + one.SessionID, `{"csrf":""}`},
		"a CSRF token of null":        {g.account, "session_id=" + one.SessionID, `{"csrf":null}`},
		"no CSRF token":               {g.account, "session_id=" + one.SessionID, `{}`},
		"no body":                     {g.account, "session_id=" + one.SessionID, ``},
		"another account":             {"99", "session_id=" + one.SessionID, right},
		"an account that cannot be":   {"le99", "session_id=" + one.SessionID, right},
		"the bearer as the session":   {g.account, "session_id=" + one.Bearer, right},
		"a session cookie by another": {g.account, "session=" + one.SessionID, right},
	} {
		for _, action := range []string{"refresh", "logout"} {
			t.Run(action+": "+name, func(t *testing.T) {
				var header []string
				if c.cookie != "" {
					header = []string{"Cookie: " + c.cookie}
				}
				w := g.post("/api/account/"+c.account+"/"+action, c.body, header...)
				require.Equal(t, "CSRF token invalid!", g.loginFault(w, 401, "UNAUTHORIZED", 10))
			})
		}
	}
	g.accepted(one.Bearer)
	for name, body := range map[string]string{"a wrong type": `{"csrf":5}`, "broken JSON": `{"csrf"`, "a list": `[]`} {
		t.Run(name, func(t *testing.T) {
			g.loginFault(g.post(g.path("refresh"), body, "Cookie: session_id="+one.SessionID), 401, "UNAUTHORIZED", 10)
		})
	}
}

func TestRefreshEndsWithTheUser(t *testing.T) {
	g := start(t)
	u := g.user("dev", lambda.RoleDeveloper)
	answer, _ := g.signIn("dev")
	r, err := etcd(t).Delete(t.Context(), "/sluice/view/users/"+g.account+"/"+u.ID)
	require.NoError(t, err)
	require.NoError(t, g.views.WaitFor(t.Context(), r.Header.Revision))
	w := g.post(g.path("refresh"), `{"csrf":"`+answer.CSRF+`"}`, "Cookie: session_id="+answer.SessionID)
	g.loginFault(w, 401, "UNAUTHORIZED", 10)
}

func TestLogoutEndsSessionAndToken(t *testing.T) {
	g := start(t)
	g.user("dev", lambda.RoleDeveloper)
	answer, _ := g.signIn("dev")
	other, _ := g.signIn("dev")
	g.accepted(answer.Bearer)
	logout := func() *httptest.ResponseRecorder {
		return g.post(g.path("logout"), `{"csrf":"`+answer.CSRF+`"}`, "Cookie: session_id="+answer.SessionID)
	}
	w := logout()
	require.Equal(t, http.StatusOK, w.Code)
	require.Zero(t, w.Body.Len())
	require.Negative(t, w.Result().Cookies()[0].MaxAge)
	g.refused(answer.Bearer, "log in again") // at once, on this gateway
	g.accepted(other.Bearer)
	g.loginFault(logout(), 401, "UNAUTHORIZED", 10)
}

// waitedFor are views that remember what was waited for.
type waitedFor struct {
	*store.Views
	revision int64
}

func (w *waitedFor) WaitFor(ctx context.Context, revision int64) error {
	w.revision = revision
	return w.Views.WaitFor(ctx, revision)
}

func TestLogoutWaitsUntilTheTokenIsRefusedHere(t *testing.T) {
	g := start(t)
	g.user("dev")
	views := &waitedFor{Views: g.views}
	g.build(auth.Config{}, views)
	answer, _ := g.signIn("dev")
	before := g.store.Written()
	require.NoError(t, g.service.Logout(t.Context(), g.account, answer.SessionID, answer.CSRF))
	require.Greater(t, views.revision, before)
}

func FuzzLoginBody(f *testing.F) {
	g := start(f)
	for _, seed := range []string{`{"username":"a"}`, `{"csrf":"b"}`, `[]`, `{"username":1}`, "{\"password\":\"\xff\"}", ``, `{"csrf":{"a":[null]}}`} {
		f.Add(seed, "session_id=undefined")
	}
	f.Fuzz(func(t *testing.T, body, cookie string) {
		// Without an account a login ends before it costs a hash.
		for path, statuses := range map[string][]int{
			"/api/account/none/login":                {400, 413},
			"/api/account/" + g.account + "/refresh": {400, 401, 413},
			"/api/account/" + g.account + "/logout":  {400, 401, 413},
		} {
			w := fuzzPost(g, path, "", body, map[string]string{"Cookie": cookie})
			require.Contains(t, statuses, w.Code)
			require.True(t, json.Valid(w.Body.Bytes()))
		}
	})
}
