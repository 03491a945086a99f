package pool_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/plugins/host"
	"github.com/sluice-faas/sluice/plugins/pool"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

var bg = context.Background()

// in runs a test on a clock that only moves when everybody waits.
func in(t *testing.T, l *lab, cfg pool.Config, test func(t *testing.T, p *pool.Pool)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := pool.New(cfg, l.launcher, zerolog.Nop())
		defer l.shut(t, p)
		test(t, p)
	})
}

func TestAColdCallStartsAProcessAndTheNextFindsItWarm(t *testing.T) {
	l := &lab{startTime: 100 * time.Millisecond, behaviour: behaviour{handle: takes(3 * time.Millisecond)}}
	in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
		result, info, err := p.Handle(bg, spec("a"), call(`1`))
		require.NoError(t, err)
		require.Equal(t, `1`, string(result.Payload))
		require.Equal(t, pool.Info{Cold: true, Ran: true, Start: 100 * time.Millisecond, Run: 3 * time.Millisecond}, info)

		_, info, err = p.Handle(bg, spec("a"), call(`2`))
		require.NoError(t, err)
		require.Equal(t, pool.Info{Ran: true, Run: 3 * time.Millisecond}, info)
		require.Equal(t, 1, l.launched())
	})
}

func TestABurstOnAColdKeyStartsOneProcess(t *testing.T) {
	l := &lab{startTime: 100 * time.Millisecond, behaviour: behaviour{handle: takes(time.Millisecond)}}
	in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				_, info, err := p.Handle(bg, spec("a"), call(`1`))
				require.NoError(t, err)
				require.True(t, info.Cold)
			})
		}
		wg.Wait()
		require.Equal(t, 1, l.launched())
		require.EqualValues(t, 200, l.all[0].calls.Load())
	})
}

func TestAStartAndTheQueueBehindItAreToldApart(t *testing.T) {
	l := &lab{startTime: 100 * time.Millisecond, behaviour: behaviour{handle: takes(10 * time.Millisecond)}}
	in(t, l, pool.Config{MaxCallsPerProcess: 1, MaxProcessesPerKey: 1}, func(t *testing.T, p *pool.Pool) {
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				_, info, err := p.Handle(bg, spec("a"), call(`1`))
				require.NoError(t, err)
				require.Equal(t, pool.Info{
					Cold: true, Ran: true, Start: 100 * time.Millisecond, Queue: time.Duration(i) * 10 * time.Millisecond, Run: 10 * time.Millisecond,
				}, info)
			})
			synctest.Wait()
		}
		ctx, cancel := context.WithTimeout(bg, 115*time.Millisecond)
		defer cancel()
		_, info, err := p.Handle(ctx, spec("a"), call(`1`))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, pool.Info{Cold: true, Start: 100 * time.Millisecond, Queue: 15 * time.Millisecond}, info, "it left the queue behind the start")
		wg.Wait()
	})
	t.Run("a start that fails is no queue", func(t *testing.T) {
		l := &lab{startTime: 100 * time.Millisecond, behaviour: behaviour{launch: func(int) error { return errLaunch }}}
		in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
			_, info, err := p.Handle(bg, spec("a"), call(`1`))
			require.ErrorIs(t, err, errLaunch)
			require.Equal(t, pool.Info{Cold: true, Start: 100 * time.Millisecond}, info)
		})
	})
}

func TestAFullQueueRefusesAndTheRestIsServedInOrder(t *testing.T) {
	var order []string
	l := &lab{behaviour: behaviour{handle: func(_ context.Context, _ *process, c runtime.Call) (runtime.Result, error) {
		time.Sleep(10 * time.Millisecond)
		order = append(order, string(c.Payload))
		return runtime.Result{}, nil
	}}}
	cfg := pool.Config{MaxCallsPerProcess: 1, MaxProcessesPerKey: 1, MaxWaiting: 3}
	in(t, l, cfg, func(t *testing.T, p *pool.Pool) {
		require.NoError(t, p.Warm(bg, spec("a")))
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				_, info, err := p.Handle(bg, spec("a"), call(strconv.Itoa(i)))
				require.NoError(t, err)
				require.False(t, info.Cold)
				require.Equal(t, time.Duration(i)*10*time.Millisecond, info.Queue)
			})
			synctest.Wait()
		}
		require.Equal(t, 3, p.Stats().Waiting)
		_, info, err := p.Handle(bg, spec("a"), call("one too many"))
		require.ErrorIs(t, err, pool.ErrBusy)
		require.False(t, info.Ran)
		wg.Wait()
		require.Equal(t, []string{"0", "1", "2", "3"}, order)
		require.EqualValues(t, 1, l.all[0].most.Load())
	})
}

