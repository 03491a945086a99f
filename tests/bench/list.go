package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/sluice-faas/sluice/tests/dev"
)

// list measures GET /lambdas of an account that has as many lambdas as it may,
// all deployed, beside a plain Node server that has the same list in memory and
// writes it as JSON.
func (b *bench) list(ctx context.Context) (err error) {
	if _, err := b.seed(ctx, "list", perAccount, perAccount); err != nil {
		return err
	}
	var flags []string
	if b.profile != "" {
		flags = append(flags, "--pprof")
	}
	g, err := b.gateway(ctx, "list", flags...)
	if err != nil {
		return err
	}
	defer end(g, &err)
	author, err := g.Login(ctx, "FaaS-Developer")
	if err != nil {
		return err
	}
	token, err := author.Token(ctx)
	if err != nil {
		return err
	}
	ours := target{name: "sluice", method: "GET", url: g.Info.URLs["csds"] + "/api/account/" + g.Info.AccountID + "/lambdas?v=1", token: token, pid: g.PID()}
	text, err := ours.answer(ctx)
	if err != nil {
		return err
	}
	peer, stop, err := b.listPeer(ctx, text)
	if err != nil {
		return err
	}
	defer stop()
	if err := b.profileAlone(ctx, g, ours, "list"); err != nil {
		return err
	}
	measured, err := b.takeTurns(ctx, ours, peer)
	if err != nil {
		return err
	}
	p50, p99 := latencyOf(measured[ours.name])
	theirs, tail := latencyOf(measured[peer.name])
	b.report.add(row{
		measure: fmt.Sprintf("GET /lambdas, %d lambdas, %.0f kB", perAccount, float64(len(text))/1e3),
		ours:    fmt.Sprintf("%.2f ms (p99 %.2f)", p50/1e3, p99/1e3), peer: fmt.Sprintf("node %.2f ms (p99 %.2f)", theirs/1e3, tail/1e3),
		ratio: fmt.Sprintf("%.2f×", p50/theirs),
	})
	return nil
}

// listPeer serves the list that text is.
func (b *bench) listPeer(ctx context.Context, text []byte) (t target, stop func(), err error) {
	file := filepath.Join(b.dir, "list.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return t, nil, err
	}
	port, err := freePort()
	if err != nil {
		return t, nil, err
	}
	cmd := exec.Command(b.node, "json-server.js", file, "127.0.0.1", port)
	cmd.Dir = b.peers
	pid, stop, err := dev.StartProcess(cmd)
	if err != nil {
		return t, nil, fmt.Errorf("start node: %w", err)
	}
	b.report.command("cd tests/bench/peers && " + repeatable(cmd, port))
	t = target{name: "node", method: "GET", url: "http://127.0.0.1:" + port + "/", token: "none", pid: pid}
	for deadline := time.Now().Add(20 * time.Second); ; {
		if _, err = t.answer(ctx); err == nil {
			return t, stop, nil
		}
		if time.Now().After(deadline) || pause(ctx, 50*time.Millisecond) != nil {
			stop()
			return t, nil, fmt.Errorf("node does not answer: %w", err)
		}
	}
}

// profileAlone takes a profile of the gateway while t is asked one request at a
// time, if profiles are wanted.
func (b *bench) profileAlone(ctx context.Context, g *dev.Gateway, t target, name string) error {
	if b.profile == "" {
		return nil
	}
	stop := b.startProfile(ctx, g, name)
	_, err := b.wrk(ctx, t, alone, b.duration)
	return errors.Join(err, stop())
}
