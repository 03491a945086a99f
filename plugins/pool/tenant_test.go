package pool_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/plugins/pool"
)

func of(account, key string) pool.Spec {
	s := spec(account + "/" + key)
	s.Account = account
	return s
}

// held counts the processes of each account.
func (l *lab) held() map[string]int {
	n := map[string]int{}
	for _, p := range l.running() {
		if len(p.key) > 0 {
			n[p.key[:1]]++
		}
	}
	return n
}

func TestTheAccountThatHasMostMakesRoom(t *testing.T) {
	l := &lab{startTime: time.Millisecond}
	in(t, l, pool.Config{MaxProcesses: 4}, func(t *testing.T, p *pool.Pool) {
		serve := func(account, key string) {
			_, _, err := p.Handle(bg, of(account, key), call(`1`))
			require.NoError(t, err)
			time.Sleep(time.Second)
		}
		serve("b", "1") // idle longest
		serve("a", "1")
		serve("a", "2")
		serve("a", "3")
		serve("c", "1")
		require.Equal(t, map[string]int{"a": 2, "b": 1, "c": 1}, l.held())
		serve("a", "4")
		require.Equal(t, map[string]int{"a": 2, "b": 1, "c": 1}, l.held(), "it makes room for itself")
	})
}

func TestAnAccountThatWaitsIsServedBeforeOneThatHasMore(t *testing.T) {
	l := &lab{startTime: time.Millisecond, behaviour: behaviour{handle: takes(10 * time.Second)}}
	in(t, l, pool.Config{MaxProcesses: 2, StartTimeout: time.Minute}, func(t *testing.T, p *pool.Pool) {
		var wg sync.WaitGroup
		var order []string
		var mu sync.Mutex
		ask := func(account, key string) {
			wg.Go(func() {
				_, _, err := p.Handle(bg, of(account, key), call(`1`))
				require.NoError(t, err)
				mu.Lock()
				defer mu.Unlock()
				order = append(order, account+key)
			})
			time.Sleep(10 * time.Millisecond)
		}
		for n := range 5 {
			ask("a", fmt.Sprint(n))
		}
		ask("b", "0")
		wg.Wait()
		require.Equal(t, "b0", order[2], "%v", order)
		require.Equal(t, 2, l.mostAtOnce())
	})
}

func TestAnAccountThatFillsTheMachineYields(t *testing.T) {
	l := &lab{startTime: time.Millisecond, behaviour: behaviour{handle: takes(200 * time.Millisecond)}}
	in(t, l, pool.Config{MaxProcesses: 4}, func(t *testing.T, p *pool.Pool) {
		var refused atomic.Int64
		ctx, cancel := context.WithCancel(bg)
		var wg sync.WaitGroup
		for key := range 4 {
			for caller := range 3 { // never all idle
				wg.Go(func() {
					time.Sleep(time.Duration(caller) * 70 * time.Millisecond)
					for ctx.Err() == nil {
						if _, info, err := p.Handle(bg, of("a", fmt.Sprint(key)), call(`1`)); err != nil {
							require.False(t, info.Ran, "no call is cut off: %v", err)
							refused.Add(1)
						}
					}
				})
			}
		}
		time.Sleep(time.Minute)
		require.Equal(t, map[string]int{"a": 4}, l.held())
		require.Zero(t, refused.Load())

		_, info, err := p.Handle(bg, of("b", "1"), call(`1`))
		require.NoError(t, err)
		require.Less(t, info.Start, 3*time.Second)
		stop := callers(t, p, of("b", "1"), 1)
		stop2 := callers(t, p, of("b", "2"), 1)
		time.Sleep(10 * time.Second)
		require.Equal(t, map[string]int{"a": 2, "b": 2}, l.held())
		cancel()
		wg.Wait()
		stop()
		stop2()
		require.Equal(t, 4, l.mostAtOnce())
	})
}

