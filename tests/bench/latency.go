package main

import (
	"context"
	"fmt"
	"time"
)

const (
	latencyRounds = 5
	latencyRound  = 2 * time.Second
	latencyAim    = 150 // µs
)

// latency measures one warm call at a time over one kept connection, with the
// load generator of the throughput section: a client in Go would share the
// processor's cores with the gateway's own scheduler and measure that.
func (b *bench) latency(ctx context.Context) (err error) {
	servers, err := b.rivals(ctx, "latency")
	defer servers.end(&err)
	if err != nil {
		return err
	}
	order := []target{servers.plain, servers.peers["node"], servers.peers["workerd"], servers.peers["functions-framework"]}
	for _, t := range order {
		if err := t.await(ctx); err != nil {
			return err
		}
	}
	measured, err := b.takeTurns(ctx, order...)
	if err != nil {
		return err
	}
	b.report.command(fmt.Sprintf("the same with wrk -t%d -c%d -d%.0fs, for latency", alone.threads, alone.connections, latencyRound.Seconds()))
	p50, p99 := latencyOf(measured["sluice"])
	for _, t := range order[1:] {
		theirs, tail := latencyOf(measured[t.name])
		r := row{
			measure: "latency of one call at a time", ours: fmt.Sprintf("%.3f ms (p99 %.2f)", p50/1e3, p99/1e3),
			peer: fmt.Sprintf("%s %.3f ms (p99 %.2f)", t.name, theirs/1e3, tail/1e3), ratio: fmt.Sprintf("%+.3f ms", (p50-theirs)/1e3),
		}
		if t.name == "node" {
			r.aim, r.met = "≤ +0.15 ms", p50-theirs <= latencyAim
		}
		b.report.add(r)
	}
	return nil
}

// takeTurns measures one request at a time on each of the targets, round after
// round, so that a slow moment of the machine meets all of them.
func (b *bench) takeTurns(ctx context.Context, targets ...target) (map[string][]load, error) {
	measured := map[string][]load{}
	for round := range min(latencyRounds, 2*b.rounds) + 1 {
		for _, t := range targets {
			l, err := b.wrk(ctx, t, alone, min(b.duration, latencyRound))
			if err != nil {
				return nil, err
			}
			if round > 0 { // the first warms
				measured[t.name] = append(measured[t.name], l)
			}
		}
	}
	return measured, nil
}

// latencyOf is the median and the tail of the median round, µs.
func latencyOf(loads []load) (p50, p99 float64) {
	halves, tails := make([]int64, len(loads)), make([]int64, len(loads))
	for i, l := range loads {
		halves[i], tails[i] = l.P50, l.P99
	}
	return float64(median(halves)), float64(median(tails))
}
