package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// get reads an answer of 200 as JSON.
func get[T any](t *testing.T, g *gateway, path, token string) T {
	t.Helper()
	r := g.do("GET", path, token, "")
	require.Equal(t, http.StatusOK, r.StatusCode, r.body)
	var v T
	require.NoError(t, json.Unmarshal([]byte(r.body), &v), r.body)
	return v
}

// carryOut ends the deployment under way of a lambda as a controller does.
func (g *gateway) carryOut(id string, failure *lambda.Failure) {
	g.t.Helper()
	ctx := g.t.Context()
	p, err := g.store.Register(ctx, uuid.NewString(), 5*time.Second)
	require.NoError(g.t, err)
	defer p.Close(context.WithoutCancel(ctx))
	rollouts, err := g.store.OpenRollouts(ctx)
	require.NoError(g.t, err)
	defer rollouts.Close()
	w, ok := rollouts.Of(account, id)
	require.True(g.t, ok)
	w, err = g.store.Claim(ctx, p, w)
	require.NoError(g.t, err)
	if w.Deployment.Kind == lambda.Undeploy {
		_, err = g.store.FinishUndeployment(ctx, w)
		require.NoError(g.t, err)
		return
	}
	if failure != nil {
		_, err = g.store.FailDeployment(ctx, w, failure)
		require.NoError(g.t, err)
		return
	}
	w, err = g.store.Built(ctx, w, []byte("artifact"))
	require.NoError(g.t, err)
	w, err = g.store.RolledOut(ctx, w)
	require.NoError(g.t, err)
	_, err = g.store.FinishDeployment(ctx, w)
	require.NoError(g.t, err)
	require.NoError(g.t, g.views.WaitFor(ctx, g.store.Written()))
}

func (g *gateway) deploy(id string, failure *lambda.Failure) {
	g.t.Helper()
	r := g.do("POST", "/deployments/"+id, g.tokens[lambda.RoleDeveloper], "")
	require.Equal(g.t, http.StatusAccepted, r.StatusCode, r.body)
	g.carryOut(id, failure)
}

type entry struct {
	UUID, Name, LambdaName, LambdaState, DeploymentState, Digest, DeployedAt string

	LambdaVersion   int
	Live            bool
	DeploymentError *struct{ ErrorCode, ErrorMsg string }
	Implementation  struct {
		Code                 string
		EnvironmentVariables []lambda.Pair
	}
}

func TestDeploymentHistoryAndRollback(t *testing.T) {
	g := newGateway(t)
	dev, admin := g.tokens[lambda.RoleDeveloper], g.tokens[lambda.RoleAdmin]
	id := g.create("first")["uuid"].(string)
	history := func() []entry { return get[[]entry](t, g, "/deployments/"+id+"/history", admin) }
	require.Empty(t, history())
	require.Equal(t, "[]", g.do("GET", "/deployments", admin, "").body)

	g.deploy(id, nil)
	require.Equal(t, http.StatusAccepted, g.do("PUT", "/lambdas/"+id, dev, `{"version":1,"implementation":{"code":"second"}}`).StatusCode)
	g.deploy(id, nil)
	require.Equal(t, http.StatusAccepted, g.do("PUT", "/lambdas/"+id+"?draft=true", dev, `{"version":2,"implementation":{"code":"broken"}}`).StatusCode)
	g.deploy(id, &lambda.Failure{Code: lambda.CodeLambdaContract, Message: "2:5: unexpected token"})

	h := history()
	require.Len(t, h, 3)
	require.Equal(t, "broken", h[0].Implementation.Code)
	require.Equal(t, "Build Error", h[0].DeploymentState)
	require.Equal(t, "2:5: unexpected token", h[0].DeploymentError.ErrorMsg)
	require.Equal(t, "second", h[1].Implementation.Code)
	require.True(t, h[1].Live, "what failed did not replace it")
	require.False(t, h[2].Live)
	require.Equal(t, []lambda.Pair{{Key: "K", Value: "v"}}, h[2].Implementation.EnvironmentVariables)
	require.Regexp(t, "^[0-9a-f]{64}$", h[2].Digest)

	list := get[[]entry](t, g, "/deployments", dev)
	require.Len(t, list, 1)
	require.Equal(t, "first", list[0].LambdaName)
	require.Equal(t, "Modified", list[0].LambdaState)
	require.Equal(t, 3, list[0].LambdaVersion)

	t.Run("an old version is deployed again by its number", func(t *testing.T) {
		r := g.do("POST", "/deployments/"+id+"?version=1", dev, "")
		require.Equal(t, http.StatusAccepted, r.StatusCode, r.body)
		require.NotContains(t, r.body, "uuid")
		g.carryOut(id, nil)
		h := history()
		require.Len(t, h, 4)
		require.Equal(t, 1, h[0].LambdaVersion)
		require.True(t, h[0].Live)
		require.Equal(t, h[3].Digest, h[0].Digest, "a version never changes")
	})
	t.Run("an old version is taken over into the editor by saving it", func(t *testing.T) {
		old := history()[3].Implementation
		body, err := json.Marshal(map[string]any{"version": 3, "implementation": map[string]any{"code": old.Code, "environmentVariables": old.EnvironmentVariables}})
		require.NoError(t, err)
		require.Equal(t, http.StatusAccepted, g.do("PUT", "/lambdas/"+id, dev, string(body)).StatusCode)
	})
	for version, status := range map[string]int{"99": 404, "0": 400, "-1": 400, "x": 400, "1.5": 400, "99999999999999999999": 400, "1&version=2": 400} {
		r := g.do("POST", "/deployments/"+id+"?version="+version, dev, "")
		require.Equal(t, status, r.StatusCode, r.body)
	}
	require.Equal(t, http.StatusNotFound, g.do("GET", "/deployments/none/history", dev, "").StatusCode)
}

