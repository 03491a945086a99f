package store_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
)

// noDemo is an etcd without a demo account, before and after the test.
func noDemo(t *testing.T) {
	t.Helper()
	forget := func() {
		_, err := client.Delete(context.Background(), "/sluice/demo")
		require.NoError(t, err)
	}
	forget()
	t.Cleanup(forget)
}

func TestOneOfManyMakesTheDemoAccount(t *testing.T) {
	noDemo(t)
	s, account := open(t), &lambda.Account{ID: newAccount(), Name: "Demo"}
	d, err := s.Demo(t.Context())
	require.NoError(t, err)
	require.Zero(t, d)

	var wins atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			me := fmt.Sprintf("owner-%d", i)
			d, err := s.ClaimDemo(context.Background(), account, me)
			if err != nil {
				t.Error(err)
			}
			if d.Owner == me {
				wins.Add(1)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, wins.Load())
	saved, err := s.Account(t.Context(), account.ID)
	require.NoError(t, err)
	require.Equal(t, account, saved)

	d, err = s.Demo(t.Context())
	require.NoError(t, err)
	require.False(t, d.Seeded)
	d.Seeded = true
	require.NoError(t, s.PutDemo(t.Context(), d))
	require.NoError(t, s.PutDemo(t.Context(), store.Demo{Owner: d.Owner}), "what was made stays so")
	requireKind(t, s.PutDemo(t.Context(), store.Demo{Owner: "another", Seeded: true}), lambda.KindConflict, lambda.CodeGeneral)
	again, err := s.ClaimDemo(t.Context(), account, "owner-9")
	require.NoError(t, err)
	require.Equal(t, d, again)
}

func TestAnAccountOfOthersIsNobodysDemo(t *testing.T) {
	noDemo(t)
	s, account := open(t), &lambda.Account{ID: newAccount(), Name: "Brand"}
	require.NoError(t, s.PutAccount(t.Context(), account))
	d, err := s.ClaimDemo(t.Context(), &lambda.Account{ID: account.ID, Name: "Demo"}, "me")
	require.NoError(t, err)
	require.Zero(t, d)
	saved, err := s.Account(t.Context(), account.ID)
	require.NoError(t, err)
	require.Equal(t, "Brand", saved.Name)
}
