package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/sluice-faas/sluice/sdk/client"
	"github.com/sluice-faas/sluice/tests/dev"
)

// kind is a way in which lambdas behave. A call's payload is {"id": "…"}, and a
// result has to be {"id": "…", "of": <the lambda's name>}.
type kind struct {
	name   string
	code   string
	fails  []string // errorCodes, without com.liveperson.faas.; none: it answers 200
	odd    bool     // ends or blocks its process: called rarely
	weight int      // lambdas of 100
}

const (
	failure   = "handler.custom-failure"
	exception = "handler.runtime-exception"
	tooLong   = "handler.executiontime-exceeded"
	waited    = "es.general" // the time limit, of which much went by before a process had the call
)

// answer makes the result; of is the lambda's name, which its environment has.
const answer = `const answer = (input) => ({ id: input.payload.id, of: process.env.NAME });
`

func plain(body string) string {
	return answer + "function lambda(input, callback) { " + body + " }"
}

func async(body string) string {
	return answer + "async function lambda(input, callback) { " + body + " }"
}

var kinds = []kind{
	{name: "quick", code: plain(`callback(null, answer(input))`), weight: 40},
	{name: "async", code: async(`await null; callback(null, answer(input))`), weight: 10},
	{name: "later", code: plain(`setTimeout(() => callback(null, answer(input)), 1 + Math.random() * 5)`), weight: 8},
	{name: "logs", code: plain(`console.info('called', input.payload); console.warn('about to answer', { at: Date.now() }); callback(null, answer(input))`), weight: 8},
	{name: "logs too much", code: plain(`for (let i = 0; i < 30; i++) console.info('line', i); callback(null, answer(input))`), weight: 2},
	{name: "keeps state", code: `const seen = [];
` + plain(`seen.push(input.payload.id); if (seen.length > 100) seen.shift(); callback(null, answer(input))`), weight: 4},
	{name: "works on after its answer", code: plain(`callback(null, answer(input)); setTimeout(() => console.info('still there'), 3)`), weight: 3},
	{name: "large", code: plain(`callback(null, { ...answer(input), text: 'x'.repeat(20000) })`), weight: 2},
	{name: "fails", code: plain(`callback(new Error('no luck with ' + input.payload.id))`), fails: []string{failure}, weight: 5},
	{name: "throws", code: plain(`undefined.property`), fails: []string{exception}, weight: 4},
	{name: "rejects", code: async(`await null; throw new Error('rejected')`), fails: []string{failure}, weight: 4},
	{name: "fails without an error", code: plain(`callback({ odd: input.payload.id })`), fails: []string{failure}, weight: 2},
	{name: "exits", code: plain(`process.exit(3)`), fails: []string{failure}, odd: true, weight: 2},
	{name: "throws in a timer", code: plain(`setTimeout(() => { throw new Error('in a timer') }, 1)`), fails: []string{failure}, odd: true, weight: 2},
	{name: "leaves a rejection", code: plain(`callback(null, answer(input)); Promise.reject(new Error('left'))`), odd: true, weight: 1},
	{name: "kills itself", code: plain(`process.kill(process.pid, 'SIGKILL')`), fails: []string{failure}, odd: true, weight: 1},
	{name: "needs too much memory", code: plain(`for (const all = [];;) all.push(Buffer.alloc(5e7, 1))`), fails: []string{failure, tooLong}, odd: true, weight: 1},
	{name: "never ends", code: plain(`for (;;);`), fails: []string{tooLong, waited}, odd: true, weight: 1},
}

// target is a deployed lambda.
type target struct {
	*kind
	id, lambda string // lambda is its name
}

// deploy makes n lambdas live: one of each kind, and the rest by weight.
func deploy(ctx context.Context, g *dev.Gateway, n int) ([]target, error) {
	author, err := g.Login(ctx, "FaaS-Developer")
	if err != nil {
		return nil, err
	}
	var (
		targets = make([]target, n)
		chosen  = choose(n)
		faults  = make(chan error, n)
		turns   = make(chan struct{}, 4)
		all     sync.WaitGroup
	)
	for i, k := range chosen {
		all.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			t := target{kind: k, lambda: fmt.Sprintf("soak_%d", i)}
			l, err := author.CreateLambda(ctx, client.LambdaSpec{
				Name: t.lambda, Description: k.name, Code: k.code, Environment: []client.Pair{{Key: "NAME", Value: t.lambda}},
			})
			if err == nil {
				_, err = author.DeployAndWait(ctx, l.ID)
			}
			if err != nil {
				faults <- fmt.Errorf("lambda %q: %w", k.name, err)
				return
			}
			t.id = l.ID
			targets[i] = t
		})
	}
	all.Wait()
	select {
	case err := <-faults:
		return nil, err
	default:
		return targets, nil
	}
}

// choose gives each kind its share of n.
func choose(n int) []*kind {
	var chosen []*kind
	for i := range kinds {
		chosen = append(chosen, &kinds[i])
	}
	for len(chosen) < n {
		for i := range kinds {
			// Each has one already; of the rest it gets its weight.
			for range kinds[i].weight - 1 {
				chosen = append(chosen, &kinds[i])
			}
		}
	}
	return chosen[:n]
}
