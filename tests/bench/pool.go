package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-faas/sluice/sdk/client"
	"github.com/sluice-faas/sluice/tests/dev"
)

const (
	randomLambdas = 50
	randomCalls   = 400
	randomGap     = 100 * time.Millisecond
	warmAllowed   = 10
	startedAhead  = 2
	hitsAim       = 0.8 // of what it would be if only calls that wait evicted

	busyCallers = 8
	busyAim     = 1.5
)

// random calls many lambdas at random on a gateway that may hold few processes.
func (b *bench) random(ctx context.Context) (err error) {
	ids, err := b.deployMany(ctx, "random", randomLambdas, coldCode)
	if err != nil {
		return err
	}
	g, err := b.gateway(ctx, "random", "--prestart", strconv.Itoa(startedAhead), "--limit", fmt.Sprintf("all-processes=%d", warmAllowed+startedAhead))
	if err != nil {
		return err
	}
	defer end(g, &err)
	app, err := warmClient(ctx, g)
	if err != nil {
		return err
	}
	chance := rand.New(rand.NewPCG(1, 2)) // the same calls in every run
	var order []int
	var hits, misses []time.Duration
	for range randomCalls {
		if err := pause(ctx, randomGap); err != nil {
			return err
		}
		i := chance.IntN(len(ids))
		elapsed, first, err := b.answeredFirst(ctx, app, ids[i])
		if err != nil {
			return err
		}
		order = append(order, i)
		if first {
			misses = append(misses, elapsed)
		} else {
			hits = append(hits, elapsed)
		}
	}
	rate, best := float64(len(hits))/randomCalls, hitRate(order, warmAllowed)
	all := slices.Concat(hits, misses)
	b.report.add(row{
		measure: fmt.Sprintf("%d lambdas at random, %d warm, %d pre-started", randomLambdas, warmAllowed, startedAhead),
		ours: fmt.Sprintf("%.0f %% warm, p99 %s (warm p50 %s, cold p50 %s)",
			100*rate, milliseconds(quantile(all, 0.99)), milliseconds(median(hits)), milliseconds(median(misses))),
		peer: fmt.Sprintf("those used last: %.0f %%", 100*best), ratio: fmt.Sprintf("%.2f×", rate/best),
		aim: fmt.Sprintf("≥ %.1f×", hitsAim), met: rate >= hitsAim*best,
	})
	return nil
}

// answeredFirst calls a lambda of coldCode and tells whether its process had
// answered no call before.
func (b *bench) answeredFirst(ctx context.Context, app *client.Client, id string) (time.Duration, bool, error) {
	begin := time.Now()
	got, err := app.Invoke(ctx, id, map[string]string{"name": "Ada"})
	elapsed := time.Since(begin)
	if err != nil {
		return 0, false, err
	}
	var answer struct{ Calls int }
	if err := json.Unmarshal(got, &answer); err != nil {
		return 0, false, err
	}
	return elapsed, answer.Calls == 1, nil
}

// hitRate is the share of calls that find their lambda among the n used last.
func hitRate(order []int, n int) float64 {
	var used []int // the last one first
	hits := 0
	for _, i := range order {
		at := slices.Index(used, i)
		if at >= 0 {
			hits++
			used = slices.Delete(used, at, at+1)
		}
		used = slices.Insert(used, 0, i)
		used = used[:min(len(used), n)]
	}
	return float64(hits) / float64(len(order))
}

// busyCode computes for about 30 ms, by the clock of its own processor time, so
// that a crowded machine does not make it compute less.
const busyCode = `
function lambda(input, callback) {
  const { user, system } = process.cpuUsage()
  let spent
  do {
    const now = process.cpuUsage()
    spent = now.user + now.system - user - system
  } while (spent < 30000)
  callback(null, 1)
}
`

// busy loads a lambda that does nothing but compute, on a gateway that may give it
// one process and on one that may give it more.
func (b *bench) busy(ctx context.Context) (err error) {
	one, err := b.computing(ctx, "busy-one", "--limit", "processes=1")
	if err != nil {
		return err
	}
	defer end(one.gateway, &err)
	more, err := b.computing(ctx, "busy-more")
	if err != nil {
		return err
	}
	defer end(more.gateway, &err)
	var rates [2][]float64
	for round := range b.rounds + 1 {
		for i, c := range []computing{one, more} {
			n, err := c.load(ctx, max(b.duration, 3*time.Second))
			if err != nil {
				return err
			}
			if round > 0 { // in the first, the second process is started
				rates[i] = append(rates[i], n)
			}
		}
	}
	alone, shared := median(rates[0]), median(rates[1])
	r := row{
		measure: fmt.Sprintf("lambda that computes 30 ms, %d callers", busyCallers),
		ours:    fmt.Sprintf("%.1f calls/s with 4 processes permitted", shared), peer: fmt.Sprintf("%.1f calls/s with 1", alone),
		ratio: fmt.Sprintf("%.2f×", shared/alone),
	}
	if runtime.NumCPU() > 1 {
		r.aim, r.met = fmt.Sprintf("≥ %.1f×", busyAim), shared >= busyAim*alone
	}
	b.report.add(r)
	return nil
}

// computing is a gateway with a lambda of busyCode.
type computing struct {
	gateway *dev.Gateway
	app     *client.Client
	id      string
}

func (b *bench) computing(ctx context.Context, folder string, args ...string) (c computing, err error) {
	if c.gateway, err = b.gateway(ctx, folder, args...); err != nil {
		return c, err
	}
	author, err := c.gateway.Login(ctx, "FaaS-Developer")
	if err == nil {
		c.id, err = deploy(ctx, author, "busy", busyCode)
	}
	if err == nil {
		c.app, err = warmClient(ctx, c.gateway)
	}
	if err != nil {
		end(c.gateway, &err)
	}
	return c, err
}

// load calls the lambda for that time and tells how many calls a second it answered.
func (c computing) load(ctx context.Context, length time.Duration) (float64, error) {
	var answered atomic.Int64
	errs := make([]error, busyCallers)
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range errs {
		wg.Go(func() {
			for time.Since(begin) < length && errs[i] == nil {
				if _, errs[i] = c.app.Invoke(ctx, c.id, nil); errs[i] == nil {
					answered.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return float64(answered.Load()) / time.Since(begin).Seconds(), errors.Join(errs...)
}
