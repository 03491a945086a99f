package invoke_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/invoke"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
	"github.com/sluice-faas/sluice/plugins/host"
	"github.com/sluice-faas/sluice/plugins/pool"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

const (
	account = "12345678"
	uuid    = "0b6e0d2c-6a57-4b7a-9f6e-2a5f3c1d9e10"
	text404 = "There is no " + uuid + " deployed on " + account
)

var bg = context.Background()

// world is what a dispatcher knows: a view of what is live, and the store behind
// it, which may be ahead of the view.
type world struct {
	mu       sync.Mutex
	view     *lambda.Live
	stored   *lambda.Live
	known    bool  // the lambda exists
	storeErr error // instead of an answer
	lookups  int
	versions map[int]*lambda.Version
	artifact []byte
}

func newWorld() *world {
	w := &world{known: true, artifact: []byte("artifact"), versions: map[int]*lambda.Version{}}
	w.golive(1)
	return w
}

// live makes version n live for the store and the view.
func (w *world) golive(n int) *lambda.Live {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := &lambda.Lambda{Account: account, ID: uuid, Name: "first", Version: n, Runtime: "obedient", Environment: []lambda.Pair{{Key: "GREETING", Value: "hello"}}}
	v := l.Snapshot(time.Now(), "someone")
	w.versions[n] = &v
	w.view = &lambda.Live{
		Account: account, LambdaID: uuid, Name: "first", Version: n, DeploymentID: fmt.Sprintf("deployment-%d", n),
		Digest: v.Digest, Runtime: "obedient",
	}
	w.stored = w.view
	return w.view
}

func (w *world) Live(a, id string) (*lambda.Live, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.view, w.view != nil && a == account && id == uuid
}

func (w *world) Record(_ context.Context, a, id string) (store.Record, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lookups++
	switch {
	case w.storeErr != nil:
		return store.Record{}, w.storeErr
	case !w.known:
		return store.Record{}, lambda.NotFound(lambda.CodeMissingLambda, "no lambda %s on %s", id, a)
	}
	return store.Record{Lambda: &lambda.Lambda{Account: a, ID: id}, Live: w.stored}, nil
}

func (w *world) Version(_ context.Context, a, id string, version int) (*lambda.Version, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if v := w.versions[version]; v != nil && a == account && id == uuid {
		return v, nil
	}
	return nil, lambda.NotFound(lambda.CodeMissingLambda, "no version %d", version)
}

func (w *world) Artifact(context.Context, string, string, string) ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.artifact, nil
}

func (w *world) specs() *invoke.Specs {
	return invoke.NewSpecs(w, map[string]string{"DC": "lab", "BRAND_ID": "not this"}, host.Limits{MemoryMiB: 99}, nil, w.For)
}

// wayOf is the way to other hosts of one lambda.
type wayOf struct{ account, lambdaID string }

func (wayOf) ServeConn(_ context.Context, conn net.Conn) { _ = conn.Close() }

func (w *world) For(account, lambdaID string) host.Egress { return wayOf{account, lambdaID} }

func (w *world) dispatcher(p invoke.Pool, timeout time.Duration) *invoke.Dispatcher {
	return invoke.New(invoke.Config{Live: w, Records: w, Pool: p, Specs: w.specs(), RunTimeout: timeout, Log: zerolog.Nop()})
}

// poolFunc is a pool that does what a test says.
type poolFunc func(ctx context.Context, spec pool.Spec, call runtime.Call) (runtime.Result, pool.Info, error)

func (f poolFunc) Handle(ctx context.Context, spec pool.Spec, call runtime.Call) (runtime.Result, pool.Info, error) {
	return f(ctx, spec, call)
}

func invocation() lambda.Invocation {
	return lambda.Invocation{Account: account, LambdaID: uuid, RequestID: "r-1", Payload: []byte(`{"a":1}`), Caller: "brand"}
}

// fails asserts that err is a lambda.Error like want, and returns its logs.
func fails(t *testing.T, want lambda.Error, err error) []lambda.LogRecord {
	t.Helper()
	e := lambda.As(err)
	require.NotNil(t, e, "%v", err)
	got := []any{e.Kind, e.Code, e.Phase, e.Message}
	require.Equal(t, []any{want.Kind, want.Code, want.Phase, want.Message}, got)
	require.Equal(t, want.RetryAfter, e.RetryAfter)
	return e.Logs
}