func TestWhitelist(t *testing.T) {
	g := newGateway(t, func(l *lambda.Limits) { l.Domains = 3 })
	admin, dev := g.tokens[lambda.RoleAdmin], g.tokens[lambda.RoleDeveloper]
	require.Equal(t, "[]", g.do("GET", "/proxy-settings", dev, "").body)
	r := g.do("POST", "/proxy-settings", admin, `{"timestamp":0,"domain":"*.Example.com","id":-1}`)
	require.Equal(t, http.StatusCreated, r.StatusCode, r.body)
	var added struct {
		ID           int
		Domain, Name string
	}
	require.NoError(t, json.Unmarshal([]byte(r.body), &added))
	require.Equal(t, "*.example.com", added.Domain)
	require.Equal(t, added.Domain, added.Name, "clients read it under two keys")

	r = g.do("POST", "/proxy-settings", admin, `{"domain":"*.example.com"}`)
	require.Equal(t, http.StatusConflict, r.StatusCode)
	require.Equal(t, lambda.CodeDomainDuplicate, r.code())
	require.Equal(t, http.StatusBadRequest, g.do("POST", "/proxy-settings", admin, `{"domain":"https://example.com"}`).StatusCode)
	require.Equal(t, http.StatusBadRequest, g.do("POST", "/proxy-settings", admin, `{"domain":7}`).StatusCode)
	require.Equal(t, http.StatusBadRequest, g.do("POST", "/proxy-settings", admin, ``).StatusCode)
	require.Equal(t, http.StatusForbidden, g.do("POST", "/proxy-settings", dev, `{"domain":"a.example.com"}`).StatusCode)
	for _, name := range []string{"a.example.com", "b.example.com"} {
		require.Equal(t, http.StatusCreated, g.do("POST", "/proxy-settings", admin, `{"domain":"`+name+`"}`).StatusCode)
	}
	r = g.do("POST", "/proxy-settings", admin, `{"domain":"c.example.com"}`)
	require.Equal(t, http.StatusConflict, r.StatusCode)
	require.Equal(t, lambda.CodeDomainLimit, r.code())

	for _, id := range []string{"0", "-1", "x", "01", "99", "1e3", "99999999999999999999"} {
		require.Equal(t, http.StatusNotFound, g.do("DELETE", "/proxy-settings/"+id, admin, "").StatusCode, id)
	}
	require.Equal(t, http.StatusForbidden, g.do("DELETE", "/proxy-settings/1", dev, "").StatusCode)
	require.Equal(t, http.StatusOK, g.do("DELETE", "/proxy-settings/"+strconv.Itoa(added.ID), admin, "").StatusCode)
	require.Len(t, get[[]any](t, g, "/proxy-settings", dev), 2)
}

