package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// The forms of output.
const (
	formatTable = "table"
	formatJSON  = "json"
)

// print writes the answer as it came, or as a table with those columns.
func (s *session) print(answer json.RawMessage, header []string, rows ...[]string) error {
	var out bytes.Buffer
	if s.output == formatJSON {
		if err := json.Indent(&out, answer, "", "  "); err != nil {
			return err
		}
		out.WriteByte('\n')
	} else {
		t := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
		for _, row := range append([][]string{header}, rows...) {
			_, _ = fmt.Fprintln(t, strings.Join(row, "\t")) // a buffer takes all
		}
		_ = t.Flush()
	}
	if _, err := s.command.OutOrStdout().Write(out.Bytes()); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}

// done tells of a change that leaves nothing to show: the API's message as JSON,
// else a note.
func (s *session) done(answer json.RawMessage, format string, args ...any) error {
	if s.output == formatJSON {
		return s.print(answer, nil)
	}
	s.note(format, args...)
	return nil
}

// orDash shows that there is nothing.
func orDash(texts ...string) string {
	if all := strings.Join(texts, ","); all != "" {
		return all
	}
	return "-"
}

// day is enough of a time for a table.
func day(wire string) string {
	date, _, _ := strings.Cut(wire, "T")
	return date
}

// suggest completes a flag with words.
func suggest(c *cobra.Command, flag string, words ...string) {
	_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
}

// completion is the signature of a completion.
type completion = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// completionTimeout is what somebody waits for at a prompt.
const completionTimeout = 2 * time.Second

// complete suggests what a running gateway has: the values of a key in the list
// at a path. Where none runs there is nothing to suggest.
func (o *options) complete(key string, where func(context.Context, *gateway) (path string, err error)) completion {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		words, err := o.words(key, where)
		if err != nil {
			cobra.CompDebugln(err.Error(), false)
		}
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

func (o *options) words(key string, where func(context.Context, *gateway) (path string, err error)) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), completionTimeout)
	defer cancel()
	g, err := o.connect()
	if err != nil {
		return nil, err
	}
	defer g.close()
	path, err := where(ctx, g)
	if err != nil {
		return nil, err
	}
	var list []map[string]any
	if _, err := g.get(ctx, path, &list); err != nil {
		return nil, err
	}
	var words []string
	for _, one := range list {
		if word, ok := one[key].(string); ok {
			words = append(words, word)
		}
	}
	return words, nil
}

// completeOf suggests what the account has at a path.
func (o *options) completeOf(path, key string) completion {
	return o.complete(key, func(ctx context.Context, g *gateway) (string, error) {
		account, err := o.accountPath(ctx, g)
		return account + path, err
	})
}

// completeFirst does so for the first argument, and nothing after it.
func (o *options) completeFirst(path, key string) completion {
	suggest := o.completeOf(path, key)
	return func(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return suggest(c, args, word)
	}
}