func TestACallWhoseContextEndsLeavesTheQueue(t *testing.T) {
	l := &lab{behaviour: behaviour{handle: takes(100 * time.Millisecond)}}
	cfg := pool.Config{MaxCallsPerProcess: 1, MaxProcessesPerKey: 1}
	in(t, l, cfg, func(t *testing.T, p *pool.Pool) {
		require.NoError(t, p.Warm(bg, spec("a")))
		var wg sync.WaitGroup
		wg.Go(func() {
			_, _, err := p.Handle(bg, spec("a"), call(`1`))
			require.NoError(t, err)
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(bg, 20*time.Millisecond)
		defer cancel()
		wg.Go(func() {
			_, info, err := p.Handle(ctx, spec("a"), call(`2`))
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, pool.Info{Queue: 20 * time.Millisecond}, info)
		})
		synctest.Wait()
		wg.Go(func() {
			_, info, err := p.Handle(bg, spec("a"), call(`3`))
			require.NoError(t, err)
			require.Equal(t, 100*time.Millisecond, info.Queue)
		})
		wg.Wait()
		_, _, err := p.Handle(ctx, spec("b"), call(`4`))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 1, l.launched(), "a call that is too late starts nothing")
	})
}

func TestAFullKeyGetsMoreProcessesUpToItsLimit(t *testing.T) {
	l := &lab{startTime: time.Millisecond, behaviour: behaviour{handle: takes(time.Second)}}
	cfg := pool.Config{MaxCallsPerProcess: 2, MaxProcessesPerKey: 3}
	in(t, l, cfg, func(t *testing.T, p *pool.Pool) {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				_, _, err := p.Handle(bg, spec("a"), call(`1`))
				require.NoError(t, err)
			})
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		st := p.Stats()
		require.Equal(t, 3, st.Loaded)
		require.Equal(t, 6, st.OpenCalls)
		require.Equal(t, 2, st.Waiting)
		wg.Wait()
		for _, pr := range l.all {
			require.EqualValues(t, 2, pr.most.Load())
		}
	})
}

func TestABlockedProcessIsPassedBy(t *testing.T) {
	l := &lab{startTime: time.Millisecond}
	in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
		require.NoError(t, p.Warm(bg, spec("a")))
		l.become(behaviour{handle: takes(time.Minute)})
		ctx, cancel := context.WithCancel(bg)
		var wg sync.WaitGroup
		wg.Go(func() {
			_, _, err := p.Handle(ctx, spec("a"), call(`"loops"`))
			require.ErrorIs(t, err, context.Canceled)
		})
		synctest.Wait()
		l.all[0].blocked.Store(true)
		l.become(behaviour{})
		_, info, err := p.Handle(bg, spec("a"), call(`1`))
		require.NoError(t, err)
		require.True(t, info.Cold)
		require.EqualValues(t, 1, l.all[1].calls.Load())
		cancel()
		wg.Wait()
		time.Sleep(10 * time.Second)
		require.Len(t, l.running(), 2, "it may come back")
	})
}

func TestAProcessThatAskedToBeReplacedFinishesAndIsDrained(t *testing.T) {
	l := &lab{behaviour: behaviour{handle: takes(50 * time.Millisecond)}}
	in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
		var wg sync.WaitGroup
		wg.Go(func() {
			_, _, err := p.Handle(bg, spec("a"), call(`1`))
			require.NoError(t, err)
		})
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		l.all[0].retired.Store(true)
		wg.Wait()
		synctest.Wait()
		require.Equal(t, "drained", l.all[0].ExitReason())
		require.NoError(t, p.Warm(bg, spec("a")))
		l.all[1].retired.Store(true) // while it has no call
		time.Sleep(2 * time.Second)
		require.Equal(t, "drained", l.all[1].ExitReason())
		require.NoError(t, p.Warm(bg, spec("a")))
		require.Len(t, l.running(), 1)
	})
}

func TestACallThatAProcessRefusesGoesToAnother(t *testing.T) {
	ran := map[string]int{}
	l := &lab{}
	l.handle = func(_ context.Context, pr *process, c runtime.Call) (runtime.Result, error) {
		if pr.id == 1 {
			pr.exit("gone at the wrong moment")
			return runtime.Result{}, host.ErrUnavailable
		}
		ran[string(c.Payload)]++
		return runtime.Result{}, nil
	}
	in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
		_, info, err := p.Handle(bg, spec("a"), call(`1`))
		require.NoError(t, err)
		require.True(t, info.Ran)
		require.Equal(t, map[string]int{`1`: 1}, ran)
		require.Equal(t, 2, l.launched())
	})
}

