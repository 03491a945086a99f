package invoke_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/invoke"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

// answering plays the lambdas: each answers by its id.
type answering func(ctx context.Context, inv lambda.Invocation) (lambda.Result, error)

func (f answering) Invoke(ctx context.Context, inv lambda.Invocation) (lambda.Result, error) {
	return f(ctx, inv)
}

func lives(n int) []*lambda.Live {
	list := make([]*lambda.Live, n)
	for i := range list {
		list[i] = &lambda.Live{Account: "1", LambdaID: fmt.Sprint("l", i)}
	}
	return list
}

func TestFanOut(t *testing.T) {
	inv := lambda.Invocation{Account: "1", EventID: "e", RequestID: "r", Caller: "c", Payload: json.RawMessage(`{"n":1}`), Headers: []lambda.Pair{{Key: "k", Value: "v"}}}
	t.Run("every lambda gets the same call, and the answers are in their order", func(t *testing.T) {
		runs := invoke.FanOut{Invoker: answering(func(_ context.Context, got lambda.Invocation) (lambda.Result, error) {
			want := inv
			want.LambdaID, want.Trigger = got.LambdaID, lambda.TriggerEvent
			require.Equal(t, want, got)
			return lambda.Result{Payload: json.RawMessage(`"` + got.LambdaID + `"`)}, nil
		})}.Invoke(t.Context(), inv, lives(50))
		require.Len(t, runs, 50)
		for i, r := range runs {
			require.NoError(t, r.Err)
			require.Equal(t, fmt.Sprint("l", i), r.LambdaID)
			require.Equal(t, `"`+r.LambdaID+`"`, string(r.Result.Payload))
			require.WithinDuration(t, time.Now(), r.At, time.Minute)
		}
	})
	t.Run("they run at once, but not all of a great many", func(t *testing.T) {
		var mu sync.Mutex
		running, most := 0, 0
		all := make(chan struct{})
		invoke.FanOut{Invoker: answering(func(context.Context, lambda.Invocation) (lambda.Result, error) {
			mu.Lock()
			running++
			if most = max(most, running); most == 32 {
				select {
				case <-all:
				default:
					close(all)
				}
			}
			mu.Unlock()
			<-all // which none would leave if fewer ran at once
			mu.Lock()
			running--
			mu.Unlock()
			return lambda.Result{}, nil
		})}.Invoke(t.Context(), inv, lives(100))
		require.Equal(t, 32, most)
	})
	t.Run("one that was undeployed meanwhile is left out", func(t *testing.T) {
		runs := invoke.FanOut{Invoker: answering(func(_ context.Context, got lambda.Invocation) (lambda.Result, error) {
			if got.LambdaID == "l1" {
				return lambda.Result{}, lambda.NotFound(lambda.CodeNotDeployed, "gone")
			}
			return lambda.Result{}, nil
		})}.Invoke(t.Context(), inv, lives(3))
		require.Len(t, runs, 2)
		require.Equal(t, "l2", runs[1].LambdaID)
	})
	t.Run("a panic is the error of its run", func(t *testing.T) {
		runs := invoke.FanOut{Invoker: answering(func(_ context.Context, got lambda.Invocation) (lambda.Result, error) {
			if got.LambdaID == "l0" {
				panic("boom")
			}
			return lambda.Result{}, nil
		})}.Invoke(t.Context(), inv, lives(2))
		require.ErrorContains(t, runs[0].Err, "boom")
		require.NoError(t, runs[1].Err)
	})
	t.Run("one time is for all of them", func(t *testing.T) {
		runs := invoke.FanOut{Timeout: 20 * time.Millisecond, Invoker: answering(func(ctx context.Context, _ lambda.Invocation) (lambda.Result, error) {
			<-ctx.Done()
			return lambda.Result{}, ctx.Err()
		})}.Invoke(t.Context(), inv, lives(40))
		for _, r := range runs {
			require.ErrorIs(t, r.Err, context.DeadlineExceeded)
		}
	})
	t.Run("results are held up to a limit, and what is left out is said", func(t *testing.T) {
		result := json.RawMessage(`"` + strings.Repeat("x", 98) + `"`)
		runs := invoke.FanOut{ResultBytes: 350, Invoker: answering(func(context.Context, lambda.Invocation) (lambda.Result, error) {
			return lambda.Result{Payload: result}, nil
		})}.Invoke(t.Context(), inv, lives(10))
		there := 0
		for _, r := range runs {
			if r.Err == nil {
				there++
				continue
			}
			require.Contains(t, r.Err.Error(), "larger than the limit of 350 bytes")
			require.Empty(t, r.Result.Payload)
			require.True(t, invoke.Ran(r.Err))
		}
		require.Equal(t, 3, there)
	})
}

func TestAWholeCallIsRefusedOnlyIfNoLambdaHasSeenIt(t *testing.T) {
	failing := func(kind lambda.Kind, phase lambda.Phase) invoke.Run {
		return invoke.Run{Err: &lambda.Error{Kind: kind, Phase: phase, Message: fmt.Sprint(kind, phase)}}
	}
	fine := invoke.Run{Result: lambda.Result{Payload: json.RawMessage("1")}}
	busy, late := failing(lambda.KindUnavailable, lambda.PhaseQueue), failing(lambda.KindTimeout, lambda.PhaseQueue)
	broken := failing(lambda.KindFunction, lambda.PhaseStart) // it does not load
	for name, c := range map[string]struct {
		runs []invoke.Run
		want error
	}{
		"none":                                   {nil, nil},
		"all were busy":                          {[]invoke.Run{busy, late}, busy.Err},
		"all came too late to run":               {[]invoke.Run{late}, late.Err},
		"one is broken, the other was busy":      {[]invoke.Run{broken, busy}, busy.Err},
		"all are broken":                         {[]invoke.Run{broken, broken}, nil},
		"one ran":                                {[]invoke.Run{busy, fine}, nil},
		"one ran and failed":                     {[]invoke.Run{busy, failing(lambda.KindFunction, lambda.PhaseRun)}, nil},
		"one may have run when its process died": {[]invoke.Run{busy, failing(lambda.KindCrashed, lambda.PhaseRuntime)}, nil},
		"one ran too long":                       {[]invoke.Run{busy, failing(lambda.KindTimeout, lambda.PhaseRun)}, nil},
		"of one nothing is known":                {[]invoke.Run{busy, {Err: errors.New("panic")}}, nil},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, invoke.Refusal(c.runs)) })
	}
}