func TestCountsAndLimits(t *testing.T) {
	g := newGateway(t, func(l *lambda.Limits) { l.Lambdas, l.DeployedLambdas = 7, 0 })
	id := g.create("first")["uuid"].(string)
	g.create("second")
	g.deploy(id, nil)
	invoker := g.tokens[lambda.RoleInvocation]
	require.JSONEq(t, `{"accountId":"`+account+`","total":2,"deployed":1}`, g.do("GET", "/reports/lambdaCounts", invoker, "").body)
	require.JSONEq(t, `{"limitTotalLambdas":7,"limitDeployedLambdas":1000000000,"invocationLimitPerMonth":150000}`, g.do("GET", "/reports/limitCounts", invoker, "").body)

	resp, err := http.Get(g.url + "/limits")
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	var shown struct {
		Limits []struct {
			Name, Unit, About string
			Value             *int64
		}
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&shown))
	require.Len(t, shown.Limits, len(lambda.LimitTable))
	for _, l := range shown.Limits {
		switch l.Name {
		case "lambdas":
			require.EqualValues(t, 7, *l.Value)
		case "deployed-lambdas":
			require.Nil(t, l.Value, "no limit")
		case "access-token":
			require.EqualValues(t, 28_800, *l.Value)
		}
	}
}

func TestEveryTextLimitCanBeSetAndHolds(t *testing.T) {
	g := newGateway(t, func(l *lambda.Limits) {
		l.Name, l.Description, l.Code, l.EventID, l.Environment, l.EnvironmentName, l.EnvironmentValue, l.Dependencies = 10, 11, 100, 5, 2, 8, 9, 1
	})
	body := func(name, description, event, code string, env, deps []lambda.Pair) string {
		b, err := json.Marshal(map[string]any{
			"name": name, "description": description, "eventId": event,
			"implementation": map[string]any{"code": code, "environmentVariables": env, "dependencies": deps},
		})
		require.NoError(t, err)
		return string(b)
	}
	x := func(n int) string { return strings.Repeat("x", n) }
	pair := func(k, v string) []lambda.Pair { return []lambda.Pair{{Key: k, Value: v}} }
	require.Equal(t, http.StatusCreated, g.do("POST", "/lambdas", g.tokens[lambda.RoleDeveloper], body(x(10), x(11), "", x(100), pair(x(8), x(9)), pair("d", "1"))).StatusCode)
	for field, b := range map[string]string{
		"name has 11 characters: the limit is 10":                      body(x(11), "d", "", "c", nil, nil),
		"description has 12 characters: the limit is 11":               body("n", x(12), "", "c", nil, nil),
		"eventId has 6 characters: the limit is 5":                     body("n", "d", x(6), "c", nil, nil),
		"implementation.code has 101 characters: the limit is 100":     body("n", "d", "", x(101), nil, nil),
		"environmentVariables[0].key has 9 characters: the limit is 8": body("n", "d", "", "c", pair(x(9), ""), nil),
		"the value of k has 10 characters: the limit is 9":             body("n", "d", "", "c", pair("k", x(10)), nil),
		"environmentVariables has 3 entries: the limit is 2":           body("n", "d", "", "c", []lambda.Pair{{Key: "a"}, {Key: "b"}, {Key: "c"}}, nil),
		"dependencies has 2 entries: the limit is 1":                   body("n", "d", "", "c", nil, []lambda.Pair{{Key: "a"}, {Key: "b"}}),
	} {
		r := g.do("POST", "/lambdas", g.tokens[lambda.RoleDeveloper], b)
		require.Equal(t, http.StatusBadRequest, r.StatusCode)
		require.Contains(t, r.body, field)
	}
}

