// Command sluice is the gateway: `sluice dev` runs all of it on one machine, and
// `sluice account|user|profile|app|limits` manage and show what a running one has,
// and `sluice sandbox check` tells what this machine offers to shut lambdas in.
//
// Exit codes: 0 after a stop that was asked for, 1 when it failed, 2 when it was
// called wrongly, 130 when a second signal cut a stop short.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-faas/sluice/gateway/app"
	"github.com/sluice-faas/sluice/gateway/cli"
	"github.com/sluice-faas/sluice/gateway/config"
	"github.com/sluice-faas/sluice/plugins/sandbox"
	"github.com/sluice-faas/sluice/plugins/sandbox/launch"
)

// version is set by the linker.
var version = "dev"

// The exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
	exitKilled = 130
)

// errCut says that a second signal came before the stop was over.
var errCut = errors.New("stopped at once, as asked by a second signal")

func main() {
	launch.Main() // where there is no launcher beside this program, it is one
	// The reader of our output may go away; the gateway does not go with it.
	signal.Ignore(syscall.SIGPIPE)
	err := command().Execute()
	if err == nil {
		return
	}
	fmt.Fprintf(os.Stderr, "sluice: %s\n", strings.ReplaceAll(err.Error(), "\n", "\n        "))
	switch {
	case errors.As(err, new(cli.UsageError)):
		os.Exit(exitUsage)
	case errors.Is(err, errCut):
		os.Exit(exitKilled)
	}
	os.Exit(exitFailed)
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "sluice",
		Short:         "Function gateway: lambdas over HTTPS, each in a process of its own",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cli.Arguments(cobra.NoArgs),
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(cli.FlagError)
	root.AddCommand(dev())
	root.AddCommand(cli.Commands()...)
	return root
}

func dev() *cobra.Command {
	defaults := config.Dev()
	c := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole gateway on this machine, with a demo account and a sample lambda",
		Long: `Run a whole gateway on this machine: embedded etcd, a certificate authority of
its own, a demo account and a deployed sample lambda. State is kept in the data
folder, and the next start finds everything as it was. Several gateways share
theirs in an etcd cluster when --etcd-endpoints names one.

Progress and the banner go to stderr, the log (JSON, one object a line) to stdout.
When everything answers, dev.json in the data folder has addresses and credentials.
Every flag can be set in the environment too, under the name in brackets.`,
		Args: cli.Arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			settings, err := config.Load(c.Flags(), defaults, os.Environ())
			if err != nil {
				return cli.Usage(err)
			}
			return run(settings)
		},
	}
	config.Flags(c.Flags(), defaults)
	return c
}

// run runs a gateway until a signal ends it.
func run(settings config.Config) error {
	if err := sandbox.HideSelf(); err != nil {
		return err
	}
	tuneMemory()
	asked, now := signals()
	gateway, err := app.Open(asked, app.Options{Config: settings, Version: version, Log: os.Stdout, People: os.Stderr})
	if err != nil {
		if asked.Err() != nil {
			return nil // stopped while it started, as asked
		}
		return err
	}
	err = gateway.Run(asked)
	fmt.Fprintln(os.Stderr, "\nSluice stops: calls under way are finished. A second Ctrl-C stops it at once.")
	err = errors.Join(err, gateway.Close(now))
	if now.Err() != nil {
		return errors.Join(errCut, err)
	}
	return err
}

// signals gives a context that ends at the first signal to stop, and one that
// ends at the second; should closing not be over soon after that, the process
// ends, and with it, by the kernel, every runtime process.
func signals() (asked, now context.Context) {
	asked, ask := context.WithCancel(context.Background())
	now, cut := context.WithCancel(context.Background())
	received := make(chan os.Signal, 2)
	signal.Notify(received, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-received
		ask()
		<-received
		cut()
		time.Sleep(2 * time.Second)
		os.Exit(exitKilled)
	}()
	return asked, now
}

// The gateway's live heap is a few megabytes, so Go's own rule would collect
// after every few megabytes of requests. It may grow to heapGrowth percent more,
// as long as all memory is below softMemory.
const (
	heapGrowth = 400
	softMemory = 512 << 20
)

// tuneMemory sets these, unless GOGC and GOMEMLIMIT in the environment decide.
func tuneMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(heapGrowth)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(softMemory)
	}
}
