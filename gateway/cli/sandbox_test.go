package cli_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sluice-faas/sluice/gateway/cli"
	"github.com/sluice-faas/sluice/plugins/sandbox"
	"github.com/sluice-faas/sluice/plugins/sandbox/launch"
)

func TestMain(m *testing.M) {
	launch.Main()
	goleak.VerifyTestMain(m,
		// The thread that starts processes is kept for the program's life.
		goleak.IgnoreAnyFunction("github.com/sluice-faas/sluice/plugins/sandbox.spawn"))
}

func TestSandboxCheckTellsWhatThereIs(t *testing.T) {
	run := func(args ...string) (string, error) {
		root := &cobra.Command{Use: "sluice", SilenceErrors: true, SilenceUsage: true}
		root.AddCommand(cli.Commands()...)
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetArgs(args)
		err := root.Execute()
		return out.String(), err
	}
	text, failed := run("sandbox", "check", "--json")
	var report struct {
		Complete bool           `json:"complete"`
		Steps    []sandbox.Step `json:"steps"`
	}
	require.NoError(t, json.Unmarshal([]byte(text), &report))
	require.Equal(t, report.Complete, failed == nil, "the exit code says whether required would hold")
	require.Greater(t, len(report.Steps), 10)
	table, _ := run("sandbox", "check")
	for _, s := range report.Steps {
		require.Contains(t, table, s.Name)
		if s.Available {
			continue
		}
		require.NotEmpty(t, s.Why, s.Name)
		require.Contains(t, table, "Without "+s.Name+" "+s.Means)
		require.Contains(t, table, "Remedy: "+s.Remedy)
	}
}
