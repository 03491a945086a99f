package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/sluice-faas/sluice/sdk/client"
	"github.com/sluice-faas/sluice/tests/dev"
)

const (
	coldLambdas    = 24
	coldAim        = 10 * time.Millisecond
	coldAimNoStart = 150 * time.Millisecond
)

// coldCode tells whether its process had answered before.
const coldCode = `
let calls = 0
function lambda(input, callback) {
  callback(null, { calls: ++calls, message: 'Hello, ' + input.payload.name + '!' })
}
`

// cold measures the first call of lambdas that this gateway has never loaded:
// they are deployed, then the gateway is started anew.
func (b *bench) cold(ctx context.Context) error {
	ids, err := b.deployMany(ctx, "cold", coldLambdas, coldCode)
	if err != nil {
		return err
	}
	for _, c := range []struct {
		measure string
		args    []string
		aim     time.Duration
	}{
		{"cold call, pre-started process", nil, coldAim},
		{"cold call, none pre-started", []string{"--prestart", "0"}, coldAimNoStart},
	} {
		times, err := b.coldCalls(ctx, "cold", ids, c.args)
		if err != nil {
			return err
		}
		m := median(times)
		b.report.add(row{
			measure: c.measure, ours: fmt.Sprintf("%s (p90 %.1f, %d lambdas)", milliseconds(m), float64(quantile(times, 0.9))/1e6, len(times)),
			aim: fmt.Sprintf("≤ %d ms", c.aim.Milliseconds()), met: m <= c.aim,
		})
	}
	return nil
}

// deployMany fills the data folder of that name with n deployed lambdas.
func (b *bench) deployMany(ctx context.Context, folder string, n int, code string) (ids []string, err error) {
	g, err := b.gateway(ctx, folder)
	if err != nil {
		return nil, err
	}
	defer end(g, &err)
	author, err := g.Login(ctx, "FaaS-Developer")
	if err != nil {
		return nil, err
	}
	for i := range n {
		id, err := deploy(ctx, author, fmt.Sprintf("%s_%d", folder, i), code)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// coldCalls calls each lambda of a data folder once on a gateway that has loaded none.
func (b *bench) coldCalls(ctx context.Context, folder string, ids []string, args []string) (times []time.Duration, err error) {
	g, err := b.gateway(ctx, folder, args...)
	if err != nil {
		return nil, err
	}
	defer end(g, &err)
	app, err := warmClient(ctx, g)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		// Time for the pool to start the next blank process, and for the machine to
		// come to rest.
		if err := pause(ctx, 400*time.Millisecond); err != nil {
			return nil, err
		}
		begin := time.Now()
		got, err := app.Invoke(ctx, id, map[string]string{"name": "Ada"})
		elapsed := time.Since(begin)
		if err != nil {
			return nil, err
		}
		var answer struct{ Calls int }
		if err := json.Unmarshal(got, &answer); err != nil {
			return nil, err
		}
		if answer.Calls != 1 {
			return nil, fmt.Errorf("lambda %s was no cold one: its process had answered %d calls", id, answer.Calls)
		}
		times = append(times, elapsed)
	}
	return times, nil
}

// warmClient gives a client whose token and connection are there already, so
// that neither counts as a part of the first call.
func warmClient(ctx context.Context, g *dev.Gateway) (*client.Client, error) {
	app, err := g.AppClient()
	if err != nil {
		return nil, err
	}
	_, err = app.Invoke(ctx, "00000000-0000-4000-8000-000000000000", nil)
	if !client.IsCode(err, client.CodeMissingLambda) {
		return nil, fmt.Errorf("a call of a lambda that does not exist was answered with %w", err)
	}
	return app, nil
}