func TestEveryOutcomeHasTheContractsCode(t *testing.T) {
	ran := pool.Info{Ran: true, Run: 30 * time.Second}
	loadError := &host.LoadError{Message: "x is not defined"}
	errEtcd := errors.New("etcd is away")
	for _, c := range []struct {
		name string
		info pool.Info
		err  error
		want lambda.Error
		ran  bool // must not be run again
	}{
		{"the lambda called back with an error", ran, &runtime.Failure{Kind: runtime.CustomFailure, Message: "There is no Secret TestKey for this account"},
			lambda.Error{Kind: lambda.KindFunction, Code: lambda.CodeCustomFailure, Phase: lambda.PhaseRun, Message: "There is no Secret TestKey for this account"}, true},
		{"the lambda threw a TypeError", ran, &runtime.Failure{Kind: runtime.RuntimeException, Message: "x is undefined"},
			lambda.Error{Kind: lambda.KindFunction, Code: lambda.CodeRuntimeException, Phase: lambda.PhaseRun, Message: "x is undefined"}, true},
		{"the lambda took its 30 s", ran, fmt.Errorf("before the runtime answered: %w", context.DeadlineExceeded),
			lambda.Error{Kind: lambda.KindFunction, Code: lambda.CodeExecutionTime, Phase: lambda.PhaseRun, Message: "Lambda Execution is taking too long"}, true},
		{"the lambda got only part of its time", pool.Info{Ran: true, Queue: 20 * time.Second, Run: 10 * time.Second}, context.DeadlineExceeded,
			lambda.Error{Kind: lambda.KindTimeout, Code: lambda.CodeGeneral, Phase: lambda.PhaseRun, Message: "The platform took too long to answer."}, true},
		{"the time was over in the queue", pool.Info{Queue: 30 * time.Second}, context.DeadlineExceeded,
			lambda.Error{Kind: lambda.KindTimeout, Code: lambda.CodeGeneral, Phase: lambda.PhaseQueue, Message: "The platform took too long to answer."}, false},
		{"the time was over in the queue behind a start", pool.Info{Cold: true, Start: 10 * time.Second, Queue: 20 * time.Second}, context.DeadlineExceeded,
			lambda.Error{Kind: lambda.KindTimeout, Code: lambda.CodeGeneral, Phase: lambda.PhaseQueue, Message: "The platform took too long to answer."}, false},
		{"the time was over before a process had started", pool.Info{Cold: true, Start: 30 * time.Second}, context.DeadlineExceeded,
			lambda.Error{Kind: lambda.KindTimeout, Code: lambda.CodeGeneral, Phase: lambda.PhaseStart, Message: "The platform took too long to answer."}, false},
		{"its own code ended the process", ran, &host.ExitError{Reason: "exit code 3", Own: true},
			lambda.Error{Kind: lambda.KindFunction, Code: lambda.CodeCustomFailure, Phase: lambda.PhaseRun, Message: "The lambda ended its process: exit code 3"}, true},
		{"another call's code ended the process", ran, &host.ExitError{Reason: "event loop blocked"},
			lambda.Error{Kind: lambda.KindCrashed, Code: lambda.CodeRuntimeGeneral, Phase: lambda.PhaseRuntime, Message: "The process that ran this call ended, not by this call's doing: event loop blocked"}, true},
		{"the queue was full", pool.Info{}, pool.ErrBusy,
			lambda.Error{Kind: lambda.KindUnavailable, Code: lambda.CodeRuntimeUnavailable, Phase: lambda.PhaseQueue, Message: "The lambda or its account has too many calls waiting. Try again.", RetryAfter: time.Second}, false},
		{"the gateway is closing", pool.Info{}, pool.ErrClosed,
			lambda.Error{Kind: lambda.KindUnavailable, Code: lambda.CodeRuntimeUnavailable, Phase: lambda.PhaseQueue, Message: "This gateway is going out of service. Try again.", RetryAfter: time.Second}, false},
		{"every process refused", pool.Info{}, fmt.Errorf("refused by 8 processes: %w", host.ErrUnavailable),
			lambda.Error{Kind: lambda.KindUnavailable, Code: lambda.CodeRuntimeUnavailable, Phase: lambda.PhaseStart, Message: "No process of the lambda takes calls. Try again.", RetryAfter: time.Second}, false},
		{"no process could be launched", pool.Info{Cold: true}, &pool.StartError{Runtime: "javascript", Err: errors.New("no such program"), RetryAfter: 250 * time.Millisecond},
			lambda.Error{Kind: lambda.KindUnavailable, Code: lambda.CodeRuntimeUnavailable, Phase: lambda.PhaseStart, Message: "No process of the lambda could be started. Try again.", RetryAfter: time.Second}, false},
		{"a start took too long", pool.Info{Cold: true}, &pool.StartError{Err: context.DeadlineExceeded},
			lambda.Error{Kind: lambda.KindUnavailable, Code: lambda.CodeRuntimeUnavailable, Phase: lambda.PhaseStart, Message: "No process of the lambda could be started. Try again.", RetryAfter: time.Second}, false},
		{"the artifact could not be read", pool.Info{Cold: true}, &pool.StartError{Err: fmt.Errorf("fetch what to load: %w", errEtcd)},
			lambda.Error{Kind: lambda.KindUnavailable, Code: lambda.CodeRuntimeUnavailable, Phase: lambda.PhaseStart, Message: "No process of the lambda could be started. Try again.", RetryAfter: time.Second}, false},
		{"the code failed when it was loaded for this call", pool.Info{Cold: true}, &pool.StartError{Err: loadError, RetryAfter: time.Minute},
			lambda.Error{Kind: lambda.KindFunction, Code: lambda.CodeCustomFailure, Phase: lambda.PhaseStart, Message: "x is not defined"}, false},
		{"the code failed when it was loaded a moment ago", pool.Info{}, &pool.StartError{Err: loadError, BackingOff: true, RetryAfter: 8 * time.Second},
			lambda.Error{Kind: lambda.KindUnavailable, Code: lambda.CodeRuntimeUnavailable, Phase: lambda.PhaseStart, Message: "The lambda could not be loaded a moment ago: x is not defined", RetryAfter: 8 * time.Second}, false},
		{"its processes ended again and again", pool.Info{}, &pool.StartError{Err: &pool.CrashError{Reason: "signal: aborted"}, BackingOff: true, Failures: 6, RetryAfter: 1900 * time.Millisecond},
			lambda.Error{Kind: lambda.KindUnavailable, Code: lambda.CodeRuntimeUnavailable, Phase: lambda.PhaseStart, Message: "The process of the lambda ended 6 times soon after it was started, the last time because of: signal: aborted. The next start is tried in 2s.", RetryAfter: 1900 * time.Millisecond}, false},
		{"the machine was full", pool.Info{Cold: true}, &pool.StartError{Err: fmt.Errorf("%w: %w", pool.ErrFull, context.DeadlineExceeded)},
			lambda.Error{Kind: lambda.KindUnavailable, Code: lambda.CodeRuntimeUnavailable, Phase: lambda.PhaseStart, Message: "This gateway runs as many processes as it may, and all are busy. Try again.", RetryAfter: time.Second}, false},
		{"the call is larger than a frame", pool.Info{}, host.ErrTooLarge,
			lambda.Error{Kind: lambda.KindTooLarge, Code: lambda.CodeBadInput, Phase: lambda.PhaseRequest, Message: "headers and payload together are larger than a lambda takes: the limit is 6291456 bytes"}, false},
		{"something nobody thought of", ran, errors.New("boom"),
			lambda.Error{Kind: lambda.KindInternal, Code: lambda.CodeRuntimeGeneral, Phase: lambda.PhaseRuntime, Message: "The runtime failed."}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newWorld().dispatcher(poolFunc(func(context.Context, pool.Spec, runtime.Call) (runtime.Result, pool.Info, error) {
				return runtime.Result{}, c.info, c.err
			}), 0)
			_, err := d.Invoke(bg, invocation())
			logs := fails(t, c.want, err)
			require.Equal(t, c.ran, invoke.Ran(err))
			require.False(t, lambda.Is(err, lambda.KindUnavailable) && c.info.Ran, "clients repeat 503")
			require.Empty(t, logs)
		})
	}
}