func TestFairnessEndsNoProcessWhenSharesAreEven(t *testing.T) {
	l := &lab{startTime: time.Millisecond, behaviour: behaviour{handle: takes(20 * time.Second)}}
	in(t, l, pool.Config{MaxProcesses: 2}, func(t *testing.T, p *pool.Pool) {
		var wg sync.WaitGroup
		for _, account := range []string{"a", "b"} {
			wg.Go(func() {
				_, _, err := p.Handle(bg, of(account, "1"), call(`1`))
				require.NoError(t, err)
			})
		}
		time.Sleep(time.Second)
		_, _, err := p.Handle(bg, of("c", "1"), call(`1`))
		require.NoError(t, err)
		wg.Wait()
		require.EqualValues(t, 1, p.Stats().Evicted)
		require.Equal(t, 3, l.launched())
	})
}

func TestAStartForWhichThereWasNoRoomIsNoFaultOfTheKey(t *testing.T) {
	l := &lab{startTime: time.Millisecond, behaviour: behaviour{handle: takes(time.Minute)}}
	in(t, l, pool.Config{MaxProcesses: 1, StartTimeout: time.Second}, func(t *testing.T, p *pool.Pool) {
		var wg sync.WaitGroup
		wg.Go(func() {
			_, _, err := p.Handle(bg, of("a", "1"), call(`1`))
			require.NoError(t, err)
		})
		time.Sleep(time.Second)
		for range 3 {
			_, info, err := p.Handle(bg, of("b", "1"), call(`1`))
			var start *pool.StartError
			require.ErrorAs(t, err, &start)
			require.ErrorIs(t, err, pool.ErrFull)
			require.False(t, start.BackingOff)
			require.Zero(t, p.Status("b/1").Failures)
			require.False(t, info.Ran)
		}
		wg.Wait()
	})
}

func TestTheWaitingCallsOfAnAccountAreBounded(t *testing.T) {
	l := &lab{behaviour: behaviour{handle: takes(time.Second)}}
	cfg := pool.Config{MaxCallsPerProcess: 1, MaxProcessesPerKey: 1, MaxWaiting: 3, MaxWaitingPerAccount: 5}
	in(t, l, cfg, func(t *testing.T, p *pool.Pool) {
		var wg sync.WaitGroup
		var refused, served atomic.Int64
		for _, key := range []string{"1", "2", "3", "4"} {
			require.NoError(t, p.Warm(bg, of("a", key)))
			for range 4 {
				wg.Go(func() {
					_, info, err := p.Handle(bg, of("a", key), call(`1`))
					if err != nil {
						require.ErrorIs(t, err, pool.ErrBusy)
						require.False(t, info.Ran)
						refused.Add(1)
						return
					}
					served.Add(1)
				})
			}
		}
		synctest.Wait()
		require.Equal(t, 5, p.Stats().Waiting)
		_, _, err := p.Handle(bg, of("b", "1"), call(`1`))
		require.NoError(t, err, "another account's may wait")
		wg.Wait()
		require.EqualValues(t, 9, served.Load())
		require.EqualValues(t, 7, refused.Load())
		for range 20 { // none is counted that does not wait any more
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(bg, 10*time.Millisecond)
				defer cancel()
				_, _, _ = p.Handle(ctx, of("a", "1"), call(`1`))
			})
		}
		wg.Wait()
		_, _, err = p.Handle(bg, of("a", "1"), call(`1`))
		require.NoError(t, err)
	})
}

func TestRealProcessesOfAnAccountThatWaits(t *testing.T) {
	p, started := realPool(t, pool.Config{MaxProcesses: 2})
	ctx, cancel := context.WithCancel(bg)
	var wg sync.WaitGroup
	for n := range 2 {
		for range 2 {
			wg.Go(func() {
				for ctx.Err() == nil {
					s := on("obedient", fmt.Sprint(n))
					s.Account = "greedy"
					if _, info, err := p.Handle(bg, s, do("sleep", 20*time.Millisecond)); err != nil && info.Ran {
						t.Errorf("a call was cut off: %v", err)
					}
				}
			})
		}
	}
	require.Eventually(t, func() bool { return len(started.alive()) == 2 }, 10*time.Second, time.Millisecond)
	s := on("obedient", "patient")
	s.Account = "patient"
	_, _, err := p.Handle(bg, s, do("", 0))
	require.NoError(t, err)
	cancel()
	wg.Wait()
}
