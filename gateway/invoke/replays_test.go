package invoke_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/invoke"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

type run func(context.Context) (lambda.Result, error)

// counted answers with the number of the run.
func counted(runs *atomic.Int64, after time.Duration) run {
	return func(context.Context) (lambda.Result, error) {
		n := runs.Add(1)
		time.Sleep(after)
		return lambda.Result{Payload: fmt.Appendf(nil, "%d", n)}, nil
	}
}

func keyOf(requestID string) invoke.CallKey {
	inv := invocation()
	inv.RequestID = requestID
	return invoke.ReplayKey(inv, []byte(`{}`))
}

func TestConcurrentRepetitionsRunOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := invoke.NewReplays(invoke.ReplaysConfig{})
		var runs atomic.Int64
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				result, err := r.Do(bg, keyOf("a"), counted(&runs, time.Second))
				require.NoError(t, err)
				require.Equal(t, "1", string(result.Payload))
			})
		}
		wg.Wait()
		time.Sleep(9 * time.Minute)
		result, err := r.Do(bg, keyOf("a"), counted(&runs, 0))
		require.NoError(t, err)
		require.Equal(t, "1", string(result.Payload), "within 10 minutes it is the same answer")
		time.Sleep(time.Minute)
		result, err = r.Do(bg, keyOf("a"), counted(&runs, 0))
		require.NoError(t, err)
		require.Equal(t, "2", string(result.Payload), "afterwards it is another call")
	})
}

func TestOnlyTheSameCallIsARepetition(t *testing.T) {
	r := invoke.NewReplays(invoke.ReplaysConfig{})
	var runs atomic.Int64
	base := invocation()
	keys := []invoke.CallKey{invoke.ReplayKey(base, []byte(`{}`)), invoke.ReplayKey(base, []byte(`{"a":1}`))}
	for _, change := range []func(*lambda.Invocation){
		func(i *lambda.Invocation) { i.Account = "87654321" },
		func(i *lambda.Invocation) { i.LambdaID = "another" },
		func(i *lambda.Invocation) { i.RequestID = "r-2" },
		func(i *lambda.Invocation) { i.Caller = "another" },
		func(i *lambda.Invocation) { i.Manual = true },
		func(i *lambda.Invocation) { i.EventID = "event" },
		func(i *lambda.Invocation) { i.EventID, i.SkillID = "event", "skill" },
	} {
		inv := base
		change(&inv)
		keys = append(keys, invoke.ReplayKey(inv, []byte(`{}`)))
	}
	for i := range 2 * len(keys) {
		result, err := r.Do(bg, keys[i%len(keys)], counted(&runs, 0))
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(i%len(keys)+1), string(result.Payload))
	}
}

func TestWhichOutcomesAreKept(t *testing.T) {
	failure := func(kind lambda.Kind, phase lambda.Phase) error {
		return &lambda.Error{Kind: kind, Phase: phase, Message: "no"}
	}
	for _, c := range []struct {
		name string
		err  error
		kept bool
	}{
		{"a result", nil, true},
		{"an error of the lambda", failure(lambda.KindFunction, lambda.PhaseRun), true},
		{"another call's crash", failure(lambda.KindCrashed, lambda.PhaseRuntime), true},
		{"the platform's time limit while it ran", failure(lambda.KindTimeout, lambda.PhaseRun), true},
		{"a defect", errors.New("boom"), true},
		{"a full queue", failure(lambda.KindUnavailable, lambda.PhaseQueue), false},
		{"a failed start", failure(lambda.KindUnavailable, lambda.PhaseStart), false},
		{"a failed load", failure(lambda.KindFunction, lambda.PhaseStart), false},
		{"the time limit in the queue", failure(lambda.KindTimeout, lambda.PhaseQueue), false},
		{"nothing deployed", failure(lambda.KindNotFound, lambda.PhaseRoute), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := invoke.NewReplays(invoke.ReplaysConfig{})
				runs := 0
				do := func(context.Context) (lambda.Result, error) {
					runs++
					time.Sleep(time.Second)
					return lambda.Result{}, c.err
				}
				var wg sync.WaitGroup
				for range 3 {
					wg.Go(func() {
						_, err := r.Do(bg, keyOf("a"), do)
						require.Equal(t, c.err, err, "whoever waits gets the one answer")
					})
				}
				wg.Wait()
				require.Equal(t, 1, runs)
				_, err := r.Do(bg, keyOf("a"), do)
				require.Equal(t, c.err, err)
				require.Equal(t, map[bool]int{true: 1, false: 2}[c.kept], runs)
			})
		})
	}
}