func TestACallThatEveryoneRefusesEnds(t *testing.T) {
	l := &lab{behaviour: behaviour{handle: func(context.Context, *process, runtime.Call) (runtime.Result, error) {
		return runtime.Result{}, host.ErrUnavailable
	}}}
	in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
		_, info, err := p.Handle(bg, spec("a"), call(`1`))
		require.ErrorIs(t, err, host.ErrUnavailable)
		require.False(t, info.Ran)
	})
}

func TestErrorsOfACallPassThrough(t *testing.T) {
	for _, want := range []error{
		&runtime.Failure{Kind: runtime.CustomFailure, Message: "no"},
		&host.ExitError{Reason: "out of memory", Own: true},
		host.ErrTooLarge,
	} {
		t.Run(want.Error(), func(t *testing.T) {
			l := &lab{behaviour: behaviour{handle: func(context.Context, *process, runtime.Call) (runtime.Result, error) {
				return runtime.Result{}, want
			}}}
			in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
				_, info, err := p.Handle(bg, spec("a"), call(`1`))
				require.ErrorIs(t, err, want)
				require.Equal(t, !errors.Is(want, host.ErrTooLarge), info.Ran)
				require.Zero(t, p.Stats().OpenCalls)
			})
		})
	}
}

func TestFailedLoadsAreTriedAgainWithGrowingPauses(t *testing.T) {
	l := &lab{behaviour: behaviour{load: func(context.Context, *process) error { return &host.LoadError{Message: "x is not defined"} }}}
	in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
		var fault *host.LoadError
		err := p.Warm(bg, spec("a"))
		require.ErrorAs(t, err, &fault)
		require.Equal(t, "x is not defined", fault.Message)

		pause := 250 * time.Millisecond
		for n := 1; n <= 10; n++ {
			require.Equal(t, n, l.launched())
			_, info, err := p.Handle(bg, spec("a"), call(`1`))
			var start *pool.StartError
			require.ErrorAs(t, err, &start)
			require.True(t, start.BackingOff)
			require.ErrorAs(t, err, &fault)
			require.Equal(t, min(pause, 30*time.Second), start.RetryAfter)
			require.False(t, info.Ran)
			require.Equal(t, n, l.launched(), "nothing is started before the time")

			time.Sleep(start.RetryAfter)
			_, _, err = p.Handle(bg, spec("a"), call(`1`))
			require.ErrorAs(t, err, &start)
			require.False(t, start.BackingOff)
			pause *= 2
		}

		l.become(behaviour{})
		time.Sleep(30 * time.Second)
		_, _, err = p.Handle(bg, spec("a"), call(`1`))
		require.NoError(t, err)
		_, _, err = p.Handle(bg, spec("b"), call(`1`))
		require.NoError(t, err, "other keys are not concerned")
	})
}

func TestFailedLaunchesAreTold(t *testing.T) {
	l := &lab{behaviour: behaviour{launch: func(int) error { return errLaunch }}}
	in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
		_, _, err := p.Handle(bg, spec("a"), call(`1`))
		var start *pool.StartError
		require.ErrorAs(t, err, &start)
		require.ErrorIs(t, err, errLaunch)
		require.Equal(t, "start a fake process: launch: no such program", err.Error())
		require.Equal(t, 250*time.Millisecond, start.RetryAfter)
	})
}

func TestWhatCannotBeFetchedIsNotLoaded(t *testing.T) {
	l := &lab{startTime: time.Millisecond}
	cfg := pool.Config{Prestart: map[string]int{"fake": 1}}
	in(t, l, cfg, func(t *testing.T, p *pool.Pool) {
		time.Sleep(time.Second)
		errFetch := errors.New("no such artifact")
		s := spec("a")
		s.Load = func(context.Context) (host.LoadRequest, error) { return host.LoadRequest{}, errFetch }
		require.ErrorIs(t, p.Warm(bg, s), errFetch)
		time.Sleep(time.Second)
		require.Equal(t, 1, p.Stats().Blank, "the blank process is kept for another")
	})
}

func TestCodeThatTakesTooLongToLoadIsAtFault(t *testing.T) {
	l := &lab{behaviour: behaviour{load: func(ctx context.Context, _ *process) error { <-ctx.Done(); return ctx.Err() }}}
	in(t, l, pool.Config{LoadTimeout: 3 * time.Second}, func(t *testing.T, p *pool.Pool) {
		var fault *host.LoadError
		require.ErrorAs(t, p.Warm(bg, spec("a")), &fault)
		require.Equal(t, "the code took longer than 3s to load", fault.Message)
		synctest.Wait()
		require.Empty(t, l.running())
	})
}

