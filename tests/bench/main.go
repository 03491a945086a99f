// Command bench measures the built gateway beside other servers that run the
// same function, in one run on one machine, and prints one table of ratios. A
// machine may be busy, so ratios count and absolute figures do not; rounds take
// turns between the servers so that its moods meet all alike.
//
//	go run ./tests/bench [-only throughput,latency,cold,memory,many,list,deploy,region,secrets,journal,random,busy,sandbox,egress] [-duration 8s] [-rounds 3] [-profile DIR]
//
// It needs `make build`, wrk, and the peers' packages (npm ci in tests/bench/peers,
// which it runs itself). Exit code: 0 measured, whatever the table says; 1 could
// not measure.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-faas/sluice/tests/dev"
)

var sections = []string{"throughput", "latency", "cold", "memory", "many", "list", "deploy", "region", "secrets", "journal", "random", "busy", "sandbox", "egress"}

// bench is one run.
type bench struct {
	only      []string
	duration  time.Duration
	rounds    int
	processes int // of the section many
	lambdas   int // of the section region
	lines     int // of the section journal
	profile   string

	root   string // this checkout
	peers  string // folder with the peers' programs
	node   string // the pinned Node
	dir    string // scratch, removed at the end
	report report
}

func main() {
	b := &bench{}
	only := flag.String("only", strings.Join(sections, ","), "sections to measure, comma-separated")
	flag.DurationVar(&b.duration, "duration", 8*time.Second, "length of one round of one server")
	flag.IntVar(&b.rounds, "rounds", 3, "rounds of every server")
	flag.IntVar(&b.lambdas, "lambdas", 10_000, "deployed lambdas, in the section region")
	flag.IntVar(&b.lines, "lines", 10_000_000, "stored log lines, in the section journal")
	flag.IntVar(&b.processes, "processes", 200, "loaded lambda processes at once, in the section many")
	flag.StringVar(&b.profile, "profile", "", "folder for CPU profiles of the gateway under load")
	flag.Parse()
	b.only = strings.Split(*only, ",")

	// A second Ctrl-C ends the program at once; the kernel then ends what it started.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	if err := b.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (b *bench) run(ctx context.Context) error {
	if b.lambdas < few+1 {
		return fmt.Errorf("-lambdas %d: give more than %d", b.lambdas, few)
	}
	if b.lines < 30_000 {
		return fmt.Errorf("-lines %d: give 30000 or more", b.lines)
	}
	for _, name := range b.only {
		if !slices.Contains(sections, name) {
			return fmt.Errorf("there is no section %q: choose of %s", name, strings.Join(sections, ", "))
		}
	}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(b.dir) }()
	for _, section := range []struct {
		name    string
		measure func(context.Context) error
	}{
		{"throughput", b.throughput}, {"latency", b.latency}, {"cold", b.cold}, {"memory", b.memory}, {"many", b.many},
		{"list", b.list}, {"deploy", b.deployments}, {"region", b.region}, {"secrets", b.secrets},
		{"journal", b.journal}, {"random", b.random}, {"busy", b.busy}, {"sandbox", b.sandbox}, {"egress", b.egress},
	} {
		if !slices.Contains(b.only, section.name) {
			continue
		}
		begin := time.Now()
		fmt.Fprintf(os.Stderr, "bench: %s …\n", section.name)
		if err := section.measure(ctx); err != nil {
			return fmt.Errorf("%s: %w", section.name, err)
		}
		fmt.Fprintf(os.Stderr, "bench: %s done in %s\n", section.name, time.Since(begin).Round(time.Second))
	}
	return b.report.print(os.Stdout, b)
}

// prepare finds everything that the run needs, or says what is missing.
func (b *bench) prepare(ctx context.Context) error {
	var err error
	if b.root, err = dev.ModuleRoot(); err != nil {
		return err
	}
	if _, err = dev.Binary(); err != nil {
		return err
	}
	if b.node, err = dev.Node(); err != nil {
		return err
	}
	b.peers = filepath.Join(b.root, "tests", "bench", "peers")
	if b.needs("throughput", "latency", "list", "region", "sandbox") {
		if err := requireWrk(); err != nil {
			return err
		}
	}
	if b.needsPeers() {
		if err := b.installPeers(ctx); err != nil {
			return err
		}
	}
	b.dir, err = os.MkdirTemp("", "sluice-bench")
	return err
}

// needs tells whether one of the sections is to be measured.
func (b *bench) needs(sections ...string) bool {
	return slices.ContainsFunc(sections, func(s string) bool { return slices.Contains(b.only, s) })
}

func (b *bench) needsPeers() bool { return b.needs("throughput", "latency") }

func requireWrk() error {
	if _, err := exec.LookPath("wrk"); err != nil {
		return fmt.Errorf("the load generator is missing: install the package wrk, on Debian by make packages: %w", err)
	}
	return nil
}

func (b *bench) installPeers(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(b.peers, "node_modules", ".package-lock.json")); err == nil {
		return nil
	}
	cmd := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	cmd.Dir = b.peers
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("install the peers: npm ci in %s: %w: %s", b.peers, err, out)
	}
	return nil
}

// pause waits, or ends with ctx.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
