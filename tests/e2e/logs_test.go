package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/sdk/client"
)

func TestOverlappingCallsKeepTheirOwnLogs(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	author := developer(t, g)
	l := deployed(t, author, "logs", `
		const { setTimeout: pause } = require('timers/promises')
		async function lambda(input, callback) {
			const { who } = input.payload
			console.debug('begin', who)
			await pause(Math.random() * 30)
			console.info('awaited', { who })
			setTimeout(() => {
				console.warn('timer', [who])
				Promise.resolve().then(() => { console.error('promise', who); callback(null, who) })
			}, Math.random() * 30)
		}`)

	const callers = 24
	results := make([]*client.ManualResult, callers)
	errs := make([]error, callers)
	var wg sync.WaitGroup
	begin := time.Now().UnixMilli()
	for i := range callers {
		wg.Go(func() {
			results[i], errs[i] = author.InvokeManual(t.Context(), l.ID, map[string]string{"who": fmt.Sprint("caller ", i)})
		})
	}
	wg.Wait()
	for i := range callers {
		require.NoError(t, errs[i])
		who := fmt.Sprint("caller ", i)
		require.JSONEq(t, fmt.Sprintf("%q", who), string(results[i].Result))
		want := []struct{ level, message, extras string }{
			{"Debug", "begin", fmt.Sprintf(`[%q]`, who)},
			{"Info", "awaited", fmt.Sprintf(`[{"who":%q}]`, who)},
			{"Warn", "timer", fmt.Sprintf(`[[%q]]`, who)},
			{"Error", "promise", fmt.Sprintf(`[%q]`, who)},
		}
		require.Len(t, results[i].Logs, len(want), "%+v", results[i].Logs)
		for k, record := range results[i].Logs {
			require.Equal(t, want[k].level, record.Level)
			require.Equal(t, want[k].message, record.Message)
			require.JSONEq(t, want[k].extras, string(record.Extras))
			require.GreaterOrEqual(t, record.Timestamp, begin)
		}
	}
}

func TestTheManualFormIsForSessionsWithoutAnExternalSystem(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	author := developer(t, g)
	l := deployed(t, author, "manual", `function lambda(input, callback) {
		console.log('logged')
		if (input.payload.fail) return callback(new Error('no luck'))
		if (input.payload.odd) return callback({ odd: true })
		callback(null, 'done')
	}`)

	manual, err := author.InvokeManual(t.Context(), l.ID, nil)
	require.NoError(t, err)
	require.JSONEq(t, `"done"`, string(manual.Result))
	require.Len(t, manual.Logs, 1)
	require.Equal(t, "Info", manual.Logs[0].Level, "console.log is Info on a server")
	require.JSONEq(t, `"done"`, invoked(t, author, l.ID, nil), "with an external system it is the result alone")
	require.JSONEq(t, `"done"`, invoked(t, brand(t, g), l.ID, nil))

	_, err = author.InvokeManual(t.Context(), l.ID, map[string]bool{"fail": true})
	var e *client.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, client.StatusLambdaFailed, e.Status)
	require.Len(t, e.Logs, 2)
	require.Equal(t, "Received Error - no luck", e.Logs[1].Message)
	require.Equal(t, "Error", e.Logs[1].Level)

	_, err = author.InvokeManual(t.Context(), l.ID, map[string]bool{"odd": true})
	require.ErrorAs(t, err, &e)
	require.Equal(t, client.StatusLambdaFailed, e.Status)
	require.Len(t, e.Logs, 2)
	require.Equal(t, "Warn", e.Logs[1].Level)
	require.Equal(t, "Received error in an incorrect format. Please provide an error object to the callback.", e.Logs[1].Message)
	require.JSONEq(t, `[{"originalFailure":{"odd":true}}]`, string(e.Logs[1].Extras))

	call := newCaller(t, g, appToken(t, g))
	r := call.send(t, http.MethodPost, "/api/account/"+call.account+"/lambdas/"+l.ID+"/invoke?v=1", []byte(`{"payload":{"fail":true}}`))
	requireError(t, r, client.StatusLambdaFailed, client.CodeCustomFailure)
	require.NotContains(t, r.body, "errorLogs", "logs are for manual calls only")
	r = call.send(t, http.MethodPost, "/api/account/"+call.account+"/lambdas/"+l.ID+"/invoke?v=1", []byte(`{}`))
	require.True(t, json.Valid([]byte(r.body)))
	require.Equal(t, `"done"`, r.body, "a token of Sentinel never gets the manual form")
}

func TestTheLogsOfAManualCallSurviveItsTimeLimitAndItsCrash(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	author := developer(t, g)
	for name, tt := range map[string]struct{ ending, code string }{
		"time limit": {``, client.CodeExecutionTime},
		"crash":      {`setTimeout(() => process.exit(1), 50)`, client.CodeCustomFailure},
		// In these the event loop does not turn any more, so nothing can be sent.
		"endless loop":        {`for (;;);`, client.CodeExecutionTime},
		"more memory than is": {`for (const all = [];;) all.push(Buffer.alloc(5e7, 1))`, client.CodeCustomFailure},
	} {
		t.Run(name, func(t *testing.T) {
			l := deployed(t, author, "lastwords", `function lambda(input, callback) { console.warn('last words'); `+tt.ending+` }`)
			_, err := author.InvokeManual(t.Context(), l.ID, nil)
			var e *client.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, tt.code, e.Code)
			require.NotEmpty(t, e.Logs)
			require.Equal(t, "last words", e.Logs[0].Message)
		})
	}
}