func TestCallsAreHeldBackAboveTheirRate(t *testing.T) {
	invoke := func(g *gateway, id, token string) reply { return g.do("POST", "/lambdas/"+id+"/invoke", token, "{}") }
	// refused calls until one is, and gives how many went through.
	refused := func(t *testing.T, call func() reply, most int) int {
		t.Helper()
		for n := 0; n <= most; n++ {
			r := call()
			if r.StatusCode != http.StatusTooManyRequests {
				require.Equal(t, http.StatusOK, r.StatusCode, r.body)
				continue
			}
			require.Equal(t, lambda.CodeRateLimit, r.code())
			require.NotEmpty(t, r.Header.Get("Retry-After"))
			require.Equal(t, "0", r.Header.Get("RateLimit-Remaining"))
			require.NotEmpty(t, r.Header.Get("RateLimit-Limit"))
			return n
		}
		require.Fail(t, "never refused")
		return 0
	}
	t.Run("of a lambda, and its neighbour does not notice", func(t *testing.T) {
		g := newGateway(t, func(l *lambda.Limits) { l.LambdaCalls = 5 })
		busy, idle := g.create("busy")["uuid"].(string), g.create("idle")["uuid"].(string)
		g.deploy(busy, nil)
		g.deploy(idle, nil)
		require.GreaterOrEqual(t, refused(t, func() reply { return invoke(g, busy, g.app) }, 1000), 5, "as many at once as in a second")
		require.Equal(t, http.StatusOK, invoke(g, idle, g.app).StatusCode)
		require.Eventually(t, func() bool { return invoke(g, busy, g.app).StatusCode == http.StatusOK }, 20*time.Second, 50*time.Millisecond)
	})
	t.Run("of an account, whoever of it calls", func(t *testing.T) {
		g := newGateway(t, func(l *lambda.Limits) { l.AccountCalls = 5 })
		refused(t, func() reply { return invoke(g, uuid.NewString(), g.app) }, 1000)
		require.Equal(t, http.StatusTooManyRequests, g.do("GET", "/events/e/isImplemented", g.tokens[lambda.RoleInvocation], "").StatusCode)
		require.Equal(t, http.StatusOK, g.do("GET", "/lambdas", g.tokens[lambda.RoleDeveloper], "").StatusCode, "management has a rate of its own")
	})
	t.Run("of an account's management", func(t *testing.T) {
		g := newGateway(t, func(l *lambda.Limits) { l.AccountRequests = 5 })
		refused(t, func() reply { return g.do("GET", "/lambdas", g.tokens[lambda.RoleDeveloper], "") }, 1000)
		require.Equal(t, http.StatusOK, invoke(g, uuid.NewString(), g.app).StatusCode)
	})
	t.Run("of several gateways each allows its share", func(t *testing.T) {
		g := newGateway(t, func(l *lambda.Limits) { l.AccountRequests = 1000 })
		g.server.SetGateways(500)
		require.Less(t, refused(t, func() reply { return g.do("GET", "/lambdas", g.tokens[lambda.RoleDeveloper], "") }, 900), 900)
		g.server.SetGateways(1)
		require.Eventually(t, func() bool {
			return g.do("GET", "/lambdas", g.tokens[lambda.RoleDeveloper], "").StatusCode == http.StatusOK
		}, 20*time.Second, 10*time.Millisecond)
	})
	t.Run("who may not call costs nothing", func(t *testing.T) {
		g := newGateway(t, func(l *lambda.Limits) { l.AccountCalls = 1 })
		for range 5 {
			require.Equal(t, http.StatusForbidden, invoke(g, uuid.NewString(), g.tokens[lambda.RoleAdmin]).StatusCode)
			require.Equal(t, http.StatusUnauthorized, invoke(g, uuid.NewString(), "").StatusCode)
		}
		require.Equal(t, http.StatusOK, invoke(g, uuid.NewString(), g.app).StatusCode)
	})
}

