package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/api"
	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
)

func TestAnActivityHoldsWhatDiffers(t *testing.T) {
	pairs := func(texts ...string) []lambda.Pair {
		var all []lambda.Pair
		for i := 0; i+1 < len(texts); i += 2 {
			all = append(all, lambda.Pair{Key: texts[i], Value: texts[i+1]})
		}
		return all
	}
	none := &lambda.Lambda{}
	for _, c := range []struct {
		name string
		got  []journal.Change
		want []journal.Change
	}{
		{"nothing", api.LambdaChanges(&lambda.Lambda{Name: "a", Code: "x", Environment: pairs("A", "1", "B", "2")}, &lambda.Lambda{Name: "a", Code: "x", Environment: pairs("B", "2", "A", "1"), Version: 7}), nil},
		{"a new lambda", api.LambdaChanges(none, &lambda.Lambda{Name: "a", Description: "d", EventID: "e", Runtime: "javascript", Code: "1\n", Environment: pairs("A", "1")}), []journal.Change{
			{Field: "name", After: "a"}, {Field: "description", After: "d"}, {Field: "eventId", After: "e"}, {Field: "runtime", After: "javascript"},
			{Field: "code", Diff: "--- code\n+++ code\n@@ -0,0 +1 @@\n+1\n"}, {Field: "environment.A", After: "1"},
		}},
		{"a lambda that is gone", api.LambdaChanges(&lambda.Lambda{Name: "a"}, none), []journal.Change{{Field: "name", Before: "a"}}},
		{"code by its lines", api.LambdaChanges(&lambda.Lambda{Code: "a\nb\nc"}, &lambda.Lambda{Code: "a\nx\nc"}), []journal.Change{
			{Field: "code", Diff: "--- code\n+++ code\n@@ -1,3 +1,3 @@\n a\n-b\n+x\n c\n\\ No newline at end of file\n"},
		}},
		{"environment variables by name", api.LambdaChanges(&lambda.Lambda{Environment: pairs("GONE", "1", "KEPT", "2", "OTHER", "3")}, &lambda.Lambda{Environment: pairs("KEPT", "2", "NEW", "5", "OTHER", "4", "EMPTY", "")}), []journal.Change{
			{Field: "environment.EMPTY"}, {Field: "environment.GONE", Before: "1"}, {Field: "environment.NEW", After: "5"}, {Field: "environment.OTHER", Before: "3", After: "4"},
		}},
		{"dependencies", api.LambdaChanges(&lambda.Lambda{Dependencies: pairs("lodash", "1")}, &lambda.Lambda{Dependencies: pairs("lodash", "2")}), []journal.Change{
			{Field: "dependencies.lodash", Before: "1", After: "2"},
		}},
		{"roles, whatever their order", api.UserChanges(&lambda.User{Roles: []lambda.Role{"LPA", "FaaS-Admin"}}, &lambda.User{Roles: []lambda.Role{"FaaS-Admin", "LPA"}, PasswordHash: "x"}), nil},
		{"a user's roles and profile", api.UserChanges(&lambda.User{LoginName: "u", Roles: []lambda.Role{"LPA", "FaaS-Admin"}}, &lambda.User{LoginName: "u", Profile: "p"}), []journal.Change{
			{Field: "profile", After: "p"}, {Field: "roles", Before: "FaaS-Admin, LPA"},
		}},
		{"a profile's roles", api.ProfileChanges(&lambda.Profile{}, &lambda.Profile{Roles: []lambda.Role{"LPA"}}), []journal.Change{{Field: "roles", After: "LPA"}}},
		{"an app", api.AppChanges(
			&lambda.App{ClientName: "a", GrantTypes: []string{"client_credentials"}, Scope: "s", QuickLaunchEnabled: true, SecretHash: "1"},
			&lambda.App{ClientName: "b", GrantTypes: []string{"authorization_code"}, RedirectURIs: []string{"https://x"}, Capabilities: &lambda.Capabilities{Webhooks: []byte(`{"a":1}`)}, SecretHash: "2"},
		), []journal.Change{
			{Field: "client_name", Before: "a", After: "b"}, {Field: "grant_types", Before: "client_credentials", After: "authorization_code"},
			{Field: "redirect_uris", After: "https://x"}, {Field: "scope", Before: "s"}, {Field: "quick_launch_enabled", Before: "true"},
			{Field: "capabilities.webhooks", After: `{"a":1}`},
		}},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, c.got) })
	}
}

