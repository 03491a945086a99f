package invoke_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sluice-faas/sluice/gateway/invoke"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/plugins/catalog"
	"github.com/sluice-faas/sluice/plugins/host"
	"github.com/sluice-faas/sluice/plugins/pool"
	"github.com/sluice-faas/sluice/plugins/sandbox/launch"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

// TestMain lets the test binary be a runtime too, whose calls do as told.
func TestMain(m *testing.M) {
	launch.Main()
	if len(os.Args) > 1 && os.Args[1] == "as-runtime" {
		runtime.Serve("obedient", loadObedient)
		return
	}
	goleak.VerifyTestMain(m,
		// The thread that starts processes is kept for the program's life.
		goleak.IgnoreAnyFunction("github.com/sluice-faas/sluice/plugins/sandbox.spawn"))
}

// order is what an obedient process is told by its artifact or by a payload.
type order struct {
	Do string
	D  time.Duration
}

func loadObedient(_ context.Context, fn runtime.Function) (runtime.Handler, error) {
	if string(fn.Artifact) == "broken" {
		return nil, runtime.LoadError(fmt.Errorf("x is not defined"))
	}
	return runtime.HandlerFunc(func(_ context.Context, call runtime.Call) (runtime.Result, error) {
		var o order
		if err := json.Unmarshal(call.Payload, &o); err != nil {
			return runtime.Result{}, err
		}
		switch o.Do {
		case "sleep":
			time.Sleep(o.D)
		case "exit":
			os.Exit(3)
		case "fail":
			call.Log(runtime.LogRecord{Level: runtime.LevelDebug, Message: "before", Extras: []byte(`[1]`)})
			call.Log(runtime.LogRecord{Level: runtime.LevelError, Message: "Received Error - no"})
			return runtime.Result{}, &runtime.Failure{Kind: runtime.CustomFailure, Message: "no"}
		}
		payload, err := json.Marshal(fn.Environment)
		return runtime.Result{Payload: payload}, err
	}), nil
}

// realPool makes a pool of real processes.
func realPool(t *testing.T) *pool.Pool {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	dir, err := os.MkdirTemp("", "s")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, host.PrepareRunDir(dir))
	options := host.Options{
		Runtime: catalog.Runtime{Name: "obedient", Command: self, Args: []string{"as-runtime"}, Protocol: 1},
		RunDir:  dir, Log: zerolog.Nop(),
	}
	p := pool.New(pool.Config{Prestart: map[string]int{"obedient": 1}}, func(ctx context.Context, _ string) (pool.Process, error) {
		proc, err := host.Launch(ctx, options)
		if err != nil {
			return nil, err // not a nil *host.Process in an interface
		}
		return proc, nil
	}, zerolog.Nop())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(bg, 10*time.Second)
		defer cancel()
		require.NoError(t, p.Close(ctx))
	})
	return p
}

func told(what string, d time.Duration) lambda.Invocation {
	inv := invocation()
	inv.Manual = true
	inv.Payload, _ = json.Marshal(order{Do: what, D: d})
	return inv
}

func TestRealProcesses(t *testing.T) {
	w := newWorld()
	p := realPool(t)
	d := w.dispatcher(p, 0)
	hurried := w.dispatcher(p, 200*time.Millisecond)

	t.Run("a call is answered, with the environment of its version", func(t *testing.T) {
		result, err := d.Invoke(bg, told("", 0))
		require.NoError(t, err)
		require.True(t, result.Cold)
		require.JSONEq(t, `{"GREETING":"hello","DC":"lab","BRAND_ID":"`+account+`","LAMBDA_UUID":"`+uuid+`","NODE_ENV":"production"}`, string(result.Payload))
	})
	t.Run("a failure carries its log", func(t *testing.T) {
		_, err := d.Invoke(bg, told("fail", 0))
		logs := fails(t, lambda.Error{Kind: lambda.KindFunction, Code: lambda.CodeCustomFailure, Phase: lambda.PhaseRun, Message: "no"}, err)
		require.Equal(t, []string{"before", "Received Error - no"}, messages(logs))
		require.JSONEq(t, `[1]`, string(logs[0].Extras))
	})
	t.Run("a call that is too slow is the lambda's fault", func(t *testing.T) {
		_, err := hurried.Invoke(bg, told("sleep", time.Second))
		logs := fails(t, lambda.Error{Kind: lambda.KindFunction, Code: lambda.CodeExecutionTime, Phase: lambda.PhaseRun, Message: lambda.TextExecutionTime}, err)
		require.Equal(t, []string{"Received Error - Lambda Execution is taking too long"}, messages(logs))
	})
	t.Run("a call that ends the process is its own fault", func(t *testing.T) {
		w.golive(2) // a process on which no call was given up
		_, err := d.Invoke(bg, told("exit", 0))
		e := lambda.As(err)
		require.Equal(t, lambda.KindFunction, e.Kind)
		require.Equal(t, lambda.CodeCustomFailure, e.Code)
		require.Equal(t, []string{"Received Error - " + e.Message}, messages(e.Logs))
	})
	t.Run("code that cannot be loaded is its author's fault", func(t *testing.T) {
		w.golive(3)
		w.artifact = []byte("broken")
		defer func() { w.artifact = []byte("artifact") }()
		_, err := d.Invoke(bg, told("", 0))
		fails(t, lambda.Error{Kind: lambda.KindFunction, Code: lambda.CodeCustomFailure, Phase: lambda.PhaseStart, Message: "x is not defined"}, err)
		_, err = d.Invoke(bg, told("", 0))
		require.True(t, lambda.Is(err, lambda.KindUnavailable), "%v", err)
	})
	t.Run("redeployments under load lose no call", func(t *testing.T) {
		w.golive(4)
		var served, kept atomic.Int64
		var wg sync.WaitGroup
		stop := make(chan struct{})
		replays := invoke.NewReplays(invoke.ReplaysConfig{})
		for caller := range 8 {
			wg.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					inv := told("sleep", time.Millisecond)
					inv.RequestID = fmt.Sprint(caller/2, n) // every call is made by two
					_, err := replays.Do(bg, invoke.ReplayKey(inv, inv.Payload), func(ctx context.Context) (lambda.Result, error) {
						kept.Add(1)
						return d.Invoke(ctx, inv)
					})
					if err != nil {
						t.Errorf("a call was lost: %v", err)
					}
					served.Add(1)
				}
			})
		}
		for n := 5; n < 10; n++ {
			old, _ := w.Live(account, uuid)
			w.golive(n)
			p.Retire(invoke.PoolKey(account, uuid, old.DeploymentID))
			time.Sleep(20 * time.Millisecond)
		}
		close(stop)
		wg.Wait()
		require.Positive(t, served.Load())
		require.Less(t, kept.Load(), served.Load())
	})
}
