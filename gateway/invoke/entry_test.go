package invoke_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/invoke"
	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/plugins/host"
	"github.com/sluice-faas/sluice/plugins/pool"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

// notes is a journal in memory.
type notes struct {
	mu      sync.Mutex
	entries []journal.Entry
}

func (n *notes) Add(e journal.Entry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.entries = append(n.entries, e)
}

// one gives the only entry.
func (n *notes) one(t *testing.T) journal.Entry {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	require.Len(t, n.entries, 1)
	return n.entries[0]
}

// journalled dispatches to p with a journal and the limits of the contract.
func (w *world) journalled(p invoke.Pool, n invoke.Journal) *invoke.Dispatcher {
	return invoke.New(invoke.Config{
		Live: w, Records: w, Pool: p, Specs: w.specs(), Journal: n, LogRecords: 10, LogCharacters: 6000, Log: zerolog.Nop(),
	})
}

func TestEveryCallOfWhatIsLiveIsOneEntry(t *testing.T) {
	w, n := newWorld(), &notes{}
	w.golive(7)
	inv := invocation()
	inv.Trigger, inv.EventID = lambda.TriggerEvent, "event-1"
	before := time.Now()
	_, err := w.journalled(poolFunc(func(context.Context, pool.Spec, runtime.Call) (runtime.Result, pool.Info, error) {
		return runtime.Result{Payload: []byte(`1`)}, pool.Info{Cold: true, Ran: true, Queue: 3, Start: 5, Run: 4}, nil
	}), n).Invoke(bg, inv)
	require.NoError(t, err)
	e := n.one(t)
	require.WithinRange(t, e.At, before, time.Now())
	e.At = time.Time{}
	require.Equal(t, journal.Entry{
		Account: account, LambdaID: uuid, LambdaName: "first", Version: 7, RequestID: "r-1", Caller: "brand",
		Trigger: lambda.TriggerEvent, EventID: "event-1", Queue: 3, Start: 5, Run: 4, Cold: true, State: journal.Succeeded,
	}, e)
}

func TestAnEntrySaysHowTheCallEnded(t *testing.T) {
	ran := pool.Info{Ran: true, Run: 30 * time.Second}
	left, leave := context.WithCancel(bg)
	leave()
	for _, c := range []struct {
		name   string
		caller context.Context
		info   pool.Info
		err    error
		state  journal.State
		phase  lambda.Phase
		code   string
	}{
		{"called back with an error", bg, ran, &runtime.Failure{Kind: runtime.CustomFailure, Message: "no"}, journal.CodingFailure, lambda.PhaseRun, lambda.CodeCustomFailure},
		{"threw a TypeError", bg, ran, &runtime.Failure{Kind: runtime.RuntimeException, Message: "no"}, journal.CodingFailure, lambda.PhaseRun, lambda.CodeRuntimeException},
		{"ended its process", bg, ran, &host.ExitError{Reason: "exit code 3", Own: true}, journal.CodingFailure, lambda.PhaseRun, lambda.CodeCustomFailure},
		{"could not be loaded", bg, pool.Info{Cold: true}, &pool.StartError{Err: &host.LoadError{Message: "no"}}, journal.CodingFailure, lambda.PhaseStart, lambda.CodeCustomFailure},
		{"took its whole time", bg, ran, context.DeadlineExceeded, journal.Timeout, lambda.PhaseRun, lambda.CodeExecutionTime},
		{"got too little of its time", bg, pool.Info{Ran: true, Run: time.Second}, context.DeadlineExceeded, journal.PlatformFailure, lambda.PhaseRun, lambda.CodeGeneral},
		{"the queue was full", bg, pool.Info{}, pool.ErrBusy, journal.PlatformFailure, lambda.PhaseQueue, lambda.CodeRuntimeUnavailable},
		{"the gateway closed", bg, pool.Info{}, pool.ErrClosed, journal.PlatformFailure, lambda.PhaseQueue, lambda.CodeRuntimeUnavailable},
		{"too large", bg, pool.Info{}, host.ErrTooLarge, journal.PlatformFailure, lambda.PhaseRequest, lambda.CodeBadInput},
		{"another call's crash", bg, ran, &host.ExitError{Reason: "killed"}, journal.PlatformFailure, lambda.PhaseRuntime, lambda.CodeRuntimeGeneral},
		{"a defect", bg, ran, errors.New("boom"), journal.PlatformFailure, lambda.PhaseRuntime, lambda.CodeRuntimeGeneral},
		{"the caller left", left, ran, context.Canceled, journal.Unknown, lambda.PhaseRun, lambda.CodeGeneral},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := &notes{}
			_, err := newWorld().journalled(poolFunc(func(context.Context, pool.Spec, runtime.Call) (runtime.Result, pool.Info, error) {
				return runtime.Result{}, c.info, c.err
			}), n).Invoke(c.caller, invocation())
			e := n.one(t)
			require.Equal(t, []any{c.state, c.phase, c.code}, []any{e.State, e.Phase, e.Code})
			require.Equal(t, lambda.As(err).Message, e.Message)
			require.Equal(t, c.info.Run, e.Run)
		})
	}
	t.Run("a message is bounded", func(t *testing.T) {
		n := &notes{}
		_, err := newWorld().journalled(poolFunc(func(context.Context, pool.Spec, runtime.Call) (runtime.Result, pool.Info, error) {
			return runtime.Result{}, ran, &runtime.Failure{Message: strings.Repeat("ü", 100_000)}
		}), n).Invoke(bg, invocation())
		require.Error(t, err)
		require.LessOrEqual(t, len(n.one(t).Message), 2010)
	})
	t.Run("the turns of a redeployment are summed", func(t *testing.T) {
		w, n := newWorld(), &notes{}
		_, err := w.journalled(poolFunc(func(_ context.Context, spec pool.Spec, _ runtime.Call) (runtime.Result, pool.Info, error) {
			if strings.HasSuffix(spec.Key, "deployment-1") {
				w.golive(2)
				return runtime.Result{}, pool.Info{Cold: true, Start: time.Second, Queue: time.Minute}, pool.ErrRetired
			}
			return runtime.Result{Payload: []byte(`1`)}, pool.Info{Ran: true, Queue: time.Second}, nil
		}), n).Invoke(bg, invocation())
		require.NoError(t, err)
		e := n.one(t)
		require.Equal(t, []any{2, true, time.Second, 61 * time.Second}, []any{e.Version, e.Cold, e.Start, e.Queue})
	})
}

