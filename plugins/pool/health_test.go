package pool_test

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/plugins/host"
	"github.com/sluice-faas/sluice/plugins/pool"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

// callers make calls one after the other until the returned function is called,
// which waits for their end.
func callers(t *testing.T, p *pool.Pool, s pool.Spec, n int) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(bg)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for ctx.Err() == nil {
				_, _, err := p.Handle(bg, s, call(`1`))
				require.NoError(t, err)
			}
		})
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

// A process that computes is behind its work by 40 ms for every call on it.
func computes() func(context.Context, *process, runtime.Call) (runtime.Result, error) {
	var turn sync.Map // process → chan
	return func(_ context.Context, p *process, _ runtime.Call) (runtime.Result, error) {
		c, _ := turn.LoadOrStore(p, make(chan struct{}, 1))
		p.lag.Store(int64(p.open.Load()-1) * int64(40*time.Millisecond))
		c.(chan struct{}) <- struct{}{}
		time.Sleep(40 * time.Millisecond)
		<-c.(chan struct{})
		p.calls.Add(1)
		return runtime.Result{}, nil
	}
}

func TestAKeyWhoseProcessIsBusyGetsAnother(t *testing.T) {
	l := &lab{startTime: 50 * time.Millisecond, behaviour: behaviour{handle: computes()}}
	in(t, l, pool.Config{Processors: 2}, func(t *testing.T, p *pool.Pool) {
		stop := callers(t, p, spec("a"), 8)
		time.Sleep(500 * time.Millisecond)
		require.Equal(t, 1, l.launched(), "not for a moment's load")
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		require.Len(t, l.running(), 2)
		before := l.all[0].calls.Load() + l.all[1].calls.Load()
		time.Sleep(10 * time.Second)
		after := l.all[0].calls.Load() + l.all[1].calls.Load()
		require.InDelta(t, 500, after-before, 10, "two processes serve twice 25 calls a second")
		require.Equal(t, 2, l.launched(), "no more than processors")
		require.EqualValues(t, 1, p.Stats().Added)
		stop()

		for range 4 {
			_, _, err := p.Handle(bg, spec("a"), call(`1`))
			require.NoError(t, err)
			time.Sleep(20 * time.Second)
		}
		require.Len(t, l.running(), 1, "the spare one goes soon")
		require.False(t, l.all[0].ended())
	})
}

func TestABusyKeyThatAnotherProcessWouldNotHelpGetsNone(t *testing.T) {
	for name, tc := range map[string]struct {
		callers int
		lag     time.Duration
		handle  func(context.Context, *process, runtime.Call) (runtime.Result, error)
		cfg     pool.Config
	}{
		"one call at a time":         {callers: 1, lag: time.Second, handle: takes(300 * time.Millisecond)},
		"calls that wait for others": {callers: 50, lag: 10 * time.Millisecond, handle: takes(300 * time.Millisecond)},
		"no room":                    {callers: 8, lag: time.Second, handle: takes(40 * time.Millisecond), cfg: pool.Config{MaxProcesses: 1}},
		"one process a key":          {callers: 8, lag: time.Second, handle: takes(40 * time.Millisecond), cfg: pool.Config{MaxProcessesPerKey: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			l := &lab{behaviour: behaviour{handle: func(ctx context.Context, p *process, c runtime.Call) (runtime.Result, error) {
				p.lag.Store(int64(tc.lag))
				return tc.handle(ctx, p, c)
			}}}
			in(t, l, tc.cfg, func(t *testing.T, p *pool.Pool) {
				stop := callers(t, p, spec("a"), tc.callers)
				time.Sleep(10 * time.Second)
				stop()
				require.Equal(t, 1, l.launched())
			})
		})
	}
}

func TestACallGoesWhereLessIsToDo(t *testing.T) {
	l := &lab{behaviour: behaviour{handle: takes(time.Minute)}}
	in(t, l, pool.Config{MaxProcessesPerKey: 2}, func(t *testing.T, p *pool.Pool) {
		var wg sync.WaitGroup
		one := func() {
			wg.Go(func() {
				_, _, err := p.Handle(bg, spec("a"), call(`1`))
				require.NoError(t, err)
			})
			synctest.Wait()
		}
		one()
		l.all[0].blocked.Store(true)
		one()
		l.all[0].blocked.Store(false)
		require.Len(t, l.running(), 2)
		l.all[0].lag.Store(int64(300 * time.Millisecond)) // as if it had four
		one()
		one()
		one()
		require.EqualValues(t, 1, l.all[0].open.Load())
		require.EqualValues(t, 4, l.all[1].open.Load())
		l.all[0].lag.Store(int64(time.Hour)) // a liar is not passed by for ever
		one()
		one()
		require.EqualValues(t, 2, l.all[0].open.Load())
		require.EqualValues(t, 5, l.all[1].open.Load())
		wg.Wait()
	})
}