// activity is one of GET /activities.
type activity struct {
	Timestamp                             time.Time
	By, Action, Noun, ID, Name, RequestID string
	Changes                               []journal.Change
}

func activities(t *testing.T, g *gateway, query string) []activity {
	t.Helper()
	return get[struct{ Activities []activity }](t, g, "/activities"+query, g.tokens[lambda.RoleLPA]).Activities
}

func TestActivitiesTellNobodyOfUsersAndAppsWhoMayNotReadThem(t *testing.T) {
	g := newGateway(t)
	lpa := g.tokens[lambda.RoleLPA]
	require.Equal(t, http.StatusCreated, g.do("POST", "/lambdas", g.tokens[lambda.RoleDeveloper], createBody("first", "a")).StatusCode)
	require.Equal(t, http.StatusCreated, g.do("POST", "/configuration/le-users/users", lpa, `{"loginName":"ann@example.com","roles":["FaaS-Developer"]}`).StatusCode)
	require.Equal(t, http.StatusCreated, g.do("POST", "/configuration/app-install/installations", lpa, `{"client_name":"shop","grant_types":["client_credentials"]}`).StatusCode)
	r := g.do("PUT", "/configuration/le-users/profiles/night", lpa, `{"roles":["FaaS-Invocation"]}`)
	require.Equal(t, http.StatusCreated, r.StatusCode, r.body)
	for role, want := range map[lambda.Role][]string{
		lambda.RoleDeveloper: {"lambda"}, lambda.RoleAdmin: {"lambda"}, lambda.RoleLPA: {"profile", "app", "user", "lambda"},
	} {
		var nouns []string
		for _, a := range get[struct{ Activities []activity }](t, g, "/activities", g.tokens[role]).Activities {
			nouns = append(nouns, a.Noun)
		}
		require.Equal(t, want, nouns, "%s", role)
	}
	require.Empty(t, get[struct{ Activities []activity }](t, g, "/activities?noun=user", g.tokens[lambda.RoleDeveloper]).Activities)
}

// routeOf finds the row of the table that a request went to.
func routeOf(t *testing.T, r *http.Request) string {
	t.Helper()
	for _, row := range api.Routes() {
		if row.Method == r.Method && regexp.MustCompile("^"+parameter.ReplaceAllString(row.Path, "[^/]+")+"$").MatchString(r.URL.Path) {
			return row.Method + " " + row.Path
		}
	}
	t.Fatalf("%s %s has no route", r.Method, r.URL.Path)
	return ""
}