func TestWhatIsNotLiveIsNoEntry(t *testing.T) {
	never := poolFunc(func(context.Context, pool.Spec, runtime.Call) (runtime.Result, pool.Info, error) {
		return runtime.Result{}, pool.Info{}, pool.ErrRetired
	})
	for name, w := range map[string]*world{
		"unknown": {}, "not deployed": {known: true}, "not to be looked up": {storeErr: errors.New("etcd is away")},
	} {
		t.Run(name, func(t *testing.T) {
			n := &notes{}
			_, err := w.journalled(never, n).Invoke(bg, invocation())
			require.Error(t, err)
			require.Empty(t, n.entries)
		})
	}
	t.Run("undeployed before the call reached it", func(t *testing.T) {
		w, n := newWorld(), &notes{}
		_, err := w.journalled(poolFunc(func(context.Context, pool.Spec, runtime.Call) (runtime.Result, pool.Info, error) {
			w.mu.Lock()
			w.view, w.stored = nil, nil
			w.mu.Unlock()
			return runtime.Result{}, pool.Info{}, pool.ErrRetired
		}), n).Invoke(bg, invocation())
		require.True(t, lambda.Is(err, lambda.KindNotFound), "%v", err)
		require.Empty(t, n.entries)
	})
}

func TestARepetitionIsNoSecondEntry(t *testing.T) {
	n := &notes{}
	d := newWorld().journalled(poolFunc(func(context.Context, pool.Spec, runtime.Call) (runtime.Result, pool.Info, error) {
		return runtime.Result{Payload: []byte(`1`)}, pool.Info{Ran: true}, nil
	}), n)
	replays, inv := invoke.NewReplays(invoke.ReplaysConfig{}), invocation()
	for range 3 {
		_, err := replays.Do(bg, invoke.ReplayKey(inv, inv.Payload), func(ctx context.Context) (lambda.Result, error) { return d.Invoke(ctx, inv) })
		require.NoError(t, err)
	}
	n.one(t)
}

