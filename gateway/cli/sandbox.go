package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sluice-faas/sluice/plugins/sandbox"
)

func sandboxCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "sandbox", Short: "Show what this machine offers to shut lambdas in", Args: Arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(checkSandbox())
	return c
}

// sandboxReport is what `sluice sandbox check --json` prints.
type sandboxReport struct {
	// Complete says that a gateway of --sandbox=required would start.
	Complete bool           `json:"complete"`
	Steps    []sandbox.Step `json:"steps"`
}

func checkSandbox() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "check", Short: "Try each part of the sandbox, as this user", Args: Arguments(cobra.NoArgs),
		Long: `Try each part of the sandbox by starting a process in it, as this user and on this
machine. The exit code is 0 if a gateway with --sandbox=required would start, else 1.`,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(context.Background(), timeout)
			defer cancel()
			box, err := sandbox.Open(ctx, sandbox.Settings{Mode: sandbox.Auto})
			if err != nil {
				return err
			}
			r := sandboxReport{Complete: box.Report().Complete(), Steps: box.Report().Steps}
			if err := r.print(c, asJSON); err != nil {
				return fmt.Errorf("write the output: %w", err)
			}
			if !r.Complete {
				return fmt.Errorf("a gateway with --sandbox=required would not start here")
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (r sandboxReport) print(c *cobra.Command, asJSON bool) error {
	var out bytes.Buffer
	if asJSON {
		text, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		out.Write(append(text, '\n'))
	} else {
		r.table(&out)
	}
	_, err := c.OutOrStdout().Write(out.Bytes())
	return err
}

// table has a line for each step, and below it what is missing.
func (r sandboxReport) table(out *bytes.Buffer) {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "STEP\tTHERE\tREQUIRED\tDETAIL") // a buffer takes all
	for _, s := range r.Steps {
		there, detail := "yes", s.Detail
		if !s.Available {
			there, detail = "no", strings.ReplaceAll(s.Why, "\n", "; ")
		}
		needed := "yes"
		if !s.Required {
			needed = "no"
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", s.Name, there, needed, orDash(detail))
	}
	_ = t.Flush()
	for _, s := range r.Steps {
		if !s.Available {
			fmt.Fprintf(out, "\nWithout %s %s.\n  Remedy: %s.\n", s.Name, s.Means, s.Remedy)
		}
	}
}