func TestAResultComesWithWhatItCost(t *testing.T) {
	w := newWorld()
	w.golive(7)
	d := w.dispatcher(poolFunc(func(ctx context.Context, spec pool.Spec, call runtime.Call) (runtime.Result, pool.Info, error) {
		require.Equal(t, account+"/"+uuid+"/deployment-7", spec.Key)
		require.Equal(t, "obedient", spec.Runtime)
		require.Equal(t, runtime.Call{RequestID: "r-1", Headers: []runtime.Header{{Key: "k", Value: "v"}}, Payload: []byte(`{"a":1}`)}, call)
		deadline, ok := ctx.Deadline()
		require.True(t, ok)
		require.WithinDuration(t, time.Now().Add(30*time.Second), deadline, time.Second)
		return runtime.Result{Payload: []byte(`"hello"`)}, pool.Info{Cold: true, Ran: true, Queue: 3, Start: 5, Run: 4}, nil
	}), 0)
	inv := invocation()
	inv.Headers = []lambda.Pair{{Key: "k", Value: "v"}}
	result, err := d.Invoke(bg, inv)
	require.NoError(t, err)
	require.Equal(t, lambda.Result{Payload: []byte(`"hello"`), Version: 7, Cold: true, Queue: 3, Start: 5, Run: 4}, result)
}