func TestCodeThatEndsTheProcessWhenLoadedIsAtFault(t *testing.T) {
	l := &lab{behaviour: behaviour{load: func(_ context.Context, p *process) error {
		p.exit("exit code 3")
		return &host.ExitError{Reason: "exit code 3", Own: true}
	}}}
	in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
		var fault *host.LoadError
		require.ErrorAs(t, p.Warm(bg, spec("a")), &fault)
		require.Equal(t, "the process ended while the code was loaded: exit code 3", fault.Message)
	})
}

func TestABlankThatDiedUnnoticedIsNotTheKeysFault(t *testing.T) {
	l := &lab{behaviour: behaviour{load: func(_ context.Context, p *process) error {
		if p.id < 3 {
			p.exit("killed from outside")
			return host.ErrUnavailable
		}
		return nil
	}}}
	in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
		require.NoError(t, p.Warm(bg, spec("a")))
		require.Equal(t, 3, l.launched())
	})
}

func TestAProcessThatDiesUnderItsCallsIsReplacedAtOnce(t *testing.T) {
	l := &lab{behaviour: behaviour{handle: takes(time.Minute)}}
	in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
		for n := range 3 {
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					_, info, err := p.Handle(bg, spec("a"), call(`1`))
					var exit *host.ExitError
					require.ErrorAs(t, err, &exit)
					require.True(t, info.Ran)
				})
			}
			synctest.Wait()
			require.Len(t, l.running(), 1)
			l.running()[0].exit("signal: killed")
			wg.Wait()
			require.Equal(t, n+1, l.launched())
		}
		synctest.Wait()
		require.EqualValues(t, 3, p.Stats().Exited)
	})
}

func TestAProcessThatDiesSoonWithoutACallCountsAsAFailedStart(t *testing.T) {
	l := &lab{}
	in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
		require.NoError(t, p.Warm(bg, spec("a")))
		l.all[0].exit("unhandled rejection")
		synctest.Wait()
		_, _, err := p.Handle(bg, spec("a"), call(`1`))
		var start *pool.StartError
		require.ErrorAs(t, err, &start)
		require.True(t, start.BackingOff)
		require.ErrorContains(t, err, "unhandled rejection")
		time.Sleep(time.Second)
		_, _, err = p.Handle(bg, spec("a"), call(`1`))
		require.NoError(t, err)
	})
}

func TestBlankProcessesAreKeptReady(t *testing.T) {
	l := &lab{startTime: 100 * time.Millisecond}
	cfg := pool.Config{Prestart: map[string]int{"fake": 3}, StartConcurrency: 2}
	in(t, l, cfg, func(t *testing.T, p *pool.Pool) {
		time.Sleep(150 * time.Millisecond)
		require.Equal(t, 2, p.Stats().Blank, "no more than two are started at once")
		time.Sleep(100 * time.Millisecond)
		require.Equal(t, 3, p.Stats().Blank)

		for n := range 3 {
			_, info, err := p.Handle(bg, spec(strconv.Itoa(n)), call(`1`))
			require.NoError(t, err)
			require.True(t, info.Cold)
			require.Zero(t, info.Start, "a cold call takes one that is ready")
		}
		_, info, err := p.Handle(bg, spec("3"), call(`1`))
		require.NoError(t, err)
		require.Equal(t, 100*time.Millisecond, info.Start, "or the next that will be")
		time.Sleep(time.Second)
		require.Equal(t, 3, p.Stats().Blank)

		l.running()[6].exit("killed from outside")
		time.Sleep(5 * time.Second)
		require.Equal(t, 3, p.Stats().Blank)
	})
}

func TestARuntimeThatCannotStartIsNotTriedAllTheTime(t *testing.T) {
	l := &lab{behaviour: behaviour{launch: func(int) error { return errLaunch }}}
	cfg := pool.Config{Prestart: map[string]int{"fake": 2}}
	in(t, l, cfg, func(t *testing.T, p *pool.Pool) {
		time.Sleep(time.Hour)
		require.Less(t, l.launched(), 300)
		l.become(behaviour{})
		time.Sleep(time.Minute)
		require.Equal(t, 2, p.Stats().Blank)
	})
}