// logged runs one call that logs records and ends with err, and gives what is
// stored of it.
func logged(t *testing.T, dropped int, err error, records ...runtime.LogRecord) journal.Entry {
	t.Helper()
	n := &notes{}
	d := newWorld().journalled(poolFunc(func(_ context.Context, _ pool.Spec, call runtime.Call) (runtime.Result, pool.Info, error) {
		require.False(t, call.Debug)
		for _, r := range records {
			call.Log(r)
			for i := range r.Extras {
				r.Extras[i] = 'x' // they are the runtime's again
			}
		}
		return runtime.Result{Payload: []byte(`1`), DroppedLogs: dropped}, pool.Info{Ran: true, Run: 30 * time.Second}, err
	}), n)
	_, got := d.Invoke(bg, invocation())
	require.Equal(t, err == nil, got == nil)
	return n.one(t)
}

// lines makes n records of that many characters each.
func lines(n, characters int) []runtime.LogRecord {
	var all []runtime.LogRecord
	for range n {
		all = append(all, runtime.LogRecord{Level: runtime.LevelInfo, Message: strings.Repeat("ü", characters)})
	}
	return all
}

func TestALogIsStoredWithinItsLimits(t *testing.T) {
	at := time.UnixMilli(1626330360217)
	failure := &runtime.Failure{Message: "no"}
	received := runtime.LogRecord{Level: runtime.LevelError, Message: "Received Error - no"}
	t.Run("as it was written, but for Debug", func(t *testing.T) {
		e := logged(t, 0, nil,
			runtime.LogRecord{Level: runtime.LevelDebug, Message: "debug", Time: at},
			runtime.LogRecord{Level: runtime.LevelInfo, Message: "info", Extras: []byte(`[1]`), Time: at},
			runtime.LogRecord{Level: runtime.LevelWarn, Message: "warn", Time: at},
		)
		require.Equal(t, []lambda.LogRecord{
			{Level: "Info", Message: "info", Extras: []byte(`[1]`), Timestamp: 1626330360217},
			{Level: "Warn", Message: "warn", Extras: []byte(`[]`), Timestamp: 1626330360217},
		}, e.Logs)
		require.Zero(t, e.Dropped)
	})
	t.Run("nothing of a call that logs nothing", func(t *testing.T) {
		require.Nil(t, logged(t, 0, nil).Logs)
	})
	t.Run("as many records and characters as the limits say", func(t *testing.T) {
		require.Len(t, logged(t, 0, nil, lines(10, 600)...).Logs, 10)
	})
	for name, c := range map[string]struct {
		dropped int
		records []runtime.LogRecord
		says    string
		missing int
	}{
		"a record more":                     {0, lines(11, 1), "the call logged 11 records with 11 characters: the limits are 10 records and 6000 characters", 11},
		"a character more":                  {0, lines(1, 6001), "the call logged 1 records with 6001 characters", 1},
		"a character more in the extras":    {0, append(lines(1, 5997), runtime.LogRecord{Extras: []byte(`[""]`)}), "the call logged 2 records with 6001 characters", 2},
		"records that the runtime dropped":  {5, lines(2, 1), "the call logged 7 records with at least 2 characters", 7},
		"many more":                         {0, lines(700, 10), "the call logged 700 records with 7000 characters", 700},
		"none but what the runtime dropped": {3, nil, "the call logged 3 records with at least 0 characters", 3},
	} {
		t.Run(name+" and one record is stored instead of all", func(t *testing.T) {
			e := logged(t, c.dropped, nil, c.records...)
			require.Len(t, e.Logs, 1)
			require.Equal(t, "Error", e.Logs[0].Level)
			require.True(t, strings.HasPrefix(e.Logs[0].Message, "com.liveperson.faas.handler.log-limit-reached: "+c.says), e.Logs[0].Message)
			require.Equal(t, c.missing, e.Dropped)
			require.Equal(t, journal.Succeeded, e.State, "the result is not affected")
		})
	}
	t.Run("what the runtime says of a failure counts for no limit", func(t *testing.T) {
		e := logged(t, 0, failure, append(lines(10, 600), received)...)
		require.Len(t, e.Logs, 11)
		require.Equal(t, "Received Error - no", e.Logs[10].Message)
	})
	t.Run("what the runtime could not say is the last line", func(t *testing.T) {
		for _, cause := range []error{context.DeadlineExceeded, &host.ExitError{Own: true, Reason: "exit code 3"}} {
			e := logged(t, 0, cause, lines(10, 600)...)
			require.Len(t, e.Logs, 11)
			require.Equal(t, "Received Error - "+e.Message, e.Logs[10].Message)
		}
	})
	t.Run("a failure of the platform adds none", func(t *testing.T) {
		require.Len(t, logged(t, 0, errors.New("boom"), lines(2, 1)...).Logs, 2)
	})
	t.Run("beyond the limits the failure is in the extras", func(t *testing.T) {
		for _, cause := range []error{failure, &host.ExitError{Own: true, Reason: "exit code 3"}} {
			records := lines(12, 1)
			if errors.Is(cause, failure) {
				records = append(records, received)
			}
			e := logged(t, 0, cause, records...)
			require.Len(t, e.Logs, 1)
			require.Contains(t, e.Logs[0].Message, "the call logged 12 records")
			require.JSONEq(t, fmt.Sprintf(`["Received Error - %s"]`, e.Message), string(e.Logs[0].Extras))
		}
	})
	t.Run("a failure's line is bounded", func(t *testing.T) {
		e := logged(t, 0, failure, runtime.LogRecord{Level: runtime.LevelError, Message: strings.Repeat("x", 60_000), Extras: []byte(`["` + strings.Repeat("y", 60_000) + `"]`)})
		require.Len(t, e.Logs, 1)
		require.Less(t, len(e.Logs[0].Message)+len(e.Logs[0].Extras), 2100)
	})
}