func TestAnEarlierDeadlineHolds(t *testing.T) {
	ctx, cancel := context.WithTimeout(bg, 3*time.Second)
	defer cancel()
	d := newWorld().dispatcher(poolFunc(func(ctx context.Context, _ pool.Spec, _ runtime.Call) (runtime.Result, pool.Info, error) {
		deadline, _ := ctx.Deadline()
		require.WithinDuration(t, time.Now().Add(3*time.Second), deadline, time.Second)
		return runtime.Result{}, pool.Info{}, nil
	}), 0)
	_, err := d.Invoke(ctx, invocation())
	require.NoError(t, err)
}

func TestACallerWhoLeavesIsToldApart(t *testing.T) {
	ctx, cancel := context.WithCancel(bg)
	d := newWorld().dispatcher(poolFunc(func(ctx context.Context, _ pool.Spec, _ runtime.Call) (runtime.Result, pool.Info, error) {
		cancel()
		<-ctx.Done()
		return runtime.Result{}, pool.Info{Ran: true, Run: time.Minute}, fmt.Errorf("before the runtime answered: %w", ctx.Err())
	}), 0)
	_, err := d.Invoke(ctx, invocation())
	require.ErrorIs(t, err, context.Canceled)
	fails(t, lambda.Error{Kind: lambda.KindTimeout, Code: lambda.CodeGeneral, Phase: lambda.PhaseRun, Message: "The caller left before the lambda answered."}, err)
}

func TestWhatIsNotLiveIsLookedUp(t *testing.T) {
	never := poolFunc(func(context.Context, pool.Spec, runtime.Call) (runtime.Result, pool.Info, error) {
		return runtime.Result{}, pool.Info{}, errors.New("must not be called")
	})
	t.Run("a lambda that does not exist", func(t *testing.T) {
		w := &world{}
		_, err := w.dispatcher(never, 0).Invoke(bg, invocation())
		fails(t, lambda.Error{Kind: lambda.KindNotFound, Code: lambda.CodeMissingLambda, Phase: lambda.PhaseRoute, Message: text404}, err)
		require.False(t, invoke.Ran(err))
	})
	t.Run("a lambda that is not deployed", func(t *testing.T) {
		w := &world{known: true}
		_, err := w.dispatcher(never, 0).Invoke(bg, invocation())
		fails(t, lambda.Error{Kind: lambda.KindNotFound, Code: lambda.CodeNotDeployed, Phase: lambda.PhaseRoute, Message: text404}, err)
	})
	t.Run("a deployment that the view has not seen yet", func(t *testing.T) {
		w := newWorld()
		w.view = nil
		result, err := w.dispatcher(poolFunc(func(context.Context, pool.Spec, runtime.Call) (runtime.Result, pool.Info, error) {
			return runtime.Result{Payload: []byte(`1`)}, pool.Info{}, nil
		}), 0).Invoke(bg, invocation())
		require.NoError(t, err)
		require.Equal(t, 1, result.Version)
	})
	t.Run("a store that does not answer", func(t *testing.T) {
		w := &world{storeErr: errors.New("etcd is away")}
		_, err := w.dispatcher(never, 0).Invoke(bg, invocation())
		fails(t, lambda.Error{Kind: lambda.KindUnavailable, Code: lambda.CodeUnavailable, Phase: lambda.PhaseRoute, Message: "The lambda could not be looked up. Try again.", RetryAfter: time.Second}, err)
		require.ErrorIs(t, err, w.storeErr)
	})
	t.Run("a caller who leaves meanwhile", func(t *testing.T) {
		ctx, cancel := context.WithCancel(bg)
		cancel()
		w := &world{storeErr: context.Canceled}
		_, err := w.dispatcher(never, 0).Invoke(ctx, invocation())
		require.ErrorIs(t, err, context.Canceled)
	})
	t.Run("a live one is not", func(t *testing.T) {
		w := newWorld()
		_, err := w.dispatcher(never, 0).Invoke(bg, invocation())
		require.Error(t, err)
		require.Zero(t, w.lookups)
	})
}

func TestLookupsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var open, most atomic.Int64
		d := invoke.New(invoke.Config{
			Live: &world{}, Specs: newWorld().specs(), Log: zerolog.Nop(),
			Records: recordsFunc(func(ctx context.Context) (store.Record, error) {
				most.Store(max(most.Load(), open.Add(1)))
				defer open.Add(-1)
				<-ctx.Done()
				return store.Record{}, ctx.Err()
			}),
		})
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				_, err := d.Invoke(bg, invocation())
				require.True(t, lambda.Is(err, lambda.KindUnavailable), "%v", err)
			})
		}
		start := time.Now()
		wg.Wait()
		require.EqualValues(t, 32, most.Load())
		require.Equal(t, 2*time.Second, time.Since(start))
	})
}

type recordsFunc func(ctx context.Context) (store.Record, error)

func (f recordsFunc) Record(ctx context.Context, _, _ string) (store.Record, error) { return f(ctx) }

func TestARedeploymentOnTheWayLosesNoCall(t *testing.T) {
	// retired answers ErrRetired for every version below n.
	retired := func(n int) poolFunc {
		return func(_ context.Context, spec pool.Spec, _ runtime.Call) (runtime.Result, pool.Info, error) {
			if spec.Key < fmt.Sprintf("%s/%s/deployment-%d", account, uuid, n) {
				return runtime.Result{}, pool.Info{Queue: time.Second}, pool.ErrRetired
			}
			return runtime.Result{Payload: []byte(`1`)}, pool.Info{Ran: true, Queue: time.Second}, nil
		}
	}
	t.Run("the view knows the new one", func(t *testing.T) {
		w := newWorld()
		p := poolFunc(func(ctx context.Context, spec pool.Spec, call runtime.Call) (runtime.Result, pool.Info, error) {
			w.golive(2)
			return retired(2)(ctx, spec, call)
		})
		result, err := w.dispatcher(p, 0).Invoke(bg, invocation())
		require.NoError(t, err)
		require.Equal(t, 2, result.Version)
		require.Equal(t, 2*time.Second, result.Queue)
		require.Zero(t, w.lookups)
	})
	t.Run("only the store does", func(t *testing.T) {
		w := newWorld()
		old := w.view
		w.golive(2)
		w.view = old
		result, err := w.dispatcher(retired(2), 0).Invoke(bg, invocation())
		require.NoError(t, err)
		require.Equal(t, 2, result.Version)
	})
	t.Run("again and again", func(t *testing.T) {
		w := newWorld()
		p := poolFunc(func(ctx context.Context, spec pool.Spec, call runtime.Call) (runtime.Result, pool.Info, error) {
			w.golive(min(9, w.view.Version+1))
			return retired(9)(ctx, spec, call)
		})
		result, err := w.dispatcher(p, 0).Invoke(bg, invocation())
		require.NoError(t, err)
		require.Equal(t, 9, result.Version)
	})
	t.Run("it was undeployed", func(t *testing.T) {
		w := newWorld()
		w.stored = nil
		_, err := w.dispatcher(retired(2), 0).Invoke(bg, invocation())
		require.True(t, lambda.Is(err, lambda.KindNotFound))
	})
	t.Run("nobody knows another", func(t *testing.T) {
		w := newWorld()
		_, err := w.dispatcher(retired(2), 0).Invoke(bg, invocation())
		fails(t, lambda.Error{Kind: lambda.KindUnavailable, Code: lambda.CodeRuntimeUnavailable, Phase: lambda.PhaseRoute, Message: "The lambda is being redeployed. Try again.", RetryAfter: time.Second}, err)
	})
}