func TestTheLongestIdleMakesRoom(t *testing.T) {
	l := &lab{startTime: time.Millisecond, behaviour: behaviour{handle: takes(time.Millisecond)}}
	in(t, l, pool.Config{MaxProcesses: 3}, func(t *testing.T, p *pool.Pool) {
		for _, key := range []string{"a", "b", "c", "a"} {
			_, _, err := p.Handle(bg, spec(key), call(`1`))
			require.NoError(t, err)
			time.Sleep(time.Second)
		}
		_, _, err := p.Handle(bg, spec("d"), call(`1`))
		require.NoError(t, err)
		keys := map[string]bool{}
		for _, pr := range l.running() {
			keys[pr.key] = true
		}
		require.Equal(t, map[string]bool{"a": true, "c": true, "d": true}, keys)
		require.Equal(t, 3, l.most)
		require.EqualValues(t, 1, p.Stats().Evicted)
	})
}

func TestWhereAllAreBusyAStartWaitsForRoom(t *testing.T) {
	l := &lab{behaviour: behaviour{handle: takes(5 * time.Second)}}
	in(t, l, pool.Config{MaxProcesses: 2, StartTimeout: 20 * time.Second}, func(t *testing.T, p *pool.Pool) {
		var wg sync.WaitGroup
		for _, key := range []string{"a", "b"} {
			wg.Go(func() {
				_, _, err := p.Handle(bg, spec(key), call(`1`))
				require.NoError(t, err)
			})
		}
		synctest.Wait()
		_, info, err := p.Handle(bg, spec("c"), call(`1`))
		require.NoError(t, err)
		require.Equal(t, 5*time.Second, info.Start.Round(time.Second))
		wg.Wait()

		l.become(behaviour{handle: takes(time.Minute)})
		for _, key := range []string{"a", "b"} {
			wg.Go(func() {
				_, _, err := p.Handle(bg, spec(key), call(`1`))
				require.NoError(t, err)
			})
		}
		time.Sleep(time.Second)
		_, _, err = p.Handle(bg, spec("c"), call(`1`))
		require.ErrorContains(t, err, "as many processes run as are permitted")
		wg.Wait()
		require.Equal(t, 2, l.most)
	})
}

func TestBlankProcessesOfOtherRuntimesMakeRoomFirst(t *testing.T) {
	l := &lab{}
	cfg := pool.Config{MaxProcesses: 3, Prestart: map[string]int{"other": 2}}
	in(t, l, cfg, func(t *testing.T, p *pool.Pool) {
		synctest.Wait()
		for _, key := range []string{"a", "b", "c"} {
			_, _, err := p.Handle(bg, spec(key), call(`1`))
			require.NoError(t, err)
		}
		require.Equal(t, 3, p.Stats().Loaded)
		time.Sleep(time.Minute)
		require.Equal(t, 3, p.Stats().Loaded, "a replacement pushes nobody out")
		require.Equal(t, 3, l.most)
		p.Retire("a")
		time.Sleep(time.Minute)
		require.Equal(t, 1, p.Stats().Blank)
	})
}

func TestABuilderMakesRoomToo(t *testing.T) {
	l := &lab{}
	in(t, l, pool.Config{MaxProcesses: 1}, func(t *testing.T, p *pool.Pool) {
		for range 3 {
			_, err := p.Build(bg, "fake", "source", nil)
			require.NoError(t, err)
			_, _, err = p.Handle(bg, spec("a"), call(`1`))
			require.NoError(t, err)
		}
		require.Equal(t, 1, l.most)
	})
}

func TestIdleProcessesAreReaped(t *testing.T) {
	l := &lab{}
	in(t, l, pool.Config{IdleTimeout: time.Minute}, func(t *testing.T, p *pool.Pool) {
		require.NoError(t, p.Warm(bg, spec("idle")))
		_, err := p.Build(bg, "fake", "source", nil)
		require.NoError(t, err)
		for range 10 {
			_, _, err := p.Handle(bg, spec("used"), call(`1`))
			require.NoError(t, err)
			time.Sleep(30 * time.Second)
		}
		require.Len(t, l.running(), 1)
		require.Equal(t, "used", l.running()[0].key)
		require.Equal(t, 1, p.Stats().Keys)
		time.Sleep(2 * time.Minute)
		require.Zero(t, p.Stats().Keys)
		require.Zero(t, p.Stats().Processes)
	})
}

