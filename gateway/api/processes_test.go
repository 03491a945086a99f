package api_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/plugins/pool"
)

func (g *gateway) processes(method, id, body string) (int, map[string]any) {
	g.t.Helper()
	r := g.do(method, "/lambdas/"+id+"/processes", g.tokens[lambda.RoleDeveloper], body)
	var v map[string]any
	require.NoError(g.t, json.Unmarshal([]byte(r.body), &v), r.body)
	return r.StatusCode, v
}

func TestProcessesOfALambda(t *testing.T) {
	g := newGateway(t, func(l *lambda.Limits) { l.MinWarm, l.Processes = 5, 4 })
	id := g.deployedLambda("first")
	second, _ := g.create("second")["uuid"].(string)

	status, v := g.processes("GET", id, "")
	require.Equal(t, 200, status)
	require.Equal(t, map[string]any{
		"lambdaUUID": id, "minWarm": 0., "state": "idle", "processes": 0., "openCalls": 0., "waitingCalls": 0., "failures": 0.,
	}, v)

	status, v = g.processes("PUT", id, `{"minWarm":3}`)
	require.Equal(t, 200, status)
	require.Equal(t, 3., v["minWarm"])
	require.Equal(t, 3, g.views.MinWarm(account, id), "this gateway knows it at once")
	status, v = g.processes("PUT", second, `{"minWarm":2}`)
	require.Equal(t, 200, status, v)
	require.Equal(t, "idle", v["state"], "it is not deployed")

	status, v = g.processes("PUT", second, `{"minWarm":3}`)
	require.Equal(t, 409, status)
	require.Equal(t, lambda.CodeLambdaLimit, v["errorCode"])
	require.Equal(t, "minWarm 3 is too many: the limit of the account is 5, and its other lambdas have 3: lower this or theirs", v["errorMsg"])
	for body, text := range map[string]string{
		`{"minWarm":5}`:  "minWarm must be a number from 0 to 4, the limit of processes of a lambda",
		`{"minWarm":-1}`: "minWarm must be a number from 0 to 4, the limit of processes of a lambda",
		`{}`:             "minWarm is missing: say how many processes are to be kept ready, 0 for none",
	} {
		status, v = g.processes("PUT", id, body)
		require.Equal(t, 400, status)
		require.Equal(t, text, v["errorMsg"])
	}
	status, _ = g.processes("PUT", id, `{"minWarm":"x"}`)
	require.Equal(t, 400, status)
	for _, method := range []string{"GET", "PUT"} {
		status, v = g.processes(method, "none", `{"minWarm":1}`)
		require.Equal(t, 404, status)
		require.Equal(t, lambda.CodeMissingLambda, v["errorCode"])
	}
	r := g.do("GET", "/activities?noun=lambda", g.tokens[lambda.RoleDeveloper], "")
	require.Contains(t, r.body, `{"field":"minWarm","before":"0","after":"3"}`)

	at := time.Date(2030, 1, 2, 3, 4, 5, 6e6, time.UTC)
	g.status.Store(&pool.Status{
		State: pool.CrashLooping, Processes: 1, Kept: 3, OpenCalls: 2, Waiting: 4, Failures: 7,
		RetryAt: at, LastError: "the process ended: signal: aborted", LastPrinted: "FATAL", LastErrorAt: at,
	})
	status, v = g.processes("GET", id, "")
	require.Equal(t, 200, status)
	require.Equal(t, map[string]any{
		"lambdaUUID": id, "minWarm": 3., "state": "crash-looping", "processes": 1., "openCalls": 2., "waitingCalls": 4., "failures": 7.,
		"retryAt":   "2030-01-02T03:04:05.006Z",
		"lastError": map[string]any{"message": "the process ended: signal: aborted", "printed": "FATAL", "at": "2030-01-02T03:04:05.006Z"},
	}, v)

	require.Equal(t, http.StatusOK, g.do("DELETE", "/lambdas/"+second, g.tokens[lambda.RoleDeveloper], "").StatusCode)
	require.Eventually(t, func() bool { return g.views.MinWarm(account, second) == 0 }, 5*time.Second, time.Millisecond)
	status, _ = g.processes("PUT", id, `{"minWarm":4}`)
	require.Equal(t, 200, status)
}