func TestACallerWhoLeavesDisturbsNobody(t *testing.T) {
	t.Run("the one that runs it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := invoke.NewReplays(invoke.ReplaysConfig{})
			ctx, leave := context.WithCancel(context.WithValue(bg, valueKey{}, "kept"))
			var wg sync.WaitGroup
			wg.Go(func() {
				_, err := r.Do(ctx, keyOf("a"), func(ctx context.Context) (lambda.Result, error) {
					leave()
					time.Sleep(time.Second)
					require.Equal(t, "kept", ctx.Value(valueKey{}))
					return lambda.Result{Payload: []byte(`1`)}, ctx.Err()
				})
				require.NoError(t, err)
			})
			synctest.Wait()
			result, err := r.Do(bg, keyOf("a"), nil)
			require.NoError(t, err)
			require.Equal(t, "1", string(result.Payload))
			wg.Wait()
		})
	})
	t.Run("one that waits", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := invoke.NewReplays(invoke.ReplaysConfig{})
			var runs atomic.Int64
			var wg sync.WaitGroup
			wg.Go(func() {
				_, err := r.Do(bg, keyOf("a"), counted(&runs, time.Minute))
				require.NoError(t, err)
			})
			synctest.Wait()
			ctx, cancel := context.WithTimeout(bg, time.Second)
			defer cancel()
			_, err := r.Do(ctx, keyOf("a"), nil)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.True(t, lambda.Is(err, lambda.KindTimeout))
			wg.Wait()
		})
	})
}

type valueKey struct{}

func TestAPanicReachesItsCallerAndReleasesTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := invoke.NewReplays(invoke.ReplaysConfig{})
		var wg sync.WaitGroup
		wg.Go(func() {
			require.PanicsWithValue(t, "boom", func() {
				_, _ = r.Do(bg, keyOf("a"), func(context.Context) (lambda.Result, error) {
					time.Sleep(time.Second)
					panic("boom")
				})
			})
		})
		synctest.Wait()
		_, err := r.Do(bg, keyOf("a"), nil)
		require.ErrorContains(t, err, "panicked")
		wg.Wait()
	})
}

func TestTheOldestAnswersMakeRoom(t *testing.T) {
	t.Run("by number", func(t *testing.T) {
		r := invoke.NewReplays(invoke.ReplaysConfig{Entries: 320})
		var runs atomic.Int64
		for n := range 10_000 {
			_, err := r.Do(bg, keyOf(fmt.Sprint(n)), counted(&runs, 0))
			require.NoError(t, err)
		}
		require.LessOrEqual(t, r.Stats().Entries, 320)
		require.Equal(t, 9_999, repeatOf(t, r, 9_999))
		require.Equal(t, -1, repeatOf(t, r, 0))
	})
	t.Run("by size", func(t *testing.T) {
		clock := time.Now()
		r := invoke.NewReplays(invoke.ReplaysConfig{Bytes: 1 << 20, Now: func() time.Time { return clock }})
		large := make([]byte, 100<<10)
		for n := range 100 {
			clock = clock.Add(time.Millisecond)
			_, err := r.Do(bg, keyOf(fmt.Sprint(n)), func(context.Context) (lambda.Result, error) {
				return lambda.Result{Payload: large, Version: n}, nil
			})
			require.NoError(t, err)
			require.LessOrEqual(t, r.Stats().Bytes, int64(1<<20))
		}
		for _, n := range []int{99, 98, 95, 92} {
			require.Equal(t, n, repeatOf(t, r, n))
		}
		require.Equal(t, -1, repeatOf(t, r, 80))
	})
	t.Run("an answer over the bound is not kept", func(t *testing.T) {
		r := invoke.NewReplays(invoke.ReplaysConfig{Bytes: 1000})
		result, err := r.Do(bg, keyOf("a"), func(context.Context) (lambda.Result, error) {
			return lambda.Result{Payload: make([]byte, 2000)}, nil
		})
		require.NoError(t, err)
		require.Len(t, result.Payload, 2000)
		require.Zero(t, r.Stats().Entries)
		require.Zero(t, r.Stats().Bytes)
	})
	t.Run("logs count too", func(t *testing.T) {
		r := invoke.NewReplays(invoke.ReplaysConfig{})
		_, err := r.Do(bg, keyOf("a"), func(context.Context) (lambda.Result, error) {
			return lambda.Result{}, &lambda.Error{Phase: lambda.PhaseRun, Logs: []lambda.LogRecord{{Message: string(make([]byte, 5000))}}}
		})
		require.Error(t, err)
		require.Greater(t, r.Stats().Bytes, int64(5000))
	})
}