func TestEveryChangeIsAnActivity(t *testing.T) {
	g := newGateway(t)
	dev, admin, lpa := g.tokens[lambda.RoleDeveloper], g.tokens[lambda.RoleAdmin], g.tokens[lambda.RoleLPA]
	type step struct {
		by, action, noun, name string
		status                 int
		run                    func() reply
		changes                []journal.Change
	}
	var id, app, person, domain, schedule string
	noted := map[string]bool{} // routes
	told := func(r reply, at *string, key string) reply {
		var v map[string]any
		require.NoError(t, json.Unmarshal([]byte(r.body), &v), r.body)
		*at = fmt.Sprint(v[key])
		return r
	}
	const (
		lambdaID = "<id>" // in what is expected, before there is one
		people   = "/configuration/le-users"
		apps     = "/configuration/app-install/installations"
	)
	for i, s := range []step{
		{"faas-developer", "create", "lambda", "first", 201, func() reply { return told(g.do("POST", "/lambdas", dev, createBody("first", "a\n")), &id, "uuid") }, []journal.Change{
			{Field: "name", After: "first"}, {Field: "description", After: "an example"}, {Field: "runtime", After: "javascript"},
			{Field: "code", Diff: "--- code\n+++ code\n@@ -0,0 +1 @@\n+a\n"}, {Field: "environment.K", After: "v"},
		}},
		{"faas-developer", "update", "lambda", "first", 202, func() reply {
			return g.do("PUT", "/lambdas/"+id, dev, `{"version":1,"description":"new","implementation":{"code":"b\n","environmentVariables":[{"key":"K","value":"w"}]}}`)
		}, []journal.Change{
			{Field: "description", Before: "an example", After: "new"}, {Field: "code", Diff: "--- code\n+++ code\n@@ -1 +1 @@\n-a\n+b\n"}, {Field: "environment.K", Before: "v", After: "w"},
		}},
		{"", "", "", "", 304, func() reply { return g.do("PUT", "/lambdas/"+id, dev, `{"version":2,"description":"new"}`) }, nil},
		{"", "", "", "", 409, func() reply { return g.do("PUT", "/lambdas/"+id, dev, `{"version":1,"description":"newer"}`) }, nil},
		{"faas-developer", "deploy", "lambda", "first", 202, func() reply { return g.do("POST", "/deployments/"+id, dev, "") }, []journal.Change{{Field: "version", After: "2"}}},
		{"faas-developer", "update", "lambda", "first", 202, func() reply {
			g.carryOut(id, nil)
			return g.do("PUT", "/lambdas/"+id, dev, `{"version":2,"description":"third"}`)
		}, []journal.Change{{Field: "description", Before: "new", After: "third"}}},
		{"faas-developer", "update", "lambda", "first", 200, func() reply { return g.do("PUT", "/lambdas/"+id+"/processes", dev, `{"minWarm":1}`) }, []journal.Change{{Field: "minWarm", Before: "0", After: "1"}}},
		{"", "", "", "", 200, func() reply { return g.do("PUT", "/lambdas/"+id+"/processes", dev, `{"minWarm":1}`) }, nil},
		{"faas-developer", "create", "schedule", "first", 201, func() reply {
			return told(g.do("POST", "/schedules", dev, `{"lambdaUUID":"`+id+`","cronExpression":"0 0 1 1 *"}`), &schedule, "uuid")
		}, []journal.Change{
			{Field: "lambdaUUID", After: lambdaID}, {Field: "cronExpression", After: "0 0 1 1 *"}, {Field: "isActive", After: "true"},
		}},
		{"faas-admin", "update", "schedule", "first", 200, func() reply { return g.do("PUT", "/schedules/"+schedule, admin, `{"isActive":false}`) }, []journal.Change{{Field: "isActive", Before: "true"}}},
		{"faas-admin", "delete", "schedule", "first", 200, func() reply { return g.do("DELETE", "/schedules/"+schedule, admin, "") }, []journal.Change{
			{Field: "lambdaUUID", Before: lambdaID}, {Field: "cronExpression", Before: "0 0 1 1 *"},
		}},
		{"faas-developer", "deploy", "lambda", "first", 202, func() reply { return g.do("POST", "/deployments/"+id, dev, "", "Idempotency-Key", "k") }, []journal.Change{{Field: "version", Before: "2", After: "3"}}},
		{"", "", "", "", 202, func() reply { return g.do("POST", "/deployments/"+id, dev, "", "Idempotency-Key", "k") }, nil},
		{"faas-developer", "rollback", "lambda", "first", 202, func() reply {
			g.carryOut(id, nil)
			return g.do("POST", "/deployments/"+id+"?version=2", dev, "")
		}, []journal.Change{{Field: "version", Before: "3", After: "2"}}},
		{"faas-developer", "undeploy", "lambda", "first", 202, func() reply {
			g.carryOut(id, nil)
			return g.do("DELETE", "/deployments/"+id, dev, "")
		}, []journal.Change{{Field: "version", Before: "2"}}},
		{"faas-developer", "delete", "lambda", "first", 200, func() reply {
			g.carryOut(id, nil)
			return g.do("DELETE", "/lambdas/"+id, dev, "")
		}, []journal.Change{
			{Field: "name", Before: "first"}, {Field: "description", Before: "third"}, {Field: "runtime", Before: "javascript"},
			{Field: "code", Diff: "--- code\n+++ code\n@@ -1 +0,0 @@\n-b\n"}, {Field: "environment.K", Before: "w"},
		}},
		{"faas-admin", "create", "domain", "a.example.com", 201, func() reply {
			return told(g.do("POST", "/proxy-settings", admin, `{"domain":"a.example.com"}`), &domain, "id")
		}, nil},
		{"faas-admin", "delete", "domain", "a.example.com", 200, func() reply { return g.do("DELETE", "/proxy-settings/"+domain, admin, "") }, nil},
		{"faas-admin", "create", "domain", "in.example.com", 201, func() reply {
			return told(g.do("POST", "/proxy-settings", admin, `{"domain":"in.example.com","privateAddresses":true}`), &domain, "id")
		}, []journal.Change{{Field: "privateAddresses", After: "true"}}},
		{"faas-admin", "delete", "domain", "in.example.com", 200, func() reply { return g.do("DELETE", "/proxy-settings/"+domain, admin, "") }, []journal.Change{{Field: "privateAddresses", Before: "true"}}},
		{"faas-admin", "create", "secret", "s", 201, func() reply { return g.do("POST", "/secrets", admin, `{"key":"s","value":"very-secret-value"}`) }, nil},
		{"faas-admin", "update", "secret", "s", 200, func() reply { return g.do("PUT", "/secrets/s", admin, `{"value":"very-secret-value-2"}`) }, []journal.Change{{Field: "value", After: "set anew"}}},
		{"faas-admin", "reveal", "secret", "s", 200, func() reply { return g.do("GET", "/secrets/s", admin, "") }, nil},
		{"faas-admin", "delete", "secret", "s", 200, func() reply { return g.do("DELETE", "/secrets/s", admin, "") }, nil},
		{"lpa", "create", "profile", "Agent", 201, func() reply { return g.do("PUT", people+"/profiles/Agent", lpa, `{"roles":["FaaS-Developer"]}`) }, []journal.Change{{Field: "roles", After: "FaaS-Developer"}}},
		{"lpa", "update", "profile", "Agent", 200, func() reply { return g.do("PUT", people+"/profiles/Agent", lpa, `{"roles":["FaaS-Admin"]}`) }, []journal.Change{{Field: "roles", Before: "FaaS-Developer", After: "FaaS-Admin"}}},
		{"", "", "", "", 200, func() reply { return g.do("PUT", people+"/profiles/Agent", lpa, `{"roles":["FaaS-Admin"]}`) }, nil},
		{"lpa", "create", "user", "ada", 201, func() reply {
			return told(g.do("POST", people+"/users", lpa, `{"loginName":"ada","profile":"Agent","password":"very-secret-password"}`), &person, "id")
		}, []journal.Change{
			{Field: "loginName", After: "ada"}, {Field: "profile", After: "Agent"},
		}},
		{"lpa", "update", "user", "ada", 200, func() reply { return g.do("PUT", people+"/users/"+person, lpa, `{"roles":["LPA"]}`) }, []journal.Change{{Field: "profile", Before: "Agent"}, {Field: "roles", After: "LPA"}}},
		{"lpa", "update", "user", "ada", 200, func() reply {
			return g.do("POST", people+"/users/"+person+"/password", lpa, `{"password":"very-secret-password-2"}`)
		}, []journal.Change{{Field: "password", After: "set anew"}}},
		{"lpa", "delete", "user", "ada", 200, func() reply { return g.do("DELETE", people+"/users/"+person, lpa, "") }, []journal.Change{{Field: "loginName", Before: "ada"}, {Field: "roles", Before: "LPA"}}},
		{"lpa", "delete", "profile", "Agent", 200, func() reply { return g.do("DELETE", people+"/profiles/Agent", lpa, "") }, []journal.Change{{Field: "roles", Before: "FaaS-Admin"}}},
		{"lpa", "create", "app", "crm", 201, func() reply {
			return told(g.do("POST", apps, lpa, `{"client_name":"crm","grant_types":["client_credentials"],"scope":"faas.lambda.invoke"}`), &app, "client_id")
		}, []journal.Change{
			{Field: "client_name", After: "crm"}, {Field: "grant_types", After: "client_credentials"}, {Field: "scope", After: "faas.lambda.invoke"},
		}},
		{"lpa", "update", "app", "crm", 200, func() reply {
			return g.do("PUT", apps+"/"+app, lpa, `{"client_name":"crm","grant_types":["client_credentials"],"description":"d"}`)
		}, []journal.Change{
			{Field: "description", After: "d"}, {Field: "scope", Before: "faas.lambda.invoke"},
		}},
		{"lpa", "update", "app", "crm", 200, func() reply { return g.do("POST", apps+"/"+app+"/secret", lpa, "") }, []journal.Change{{Field: "client_secret", After: "set anew"}}},
		{"lpa", "delete", "app", "crm", 200, func() reply { return g.do("DELETE", apps+"/"+app, lpa, "") }, []journal.Change{
			{Field: "client_name", Before: "crm"}, {Field: "description", Before: "d"}, {Field: "grant_types", Before: "client_credentials"},
		}},
	} {
		before := activities(t, g, "")
		r := s.run()
		require.Equal(t, s.status, r.StatusCode, "step %d: %s", i, r.body)
		after := activities(t, g, "")
		if s.action == "" {
			require.Equal(t, before, after, "step %d changed nothing", i)
			continue
		}
		require.Len(t, after, len(before)+1, "step %d", i)
		noted[routeOf(t, r.Request)] = true
		newest := after[0]
		require.Equal(t, []string{s.by, s.action, s.noun, s.name, r.Header.Get("X-Request-ID")}, []string{newest.By, newest.Action, newest.Noun, newest.Name, newest.RequestID}, "step %d", i)
		if s.changes == nil {
			s.changes = []journal.Change{}
		}
		for k := range s.changes {
			for _, text := range []*string{&s.changes[k].Before, &s.changes[k].After} {
				*text = strings.Replace(*text, lambdaID, id, 1)
			}
		}
		require.Equal(t, s.changes, newest.Changes, "step %d", i)
		require.WithinDuration(t, time.Now(), newest.Timestamp, time.Minute)
		for _, kept := range []string{"lambda", "user", "app", "domain", "schedule"} {
			require.False(t, s.noun == kept && newest.ID == "", "step %d has no id", i)
		}
	}

	t.Run("the operator's too", func(t *testing.T) {
		r := g.operate("POST", "/api/accounts", `{"id":"777","name":"new"}`)
		require.Equal(t, http.StatusCreated, r.StatusCode, r.body)
		noted[routeOf(t, r.Request)] = true
		r = g.operate("GET", "/api/account/777/activities", "")
		require.Contains(t, r.body, `"by":"operator","action":"create","noun":"account","id":"777","name":"new"`)
		r = g.operate("POST", "/api/account/"+account+"/proxy-settings", `{"domain":"b.example.com"}`)
		require.Equal(t, http.StatusCreated, r.StatusCode, r.body)
		require.Equal(t, "operator", activities(t, g, "")[0].By)
	})
	t.Run("there is no other route that changes anything", func(t *testing.T) {
		for _, row := range api.Routes() {
			if row.Changes {
				require.True(t, noted[row.Method+" "+row.Path], "%s %s leaves no activity: have it note one, and add it here", row.Method, row.Path)
			}
		}
	})
	t.Run("without any secret", func(t *testing.T) {
		all := g.do("GET", "/activities?limit=1000", lpa, "").body
		for _, secret := range []string{"very-secret", "argon2", lpa, dev} {
			require.NotContains(t, all, secret)
		}
		require.NotRegexp(t, `[0-9a-f]{64}`, all, "a hash")
	})
	t.Run("found by noun, id, person, action and time", func(t *testing.T) {
		for query, want := range map[string]int{
			"?noun=lambda": 9, "?noun=lambda&action=deploy": 2, "?id=" + id: 9, "?by=faas-admin": 10, "?by=nobody": 0, "?action=delete&noun=user": 1, "?noun=secret": 4, "?action=reveal": 1, "?noun=schedule": 3,
			"?noun=lambda&limit=3": 3, "?noun=lambda&startTimestamp=0&endTimestamp=1000000": 0, "?noun=&by=&action=&id=&limit=&userId=x&v=1": 32,
		} {
			require.Len(t, activities(t, g, query), want, query)
		}
	})
	t.Run("page by page", func(t *testing.T) {
		all := activities(t, g, "")
		var paged []activity
		cursor := ""
		for range 100 {
			page := get[struct {
				Activities []activity
				Next       string
			}](t, g, "/activities?limit=4&cursor="+url.QueryEscape(cursor), lpa)
			require.LessOrEqual(t, len(page.Activities), 4)
			paged = append(paged, page.Activities...)
			if cursor = page.Next; cursor == "" {
				break
			}
		}
		require.Equal(t, all, paged)
	})
	t.Run("of the account alone", func(t *testing.T) {
		r := g.operate("GET", "/api/account/"+other+"/activities", "")
		require.JSONEq(t, `{"activities":[]}`, r.body)
	})
}