func TestManualCallsReturnTheirLog(t *testing.T) {
	at := time.UnixMilli(1626330360217)
	logging := func(err error, records ...runtime.LogRecord) poolFunc {
		return func(_ context.Context, _ pool.Spec, call runtime.Call) (runtime.Result, pool.Info, error) {
			if call.Log != nil {
				for _, r := range records {
					call.Log(r)
					for i := range r.Extras {
						r.Extras[i] = 'x' // it is the runtime's again
					}
				}
			}
			return runtime.Result{Payload: []byte(`1`), DroppedLogs: 0}, pool.Info{Ran: true, Run: 30 * time.Second}, err
		}
	}
	manual := invocation()
	manual.Manual = true

	t.Run("with every level and extra", func(t *testing.T) {
		p := logging(nil,
			runtime.LogRecord{Level: runtime.LevelDebug, Message: "d", Time: at},
			runtime.LogRecord{Level: runtime.LevelInfo, Message: "i", Extras: []byte(`[{"a":1}]`), Time: at},
			runtime.LogRecord{Level: runtime.LevelWarn, Message: "w", Time: at},
			runtime.LogRecord{Level: runtime.LevelError, Message: "e", Time: at},
		)
		result, err := newWorld().dispatcher(p, 0).Invoke(bg, manual)
		require.NoError(t, err)
		const ms = 1626330360217
		require.Equal(t, []lambda.LogRecord{
			{Level: "Debug", Message: "d", Extras: []byte(`[]`), Timestamp: ms},
			{Level: "Info", Message: "i", Extras: []byte(`[{"a":1}]`), Timestamp: ms},
			{Level: "Warn", Message: "w", Extras: []byte(`[]`), Timestamp: ms},
			{Level: "Error", Message: "e", Extras: []byte(`[]`), Timestamp: ms},
		}, result.Logs)
	})
	t.Run("debug records are asked for", func(t *testing.T) {
		p := poolFunc(func(_ context.Context, _ pool.Spec, call runtime.Call) (runtime.Result, pool.Info, error) {
			require.True(t, call.Debug)
			return runtime.Result{}, pool.Info{}, nil
		})
		_, err := newWorld().dispatcher(p, 0).Invoke(bg, manual)
		require.NoError(t, err)
	})
	t.Run("other calls gather none", func(t *testing.T) {
		p := logging(&runtime.Failure{Message: "no"}, runtime.LogRecord{Message: "m"})
		_, err := newWorld().dispatcher(p, 0).Invoke(bg, invocation())
		require.Empty(t, lambda.As(err).Logs)
	})
	t.Run("with the runtime's last word when it failed", func(t *testing.T) {
		p := logging(&runtime.Failure{Message: "no"},
			runtime.LogRecord{Level: runtime.LevelInfo, Message: "before", Time: at},
			runtime.LogRecord{Level: runtime.LevelError, Message: "Received Error - no", Time: at})
		_, err := newWorld().dispatcher(p, 0).Invoke(bg, manual)
		require.Equal(t, []string{"before", "Received Error - no"}, messages(lambda.As(err).Logs))
	})
	t.Run("with ours when the runtime could not speak", func(t *testing.T) {
		for _, cause := range []error{context.DeadlineExceeded, &host.ExitError{Own: true, Reason: "exit code 3"}, &pool.StartError{Err: &host.LoadError{Message: "x is not defined"}}} {
			p := logging(cause, runtime.LogRecord{Level: runtime.LevelInfo, Message: "before", Time: at})
			_, err := newWorld().dispatcher(p, 0).Invoke(bg, manual)
			e := lambda.As(err)
			require.Equal(t, lambda.KindFunction, e.Kind)
			require.Equal(t, []string{"before", "Received Error - " + e.Message}, messages(e.Logs))
			require.Equal(t, "Error", e.Logs[1].Level)
		}
	})
	t.Run("no more than 500 records, and the cut is said", func(t *testing.T) {
		var many []runtime.LogRecord
		for n := range 700 {
			many = append(many, runtime.LogRecord{Message: fmt.Sprint(n)})
		}
		result, err := newWorld().dispatcher(logging(nil, many...), 0).Invoke(bg, manual)
		require.NoError(t, err)
		require.Len(t, result.Logs, 501)
		require.Equal(t, "Error", result.Logs[500].Level)
		require.Equal(t, "200 log records are missing: a call returns at most 500 records and 256 KiB of them", result.Logs[500].Message)
	})
	t.Run("no more than 256 KiB", func(t *testing.T) {
		var large []runtime.LogRecord
		for range 10 {
			large = append(large, runtime.LogRecord{Message: strings.Repeat("x", 30<<10), Extras: []byte(`["` + strings.Repeat("y", 20<<10) + `"]`)})
		}
		result, err := newWorld().dispatcher(logging(nil, large...), 0).Invoke(bg, manual)
		require.NoError(t, err)
		require.Len(t, result.Logs, 6)
		require.Contains(t, result.Logs[5].Message, "5 log records are missing")
	})
	t.Run("the failure itself is never cut", func(t *testing.T) {
		var many []runtime.LogRecord
		for n := range 700 {
			many = append(many, runtime.LogRecord{Message: fmt.Sprint(n)})
		}
		many = append(many, runtime.LogRecord{Level: runtime.LevelError, Message: "Received Error - no"})
		_, err := newWorld().dispatcher(logging(&runtime.Failure{Message: "no"}, many...), 0).Invoke(bg, manual)
		logs := lambda.As(err).Logs
		require.Len(t, logs, 502)
		require.Contains(t, logs[500].Message, "200 log records are missing")
		require.Equal(t, "Received Error - no", logs[501].Message)
	})
	t.Run("what the runtime dropped counts", func(t *testing.T) {
		p := poolFunc(func(context.Context, pool.Spec, runtime.Call) (runtime.Result, pool.Info, error) {
			return runtime.Result{DroppedLogs: 3}, pool.Info{}, nil
		})
		result, err := newWorld().dispatcher(p, 0).Invoke(bg, manual)
		require.NoError(t, err)
		require.Contains(t, result.Logs[0].Message, "3 log records are missing")
	})
}