func TestTheLogsOfCallsAreNotMixed(t *testing.T) {
	n := &notes{}
	d := newWorld().journalled(poolFunc(func(_ context.Context, _ pool.Spec, call runtime.Call) (runtime.Result, pool.Info, error) {
		for range 3 {
			call.Log(runtime.LogRecord{Level: runtime.LevelInfo, Message: call.RequestID})
			time.Sleep(time.Millisecond)
		}
		return runtime.Result{Payload: []byte(`1`)}, pool.Info{Ran: true}, nil
	}), n)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			inv := invocation()
			inv.RequestID = fmt.Sprint("r-", i)
			_, err := d.Invoke(bg, inv)
			require.NoError(t, err)
		})
	}
	wg.Wait()
	require.Len(t, n.entries, 50)
	for _, e := range n.entries {
		require.Equal(t, []string{e.RequestID, e.RequestID, e.RequestID}, messages(e.Logs))
	}
}

func TestTheLogOfAManualCallIsReturnedAndNotStored(t *testing.T) {
	n, inv := &notes{}, invocation()
	inv.Manual, inv.Trigger = true, lambda.TriggerManual
	result, err := newWorld().journalled(poolFunc(func(_ context.Context, _ pool.Spec, call runtime.Call) (runtime.Result, pool.Info, error) {
		call.Log(runtime.LogRecord{Level: runtime.LevelInfo, Message: "hello"})
		return runtime.Result{Payload: []byte(`1`)}, pool.Info{Ran: true}, nil
	}), n).Invoke(bg, inv)
	require.NoError(t, err)
	require.Len(t, result.Logs, 1)
	e := n.one(t)
	require.Equal(t, lambda.TriggerManual, e.Trigger)
	require.Empty(t, e.Logs)
}

func TestACallThatLogsNothingAllocatesNothingForItsLog(t *testing.T) {
	p := poolFunc(func(context.Context, pool.Spec, runtime.Call) (runtime.Result, pool.Info, error) {
		return runtime.Result{Payload: []byte(`1`)}, pool.Info{Ran: true}, nil
	})
	cost := func(d *invoke.Dispatcher) float64 {
		inv := invocation()
		return testing.AllocsPerRun(1000, func() {
			if _, err := d.Invoke(bg, inv); err != nil {
				t.Fatal(err)
			}
		})
	}
	without := cost(newWorld().dispatcher(p, 0))
	with := cost(invoke.New(invoke.Config{Live: newWorld(), Records: newWorld(), Pool: p, Specs: newWorld().specs(), Journal: blind{}, Log: zerolog.Nop()}))
	require.LessOrEqual(t, with, without)
}

// blind is a journal that looks at nothing.
type blind struct{}

func (blind) Add(journal.Entry) {}