func TestARetiredKeyFinishesWhatItHasAndStartsNothing(t *testing.T) {
	l := &lab{behaviour: behaviour{handle: takes(time.Second)}}
	cfg := pool.Config{MaxCallsPerProcess: 1, MaxProcessesPerKey: 1}
	in(t, l, cfg, func(t *testing.T, p *pool.Pool) {
		var wg sync.WaitGroup
		wg.Go(func() {
			_, _, err := p.Handle(bg, spec("a"), call(`1`))
			require.NoError(t, err, "an open call finishes")
		})
		synctest.Wait()
		wg.Go(func() {
			_, info, err := p.Handle(bg, spec("a"), call(`2`))
			require.ErrorIs(t, err, pool.ErrRetired, "a waiting one is told")
			require.False(t, info.Ran)
		})
		synctest.Wait()
		p.Retire("a")
		p.Retire("a")
		p.Retire("never seen")
		wg.Wait()
		time.Sleep(time.Second)
		require.Empty(t, l.running())
		for _, key := range []string{"a", "never seen"} {
			require.ErrorIs(t, p.Warm(bg, spec(key)), pool.ErrRetired)
			_, _, err := p.Handle(bg, spec(key), call(`3`))
			require.ErrorIs(t, err, pool.ErrRetired)
		}
		require.Equal(t, 1, l.launched())
	})
}

func TestRetiringAKeyAbandonsItsStart(t *testing.T) {
	t.Run("while a process is launched", func(t *testing.T) {
		l := &lab{startTime: time.Second}
		in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
			time.AfterFunc(100*time.Millisecond, func() { p.Retire("a") })
			require.ErrorIs(t, p.Warm(bg, spec("a")), pool.ErrRetired)
			time.Sleep(time.Minute)
			require.Empty(t, l.running())
		})
	})
	t.Run("while it loads", func(t *testing.T) {
		l := &lab{behaviour: behaviour{load: func(ctx context.Context, _ *process) error { <-ctx.Done(); return ctx.Err() }}}
		in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
			time.AfterFunc(100*time.Millisecond, func() { p.Retire("a") })
			require.ErrorIs(t, p.Warm(bg, spec("a")), pool.ErrRetired)
			synctest.Wait()
			require.Empty(t, l.running())
		})
	})
	t.Run("when the load takes no notice", func(t *testing.T) {
		l := &lab{behaviour: behaviour{load: func(context.Context, *process) error { time.Sleep(time.Second); return nil }}}
		in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
			time.AfterFunc(100*time.Millisecond, func() { p.Retire("a") })
			require.ErrorIs(t, p.Warm(bg, spec("a")), pool.ErrRetired)
			time.Sleep(2 * time.Second)
			require.Empty(t, l.running())
		})
	})
}

func TestRetiredKeysAreForgottenInTheEnd(t *testing.T) {
	l := &lab{}
	in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
		for n := range 20_000 {
			p.Retire(fmt.Sprint(n))
		}
		require.ErrorIs(t, p.Warm(bg, spec("19999")), pool.ErrRetired)
		require.ErrorIs(t, p.Warm(bg, spec("12000")), pool.ErrRetired)
		require.NoError(t, p.Warm(bg, spec("0")))
	})
}

func TestClose(t *testing.T) {
	t.Run("open calls finish, waiting ones are told", func(t *testing.T) {
		l := &lab{behaviour: behaviour{handle: takes(time.Second)}}
		cfg := pool.Config{MaxCallsPerProcess: 1, MaxProcessesPerKey: 1, Prestart: map[string]int{"fake": 2}}
		in(t, l, cfg, func(t *testing.T, p *pool.Pool) {
			var wg sync.WaitGroup
			wg.Go(func() {
				_, _, err := p.Handle(bg, spec("a"), call(`1`))
				require.NoError(t, err)
			})
			synctest.Wait()
			wg.Go(func() {
				_, _, err := p.Handle(bg, spec("a"), call(`2`))
				require.ErrorIs(t, err, pool.ErrClosed)
			})
			synctest.Wait()
			require.NoError(t, p.Close(bg))
			wg.Wait()
			require.ErrorIs(t, p.Warm(bg, spec("a")), pool.ErrClosed)
			require.ErrorIs(t, p.Warm(bg, spec("b")), pool.ErrClosed)
			_, err := p.Build(bg, "fake", "", nil)
			require.ErrorIs(t, err, pool.ErrClosed)
			_, err = p.Describe(bg, "other")
			require.ErrorIs(t, err, pool.ErrClosed)
			p.Retire("a")
		})
	})
	t.Run("what does not finish in time is cut off", func(t *testing.T) {
		l := &lab{behaviour: behaviour{handle: takes(time.Hour)}}
		synctest.Test(t, func(t *testing.T) {
			p := pool.New(pool.Config{}, l.launcher, zerolog.Nop())
			var wg sync.WaitGroup
			wg.Go(func() {
				_, _, err := p.Handle(bg, spec("a"), call(`1`))
				var exit *host.ExitError
				require.ErrorAs(t, err, &exit)
			})
			synctest.Wait()
			ctx, cancel := context.WithTimeout(bg, time.Second)
			defer cancel()
			require.ErrorContains(t, p.Close(ctx), "1 calls were cut off")
			wg.Wait()
			require.Empty(t, l.running())
			require.NoError(t, p.Close(bg))
		})
	})
	t.Run("a start under way is abandoned", func(t *testing.T) {
		l := &lab{startTime: time.Hour}
		in(t, l, pool.Config{StartTimeout: 2 * time.Hour, Prestart: map[string]int{"fake": 1}}, func(t *testing.T, p *pool.Pool) {
			var wg sync.WaitGroup
			wg.Go(func() { require.ErrorIs(t, p.Warm(bg, spec("a")), pool.ErrClosed) })
			wg.Go(func() {
				_, err := p.Describe(bg, "fake")
				require.ErrorIs(t, err, pool.ErrClosed)
			})
			synctest.Wait()
			require.NoError(t, p.Close(bg))
			wg.Wait()
		})
	})
}

