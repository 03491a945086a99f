package cli_test

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/cli"
)

// What is no value is told before the gateway is asked, and never shown.
func TestAValueIsRefusedBeforeItIsSent(t *testing.T) {
	run := func(stdin string, args ...string) error {
		root := &cobra.Command{Use: "sluice", SilenceErrors: true, SilenceUsage: true}
		root.AddCommand(cli.Commands()...)
		root.SetIn(strings.NewReader(stdin))
		root.SetOut(new(bytes.Buffer))
		root.SetErr(new(bytes.Buffer))
		root.SetArgs(append([]string{"secret", "--account", "1", "--data-dir", filepath.Join(t.TempDir(), "none")}, args...))
		return root.Execute()
	}
	const hush = "s3cret"
	for name, c := range map[string]struct {
		stdin string
		args  []string
		says  string
	}{
		"a value among the arguments":  {"", []string{"set", "k", hush}, "accepts 1 arg"},
		"a key that is none":           {hush, []string{"set", "../k"}, "has other characters than letters"},
		"nothing":                      {"\n", []string{"set", "k"}, "there is no value: give it on stdin"},
		"half an object":               {`{"a":"` + hush, []string{"set", "k"}, "no JSON object or array: mend it, or say --type string"},
		"text as JSON":                 {hush, []string{"set", "k", "--type", "json"}, "no JSON object or array"},
		"text as a number":             {hush, []string{"set", "k", "--type", "number"}, "the value is no number"},
		"a type that is none":          {hush, []string{"set", "k", "--type", "text"}, "--type text: use string, number, json"},
		"bytes":                        {"\xff" + hush, []string{"set", "k"}, "not UTF-8"},
		"a file that is not":           {"", []string{"set", "k", "--file", "/nonexistent"}, "no such file"},
		"too much":                     {strings.Repeat("x", 70_000), []string{"set", "k"}, "larger than 65536 bytes"},
		"a key to delete that is none": {"", []string{"delete", "a/b"}, "has other characters than letters"},
	} {
		t.Run(name, func(t *testing.T) {
			err := run(c.stdin, c.args...)
			require.ErrorAs(t, err, new(cli.UsageError))
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), hush)
		})
	}
	for _, args := range [][]string{{"set", "k"}, {"set", "k", "--type", "string"}, {"list"}, {"delete", "k"}} {
		require.ErrorContains(t, run(`["a"]`, args...), "no gateway runs on the data folder", "%q", args)
	}
}
