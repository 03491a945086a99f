package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/sdk/client"
	"github.com/sluice-faas/sluice/tests/dev"
)

func TestARollbackBringsAnOldVersionBackWithoutLosingACall(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	author, app := developer(t, g), brand(t, g)
	ctx := t.Context()
	l := deployed(t, author, "rollback", versioned("one"))
	l.Source.Code = versioned("two")
	l, _, err := author.UpdateLambda(ctx, l)
	require.NoError(t, err)
	l, err = author.DeployAndWait(ctx, l.ID)
	require.NoError(t, err)
	require.JSONEq(t, `{"version":"two","got":{}}`, invoked(t, app, l.ID, nil))

	stop := make(chan struct{})
	var calls sync.WaitGroup
	var answered atomic.Int64
	for range 4 {
		calls.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				got, err := app.Invoke(ctx, l.ID, nil)
				if err != nil {
					t.Errorf("a call during the rollback: %v", err)
					return
				}
				answered.Add(1)
				if v := string(got); v != `{"version":"one","got":{}}` && v != `{"version":"two","got":{}}` {
					t.Errorf("a call during the rollback got %s", v)
					return
				}
			}
		})
	}
	require.NoError(t, author.Rollback(ctx, l.ID, 1))
	l, err = author.WaitDeployed(ctx, l.ID)
	require.NoError(t, err)
	close(stop)
	calls.Wait()
	require.Positive(t, answered.Load())
	require.Equal(t, client.Modified, l.State, "what is saved is the second version")
	require.JSONEq(t, `{"version":"one","got":{}}`, invoked(t, app, l.ID, nil))

	history, err := author.History(ctx, l.ID)
	require.NoError(t, err)
	require.Len(t, history, 3)
	require.Equal(t, []int{1, 2, 1}, []int{history[0].Version, history[1].Version, history[2].Version})
	require.True(t, history[0].Live)
	require.Equal(t, history[2].Digest, history[0].Digest)

	t.Run("and what was live can be taken over into the editor", func(t *testing.T) {
		l.Source = history[0].Source
		l, changed, err := author.UpdateLambda(ctx, l)
		require.NoError(t, err)
		require.True(t, changed)
		require.Equal(t, versioned("one"), l.Source.Code)
	})
}

func TestTheWhitelistIsTheAdmins(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	admin, author := as(t, g, "FaaS-Admin"), developer(t, g)
	name := fmt.Sprintf("h%d.example.com", rand.Uint32())
	d, err := admin.AddDomain(t.Context(), name)
	require.NoError(t, err)
	_, err = admin.AddDomain(t.Context(), name)
	require.True(t, client.IsStatus(err, http.StatusConflict), "%v", err)
	_, err = author.AddDomain(t.Context(), "x."+name)
	require.True(t, client.IsStatus(err, http.StatusForbidden), "%v", err)
	list, err := author.Domains(t.Context())
	require.NoError(t, err)
	require.Contains(t, list, *d)
	require.True(t, client.IsStatus(author.DeleteDomain(t.Context(), d.ID), http.StatusForbidden))
	require.NoError(t, admin.DeleteDomain(t.Context(), d.ID))
}

// TestARepetitionAfterAKillCreatesNothingTwice kills the gateway while it creates
// a lambda, and repeats the request with the same Idempotency-Key until it is
// answered.
func TestARepetitionAfterAKillCreatesNothingTwice(t *testing.T) {
	g := ownGateway(t, t.TempDir(), "--no-sample", "--limit", dev.NoLimits)
	token := sessionToken(t, g, "FaaS-Developer") // it outlives the gateway
	const rounds = 5
	for round := range rounds {
		name := fmt.Sprintf("killed_%d", round)
		body, err := json.Marshal(map[string]any{"name": name, "description": "d", "implementation": map[string]any{"code": versioned("1")}})
		require.NoError(t, err)
		post := func() (reply, error) {
			c := newCaller(t, g, token)
			defer c.CloseIdleConnections()
			return c.try(context.WithoutCancel(t.Context()), http.MethodPost, "/api/account/"+c.account+"/lambdas?v=1", body, "Idempotency-Key", name)
		}
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			_, _ = post() // the kill cuts it off, or not
		}()
		time.Sleep(rand.N(60 * time.Millisecond))
		g.Kill()
		<-sent
		again, err := g.Restart(t.Context())
		require.NoError(t, err)
		owned(t, again)
		g = again
		first, err := post()
		require.NoError(t, err)
		require.Equal(t, http.StatusCreated, first.status, first.body)
		second, err := post()
		require.NoError(t, err)
		require.Equal(t, http.StatusCreated, second.status, second.body)
		require.Equal(t, "true", second.header.Get("Idempotent-Replay"))
	}
	list, err := developer(t, g).Lambdas(t.Context())
	require.NoError(t, err)
	names := map[string]int{}
	for _, l := range list {
		names[l.Name]++
	}
	require.Len(t, names, rounds)
	require.Len(t, list, rounds)
}
