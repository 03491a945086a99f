package app_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/sdk/client"
)

func TestProcessesAreKeptReadyFromTheStartOfAGateway(t *testing.T) {
	g := start(t, t.TempDir())
	id := g.Info().Lambda.UUID
	author := g.as(t, "FaaS-Developer")
	ready := func(g *gateway, n int) {
		t.Helper()
		author := g.as(t, "FaaS-Developer")
		require.Eventually(t, func() bool {
			p, err := author.Processes(t.Context(), id)
			require.NoError(t, err)
			return p.Processes == n && p.State == client.ProcessesReady && p.MinWarm == n
		}, 20*time.Second, 10*time.Millisecond)
	}
	p, err := author.SetMinWarm(t.Context(), id, 2)
	require.NoError(t, err)
	require.Equal(t, 2, p.MinWarm)
	ready(g, 2)
	_, err = author.SetMinWarm(t.Context(), id, 5)
	require.True(t, client.IsStatus(err, http.StatusBadRequest), "%v", err)

	l, err := author.Lambda(t.Context(), id)
	require.NoError(t, err)
	l.Source.Code += "\n// changed"
	_, _, err = author.UpdateLambda(t.Context(), l)
	require.NoError(t, err)
	_, err = author.DeployAndWait(t.Context(), id)
	require.NoError(t, err)
	ready(g, 2)
	answer, err := g.brand(t).Invoke(t.Context(), id, map[string]any{})
	require.NoError(t, err)
	require.True(t, strings.Contains(string(answer), "// changed"), string(answer))
	requireMetric(t, g, "sluice_processes_loaded 2")
	requireMetric(t, g, "sluice_lambdas_crash_looping 0")
	g.stop(t)

	g = start(t, g.dir, "--no-sample")
	ready(g, 2)
	requireMetric(t, g, "sluice_calls_cold_total 0")
	_, err = g.as(t, "FaaS-Developer").SetMinWarm(t.Context(), id, 0)
	require.NoError(t, err)
}
