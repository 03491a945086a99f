package api_test

import (
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

func TestLambdaLife(t *testing.T) {
	g := newGateway(t)
	dev := g.tokens[lambda.RoleDeveloper]
	created := g.create("first")
	id := created["uuid"].(string)
	require.Equal(t, "Draft", created["state"])
	require.Equal(t, map[string]any{}, created["lastDeployment"], "an object, never null")
	require.Equal(t, "Node.js 24", created["runtime"].(map[string]any)["name"])
	require.Len(t, created["implementation"].(map[string]any)["environmentVariables"], 1, "the CLI's empty pair is dropped")

	one := g.do("GET", "/lambdas/"+id, dev, "")
	var list []map[string]any
	require.NoError(t, json.Unmarshal([]byte(one.body), &list), "one lambda comes in an array")
	require.Equal(t, "first", list[0]["name"])

	t.Run("an update without a difference is 304 with an empty body", func(t *testing.T) {
		r := g.do("PUT", "/lambdas/"+id, dev, one.body[1:len(one.body)-1])
		require.Equal(t, http.StatusNotModified, r.StatusCode)
		require.Empty(t, r.body)
	})
	t.Run("an update needs the version last read", func(t *testing.T) {
		r := g.do("PUT", "/lambdas/"+id, dev, `{"description":"new","version":7}`)
		require.Equal(t, http.StatusConflict, r.StatusCode)
		require.Equal(t, lambda.CodeLambdaConflict, r.code())
		r = g.do("PUT", "/lambdas/"+id, dev, `{"description":"new"}`)
		require.Equal(t, http.StatusBadRequest, r.StatusCode)
		require.Contains(t, r.body, "version is missing")
	})
	t.Run("an update counts the version up", func(t *testing.T) {
		r := g.do("PUT", "/lambdas/"+id, dev, `{"description":"new","version":1,"state":"Productive","createdBy":"x"}`)
		require.Equal(t, http.StatusAccepted, r.StatusCode, r.body)
		var l map[string]any
		require.NoError(t, json.Unmarshal([]byte(r.body), &l))
		require.EqualValues(t, 2, l["version"])
		require.Equal(t, "Draft", l["state"], "the server decides the state")
		require.Equal(t, created["createdBy"], l["createdBy"])
	})
	t.Run("name and event cannot change", func(t *testing.T) {
		require.Contains(t, g.do("PUT", "/lambdas/"+id, dev, `{"name":"second","version":2}`).body, "name cannot change")
		require.Contains(t, g.do("PUT", "/lambdas/"+id, dev, `{"eventId":"e","version":2}`).body, "eventId cannot change")
	})
	t.Run("code that is no lambda is a contract error with its place", func(t *testing.T) {
		r := g.do("PUT", "/lambdas/"+id, dev, `{"version":2,"implementation":{"code":"broken"}}`)
		require.Equal(t, http.StatusBadRequest, r.StatusCode)
		require.Contains(t, r.code(), "contract-error")
		require.Contains(t, r.body, "2:5")
		r = g.do("PUT", "/lambdas/"+id+"?draft=true", dev, `{"version":2,"implementation":{"code":"broken"}}`)
		require.Equal(t, http.StatusAccepted, r.StatusCode, "a draft is kept unchecked")
	})
	t.Run("a deployment is accepted without a uuid and a second one refused", func(t *testing.T) {
		r := g.do("POST", "/deployments/"+id, dev, "")
		require.Equal(t, http.StatusAccepted, r.StatusCode, r.body)
		require.JSONEq(t, `{"message":"Successfully started deployment"}`, r.body)
		r = g.do("POST", "/deployments/"+id, dev, "")
		require.Equal(t, http.StatusConflict, r.StatusCode)
		require.Contains(t, r.body, lambda.TextDeploymentActive)
		r = g.do("DELETE", "/lambdas/"+id, dev, "")
		require.Equal(t, http.StatusConflict, r.StatusCode)
	})
	t.Run("a lambda that is not deployed can be deleted", func(t *testing.T) {
		id := g.create("gone")["uuid"].(string)
		require.Equal(t, http.StatusOK, g.do("DELETE", "/lambdas/"+id, dev, "").StatusCode)
		r := g.do("GET", "/lambdas/"+id, dev, "")
		require.Equal(t, http.StatusNotFound, r.StatusCode)
		require.Equal(t, lambda.CodeMissingLambda, r.code())
		require.Equal(t, http.StatusConflict, g.do("DELETE", "/deployments/"+g.create("idle")["uuid"].(string), dev, "").StatusCode, "there is nothing to undeploy")
	})
}

func TestListFilters(t *testing.T) {
	g := newGateway(t)
	for _, name := range []string{"alpha", "alphabet", "beta"} {
		g.create(name)
	}
	for query, want := range map[string]int{
		"": 3, "?name=alpha": 2, "?name=": 3, "?state=Draft": 3, "?state=Productive": 0, "?state=Productive&state=Draft": 3,
		"?state=": 3, "?eventId=none": 0, "?eventId=&v=1&userId=x": 3,
	} {
		for _, slash := range []string{"", "/"} {
			r := g.do("GET", "/lambdas"+slash+query, g.tokens[lambda.RoleAdmin], "")
			require.Equal(t, http.StatusOK, r.StatusCode)
			var list []any
			require.NoError(t, json.Unmarshal([]byte(r.body), &list))
			require.Len(t, list, want, query)
		}
	}
}

func TestTwoCreatesOfOneName(t *testing.T) {
	g := newGateway(t)
	var wg sync.WaitGroup
	statuses := make([]int, 8)
	for i := range statuses {
		wg.Go(func() {
			statuses[i] = g.do("POST", "/lambdas", g.tokens[lambda.RoleDeveloper], createBody("same", "function lambda() {}")).StatusCode
		})
	}
	wg.Wait()
	counts := map[int]int{}
	for _, s := range statuses {
		counts[s]++
	}
	require.Equal(t, map[int]int{http.StatusCreated: 1, http.StatusConflict: 7}, counts)
}

func TestBadLambdas(t *testing.T) {
	g := newGateway(t)
	for _, c := range []struct{ name, body, says string }{
		{"not JSON", `{"name":`, "not valid JSON"},
		{"a list", `[]`, "must be a JSON object"},
		{"empty", ``, "must be a JSON object"},
		{"invalid UTF-8", "{\"name\":\"\xff\"}", "not valid UTF-8"},
		{"name of the wrong type", `{"name":5}`, "name must be a string"},
		{"code of the wrong type", `{"name":"a","implementation":{"code":[]}}`, "implementation.code must be a string"},
		{"environment of the wrong type", `{"name":"a","implementation":{"code":"x","environmentVariables":{}}}`, "environmentVariables must be an array"},
		{"no name", `{"description":"d"}`, "name is missing"},
		{"a name with a blank", createBody("a b", "x"), "letters, digits and _"},
		{"a name over the limit", createBody(strings.Repeat("n", 51), "x"), "the limit is 50"},
		{"code over the limit", createBody("a", strings.Repeat("x", 100_001)), "the limit is 100000"},
		{"no code", createBody("a", " "), "implementation.code is missing"},
		{"a reserved environment name", `{"name":"a","description":"d","implementation":{"code":"x","environmentVariables":[{"key":"https_proxy","value":"v"}]}}`, lambda.TextReservedName},
		{"an unknown runtime", `{"name":"a","description":"d","runtime":{"uuid":"nope"},"implementation":{"code":"x"}}`, "is not installed here"},
		{"a body over the limit", createBody("a", strings.Repeat("x", 3<<20)), "larger than the limit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := g.do("POST", "/lambdas", g.tokens[lambda.RoleDeveloper], c.body)
			require.Contains(t, []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge}, r.StatusCode, r.body)
			require.Equal(t, lambda.CodeBadInput, r.code())
			require.Contains(t, r.body, c.says)
		})
	}
}

