package store_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
)

func TestMinWarm(t *testing.T) {
	ctx := t.Context()
	made := func(t *testing.T, s *store.Store, account, name string) *lambda.Lambda {
		l := newLambda(account, name)
		_, err := s.CreateLambda(ctx, l, nil)
		require.NoError(t, err)
		return l
	}
	t.Run("it is kept beside the lambda and ends with it", func(t *testing.T) {
		s, account := open(t), newAccount()
		l := made(t, s, account, "a")
		v := view(t, s)
		set := func(n, before int) {
			was, err := s.SetMinWarm(ctx, account, l.ID, n)
			require.NoError(t, err)
			require.Equal(t, before, was)
			require.NoError(t, v.WaitFor(ctx, s.Written()))
			require.Equal(t, n, v.MinWarm(account, l.ID))
		}
		require.Zero(t, v.MinWarm(account, l.ID))
		set(2, 0)
		written := s.Written()
		set(2, 2)
		require.Equal(t, written, s.Written(), "what is set already is not written")
		set(0, 2)
		set(3, 0)
		r, err := s.Record(ctx, account, l.ID)
		require.NoError(t, err)
		require.Equal(t, 1, r.Lambda.Version, "it is no change of the lambda")
		require.NoError(t, s.DeleteLambda(ctx, account, l.ID, 0))
		require.Eventually(t, func() bool { return v.MinWarm(account, l.ID) == 0 }, 5*time.Second, time.Millisecond)
		for _, id := range []string{l.ID, "none", "a/b", ""} {
			_, err = s.SetMinWarm(ctx, account, id, 1)
			requireKind(t, err, lambda.KindNotFound, lambda.CodeMissingLambda)
		}
	})
	t.Run("an account has no more than its limit, however many ask at once", func(t *testing.T) {
		s, account := open(t), newAccount()
		s.Limits.MinWarm = 5
		var wg sync.WaitGroup
		var won atomic.Int64
		for i := range 6 {
			l := made(t, s, account, fmt.Sprintf("f%d", i))
			wg.Go(func() {
				if _, err := s.SetMinWarm(ctx, account, l.ID, 2); err == nil {
					won.Add(1)
				} else {
					requireKind(t, err, lambda.KindConflict, lambda.CodeLambdaLimit)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 2, won.Load())
		_, err := s.SetMinWarm(ctx, newAccount(), "x", 2)
		requireKind(t, err, lambda.KindNotFound, lambda.CodeMissingLambda)
	})
	t.Run("who has more than a lowered limit may have less", func(t *testing.T) {
		s, account := open(t), newAccount()
		l := made(t, s, account, "a")
		_, err := s.SetMinWarm(ctx, account, l.ID, 9)
		require.NoError(t, err)
		s.Limits.MinWarm = 2
		_, err = s.SetMinWarm(ctx, account, l.ID, 8)
		require.NoError(t, err)
		_, err = s.SetMinWarm(ctx, account, l.ID, 9)
		requireKind(t, err, lambda.KindConflict, lambda.CodeLambdaLimit)
	})
	t.Run("who listens hears what is set, each change, and what a cut watch missed", func(t *testing.T) {
		s, account := open(t), newAccount()
		a, b := made(t, s, account, "a"), made(t, s, account, "b")
		_, err := s.SetMinWarm(ctx, account, a.ID, 1)
		require.NoError(t, err)
		c, cutter := breakable(ctx)
		v := view(t, store.New(c, zerolog.Nop()))
		require.NoError(t, v.WaitFor(ctx, s.Written()))
		heard := make(chan string, 100)
		v.OnMinWarm(func(of, id string) {
			if of == account {
				heard <- fmt.Sprint(id, v.MinWarm(of, id))
			}
		})
		require.Equal(t, fmt.Sprint(a.ID, 1), <-heard)
		_, err = s.SetMinWarm(ctx, account, b.ID, 2)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(b.ID, 2), <-heard)

		resume := cutter.cut()
		time.Sleep(50 * time.Millisecond) // it lists once and then waits for its new watch
		_, err = s.SetMinWarm(ctx, account, b.ID, 0)
		require.NoError(t, err)
		_, err = client.Compact(ctx, s.Written())
		require.NoError(t, err)
		resume()
		require.Equal(t, fmt.Sprint(b.ID, 0), <-heard)
		require.Empty(t, heard)
	})
}
