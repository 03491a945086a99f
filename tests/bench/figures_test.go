package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestQuantiles(t *testing.T) {
	t.Parallel()
	require.Equal(t, time.Duration(0), median[time.Duration](nil))
	require.Equal(t, time.Duration(7), median([]time.Duration{7}))
	require.Equal(t, 2.0, median([]float64{3, 1, 2}))
	values := make([]int64, 100)
	for i := range values {
		values[i] = int64(99 - i)
	}
	require.Equal(t, int64(99), quantile(values, 0.99))
	require.Equal(t, int64(99), quantile(values, 1))
	require.Equal(t, int64(0), quantile(values, 0))
}

func TestTheTableSaysWhichAimsWereMissed(t *testing.T) {
	t.Parallel()
	b := &bench{node: "true"}
	b.reportThroughput(map[string][]load{
		"sluice": {{Requests: 100, Microseconds: 1e6}}, "node": {{Requests: 50, Microseconds: 1e6}},
		"workerd": {{Requests: 60, Microseconds: 1e6}}, "functions-framework": {{Requests: 10, Microseconds: 1e6}},
		"sluice TLS": {{Requests: 30, Microseconds: 1e6}}, "node TLS": {{Requests: 40, Microseconds: 1e6}},
	})
	var out bytes.Buffer
	require.NoError(t, b.report.print(&out, b))
	lines := bytes.Split(out.Bytes(), []byte("\n"))
	verdicts := map[string]string{"node 50/s": "met", "workerd 60/s": "MISSED", "functions-framework": "10.00×", "node TLS": "MISSED"}
	for peer, verdict := range verdicts {
		found := false
		for _, line := range lines {
			if bytes.Contains(line, []byte(peer)) {
				found = true
				require.Contains(t, string(line), verdict)
			}
		}
		require.True(t, found, peer)
	}
}

func TestRoundsThatTookTurnsAreComparedInPairs(t *testing.T) {
	t.Parallel()
	ours := []load{{P50: 100}, {P50: 400}, {P50: 90}}
	theirs := []load{{P50: 100}, {P50: 200}, {P50: 100}}
	require.InDelta(t, 1.0, medianRatio(ours, theirs), 1e-9)
}
