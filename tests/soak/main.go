// Command soak calls lambdas of a real gateway a million times, most of them well
// behaved and some of them not, while runtime processes are killed at random. It
// fails if a call is left without an answer, if an answer is not the call's own or
// not of a kind that it may be, or if the gateway has more memory, goroutines, file
// descriptors, processes or files at the end than at the beginning. Run `make build`
// first; `make soak` does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-faas/sluice/tests/dev"
)

type options struct {
	calls   int
	workers int
	lambdas int
	kill    time.Duration // between two kills of a process
	rare    int           // one call in so many goes to a lambda that ends or blocks its process
	seed    uint64
	limit   time.Duration
	keep    bool
}

func main() {
	var o options
	flag.IntVar(&o.calls, "n", 1_000_000, "calls in all")
	flag.IntVar(&o.workers, "workers", 48, "calls at once")
	flag.IntVar(&o.lambdas, "lambdas", 100, "lambdas")
	flag.DurationVar(&o.kill, "kill", 2*time.Second, "time between two kills of a runtime process")
	flag.IntVar(&o.rare, "rare", 1500, "one call in so many ends or blocks its process")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of what is done at random")
	flag.DurationVar(&o.limit, "limit", 2*time.Hour, "time for all of it")
	flag.BoolVar(&o.keep, "keep", false, "keep the gateway's folder and log")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

// runLimit is how long a lambda may run, so that one that never ends costs little.
const runLimit = 5 * time.Second

func run(ctx context.Context, o options) (err error) {
	if o.calls < 1 || o.workers < 1 || o.rare < 1 || o.lambdas < len(kinds) {
		return fmt.Errorf("-n, -workers and -rare are at least 1, -lambdas at least %d", len(kinds))
	}
	dir, err := os.MkdirTemp("", "soak")
	if err != nil {
		return err
	}
	if o.keep {
		fmt.Println("the gateway's folder is", dir)
	} else {
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	g, err := start(ctx, dir)
	if err != nil {
		return err
	}
	defer g.Kill() // when it was not stopped
	fmt.Printf("soak: %d calls by %d workers of %d lambdas, seed %d\n", o.calls, o.workers, o.lambdas, o.seed)
	targets, err := deploy(ctx, g, o.lambdas)
	if err != nil {
		return err
	}
	l, err := newLoad(g, o, targets)
	if err != nil {
		return err
	}
	w, err := newWatch(g, dir)
	if err != nil {
		return err
	}
	l.run(ctx, w)
	l.report()
	faults := append(l.faults(), w.report(ctx)...)
	return errors.Join(append(faults, stopped(g, dir)...)...)
}

// start starts a gateway with its journal on, and its sockets in dir.
func start(ctx context.Context, dir string) (*dev.Gateway, error) {
	run := filepath.Join(dir, "r") // a socket's path must be short
	if err := os.Mkdir(run, 0o700); err != nil {
		return nil, err
	}
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { // no settings of this shell
		return strings.HasPrefix(v, "SLUICE_") || strings.HasPrefix(v, "VAULT_")
	})
	env = append(env, "XDG_RUNTIME_DIR="+run)
	return dev.Start(ctx, dev.Options{
		DataDir: filepath.Join(dir, "data"), LogFile: filepath.Join(dir, "log"), Env: env,
		Args: []string{
			"--no-sample", "--log-level", "warn",
			"--limit", dev.NoLimits + ",processes=2,run-time=" + runLimit.String(),
		},
	})
}

// stopped ends the gateway and says what it left behind.
func stopped(g *dev.Gateway, dir string) (faults []error) {
	below := g.Processes()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := g.Stop(ctx); err != nil {
		faults = append(faults, fmt.Errorf("the gateway did not stop well: %w", err))
	}
	if left := dev.WaitGone(below, 5*time.Second); len(left) > 0 {
		faults = append(faults, fmt.Errorf("%d processes are left behind: %v", len(left), left))
	}
	if left := runEntries(dir); left > 0 {
		faults = append(faults, fmt.Errorf("%d files of the run folder are left behind", left))
	}
	return faults
}