// repeatOf gives the version that the answer of call n is kept with, or -1.
func repeatOf(t *testing.T, r *invoke.Replays, n int) int {
	t.Helper()
	result, err := r.Do(bg, keyOf(fmt.Sprint(n)), func(context.Context) (lambda.Result, error) {
		return lambda.Result{}, &lambda.Error{Kind: lambda.KindNotFound, Phase: lambda.PhaseRoute}
	})
	switch {
	case err != nil:
		return -1
	case len(result.Payload) < 10:
		return n // counted
	}
	return result.Version
}

func TestTooManyCallsUnderWayAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := invoke.NewReplays(invoke.ReplaysConfig{Entries: 32})
		var runs atomic.Int64
		var refused atomic.Int64
		var wg sync.WaitGroup
		for n := range 200 {
			wg.Go(func() {
				_, err := r.Do(bg, keyOf(fmt.Sprint(n)), counted(&runs, time.Second))
				if err != nil {
					require.True(t, lambda.Is(err, lambda.KindUnavailable))
					require.False(t, invoke.Ran(err))
					refused.Add(1)
				}
			})
		}
		wg.Wait()
		require.LessOrEqual(t, runs.Load(), int64(32))
		require.EqualValues(t, 200, runs.Load()+refused.Load())
	})
}

func TestReplaysBearEverythingAtOnce(t *testing.T) {
	r := invoke.NewReplays(invoke.ReplaysConfig{Entries: 64, Bytes: 64 << 10, Keep: time.Millisecond})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for n := range 2000 {
				want := fmt.Sprint(n % 50)
				result, err := r.Do(bg, keyOf(want), func(context.Context) (lambda.Result, error) {
					if n%7 == 0 {
						return lambda.Result{}, &lambda.Error{Kind: lambda.KindUnavailable, Phase: lambda.PhaseQueue}
					}
					return lambda.Result{Payload: []byte(want)}, nil
				})
				if err == nil && string(result.Payload) != want {
					t.Errorf("call %s was answered %s", want, result.Payload)
				}
			}
		})
	}
	wg.Wait()
	st := r.Stats()
	require.LessOrEqual(t, st.Entries, 64)
	require.LessOrEqual(t, st.Bytes, int64(64<<10))
}

// The cost of de-duplication: a call that is the first of its key.
func BenchmarkReplays(b *testing.B) {
	r := invoke.NewReplays(invoke.ReplaysConfig{})
	inv, body := invocation(), []byte(`{"timestamp":0,"headers":[],"payload":{"name":"world"}}`)
	answer := func(context.Context) (lambda.Result, error) { return lambda.Result{Payload: body}, nil }
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		inv.RequestID = fmt.Sprint(n)
		if _, err := r.Do(bg, invoke.ReplayKey(inv, body), answer); err != nil {
			b.Fatal(err)
		}
	}
}
