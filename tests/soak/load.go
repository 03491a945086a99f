package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-faas/sluice/sdk/client"
	"github.com/sluice-faas/sluice/tests/dev"
)

// load is the calls, and what came of them.
type load struct {
	options
	gateway  *dev.Gateway
	client   *client.Client
	ordinary []target
	odd      []target

	next  atomic.Int64 // calls begun
	ended atomic.Int64
	kills atomic.Int64

	mu      sync.Mutex
	answers map[class]int
	wrong   []string // answers that may not be; the first some
	wrongs  int
	lost    []string // calls without an answer; the first some
	losses  int
	cut     int // answers that say that another's end was theirs
	refused int // answers that say that the call did not run
	late    int // answers that say that no process was there in time
	took    time.Duration
}

// class is a kind of lambda and of answer.
type class struct {
	kind   string
	status int
	code   string
}

func newLoad(g *dev.Gateway, o options, targets []target) (*load, error) {
	tokens, err := g.AppClient()
	if err != nil {
		return nil, err
	}
	plain := g.Info.URLs["csds"] // the listener without TLS: that is not what is looked at
	c, err := client.New(g.Info.AccountID, client.WithBaseURL(plain), client.WithTokenSource(tokens), client.WithExternalSystem("soak"),
		client.WithHTTPClient(&http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: o.workers}}))
	if err != nil {
		return nil, err
	}
	l := &load{options: o, gateway: g, client: c, answers: map[class]int{}}
	for _, t := range targets {
		if t.odd {
			l.odd = append(l.odd, t)
		} else {
			l.ordinary = append(l.ordinary, t)
		}
	}
	return l, nil
}

// run makes all calls, or as many as ctx leaves time for.
func (l *load) run(ctx context.Context, w *watch) {
	begun := time.Now()
	ctx, done := context.WithCancel(ctx)
	var beside, workers sync.WaitGroup
	beside.Go(func() { l.killing(ctx) })
	beside.Go(func() { l.telling(ctx, begun) })
	beside.Go(func() { w.run(ctx, &l.ended, l.calls) })
	for i := range l.workers {
		workers.Go(func() { l.work(ctx, rand.New(rand.NewPCG(l.seed, uint64(i)))) })
	}
	workers.Wait()
	l.took = time.Since(begun)
	done()
	beside.Wait()
	l.client.Close()
}

// work calls until there are no calls left. The first calls go to each lambda in
// turn.
func (l *load) work(ctx context.Context, random *rand.Rand) {
	for ctx.Err() == nil {
		n := int(l.next.Add(1)) - 1
		if n >= l.calls {
			return
		}
		var t target
		switch all := len(l.ordinary) + len(l.odd); {
		case n < len(l.ordinary):
			t = l.ordinary[n]
		case n < all:
			t = l.odd[n-len(l.ordinary)]
		case random.IntN(l.rare) == 0:
			t = l.odd[random.IntN(len(l.odd))]
		default:
			t = l.ordinary[random.IntN(len(l.ordinary))]
		}
		l.call(ctx, t, fmt.Sprintf("call-%d", n))
		l.ended.Add(1)
	}
}

// call makes one call and judges its answer.
func (l *load) call(ctx context.Context, t target, id string) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	result, err := l.client.Invoke(ctx, t.id, map[string]string{"id": id})
	var e *client.Error
	switch {
	case err == nil:
		var r struct{ ID, Of string }
		if len(t.fails) > 0 || json.Unmarshal(result, &r) != nil || r.ID != id || r.Of != t.lambda {
			l.note(&l.wrongs, &l.wrong, fmt.Sprintf("%s of %s answered 200 %.200s", id, t.name, result))
		}
		l.count(class{t.name, http.StatusOK, ""})
	case errors.As(err, &e):
		code := strings.TrimPrefix(e.Code, "com.liveperson.faas.")
		l.count(class{t.name, e.Status, code})
		switch {
		case e.Status == client.StatusLambdaFailed && slices.Contains(t.fails, code):
		case e.Status == http.StatusInternalServerError && e.Code == client.CodeRuntimeGeneral:
			l.note(&l.cut, nil, "")
		case e.Status == http.StatusServiceUnavailable && e.RetryAfter > 0:
			l.note(&l.refused, nil, "")
		case e.Status == http.StatusRequestTimeout && e.Phase != "run":
			l.note(&l.late, nil, "")
		default:
			l.note(&l.wrongs, &l.wrong, fmt.Sprintf("%s of %s answered %v", id, t.name, e))
		}
	default:
		l.note(&l.losses, &l.lost, fmt.Sprintf("%s of %s: %v", id, t.name, err))
	}
}