// requireTooCostly says that the source was blamed, in a way its author reads.
func requireTooCostly(t *testing.T, result host.BuildResult, err error) {
	t.Helper()
	require.NoError(t, err)
	require.Empty(t, result.Artifact)
	require.Len(t, result.Diagnostics, 1)
	require.Equal(t, host.SeverityError, result.Diagnostics[0].Severity)
	require.Equal(t, "resources", result.Diagnostics[0].Code)
	require.Contains(t, result.Fault(), "ran out of memory or time")
}

func TestBuild(t *testing.T) {
	t.Run("one process builds, again and again", func(t *testing.T) {
		l := &lab{}
		in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
			require.Zero(t, l.launched(), "none before it is needed")
			for range 3 {
				result, err := p.Build(bg, "fake", "source", nil)
				require.NoError(t, err)
				require.Equal(t, "source", string(result.Artifact))
			}
			require.Equal(t, 1, l.launched())
		})
	})
	t.Run("no more at once than permitted", func(t *testing.T) {
		var open, most int
		l := &lab{behaviour: behaviour{build: func(context.Context, *process, string) (host.BuildResult, error) {
			open++
			most = max(most, open)
			time.Sleep(time.Second)
			open--
			return host.BuildResult{}, nil
		}}}
		in(t, l, pool.Config{BuildConcurrency: 1}, func(t *testing.T, p *pool.Pool) {
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					_, err := p.Build(bg, "fake", "source", nil)
					require.NoError(t, err)
				})
			}
			ctx, cancel := context.WithTimeout(bg, 500*time.Millisecond)
			defer cancel()
			synctest.Wait()
			_, err := p.Build(ctx, "fake", "source", nil)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			wg.Wait()
			require.Equal(t, 1, most)
			require.Equal(t, 1, l.launched())
		})
	})
	t.Run("one that dies is replaced and the build repeated once", func(t *testing.T) {
		l := &lab{behaviour: behaviour{build: func(_ context.Context, p *process, source string) (host.BuildResult, error) {
			if p.id == 1 {
				p.exit("killed")
				return host.BuildResult{}, errors.New("connection lost")
			}
			return host.BuildResult{Artifact: []byte(source)}, nil
		}}}
		in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
			_, err := p.Build(bg, "fake", "source", nil)
			require.NoError(t, err)
			require.Equal(t, 2, l.launched())
			synctest.Wait()
			require.Empty(t, l.running(), "the process of the second attempt has ended")
		})
	})
	t.Run("a source that ends two builders is at fault", func(t *testing.T) {
		l := &lab{behaviour: behaviour{build: func(_ context.Context, p *process, source string) (host.BuildResult, error) {
			if source == "huge" {
				p.exit("out of memory")
				return host.BuildResult{}, errors.New("connection lost")
			}
			return host.BuildResult{Artifact: []byte(source)}, nil
		}}}
		in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
			result, err := p.Build(bg, "fake", "huge", nil)
			requireTooCostly(t, result, err)
			require.Equal(t, 2, l.launched())
			result, err = p.Build(bg, "fake", "source", nil)
			require.NoError(t, err)
			require.Equal(t, "source", string(result.Artifact))
		})
	})
	t.Run("what shares the builder with such a source is not", func(t *testing.T) {
		l := &lab{behaviour: behaviour{build: func(_ context.Context, p *process, source string) (host.BuildResult, error) {
			select {
			case <-time.After(time.Second):
			case <-p.done:
				return host.BuildResult{}, errors.New("connection lost")
			}
			if source == "huge" {
				p.exit("out of memory")
				return host.BuildResult{}, errors.New("connection lost")
			}
			time.Sleep(time.Millisecond) // so that the other's end comes first
			if p.ended() {
				return host.BuildResult{}, errors.New("connection lost")
			}
			return host.BuildResult{Artifact: []byte(source)}, nil
		}}}
		in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() {
					result, err := p.Build(bg, "fake", "huge", nil)
					requireTooCostly(t, result, err)
				})
				wg.Go(func() {
					result, err := p.Build(bg, "fake", "source", nil)
					require.NoError(t, err)
					require.Equal(t, "source", string(result.Artifact))
				})
			}
			wg.Wait()
		})
	})
	t.Run("a second builder that cannot start is not the source's fault", func(t *testing.T) {
		l := &lab{behaviour: behaviour{
			launch: func(n int) error {
				if n > 1 {
					return errLaunch
				}
				return nil
			},
			build: func(_ context.Context, p *process, _ string) (host.BuildResult, error) {
				p.exit("killed")
				return host.BuildResult{}, errors.New("connection lost")
			},
		}}
		in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
			_, err := p.Build(bg, "fake", "source", nil)
			var start *pool.StartError
			require.ErrorAs(t, err, &start)
			require.ErrorIs(t, err, errLaunch)
		})
	})
	t.Run("who stops waiting blames nobody", func(t *testing.T) {
		l := &lab{behaviour: behaviour{build: func(ctx context.Context, _ *process, _ string) (host.BuildResult, error) {
			<-ctx.Done()
			return host.BuildResult{}, ctx.Err()
		}}}
		in(t, l, pool.Config{BuildTimeout: time.Minute}, func(t *testing.T, p *pool.Pool) {
			ctx, cancel := context.WithTimeout(bg, 90*time.Second)
			defer cancel()
			_, err := p.Build(ctx, "fake", "source", nil)
			require.ErrorIs(t, err, context.DeadlineExceeded)
		})
	})
	t.Run("closing the pool under a build blames nobody", func(t *testing.T) {
		l := &lab{behaviour: behaviour{build: func(_ context.Context, p *process, _ string) (host.BuildResult, error) {
			if p.id == 1 {
				p.exit("killed")
			}
			<-p.done
			return host.BuildResult{}, errors.New("connection lost")
		}}}
		in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
			var wg sync.WaitGroup
			wg.Go(func() {
				_, err := p.Build(bg, "fake", "source", nil)
				require.ErrorIs(t, err, pool.ErrClosed)
			})
			synctest.Wait()
			ctx, cancel := context.WithTimeout(bg, time.Second)
			defer cancel()
			_ = p.Close(ctx)
			wg.Wait()
		})
	})
	t.Run("one that gets stuck is replaced", func(t *testing.T) {
		l := &lab{behaviour: behaviour{build: func(ctx context.Context, p *process, source string) (host.BuildResult, error) {
			if source == "endless" {
				<-ctx.Done()
				return host.BuildResult{}, ctx.Err()
			}
			return host.BuildResult{}, nil
		}}}
		in(t, l, pool.Config{BuildTimeout: time.Second}, func(t *testing.T, p *pool.Pool) {
			result, err := p.Build(bg, "fake", "endless", nil)
			requireTooCostly(t, result, err)
			synctest.Wait()
			require.Empty(t, l.running())
			_, err = p.Build(bg, "fake", "source", nil)
			require.NoError(t, err)
			require.Equal(t, 3, l.launched())
		})
	})
	t.Run("one that cannot start is told", func(t *testing.T) {
		l := &lab{behaviour: behaviour{launch: func(int) error { return errLaunch }}}
		in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
			_, err := p.Build(bg, "fake", "source", nil)
			var start *pool.StartError
			require.ErrorAs(t, err, &start)
			require.ErrorIs(t, err, errLaunch)
		})
	})
}

func TestARuntimeIsDescribedByItsFirstProcess(t *testing.T) {
	l := &lab{}
	in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
		for range 3 {
			d, err := p.Describe(bg, "fake")
			require.NoError(t, err)
			require.Equal(t, "fake", d.Name)
		}
		require.Equal(t, 1, l.launched())
		require.NoError(t, p.Warm(bg, pool.Spec{Key: "a", Runtime: "other", Load: spec("a").Load}))
		_, err := p.Describe(bg, "other")
		require.NoError(t, err)
		require.Equal(t, 2, l.launched())
	})
}

func TestTypesAreAskedOfABuilder(t *testing.T) {
	l := &lab{}
	in(t, l, pool.Config{}, func(t *testing.T, p *pool.Pool) {
		for range 3 {
			types, err := p.Types(bg, "fake")
			require.NoError(t, err)
			require.Equal(t, map[string]string{"lambda.d.ts": "of fake"}, types)
		}
		require.Equal(t, 1, l.launched())
	})
}