func TestRuntimes(t *testing.T) {
	g := newGateway(t)
	r := g.do("GET", "/runtimes", g.tokens[lambda.RoleDeveloper], "")
	var list []map[string]string
	require.NoError(t, json.Unmarshal([]byte(r.body), &list))
	require.Equal(t, "Node.js 24", list[0]["name"], "the CLI reads the major version from it")
	body := createBody("a", "x")
	body = strings.Replace(body, `"state"`, `"runtime":{"uuid":"`+list[0]["uuid"]+`","name":"anything"},"state"`, 1)
	require.Equal(t, http.StatusCreated, g.do("POST", "/lambdas", g.tokens[lambda.RoleDeveloper], body).StatusCode)
}

func TestAnAccountThatSavesTooFastIsHeldBack(t *testing.T) {
	g := newGateway(t)
	now := time.Now()
	api.SetClock(g.server, func() time.Time { return now }) // so that nothing is refilled meanwhile
	id := g.create("busy")["uuid"].(string)
	code := strings.Repeat("\U0001F600", 99_998)
	for version := 1; ; version++ {
		body, err := json.Marshal(map[string]any{"version": version, "implementation": map[string]any{"code": code + strings.Repeat(" ", version%2)}})
		require.NoError(t, err)
		r := g.do("PUT", "/lambdas/"+id+"?draft=true", g.tokens[lambda.RoleDeveloper], string(body))
		if r.StatusCode == http.StatusTooManyRequests {
			require.Equal(t, lambda.CodeRateLimit, r.code())
			require.NotEmpty(t, r.Header.Get("Retry-After"))
			require.Greater(t, version, 30, "a push of much that an account may have goes through")
			return
		}
		require.Equal(t, http.StatusAccepted, r.StatusCode, r.body)
		require.Less(t, version, 60, "the history of one lambda must not fill the store")
	}
}