const maxNotes = 20

func (l *load) note(count *int, list *[]string, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*count++
	if list != nil && len(*list) < maxNotes {
		*list = append(*list, text)
	}
}

func (l *load) count(c class) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers[c]++
}

// killing kills a runtime process now and then.
func (l *load) killing(ctx context.Context) {
	random := rand.New(rand.NewPCG(l.seed, ^uint64(0)))
	tick := time.NewTicker(l.kill)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		below := slices.DeleteFunc(l.gateway.Processes(), func(p dev.Process) bool {
			return !strings.HasPrefix(p.Name, "node") && !strings.HasPrefix(p.Name, "MainThread")
		})
		if len(below) == 0 {
			continue
		}
		if below[random.IntN(len(below))].Kill() == nil {
			l.kills.Add(1)
		}
	}
}

// telling says every few seconds how far it is.
func (l *load) telling(ctx context.Context, begun time.Time) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	last := int64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		ended := l.ended.Load()
		fmt.Printf("%6.0f s  %9d calls, %5d a second, %d processes killed\n", time.Since(begun).Seconds(), ended, (ended-last)/5, l.kills.Load())
		last = ended
	}
}

func (l *load) report() {
	fmt.Printf("\n%d calls in %.0f s, %.0f a second; %d processes killed\n\n", l.ended.Load(), l.took.Seconds(), float64(l.ended.Load())/l.took.Seconds(), l.kills.Load())
	var classes []class
	for c := range l.answers {
		classes = append(classes, c)
	}
	sort.Slice(classes, func(i, j int) bool {
		a, b := classes[i], classes[j]
		if a.kind != b.kind {
			return a.kind < b.kind
		}
		return a.status < b.status || a.status == b.status && a.code < b.code
	})
	fmt.Printf("%-28s %6s  %-36s %9s\n", "lambda", "status", "code", "answers")
	for _, c := range classes {
		fmt.Printf("%-28s %6d  %-36s %9d\n", c.kind, c.status, c.code, l.answers[c])
	}
	fmt.Println()
}

// faults says what must not have been.
func (l *load) faults() (faults []error) {
	if ended := int(l.ended.Load()); ended < l.calls {
		faults = append(faults, fmt.Errorf("only %d of %d calls were made in the time", ended, l.calls))
	}
	if l.losses > 0 {
		faults = append(faults, fmt.Errorf("%d calls had no answer:\n%s", l.losses, strings.Join(l.lost, "\n")))
	}
	if l.wrongs > 0 {
		faults = append(faults, fmt.Errorf("%d answers are wrong:\n%s", l.wrongs, strings.Join(l.wrong, "\n")))
	}
	// Each end of a process can cut off the calls that were inside, and no others.
	ends := int(l.kills.Load())
	for c, n := range l.answers {
		if slices.ContainsFunc(l.odd, func(t target) bool { return t.name == c.kind }) {
			ends += n
		}
	}
	if most := ends * l.workers; l.cut > most {
		faults = append(faults, fmt.Errorf("%d calls were cut off by others' ends, and %d processes ended: at most %d can have been", l.cut, ends, most))
	}
	if most := l.calls/1000 + ends; l.refused+l.late > most {
		faults = append(faults, fmt.Errorf("%d calls were refused and %d found no process in time, at most %d may be", l.refused, l.late, most))
	}
	return faults
}