func messages(logs []lambda.LogRecord) []string {
	var texts []string
	for _, r := range logs {
		texts = append(texts, r.Message)
	}
	return texts
}

func TestASpecLoadsTheDeployedVersion(t *testing.T) {
	w := newWorld()
	live := w.golive(2)
	t.Run("with its environment and the platform's", func(t *testing.T) {
		spec := w.specs().SpecFor(*live)
		require.Equal(t, invoke.PoolKey(account, uuid, "deployment-2"), spec.Key)
		request, err := spec.Load(bg)
		require.NoError(t, err)
		require.Equal(t, host.LoadRequest{
			Artifact: []byte("artifact"),
			Environment: map[string]string{
				"GREETING": "hello", "DC": "lab",
				"BRAND_ID": account, "LAMBDA_UUID": uuid, "NODE_ENV": "production",
			},
			Limits: host.Limits{MemoryMiB: 99}, Egress: wayOf{account, uuid},
		}, request)
	})
	t.Run("never another", func(t *testing.T) {
		other := *live
		other.Digest = "another"
		_, err := w.specs().SpecFor(other).Load(bg)
		require.ErrorContains(t, err, "deployed was another")
		other.Version = 9
		_, err = w.specs().SpecFor(other).Load(bg)
		require.ErrorContains(t, err, "read version 9")
	})
}

// The way of a warm call from the invocation to a pool that answers at once.
func BenchmarkDispatcher(b *testing.B) {
	d := newWorld().dispatcher(poolFunc(func(_ context.Context, _ pool.Spec, call runtime.Call) (runtime.Result, pool.Info, error) {
		return runtime.Result{Payload: call.Payload}, pool.Info{Ran: true}, nil
	}), 0)
	inv := invocation()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Invoke(bg, inv); err != nil {
			b.Fatal(err)
		}
	}
}
