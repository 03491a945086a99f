package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/sluice-faas/sluice/sdk/client"
	"github.com/sluice-faas/sluice/tests/dev"
)

const (
	idleAim       = 120e6
	processAim    = 25e6
	memoryLambdas = 10
	settle        = 10 * time.Second
)

// namedHello is the hello function in a process that can be told from others by
// its name.
func namedHello(name string) string {
	return "process.title = '" + name + `'
function lambda(input, callback) {
  callback(null, { message: 'Hello, ' + input.payload.name + '!', name: '` + name + `' })
}
`
}

// memory measures the gateway at rest, and what one loaded process costs.
func (b *bench) memory(ctx context.Context) (err error) {
	g, err := b.gateway(ctx, "memory")
	if err != nil {
		return err
	}
	defer end(g, &err)
	if err := pause(ctx, settle); err != nil {
		return err
	}
	idle, err := g.ResidentBytes()
	if err != nil {
		return err
	}
	b.report.add(row{measure: "gateway at rest, resident", ours: megabytes(idle) + " with embedded etcd", aim: "≤ 120 MB", met: idle <= idleAim})

	names, err := b.loadNamed(ctx, g, memoryLambdas)
	if err != nil {
		return err
	}
	if err := pause(ctx, settle/2); err != nil {
		return err
	}
	var sizes []int64
	for _, name := range names {
		p, err := g.Named(name)
		if err != nil {
			return err
		}
		size, err := p.PrivateBytes()
		if err != nil {
			return err
		}
		sizes = append(sizes, size)
	}
	m := median(sizes)
	b.report.add(row{
		measure: "loaded hello process, private", ours: fmt.Sprintf("%s (median of %d)", megabytes(m), len(sizes)),
		aim: "≤ 25 MB", met: m <= processAim,
	})
	return nil
}

// loadNamed deploys n lambdas with processes of their own names and calls each
// a hundred times, as a process at work looks different from a fresh one.
func (b *bench) loadNamed(ctx context.Context, g *dev.Gateway, n int) ([]string, error) {
	author, err := g.Login(ctx, "FaaS-Developer")
	if err != nil {
		return nil, err
	}
	app, err := g.AppClient()
	if err != nil {
		return nil, err
	}
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("bench-%d", i)
		id, err := deploy(ctx, author, strings.ReplaceAll(names[i], "-", "_"), namedHello(names[i]))
		if err != nil {
			return nil, err
		}
		for range 100 {
			if _, err := app.Invoke(ctx, id, map[string]string{"name": "Ada"}); err != nil {
				return nil, err
			}
		}
	}
	return names, nil
}

// many holds many loaded processes at once and calls all of them.
func (b *bench) many(ctx context.Context) (err error) {
	g, err := b.gateway(ctx, "many")
	if err != nil {
		return err
	}
	defer end(g, &err)
	author, err := g.Login(ctx, "FaaS-Developer")
	if err != nil {
		return err
	}
	ids := make([]string, b.processes)
	names := make([]string, b.processes)
	begin := time.Now()
	for i := range ids {
		names[i] = fmt.Sprintf("many-%d", i)
		if ids[i], err = deploy(ctx, author, fmt.Sprintf("many_%d", i), namedHello(names[i])); err != nil {
			return fmt.Errorf("lambda %d of %d: %w", i+1, b.processes, err)
		}
	}
	deployed := time.Since(begin)
	answered, err := b.callAll(ctx, g, ids)
	if err != nil {
		return err
	}
	alive := map[string]bool{}
	for _, p := range g.Processes() {
		alive[p.Name] = true
	}
	loaded := 0
	for _, name := range names {
		if alive[name] {
			loaded++
		}
	}
	rss, err := g.ResidentBytes()
	if err != nil {
		return err
	}
	b.report.add(row{
		measure: fmt.Sprintf("%d loaded processes at once", b.processes),
		ours:    fmt.Sprintf("%d loaded, %d answer; deployed in %.0f s; gateway %s", loaded, answered, deployed.Seconds(), megabytes(rss)),
		aim:     "all answer", met: loaded == b.processes && answered == b.processes,
	})
	return nil
}

// callAll calls every lambda, several at a time, and counts those that answer.
func (b *bench) callAll(ctx context.Context, g *dev.Gateway, ids []string) (answered int, err error) {
	app, err := warmClient(ctx, g)
	if err != nil {
		return 0, err
	}
	var mu sync.Mutex
	var failures []error
	queue := make(chan string)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for id := range queue {
				err := callOne(ctx, app, id)
				mu.Lock()
				if err == nil {
					answered++
				} else if len(failures) < 5 {
					failures = append(failures, err)
				}
				mu.Unlock()
			}
		})
	}
	for _, id := range ids {
		queue <- id
	}
	close(queue)
	wg.Wait()
	if len(failures) > 0 {
		b.report.note("calls that failed: %s", errors.Join(failures...))
	}
	return answered, ctx.Err()
}

func callOne(ctx context.Context, app *client.Client, id string) error {
	got, err := app.Invoke(ctx, id, map[string]string{"name": "Ada"})
	if err == nil && !strings.Contains(string(got), "Hello, Ada!") {
		err = fmt.Errorf("it answered %.100s", got)
	}
	return err
}
