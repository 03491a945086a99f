package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// growing makes samples that rise from from to to.
func growing(n int, from, to float64) []sample {
	all := make([]sample, n)
	for i := range all {
		all[i].goroutines = from + (to-from)*float64(i)/float64(n-1)
	}
	return all
}

func TestWhatGrowsIsTold(t *testing.T) {
	m := measure{"goroutines", func(s *sample) float64 { return s.goroutines }, 0.1, 60}
	for name, c := range map[string]struct {
		samples []sample
		grows   bool
	}{
		"flat":                         {growing(200, 1000, 1000), false},
		"within the slack":             {growing(200, 1000, 1150), false},
		"a leak":                       {growing(200, 1000, 2000), true},
		"a leak of few samples":        {growing(minimum, 1000, 2000), true},
		"it falls":                     {growing(200, 2000, 1000), false},
		"growth while it warms up":     {append(growing(40, 0, 1000), growing(160, 1000, 1000)...), false},
		"one sample that is far above": {append(growing(199, 1000, 1000), sample{goroutines: 9000}), false},
	} {
		t.Run(name, func(t *testing.T) {
			first, last, most := m.judge(c.samples)
			require.Equal(t, c.grows, last > most, "%v %v %v", first, last, most)
		})
	}
}

func TestEveryKindHasItsLambda(t *testing.T) {
	for _, n := range []int{len(kinds), 60, 100, 250} {
		count := map[string]int{}
		for _, k := range choose(n) {
			count[k.name]++
		}
		require.Len(t, count, len(kinds))
	}
	require.Len(t, choose(100), 100)
}
