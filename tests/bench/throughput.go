package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluice-faas/sluice/tests/dev"
)

// shape is how many connections wrk keeps busy, and with how many threads.
type shape struct{ connections, threads int }

var crowd, alone = shape{64, 2}, shape{1, 1}

// load is what wrk measured in one round of one target.
type load struct {
	Requests     int64 `json:"requests"`
	Microseconds int64 `json:"microseconds"`
	P50          int64 `json:"p50"` // µs
	P99          int64 `json:"p99"`
	Status       int64 `json:"status"` // answers that were no success
	Socket       int64 `json:"socket"` // errors of connections

	server, below, generator time.Duration // processor time: the server, processes below it, wrk
}

func (l load) perSecond() float64 { return float64(l.Requests) / (float64(l.Microseconds) / 1e6) }

// throughput loads every target in turn, round after round.
func (b *bench) throughput(ctx context.Context) (err error) {
	var flags []string
	if b.profile != "" {
		flags = append(flags, "--pprof")
	}
	servers, err := b.rivals(ctx, "throughput", flags...)
	defer servers.end(&err)
	if err != nil {
		return err
	}
	order := []target{servers.plain, servers.peers["node"], servers.peers["workerd"], servers.peers["functions-framework"], servers.secure, servers.peers["node TLS"]}
	for _, t := range order { // warm: compilers, pools, connections
		if err := t.await(ctx); err != nil {
			return err
		}
		if _, err := b.wrk(ctx, t, crowd, min(b.duration, 2*time.Second)); err != nil {
			return err
		}
	}
	measured := map[string][]load{}
	for round := range b.rounds {
		for _, t := range order {
			stop := func() error { return nil }
			if b.profile != "" && round == 0 && strings.HasPrefix(t.name, "sluice") {
				stop = b.startProfile(ctx, servers.gateway, t.name)
			}
			l, err := b.wrk(ctx, t, crowd, b.duration)
			if err = errors.Join(err, stop()); err != nil {
				return err
			}
			measured[t.name] = append(measured[t.name], l)
		}
	}
	b.reportThroughput(measured)
	for _, t := range order {
		b.report.note("%s", costs(t.name, measured[t.name]))
	}
	return nil
}

// costs says where the processor's time went, per request: it explains a ratio
// on a machine whose cores server and load generator share.
func costs(name string, loads []load) string {
	var requests int64
	var server, below, generator time.Duration
	for _, l := range loads {
		requests, server, below, generator = requests+l.Requests, server+l.server, below+l.below, generator+l.generator
	}
	per := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(max(1, requests)) }
	text := fmt.Sprintf("processor time of one request: %s %.1f µs", name, per(server))
	if below > 0 {
		text += fmt.Sprintf(" + processes below it %.1f µs", per(below))
	}
	return text + fmt.Sprintf(", wrk %.1f µs", per(generator))
}

func (b *bench) reportThroughput(measured map[string][]load) {
	for _, c := range []struct {
		measure, ours, peer string
		aim                 float64
	}{
		{"throughput, HTTP", "sluice", "node", 1},
		{"throughput, HTTP", "sluice", "workerd", 2},
		{"throughput, HTTP", "sluice", "functions-framework", 0},
		{"throughput, HTTPS", "sluice TLS", "node TLS", 1},
	} {
		ratio := rate(measured[c.ours]) / rate(measured[c.peer])
		r := row{
			measure: c.measure, ours: describe(measured[c.ours]), peer: c.peer + " " + describe(measured[c.peer]),
			ratio: fmt.Sprintf("%.2f×", ratio),
		}
		if c.aim > 0 {
			r.aim, r.met = fmt.Sprintf("≥ %.1f×", c.aim), ratio >= c.aim
		}
		b.report.add(r)
	}
}

func rate(loads []load) float64 {
	values := make([]float64, len(loads))
	for i, l := range loads {
		values[i] = l.perSecond()
	}
	return median(values)
}

func describe(loads []load) string {
	p50, p99 := latencyOf(loads)
	return fmt.Sprintf("%.0f/s (p50 %.1f, p99 %.1f ms)", rate(loads), p50/1e3, p99/1e3)
}

// wrk loads t for d. An answer that is no success is an error: a fast refusal
// must not count as speed.
func (b *bench) wrk(ctx context.Context, t target, s shape, d time.Duration) (load, error) {
	args := []string{
		fmt.Sprint("-t", s.threads), fmt.Sprint("-c", s.connections), fmt.Sprintf("-d%ds", max(1, int(d.Seconds()))), "--timeout", "10s",
		"-s", filepath.Join(b.root, "tests", "bench", "invoke.lua"), t.url,
	}
	cmd := exec.CommandContext(ctx, "wrk", args...)
	cmd.Env = append(os.Environ(), "BENCH_BODY="+callBody, "BENCH_AUTHORIZATION=Bearer "+t.token)
	if t.method != "" {
		cmd.Env = append(os.Environ(), "BENCH_METHOD="+t.method, "BENCH_AUTHORIZATION=Bearer "+t.token)
	}
	if d == b.duration && t.method == "" {
		b.report.command(fmt.Sprintf("BENCH_BODY='%s' BENCH_AUTHORIZATION=\"Bearer $TOKEN\" wrk -t%d -c%d -d%ds --timeout 10s -s tests/bench/invoke.lua URL",
			callBody, s.threads, s.connections, max(1, int(d.Seconds()))))
	}
	own, below := dev.CPUTime(t.pid)
	out, err := cmd.CombinedOutput()
	ownAfter, belowAfter := dev.CPUTime(t.pid)
	if err != nil {
		return load{}, fmt.Errorf("wrk on %s: %w: %s", t.name, errors.Join(err, ctx.Err()), out)
	}
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	var l load
	if err := json.Unmarshal(lines[len(lines)-1], &l); err != nil {
		return load{}, fmt.Errorf("wrk on %s printed no figures: %w: %s", t.name, err, out)
	}
	l.server, l.below = ownAfter-own, belowAfter-below
	l.generator = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if l.Status > 0 || l.Socket > 0 || l.Requests == 0 {
		return load{}, fmt.Errorf("%s: of %d requests %d were answered with no success, and %d connections failed", t.name, l.Requests, l.Status, l.Socket)
	}
	return l, nil
}

// startProfile takes a CPU profile of the gateway while it is under load and
// gives a function that waits for it.
func (b *bench) startProfile(ctx context.Context, g *dev.Gateway, name string) func() error {
	done := make(chan error, 1)
	file := filepath.Join(b.profile, strings.ReplaceAll(name, " ", "-")+".pprof")
	go func() {
		done <- saveProfile(ctx, fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", g.Info.URLs["admin"], max(1, int(b.duration.Seconds())-1)), file)
	}()
	return func() error {
		err := <-done
		if err == nil {
			b.report.note("profile of the gateway: go tool pprof -top %s %s; of the JavaScript runtime: add --cpu-prof to args in bin/runtimes/javascript/runtime.yaml and read the .cpuprofile in the process's folder", "bin/sluice", file)
		}
		return err
	}
}

func saveProfile(ctx context.Context, url, file string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("profile: the gateway answered %s", resp.Status)
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, resp.Body)
	return errors.Join(err, out.Close())
}