func TestIdempotencyKey(t *testing.T) {
	g := newGateway(t)
	dev, admin := g.tokens[lambda.RoleDeveloper], g.tokens[lambda.RoleAdmin]
	uuidOf := func(r reply) string {
		var l struct{ UUID string }
		require.NoError(t, json.Unmarshal([]byte(r.body), &l))
		return l.UUID
	}
	body := createBody("once", "x")
	first := g.do("POST", "/lambdas", dev, body, "Idempotency-Key", "k1")
	require.Equal(t, http.StatusCreated, first.StatusCode, first.body)
	require.Empty(t, first.Header.Get("Idempotent-Replay"))

	t.Run("a repetition gets the same lambda and creates none", func(t *testing.T) {
		again := g.do("POST", "/lambdas", dev, body, "Idempotency-Key", "k1")
		require.Equal(t, http.StatusCreated, again.StatusCode, again.body)
		require.Equal(t, "true", again.Header.Get("Idempotent-Replay"))
		require.Equal(t, uuidOf(first), uuidOf(again))
		require.Len(t, get[[]any](t, g, "/lambdas", dev), 1)
	})
	t.Run("another request with the key is refused", func(t *testing.T) {
		r := g.do("POST", "/lambdas", dev, createBody("other", "x"), "Idempotency-Key", "k1")
		require.Equal(t, http.StatusBadRequest, r.StatusCode)
		require.Contains(t, r.body, "was used for another request")
	})
	t.Run("another caller's key is another key", func(t *testing.T) {
		r := g.do("POST", "/lambdas", g.tokens[lambda.RoleLPA], body, "Idempotency-Key", "k1")
		require.Equal(t, http.StatusConflict, r.StatusCode, "the name is taken")
	})
	t.Run("without a key every request counts", func(t *testing.T) {
		require.Equal(t, http.StatusConflict, g.do("POST", "/lambdas", dev, body).StatusCode)
	})
	t.Run("many at once create one, and all get it", func(t *testing.T) {
		var wg sync.WaitGroup
		ids := make([]string, 8)
		for i := range ids {
			wg.Go(func() {
				r := g.do("POST", "/lambdas", dev, createBody("race", "x"), "Idempotency-Key", "k2")
				if r.StatusCode == http.StatusCreated {
					ids[i] = uuidOf(r)
				}
			})
		}
		wg.Wait()
		for _, id := range ids {
			require.NotEmpty(t, id)
			require.Equal(t, ids[0], id)
		}
	})
	t.Run("a deployment is started once", func(t *testing.T) {
		path := "/deployments/" + uuidOf(first)
		for i, replay := range []string{"", "true", "true"} {
			r := g.do("POST", path, dev, "", "Idempotency-Key", "k3")
			require.Equal(t, http.StatusAccepted, r.StatusCode, r.body)
			require.Equal(t, replay, r.Header.Get("Idempotent-Replay"), i)
		}
		g.carryOut(uuidOf(first), nil)
		require.Equal(t, "true", g.do("POST", path, dev, "", "Idempotency-Key", "k3").Header.Get("Idempotent-Replay"))
		require.Len(t, get[[]entry](t, g, path+"/history", dev), 1)
	})
	t.Run("a domain is added once", func(t *testing.T) {
		var bodies []string
		for range 2 {
			r := g.do("POST", "/proxy-settings", admin, `{"domain":"a.example.com"}`, "Idempotency-Key", "k4")
			require.Equal(t, http.StatusCreated, r.StatusCode, r.body)
			bodies = append(bodies, r.body)
		}
		require.Equal(t, bodies[0], bodies[1])
	})
	t.Run("a key that cannot be one is refused", func(t *testing.T) {
		for _, k := range []string{" ", strings.Repeat("k", 256)} {
			r := g.do("POST", "/lambdas", dev, createBody("unmade", "x"), "Idempotency-Key", k)
			require.Equal(t, http.StatusBadRequest, r.StatusCode)
			require.Contains(t, r.body, "Idempotency-Key")
		}
	})
}

func TestIfMatch(t *testing.T) {
	g := newGateway(t)
	dev := g.tokens[lambda.RoleDeveloper]
	id := g.create("first")["uuid"].(string)
	tag := func() string { return g.do("GET", "/lambdas/"+id, dev, "").Header.Get("ETag") }
	require.Equal(t, `"1"`, tag())
	update := func(match string) reply {
		version := strings.Trim(tag(), `"`)
		return g.do("PUT", "/lambdas/"+id, dev, fmt.Sprintf(`{"version":%s,"description":"%s"}`, version, uuid.NewString()), "If-Match", match)
	}
	r := update(`"1"`)
	require.Equal(t, http.StatusAccepted, r.StatusCode, r.body)
	require.Equal(t, `"2"`, r.Header.Get("ETag"))
	r = update(`"1"`)
	require.Equal(t, http.StatusPreconditionFailed, r.StatusCode)
	require.Equal(t, lambda.CodeLambdaConflict, r.code())
	require.Equal(t, http.StatusAccepted, update("*").StatusCode)
	for _, match := range []string{"3", `"x"`, `W/"3"`, `"03"`, `"3", "4"`, `"-3"`} {
		require.Equal(t, http.StatusBadRequest, update(match).StatusCode, match)
	}
	require.Equal(t, http.StatusPreconditionFailed, g.do("DELETE", "/lambdas/"+id, dev, "", "If-Match", `"1"`).StatusCode)
	require.Equal(t, http.StatusOK, g.do("DELETE", "/lambdas/"+id, dev, "", "If-Match", tag()).StatusCode)
}
