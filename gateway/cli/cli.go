// Package cli is the operator's commands: accounts, users, profiles, apps,
// secrets and limits of a gateway that runs. They speak the gateway's own HTTP API over the socket in its
// data folder (package control), so everything they can do the API can, and the
// API alone decides what is right. The command sandbox alone needs no gateway.
//
// What was asked for goes to stdout, as a table or as the API's JSON; notes go to
// stderr.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-faas/sluice/gateway/config"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

// timeout bounds a whole command, the wait for a password to be hashed included.
const timeout = time.Minute

// UsageError is a fault of the command line or the environment.
type UsageError struct{ error }

// Usage makes err a UsageError.
func Usage(err error) error { return UsageError{err} }

func (e UsageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return UsageError{fmt.Errorf(format, args...)} }

// Commands are the operator's commands, one for each noun.
func Commands() []*cobra.Command {
	return []*cobra.Command{accountCommand(), userCommand(), profileCommand(), appCommand(), secretCommand(), limitsCommand(), sandboxCommand()}
}

// Arguments makes what check finds a UsageError that says where to read more.
func Arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usagef("%w (`%s --help` shows what there is)", err, c.CommandPath())
		}
		return nil
	}
}

// FlagError makes a fault of the flags a UsageError.
func FlagError(c *cobra.Command, err error) error {
	return usagef("%w (`%s --help` lists the flags)", err, c.CommandPath())
}

// options are the flags that all commands of a noun have.
type options struct {
	dataDir string
	account string
	output  string
	quiet   bool
}

// noun makes the command under which the verbs of a noun are.
func noun(use, short, long string, ofAccount bool, verbs ...func(*options) *cobra.Command) *cobra.Command {
	o := &options{}
	c := &cobra.Command{
		Use: use, Short: short, Long: long, Args: Arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	flags := c.PersistentFlags()
	flags.StringVar(&o.dataDir, "data-dir", config.DataDir(os.Environ()), "data folder of the gateway [SLUICE_DATA_DIR]")
	flags.StringVarP(&o.output, "output", "o", formatTable, "form of the output: table or json")
	flags.BoolVarP(&o.quiet, "quiet", "q", false, "no notes on stderr")
	suggest(c, "output", formatTable, formatJSON)
	if ofAccount {
		flags.StringVar(&o.account, "account", "", "id of the account (default: the only one, if there is only one)")
		_ = c.RegisterFlagCompletionFunc("account", o.complete("id", func(context.Context, *gateway) (string, error) { return "/api/accounts", nil }))
	}
	for _, verb := range verbs {
		c.AddCommand(verb(o))
	}
	return c
}

// job is what a verb does once the gateway and the account are known.
type job func(ctx context.Context, s *session) error

// session is one run of a verb.
type session struct {
	*gateway
	*options
	command *cobra.Command
	args    []string
	path    string // of the account's API; empty for a verb that has no account
}

// run makes the body of a verb.
func (o *options) run(work job) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		if o.output != formatTable && o.output != formatJSON {
			return usagef("--output %.50s: use %s or %s", o.output, formatTable, formatJSON)
		}
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		g, err := o.connect()
		if err != nil {
			return err
		}
		defer g.close()
		s := &session{gateway: g, options: o, command: c, args: args}
		if c.Flags().Lookup("account") != nil {
			if s.path, err = o.accountPath(ctx, g); err != nil {
				return err
			}
		}
		return work(ctx, s)
	}
}

func (o *options) connect() (*gateway, error) {
	if o.dataDir == "" {
		return nil, usagef("--data-dir is empty: name the data folder of a gateway")
	}
	dir, err := filepath.Abs(o.dataDir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.dataDir, err)
	}
	return newGateway(dir), nil
}

// maxListed is how many accounts an error lists.
const maxListed = 20

// accountPath gives the path of the account that is named, or of the only one.
func (o *options) accountPath(ctx context.Context, g *gateway) (string, error) {
	const root = "/api/account/"
	if o.account != "" {
		if !lambda.ValidAccount(o.account) {
			return "", usagef("--account %.50s: an account's id is 1 to %d digits", o.account, lambda.MaxAccountLength)
		}
		return root + o.account, nil
	}
	var accounts []account
	if _, err := g.get(ctx, "/api/accounts", &accounts); err != nil {
		return "", err
	}
	switch len(accounts) {
	case 0:
		return "", errors.New("there is no account yet: make one with `sluice account create`")
	case 1:
		return root + accounts[0].ID, nil
	}
	var known []string
	for i, a := range accounts {
		if i == maxListed {
			known = append(known, fmt.Sprintf("and %d more", len(accounts)-maxListed))
			break
		}
		known = append(known, a.ID+" "+a.Name)
	}
	return "", usagef("there are %d accounts: name one with --account\n%s", len(accounts), strings.Join(known, "\n"))
}

// note tells something beside what was asked for.
func (s *session) note(format string, args ...any) {
	if !s.quiet {
		fmt.Fprintf(s.command.ErrOrStderr(), format+"\n", args...) //nolint:errcheck // a note may be lost
	}
}