func TestProcessesAreKeptReadyThoughNobodyCalls(t *testing.T) {
	l := &lab{startTime: 100 * time.Millisecond}
	in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
		require.NoError(t, p.Keep(spec("a"), 2))
		require.Equal(t, pool.Starting, p.Status("a").State)
		time.Sleep(time.Second)
		require.Len(t, l.running(), 2)
		_, info, err := p.Handle(bg, spec("a"), call(`1`))
		require.NoError(t, err)
		require.False(t, info.Cold)

		time.Sleep(time.Hour)
		require.Equal(t, 2, l.launched(), "the same ones")
		require.Equal(t, pool.Status{State: pool.Ready, Processes: 2, Kept: 2}, p.Status("a"))

		l.running()[0].exit("killed from outside")
		time.Sleep(2 * time.Second)
		require.Len(t, l.running(), 2, "one that ended is replaced")
		require.EqualValues(t, 1, p.Stats().Exited)
		require.EqualValues(t, 0, p.Stats().Failed)

		require.NoError(t, p.Keep(spec("a"), 1))
		time.Sleep(2 * time.Minute)
		require.Len(t, l.running(), 1)
		require.NoError(t, p.Keep(spec("a"), 0))
		time.Sleep(11 * time.Minute)
		require.Empty(t, l.running())
		require.Zero(t, p.Stats().Keys)
		require.NoError(t, p.Keep(spec("b"), 0), "of what is not known")
		require.Zero(t, p.Stats().Keys)

		require.NoError(t, p.Keep(spec("c"), 1))
		time.Sleep(time.Second)
		p.Retire("c")
		time.Sleep(time.Second)
		require.Empty(t, l.running())
		require.ErrorIs(t, p.Keep(spec("c"), 1), pool.ErrRetired)
		require.NoError(t, p.Keep(spec("d"), 100))
		time.Sleep(time.Minute)
		require.Len(t, l.running(), 4, "no more than a key may have")
	})
}

func TestAKeptProcessThatCannotStartIsTriedWithGrowingPauses(t *testing.T) {
	l := &lab{behaviour: behaviour{load: func(_ context.Context, p *process) error { return &host.LoadError{Message: "x is not defined"} }}}
	in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
		require.NoError(t, p.Keep(spec("a"), 1))
		time.Sleep(time.Hour)
		require.Less(t, l.launched(), 150)
		st := p.Status("a")
		require.Equal(t, pool.CrashLooping, st.State)
		require.Contains(t, st.LastError, "x is not defined")
		require.Greater(t, st.Failures, 50)
		require.Equal(t, 1, p.Stats().Looping)
		l.become(behaviour{})
		time.Sleep(time.Minute)
		require.Equal(t, pool.Ready, p.Status("a").State)
	})
}

func TestKeptProcessesAreEvictedLast(t *testing.T) {
	l := &lab{startTime: time.Millisecond}
	in(t, l, pool.Config{MaxProcesses: 3}, func(t *testing.T, p *pool.Pool) {
		require.NoError(t, p.Keep(spec("kept"), 1))
		time.Sleep(time.Second)
		for _, key := range []string{"a", "b", "c", "d"} {
			_, _, err := p.Handle(bg, spec(key), call(`1`))
			require.NoError(t, err)
			time.Sleep(time.Second)
		}
		require.Equal(t, 1, p.Status("kept").Processes, "idle longest and there still")

		l.become(behaviour{handle: takes(2 * time.Minute)})
		var wg sync.WaitGroup
		for _, key := range []string{"c", "d", "e"} {
			wg.Go(func() {
				_, _, err := p.Handle(bg, spec(key), call(`1`))
				require.NoError(t, err)
			})
		}
		time.Sleep(time.Minute)
		require.Zero(t, p.Status("kept").Processes, "it made room for a call that waited")
		wg.Wait()
		time.Sleep(30 * time.Second)
		require.Zero(t, p.Status("kept").Processes, "it pushes nobody out who was called a moment ago")
		time.Sleep(time.Minute)
		require.Equal(t, 1, p.Status("kept").Processes)
		require.Equal(t, 3, l.mostAtOnce())
	})
}

