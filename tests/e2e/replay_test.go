package e2e_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/sdk/client"
)

// counting answers with how often it ran in its process, slowly enough for
// callers to meet inside it.
const counting = `
	let runs = 0
	function lambda(input, callback) {
		const n = ++runs
		if (input.payload.fail) return callback(new Error('failure ' + n))
		setTimeout(() => callback(null, n), input.payload.wait || 0)
	}`

func TestConcurrentRetriesRunTheLambdaOnce(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	l := deployed(t, developer(t, g), "counting", counting)
	call := newCaller(t, g, appToken(t, g))
	const body = `{"timestamp":1,"payload":{"wait":300}}`

	const callers = 20
	replies := make([]reply, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			replies[i], _ = call.try(context.Background(), http.MethodPost, call.invokePath(l.ID), []byte(body), "X-Request-ID", "retry 1")
		})
	}
	wg.Wait()
	for _, r := range replies {
		require.Equal(t, http.StatusOK, r.status, r.body)
		require.Equal(t, "1", r.body)
	}
	require.Equal(t, "1", call.invoke(t, l.ID, body, "X-Request-ID", "retry 1").body, "a later retry gets the same answer")
	require.Equal(t, "2", call.invoke(t, l.ID, body, "X-Request-ID", "retry 2").body, "another id runs it again")
	require.Equal(t, "3", call.invoke(t, l.ID, `{"payload":{}}`, "X-Request-ID", "retry 2").body, "so does another body")
	require.Equal(t, "4", call.invoke(t, l.ID, `{"payload":{}}`).body, "and a call without an id")

	t.Run("another principal does not share", func(t *testing.T) {
		other := newCaller(t, g, sessionToken(t, g, "FaaS-Invocation"))
		require.Equal(t, "5", other.invoke(t, l.ID, body, "X-Request-ID", "retry 1").body)
	})
	t.Run("a failure is given again, too", func(t *testing.T) {
		for range 2 {
			r := call.invoke(t, l.ID, `{"payload":{"fail":true}}`, "X-Request-ID", "failing")
			requireError(t, r, client.StatusLambdaFailed, client.CodeCustomFailure)
			require.Equal(t, "failure 6", r.message())
		}
	})
	t.Run("a caller who leaves takes nobody along", func(t *testing.T) {
		ctx, leave := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer leave()
		gone := make(chan error, 1)
		go func() {
			_, err := call.try(ctx, http.MethodPost, call.invokePath(l.ID), []byte(body), "X-Request-ID", "retry 3")
			gone <- err
		}()
		time.Sleep(50 * time.Millisecond)
		require.Equal(t, "7", call.invoke(t, l.ID, body, "X-Request-ID", "retry 3").body)
		require.Error(t, <-gone)
		require.Equal(t, "8", call.invoke(t, l.ID, `{}`).body, "it ran once")
	})
	t.Run("an answer that ran nothing is not kept", func(t *testing.T) {
		author := developer(t, g)
		l, err := author.CreateLambda(t.Context(), client.LambdaSpec{Name: newName("later"), Description: "deployed later", Code: counting})
		require.NoError(t, err)
		requireError(t, call.invoke(t, l.ID, `{}`, "X-Request-ID", "early"), http.StatusNotFound, client.CodeNotDeployed)
		_, err = author.DeployAndWait(t.Context(), l.ID)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, call.invoke(t, l.ID, `{}`, "X-Request-ID", "early").status)
	})
}
