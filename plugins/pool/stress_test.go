package pool_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/plugins/host"
	"github.com/sluice-faas/sluice/plugins/pool"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

// Calls, redeployments and deaths all at once, on few places: whatever is told
// to have run has run exactly once, whatever is not has not, no key comes back
// once retired, and the bound on processes holds.
func TestNothingIsLostWhenEverythingHappensAtOnce(t *testing.T) {
	const lambdas, callers, length = 6, 24, 400 * time.Millisecond
	var ran sync.Map // payload → how often
	var generation [lambdas]atomic.Int64
	var retired sync.Map // key → before what was asked of it
	l := &lab{startTime: 200 * time.Microsecond, behaviour: behaviour{
		handle: func(_ context.Context, p *process, c runtime.Call) (runtime.Result, error) {
			n, _ := ran.LoadOrStore(string(c.Payload), new(atomic.Int64))
			n.(*atomic.Int64).Add(1)
			time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond)
			if rand.IntN(200) == 0 {
				p.exit("its own doing")
				return runtime.Result{}, &host.ExitError{Reason: "its own doing", Own: true}
			}
			return runtime.Result{}, nil
		},
	}}
	p := l.open(t, pool.Config{
		MaxProcesses: 5, MaxCallsPerProcess: 2, MaxProcessesPerKey: 2, MaxWaiting: 4,
		Prestart: map[string]int{"fake": 2}, IdleTimeout: 20 * time.Millisecond, StartTimeout: time.Second,
	})
	var wg sync.WaitGroup
	over := time.Now().Add(length)
	for caller := range callers {
		wg.Go(func() {
			for n := 0; time.Now().Before(over); n++ {
				lambda := rand.IntN(lambdas)
				key := fmt.Sprintf("%d/%d", lambda, generation[lambda].Load())
				_, was := retired.Load(key)
				payload := fmt.Sprintf("%d-%d", caller, n)
				ctx, cancel := context.WithTimeout(bg, time.Duration(1+rand.IntN(20))*time.Millisecond)
				_, info, err := p.Handle(ctx, spec(key), call(payload))
				cancel()
				if was && !errors.Is(err, pool.ErrRetired) && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a retired key answered %v", err)
				}
				times, seen := ran.Load(payload)
				switch {
				case seen != info.Ran:
					t.Errorf("call %s: ran is %v, told %v (%v)", payload, seen, info.Ran, err)
				case seen && times.(*atomic.Int64).Load() != 1:
					t.Errorf("call %s ran %d times", payload, times.(*atomic.Int64).Load())
				case !seen && err == nil:
					t.Errorf("call %s did not run and did not fail", payload)
				}
			}
		})
	}
	wg.Go(func() {
		for time.Now().Before(over) {
			lambda := rand.IntN(lambdas)
			n := generation[lambda].Add(1)
			old := fmt.Sprintf("%d/%d", lambda, n-1)
			p.Retire(old)
			retired.Store(old, true)
			time.Sleep(3 * time.Millisecond)
		}
	})
	wg.Go(func() {
		for time.Now().Before(over) {
			if all := l.running(); len(all) > 0 {
				all[rand.IntN(len(all))].exit("killed from outside")
			}
			_ = p.Stats()
			time.Sleep(7 * time.Millisecond)
		}
	})
	wg.Wait()
	served := 0
	ran.Range(func(any, any) bool { served++; return true })
	require.Greater(t, served, 100)
	st := p.Stats()
	require.Zero(t, st.OpenCalls)
	require.Zero(t, st.Waiting)
	l.mu.Lock()
	defer l.mu.Unlock()
	require.LessOrEqual(t, l.most, 5)
}

// A call of the new deployment comes in while its predecessor is retired: the
// one who meets ErrRetired asks again and none is lost.
func TestRetireRacesWithCalls(t *testing.T) {
	l := &lab{}
	p := l.open(t, pool.Config{Prestart: map[string]int{"fake": 1}})
	var wg sync.WaitGroup
	for n := range 100 {
		key := fmt.Sprint(n)
		for range 3 {
			wg.Go(func() {
				_, info, err := p.Handle(bg, spec(key), call(`1`))
				if err != nil && (!errors.Is(err, pool.ErrRetired) || info.Ran) {
					t.Errorf("%v", err)
				}
			})
		}
		wg.Go(func() { p.Retire(key) })
		if n%10 == 9 {
			wg.Wait()
		}
	}
	wg.Wait()
	require.Eventually(t, func() bool { return p.Stats().Loaded == 0 }, 5*time.Second, time.Millisecond)
	require.Zero(t, p.Stats().Keys)
}