func TestAProcessThatDiesAgainAndAgainUnderItsCallsCrashLoops(t *testing.T) {
	dies := func(_ context.Context, p *process, _ runtime.Call) (runtime.Result, error) {
		p.printed = "FATAL: heap"
		p.exit("signal: aborted")
		return runtime.Result{}, &host.ExitError{Reason: "signal: aborted", Own: true}
	}
	l := &lab{behaviour: behaviour{handle: dies}}
	in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
		require.Equal(t, pool.Status{State: pool.Idle}, p.Status("a"))
		pause := 250 * time.Millisecond
		for n := 1; n <= 12; n++ {
			_, info, err := p.Handle(bg, spec("a"), call(`1`))
			var exit *host.ExitError
			require.ErrorAs(t, err, &exit)
			require.True(t, info.Ran)
			synctest.Wait()
			st := p.Status("a")
			require.Equal(t, n, st.Failures)
			require.Equal(t, "the process ended: signal: aborted", st.LastError)
			require.Equal(t, "FATAL: heap", st.LastPrinted)
			if n <= 3 {
				require.Zero(t, st.RetryAt, "the next may be better")
				continue
			}
			require.Equal(t, pool.CrashLooping, st.State)
			require.Equal(t, pause, time.Until(st.RetryAt))

			_, info, err = p.Handle(bg, spec("a"), call(`1`))
			var start *pool.StartError
			require.ErrorAs(t, err, &start)
			require.True(t, start.BackingOff)
			require.Equal(t, n, start.Failures)
			require.Equal(t, pause, start.RetryAfter)
			var crash *pool.CrashError
			require.ErrorAs(t, err, &crash)
			require.Equal(t, "signal: aborted", crash.Reason)
			require.False(t, info.Ran)
			require.Equal(t, n, l.launched(), "nothing is started before the time")
			time.Sleep(start.RetryAfter)
			pause = min(2*pause, 30*time.Second)
		}
		l.become(behaviour{})
		for range 10 {
			_, _, err := p.Handle(bg, spec("a"), call(`1`))
			require.NoError(t, err)
		}
		require.Zero(t, p.Status("a").Failures, "it has shown that it can serve")
		time.Sleep(2 * time.Minute)
		require.Equal(t, pool.Ready, p.Status("a").State)
		require.Zero(t, p.Stats().Looping)
	})
}

func TestAKeyThatServesBetweenItsCrashesIsServedAndShown(t *testing.T) {
	l := &lab{}
	in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
		for range 8 {
			for range 20 {
				_, _, err := p.Handle(bg, spec("a"), call(`1`))
				require.NoError(t, err)
			}
			l.running()[0].exit("out of memory")
			synctest.Wait()
		}
		require.Equal(t, pool.CrashLooping, p.Status("a").State)
		require.Zero(t, p.Status("a").RetryAt)
	})
}

func TestWhatAProcessSaidIsBounded(t *testing.T) {
	l := &lab{behaviour: behaviour{load: func(context.Context, *process) error {
		return &host.LoadError{Message: strings.Repeat("ä", 5_000), Stack: strings.Repeat("s", 5_000)}
	}}}
	in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
		require.Error(t, p.Warm(bg, spec("a")))
		st := p.Status("a")
		require.LessOrEqual(t, len(st.LastError), 2051)
		require.LessOrEqual(t, len(st.LastPrinted), 2051)
		require.True(t, strings.HasSuffix(st.LastError, "ä…"))
	})
}

func TestAFullMachineKeepsABlankProcessWhileStartsAreMany(t *testing.T) {
	l := &lab{startTime: 100 * time.Millisecond}
	cfg := pool.Config{MaxProcesses: 6, Prestart: map[string]int{"fake": 1}}
	in(t, l, cfg, func(t *testing.T, p *pool.Pool) {
		time.Sleep(time.Second)
		cold := 0
		for n := range 30 { // six keys in turn, for which there is no room with a blank one
			_, info, err := p.Handle(bg, spec(strconv.Itoa(n%6)), call(`1`))
			require.NoError(t, err)
			if info.Start > 0 {
				cold++
			}
			time.Sleep(time.Second)
		}
		require.LessOrEqual(t, cold, 1, "but for the first that met a full machine, none waits for a launch")
		require.Equal(t, 6, l.mostAtOnce())
		require.Equal(t, 5, p.Stats().Loaded)
		for range 30 {
			for n := range 5 {
				_, _, err := p.Handle(bg, spec(strconv.Itoa(n)), call(`1`))
				require.NoError(t, err)
			}
			time.Sleep(time.Second)
		}
		launched := l.launched()
		time.Sleep(5 * time.Minute)
		require.Equal(t, launched, l.launched(), "and all is quiet when nobody calls")
	})
}