func TestAnActivityIsWithinBounds(t *testing.T) {
	g := newGateway(t)
	const lines = 40_000
	r := g.do("POST", "/lambdas", g.tokens[lambda.RoleDeveloper], createBody("first", strings.Repeat("x\n", lines)))
	require.Equal(t, http.StatusCreated, r.StatusCode, r.body)
	made := activities(t, g, "")[0].Changes
	diff := made[slices.IndexFunc(made, func(c journal.Change) bool { return c.Field == "code" })].Diff
	begin, said, cut := strings.Cut(diff, "…")
	require.True(t, cut)
	require.Less(t, len(begin), 20_000)
	whole := len("--- code\n+++ code\n@@ -0,0 +1,40000 @@\n") + lines*len("+x\n")
	require.Equal(t, fmt.Sprintf(" (%d more bytes)", whole-len(begin)), said)
	require.Equal(t, journal.Change{Field: "environment.K", After: "v"}, made[len(made)-1], "what follows a long text is whole")
}

func TestAChangeThatCannotBeNotedIsMadeAllTheSame(t *testing.T) {
	g := newGateway(t)
	g.journal.full.Store(true)
	r := g.do("POST", "/lambdas", g.tokens[lambda.RoleDeveloper], createBody("first", "x"))
	require.Equal(t, http.StatusCreated, r.StatusCode, r.body)
	require.Contains(t, g.log.String(), "a change was made and is not among the activities")
	require.Contains(t, g.log.String(), `"noun":"lambda"`)
	require.Contains(t, g.metrics(), "sluice_activities_lost_total 1")
	require.Empty(t, activities(t, g, ""))
}

// leftDomains has the caller leave as soon as the new domain is written.
type leftDomains struct {
	whitelist
	leave func()
}

type whitelist = api.Domains

func (l leftDomains) CreateDomain(ctx context.Context, d lambda.Domain, once *store.Once) (*lambda.Domain, error) {
	made, err := l.whitelist.CreateDomain(ctx, d, once)
	l.leave()
	waitToNotice(ctx)
	return made, err
}

func TestAChangeIsNotedAlsoWhenWhoMadeItLeft(t *testing.T) {
	g := newGateway(t)
	ctx, leave := context.WithCancel(t.Context())
	g.server.SetDomains(func(d api.Domains) api.Domains { return leftDomains{d, leave} })
	req, err := http.NewRequestWithContext(ctx, "POST", g.url+"/api/account/"+account+"/proxy-settings", strings.NewReader(`{"domain":"a.example.com"}`))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+g.tokens[lambda.RoleAdmin])
	_, err = http.DefaultClient.Do(req)
	require.ErrorIs(t, err, context.Canceled)
	require.Eventually(t, func() bool { return len(activities(t, g, "?noun=domain&action=create")) == 1 }, 5*time.Second, 20*time.Millisecond)
}
