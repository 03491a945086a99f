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

func TestCallsBeyondWhatTheGatewayHoldsAreRefused(t *testing.T) {
	g := sharedGateway(t)
	author := developer(t, g)
	l := deployed(t, author, "crowded", `
		function lambda(input, callback) { setTimeout(() => callback(null, 1), input.payload.wait || 0) }`)
	call := newCaller(t, g, appToken(t, g))
	call.base = g.Info.URLs["csds"] // plain HTTP: thousands of TLS handshakes would spread the crowd

	const crowd = 3000 // more than four processes take at once and the queue holds
	replies := make([]reply, crowd)
	errs := make([]error, crowd)
	var wg sync.WaitGroup
	for i := range crowd {
		wg.Go(func() {
			replies[i], errs[i] = call.try(context.Background(), http.MethodPost, call.invokePath(l.ID), []byte(`{"payload":{"wait":1500}}`))
		})
	}
	wg.Wait()
	served, refused := 0, 0
	for i, r := range replies {
		require.NoError(t, errs[i])
		if r.status == http.StatusOK {
			served++
			continue
		}
		refused++
		require.Equal(t, http.StatusServiceUnavailable, r.status, r.body)
		requireErrorForm(t, r)
		require.Contains(t, []string{client.CodeUnavailable, client.CodeRuntimeUnavailable}, r.code())
		after, err := strconv.Atoi(r.header.Get("Retry-After"))
		require.NoError(t, err)
		require.Positive(t, after)
	}
	t.Logf("%d served, %d refused", served, refused)
	require.Positive(t, refused)
	require.GreaterOrEqual(t, served, 1000)
	require.Equal(t, http.StatusOK, call.invoke(t, l.ID, `{}`).status, "it serves on")
}

func TestALambdaThatNoLongerLoadsIsAnsweredForAndHarmsNobody(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	author, app := developer(t, g), brand(t, g)
	neighbour(t, author, app)
	name := newName("relapse")
	until := time.Now().Add(1500 * time.Millisecond).UnixMilli()
	l := deployed(t, author, "relapse", `
		if (Date.now() > `+strconv.FormatInt(until, 10)+`) process.exit(1)
		process.title = '`+name+`'
		function lambda(input, callback) { callback(null, 1) }`)
	require.Equal(t, "1", invoked(t, app, l.ID, nil))
	time.Sleep(time.Until(time.UnixMilli(until + 1)))
	require.NoError(t, named(t, g, name).Kill())

	call := newCaller(t, g, appToken(t, g))
	for range 500 { // until one meets the load: before, calls get inside the process that is ending
		if status := call.invoke(t, l.ID, `{}`).status; status != http.StatusOK && status != http.StatusInternalServerError {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	told := 0 // answers of the load itself
	for range 30 {
		begin := time.Now()
		r := call.invoke(t, l.ID, `{}`)
		require.Less(t, time.Since(begin), runLimit+3*time.Second)
		requireErrorForm(t, r)
		require.Contains(t, r.message(), "The code ended its process while it was read: process.exit(1)")
		if r.status == client.StatusLambdaFailed {
			told++
			require.Equal(t, client.CodeCustomFailure, r.code())
		} else { // too soon after the last attempt
			require.Equal(t, http.StatusServiceUnavailable, r.status, r.body)
			require.Equal(t, client.CodeRuntimeUnavailable, r.code())
			after, err := strconv.Atoi(r.header.Get("Retry-After"))
			require.NoError(t, err)
			require.Positive(t, after)
		}
		time.Sleep(100 * time.Millisecond)
	}
	require.Positive(t, told, "it is tried again")
	l.Source.Code = versioned("mended")
	_, _, err := author.UpdateLambda(t.Context(), l)
	require.NoError(t, err)
	_, err = author.DeployAndWait(t.Context(), l.ID)
	require.NoError(t, err)
	require.JSONEq(t, `{"version":"mended","got":{}}`, invoked(t, app, l.ID, nil), "a redeployment mends it at once")
}
