package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sluice-faas/sluice/tests/dev"
)

const (
	few           = 10 // lambdas of the small region, and of the demo account in the large one
	samples       = 20
	startAim      = 5 * time.Second
	regionSizeAim = 300e6
	slowerAim     = 1.05 // no slower, but for what rounds of one gateway differ by
)

// region measures a gateway of a region with many lambdas beside one with a few:
// its start, its memory, and a warm call.
func (b *bench) region(ctx context.Context) error {
	if _, err := b.seed(ctx, "few", few, few); err != nil {
		return err
	}
	all, err := b.seed(ctx, "region", few, b.lambdas)
	if err != nil {
		return err
	}
	if err := b.regionStarts(ctx); err != nil {
		return err
	}
	return b.regionAtWork(ctx, all)
}

// regionStarts measures from the start of the process until it is ready, which
// includes a probe of every service.
func (b *bench) regionStarts(ctx context.Context) error {
	times := map[string][]time.Duration{}
	for round := range b.rounds + 1 {
		for _, folder := range []string{"few", "region"} {
			took, err := b.timeStart(ctx, folder)
			if err != nil {
				return err
			}
			// The first makes the database small after so much was written at once.
			if round > 0 {
				times[folder] = append(times[folder], took)
			} else {
				b.report.note("the first start of %s took %.2f s", folder, took.Seconds())
			}
		}
	}
	m, peer := median(times["region"]), median(times["few"])
	b.report.add(row{
		measure: fmt.Sprintf("start to ready, %d lambdas", b.lambdas), ours: fmt.Sprintf("%.2f s (%d starts)", m.Seconds(), b.rounds),
		peer: fmt.Sprintf("with %d: %.2f s", few, peer.Seconds()), ratio: fmt.Sprintf("%+.2f s", (m - peer).Seconds()),
		aim: fmt.Sprintf("≤ %.0f s", startAim.Seconds()), met: m <= startAim,
	})
	return nil
}

func (b *bench) timeStart(ctx context.Context, folder string) (took time.Duration, err error) {
	begin := time.Now()
	g, err := b.gateway(ctx, folder)
	if err != nil {
		return 0, err
	}
	took = time.Since(begin)
	defer end(g, &err)
	return took, nil
}

// regionAtWork has both gateways run at once: it calls lambdas here and there,
// lets them come to rest, and then compares their memory and a warm call.
func (b *bench) regionAtWork(ctx context.Context, all []seeded) (err error) {
	var gateways [2]*dev.Gateway
	var targets [2]target
	for i, folder := range []string{"few", "region"} {
		if gateways[i], err = b.gateway(ctx, folder); err != nil {
			return err
		}
		defer end(gateways[i], &err)
	}
	if err := callSamples(ctx, gateways[1], all); err != nil {
		return err
	}
	for i, name := range []string{fmt.Sprintf("with %d", few), fmt.Sprintf("with %d", b.lambdas)} {
		if targets[i], err = warmTarget(ctx, gateways[i], name); err != nil {
			return err
		}
	}
	measured, err := b.takeTurns(ctx, targets[:]...)
	if err != nil {
		return err
	}
	theirs, theirTail := latencyOf(measured[targets[0].name])
	ours, ourTail := latencyOf(measured[targets[1].name])
	ratio := medianRatio(measured[targets[1].name], measured[targets[0].name])
	b.report.add(row{
		measure: fmt.Sprintf("warm call, %d lambdas", b.lambdas), ours: fmt.Sprintf("%.3f ms (p99 %.2f)", ours/1e3, ourTail/1e3),
		peer: fmt.Sprintf("%s: %.3f ms (p99 %.2f)", targets[0].name, theirs/1e3, theirTail/1e3), ratio: fmt.Sprintf("%.2f×", ratio),
		aim: fmt.Sprintf("≤ %.2f×", slowerAim), met: ratio <= slowerAim,
	})
	return b.regionMemory(ctx, gateways)
}

// medianRatio compares the rounds that took turns, pair by pair: each pair met
// the same mood of the machine.
func medianRatio(ours, theirs []load) float64 {
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = float64(ours[i].P50) / float64(theirs[i].P50)
	}
	return median(ratios)
}

func (b *bench) regionMemory(ctx context.Context, gateways [2]*dev.Gateway) error {
	if err := pause(ctx, min(settle, b.duration)); err != nil {
		return err
	}
	var sizes [2]int64
	for i, g := range gateways {
		size, err := g.ResidentBytes()
		if err != nil {
			return err
		}
		sizes[i] = size
	}
	if info, err := os.Stat(filepath.Join(gateways[1].DataDir(), "etcd", "data", "member", "snap", "db")); err == nil {
		b.report.note("etcd's database of the region has %s: what the kernel keeps of the file in its cache counts as resident only while it is mapped", megabytes(info.Size()))
	}
	b.report.add(row{
		measure: fmt.Sprintf("gateway after work, resident, %d lambdas", b.lambdas), ours: megabytes(sizes[1]) + " with embedded etcd",
		peer: fmt.Sprintf("with %d: %s", few, megabytes(sizes[0])), ratio: fmt.Sprintf("%+.0f MB", float64(sizes[1]-sizes[0])/1e6),
		aim: fmt.Sprintf("≤ %.0f MB", regionSizeAim/1e6), met: sizes[1] <= regionSizeAim,
	})
	return nil
}

// callSamples calls lambdas of all parts of the region: what was written to the
// folder is what a gateway deploys.
func callSamples(ctx context.Context, g *dev.Gateway, all []seeded) error {
	for i := range samples {
		s := all[i*(len(all)-1)/(samples-1)]
		app, err := s.caller(g)
		if err != nil {
			return err
		}
		err = callOne(ctx, app, s.id)
		app.Close()
		if err != nil {
			return fmt.Errorf("call lambda %s of account %s: %w", s.id, s.account, err)
		}
	}
	return nil
}

// warmTarget is a lambda of the demo account that has answered.
func warmTarget(ctx context.Context, g *dev.Gateway, name string) (target, error) {
	author, err := g.Login(ctx, "FaaS-Developer")
	if err != nil {
		return target{}, err
	}
	mine, err := author.Lambdas(ctx)
	if err != nil {
		return target{}, err
	}
	if len(mine) != few {
		return target{}, fmt.Errorf("the demo account has %d lambdas", len(mine))
	}
	app, err := g.AppClient()
	if err != nil {
		return target{}, err
	}
	token, err := app.Token(ctx)
	if err != nil {
		return target{}, err
	}
	t := callTarget(g, name, mine[0].ID, token)
	return t, t.await(ctx)
}
