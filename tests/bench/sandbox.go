package main

import (
	"context"
	"fmt"
	"time"
)

const (
	boxedLambdas  = 16
	boxedRounds   = 3
	boxedStartAim = 30 * time.Millisecond
	boxedWarmAim  = 1.02
)

// sandbox measures what the sandbox costs: at a process's start, where nothing is
// pre-started to hide it, and on a warm call. Gateways with and without it take
// turns.
func (b *bench) sandbox(ctx context.Context) error {
	if err := b.boxedStarts(ctx); err != nil {
		return err
	}
	return b.boxedCalls(ctx)
}

func (b *bench) boxedStarts(ctx context.Context) error {
	ids, err := b.deployMany(ctx, "sandbox", boxedLambdas, coldCode)
	if err != nil {
		return err
	}
	times := map[string][]time.Duration{}
	for range boxedRounds {
		for _, mode := range []string{"off", "required"} {
			took, err := b.coldCalls(ctx, "sandbox", ids, []string{"--prestart", "0", "--sandbox", mode})
			if err != nil {
				return err
			}
			times[mode] = append(times[mode], took...)
		}
	}
	with, without := median(times["required"]), median(times["off"])
	b.report.add(row{
		measure: "cold call, none pre-started, sandbox required", ours: fmt.Sprintf("%s (p90 %.1f, %d calls)", milliseconds(with), float64(quantile(times["required"], 0.9))/1e6, len(times["required"])),
		peer: "sandbox off " + milliseconds(without), ratio: fmt.Sprintf("%+.1f ms", float64(with-without)/1e6),
		aim: fmt.Sprintf("≤ +%d ms", boxedStartAim.Milliseconds()), met: with-without <= boxedStartAim,
	})
	return nil
}

func (b *bench) boxedCalls(ctx context.Context) (err error) {
	var targets []target
	for _, mode := range []string{"required", "off"} {
		g, err := b.gateway(ctx, "sandbox-"+mode, "--sandbox", mode)
		if err != nil {
			return err
		}
		defer end(g, &err)
		t, _, err := b.hello(ctx, g)
		if err != nil {
			return err
		}
		t.name = mode
		if err := t.await(ctx); err != nil {
			return err
		}
		targets = append(targets, t)
	}
	measured, err := b.takeTurns(ctx, targets...)
	if err != nil {
		return err
	}
	with, tail := latencyOf(measured["required"])
	without, theirs := latencyOf(measured["off"])
	b.report.add(row{
		measure: "warm call, sandbox required", ours: fmt.Sprintf("%.3f ms (p99 %.2f)", with/1e3, tail/1e3),
		peer: fmt.Sprintf("sandbox off %.3f ms (p99 %.2f)", without/1e3, theirs/1e3), ratio: fmt.Sprintf("%.3f×", with/without),
		aim: fmt.Sprintf("≤ %.2f×", boxedWarmAim), met: with/without <= boxedWarmAim,
	})
	return nil
}
