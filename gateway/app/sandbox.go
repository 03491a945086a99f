package app

import (
	"context"
	"fmt"
	"strings"

	"github.com/rs/zerolog"

	"github.com/sluice-faas/sluice/plugins/sandbox"
)

// openSandbox finds out how far lambdas can be shut in here, and says what is
// missing. Under required that ends the start.
func (a *App) openSandbox(ctx context.Context) (err error) {
	trusted, err := a.lambdaCAFile()
	if err != nil {
		return err
	}
	a.sandbox, err = sandbox.Open(ctx, sandbox.Settings{Mode: sandbox.Mode(a.config.Sandbox), CAFile: trusted})
	if err != nil {
		return err
	}
	if !a.sandbox.On() {
		a.log.Warn().Msg("the sandbox is off: lambdas run as the gateway's user and see what it sees")
		a.warnings = append(a.warnings, "The sandbox is off: lambdas run as the gateway's user, read its files and reach the network. Run only code that you trust.")
		return nil
	}
	report := a.sandbox.Report()
	for _, s := range report.Missing() {
		level := zerolog.InfoLevel
		if s.Required {
			level = zerolog.WarnLevel
		}
		a.log.WithLevel(level).Str("step", s.Name).Str("why", s.Why).Str("without", s.Means).Str("remedy", s.Remedy).Msg("a part of the sandbox is missing")
	}
	gap := sandboxGap(report)
	if gap != "" {
		a.warnings = append(a.warnings, "The sandbox is not complete: "+gap+". `sluice sandbox check` says why, and what to do.")
	}
	a.ready.checks = append(a.ready.checks, check{name: "sandbox", degrades: true, probe: func(context.Context) error {
		if gap == "" {
			return nil
		}
		return fmt.Errorf("not complete: %s", gap)
	}})
	return nil
}

// sandboxGap says what holds less than it would under required; empty if nothing.
func sandboxGap(r sandbox.Report) string {
	var gaps []string
	for _, s := range r.Missing() {
		if s.Required {
			gaps = append(gaps, fmt.Sprintf("no %s (%s)", s.Name, s.Means))
		}
	}
	return strings.Join(gaps, "; ")
}
