package e2e_test

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/sdk/client"
)

func TestALambdaThatComputesGetsASecondProcess(t *testing.T) {
	g := sharedGateway(t)
	author, app := developer(t, g), brand(t, g)
	l := deployed(t, author, "computes", `
		const me = Math.random() // in a sandbox every process is number 1
		function lambda(input, callback) {
			for (const end = Date.now() + 30; Date.now() < end;);
			callback(null, me)
		}`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	var mu sync.Mutex
	served := map[string]int{}
	for range 10 {
		wg.Go(func() {
			for ctx.Err() == nil {
				process, err := app.Invoke(context.WithoutCancel(ctx), l.ID, nil)
				if err != nil {
					t.Errorf("%v", err)
					return
				}
				mu.Lock()
				served[string(process)]++
				mu.Unlock()
			}
		})
	}
	require.Eventually(t, func() bool {
		p, err := author.Processes(t.Context(), l.ID)
		require.NoError(t, err)
		mu.Lock()
		defer mu.Unlock()
		return p.Processes >= 2 && len(served) >= 2 // though no process has all its slots taken
	}, 30*time.Second, 50*time.Millisecond)
}

func TestALambdaThatEndsItsProcessAtEachCallCrashLoopsUntilItIsMended(t *testing.T) {
	g := sharedGateway(t)
	author, app := developer(t, g), brand(t, g)
	call := newCaller(t, g, appToken(t, g))
	l := deployed(t, author, "crashes", `
		process.stderr.write('before the end\n')
		function lambda(input, callback) { process.exit(7) }`)
	seen, refused := 0, 0
	var after int
	for refused == 0 && seen < 20 {
		r := call.invoke(t, l.ID, `{}`)
		requireErrorForm(t, r)
		if r.status != http.StatusServiceUnavailable {
			require.Equal(t, client.StatusLambdaFailed, r.status, "%s", r.body)
			seen++
			continue
		}
		refused++
		require.Equal(t, client.CodeRuntimeUnavailable, r.code())
		require.Equal(t, "start", r.header.Get("X-Sluice-Phase"))
		require.Regexp(t, `^The process of the lambda ended \d+ times soon after it was started, the last time because of: process\.exit\(7\)`, r.message())
		var err error
		after, err = strconv.Atoi(r.header.Get("Retry-After"))
		require.NoError(t, err)
		require.Positive(t, after)
	}
	require.Positive(t, refused, "%d calls ended their process", seen)
	p, err := author.Processes(t.Context(), l.ID)
	require.NoError(t, err)
	require.Equal(t, client.ProcessesCrashLooping, p.State)
	require.GreaterOrEqual(t, p.Failures, 3)
	require.Contains(t, p.LastError.Message, "process.exit(7)")

	l.Source.Code = `function lambda(input, callback) { callback(null, 'mended') }`
	_, _, err = author.UpdateLambda(t.Context(), l)
	require.NoError(t, err)
	_, err = author.DeployAndWait(t.Context(), l.ID)
	require.NoError(t, err)
	require.Equal(t, `"mended"`, invoked(t, app, l.ID, nil), "a deployment begins anew")
	p, err = author.Processes(t.Context(), l.ID)
	require.NoError(t, err)
	require.Equal(t, client.ProcessesReady, p.State)
	require.Nil(t, p.LastError)
}
