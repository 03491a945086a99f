package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/sdk/client"
)

// slowly is a lambda whose calls take as many milliseconds as their payload
// says, and then tell its version; a payload of null tells how many are inside.
func slowly(version int) string {
	return fmt.Sprintf(`let inside = 0
		function lambda(input, callback) {
			const { wait } = input.payload
			if (wait === undefined) return callback(null, inside)
			inside++
			setTimeout(() => { inside--; callback(null, 'version %d') }, wait)
		}`, version)
}

// A version that calls are still inside is left to finish them, however soon the
// next one, and the one after it, is live, and even when none is live any more.
func TestCallsInsideAnOldVersionOutliveItsRedeployment(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, t.TempDir(), "--no-sample") // calls may run longer than on the shared one
	author, app := developer(t, g), brand(t, g)
	l := deployed(t, author, "outlived", slowly(1))

	const callers = 8
	hold := (6 * time.Second).Milliseconds() // far longer than a deployment takes
	answers := map[int]chan string{1: make(chan string, callers), 2: make(chan string, callers)}
	var calls sync.WaitGroup
	enter := func(version int) {
		for range callers {
			calls.Go(func() {
				got, err := app.Invoke(context.WithoutCancel(t.Context()), l.ID, map[string]int64{"wait": hold})
				if err != nil {
					got = []byte(err.Error())
				}
				answers[version] <- string(got)
			})
		}
		require.Eventually(t, func() bool { return invoked(t, app, l.ID, nil) == fmt.Sprint(callers) }, 5*time.Second, 10*time.Millisecond,
			"the calls are to be inside version %d", version)
	}
	replace := func(version int) {
		t.Helper()
		l.Source.Code = slowly(version)
		stored, _, err := author.UpdateLambda(t.Context(), l)
		require.NoError(t, err)
		l, err = author.DeployAndWait(t.Context(), stored.ID)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf(`"version %d"`, version), invoked(t, app, l.ID, map[string]int{"wait": 0}))
	}

	enter(1)
	replace(2)
	require.Empty(t, answers[1], "the calls were to be inside version 1 when version 2 became live")
	enter(2)
	replace(3)
	require.Empty(t, answers[2], "the calls were to be inside version 2 when version 3 became live")
	_, err := author.UndeployAndWait(t.Context(), l.ID)
	require.NoError(t, err)
	_, err = app.Invoke(t.Context(), l.ID, nil)
	require.True(t, client.IsCode(err, client.CodeNotDeployed), "%v", err)

	calls.Wait()
	for version, got := range answers {
		close(got)
		for answer := range got {
			require.Equal(t, fmt.Sprintf(`"version %d"`, version), answer)
		}
	}
}

// What the user guide shows over the state of a deployment: why it failed, with
// the compiler's text and its place in the code.
func TestTheCauseOfAFailedDeploymentIsToldWithItsPlace(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	call := newCaller(t, g, sessionToken(t, g, "FaaS-Developer"))
	path := "/api/account/" + call.account + "/lambdas"

	for name, tt := range map[string]struct {
		code, state, kind, message, stack string
	}{
		"code that does not parse": {
			"function lambda(input, callback) {\n  callback(null, 1\n}\n",
			client.BuildFailed, client.CodeLambdaContract, "3:1: Unexpected token.", "",
		},
		"code with two faults": {
			"'use strict'\nfunction lambda(input, callback) {\n  eval('1')\n  callback(null, new Function('2')())\n}\n",
			client.BuildFailed, client.CodeLambdaContract,
			"3:3: eval makes code of text, which a lambda must not do. Write the code as a function.\n" +
				"4:22: Function makes code of text, which a lambda must not do. Write the code as a function.", "",
		},
		"code that throws while it is loaded": {
			"const settings = undefined\nfunction lambda(input, callback) { callback() }\n  settings.colour()\n",
			client.DeployFailed, "com.liveperson.faas.deployment.failed", "TypeError: Cannot read properties of undefined (reading 'colour')",
			"TypeError: Cannot read properties of undefined (reading 'colour')\n    at Object.<anonymous> (lambda.js:3:12)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := savedDraft(t, call, http.MethodPost, path, map[string]any{
				"name": newName("cause"), "description": "has a fault", "implementation": map[string]any{"code": tt.code},
			})
			_, err := developer(t, g).DeployAndWait(t.Context(), l.ID)
			var failed *client.DeployError
			require.ErrorAs(t, err, &failed)

			read := call.send(t, http.MethodGet, path+"/"+l.ID+"?v=1", nil)
			require.Equal(t, http.StatusOK, read.status, read.body)
			var shown []struct {
				Last struct {
					State string                     `json:"deploymentState"`
					Error map[string]json.RawMessage `json:"deploymentError"`
				} `json:"lastDeployment"`
			}
			require.NoError(t, json.Unmarshal([]byte(read.body), &shown))
			require.Len(t, shown, 1)
			last := shown[0].Last
			require.Equal(t, tt.state, last.State)
			require.Equal(t, tt.kind, textOf(t, last.Error["errorCode"]))
			require.Equal(t, tt.message, textOf(t, last.Error["errorMsg"]))
			delete(last.Error, "errorCode")
			delete(last.Error, "errorMsg")
			if tt.stack == "" {
				require.Empty(t, last.Error)
				return
			}
			var logs []client.LogRecord
			require.NoError(t, json.Unmarshal(last.Error["errorLogs"], &logs))
			require.Len(t, logs, 1)
			require.Equal(t, tt.stack, logs[0].Message)
			require.Len(t, last.Error, 1, "the public Java client refuses other keys")
		})
	}
	t.Run("and the version before it serves on", func(t *testing.T) {
		l := deployed(t, developer(t, g), "survives", versioned("good"))
		savedDraft(t, call, http.MethodPut, path+"/"+l.ID, map[string]any{
			"version": l.Version, "implementation": map[string]any{"code": "function lambda("},
		})
		l, err := developer(t, g).DeployAndWait(t.Context(), l.ID)
		var failed *client.DeployError
		require.ErrorAs(t, err, &failed)
		require.Equal(t, client.BuildFailed, failed.State)
		require.Equal(t, client.Modified, l.State)
		require.JSONEq(t, `{"version":"good","got":{}}`, invoked(t, brand(t, g), l.ID, nil))
	})
}

// savedDraft saves a lambda unchecked.
func savedDraft(t *testing.T, call *caller, method, path string, body map[string]any) *client.Lambda {
	t.Helper()
	text, err := json.Marshal(body)
	require.NoError(t, err)
	saved := call.send(t, method, path+"?v=1&draft=true", text)
	require.Contains(t, []int{http.StatusCreated, http.StatusAccepted}, saved.status, saved.body)
	l := new(client.Lambda)
	require.NoError(t, json.Unmarshal([]byte(saved.body), l))
	return l
}

func textOf(t *testing.T, raw json.RawMessage) string {
	t.Helper()
	var text string
	require.NoError(t, json.Unmarshal(raw, &text), "%s", raw)
	return text
}
