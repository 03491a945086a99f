package host_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/plugins/host"
)

func TestTheFaultOfASource(t *testing.T) {
	of := func(n int, text string) (r host.BuildResult) {
		for i := range n {
			r.Diagnostics = append(r.Diagnostics, host.Diagnostic{Severity: host.SeverityError, Message: text, Line: i + 1, Column: 2})
		}
		return r
	}
	one := func(d host.Diagnostic) host.BuildResult { return host.BuildResult{Diagnostics: []host.Diagnostic{d}} }
	twenty := strings.TrimSuffix(func() (s string) {
		for i := range 20 {
			s += fmt.Sprintf("%d:2: bad\n", i+1)
		}
		return s
	}(), "\n")
	for name, c := range map[string]struct {
		result host.BuildResult
		want   string
	}{
		"is empty without diagnostics":    {host.BuildResult{}, ""},
		"does not tell warnings":          {one(host.Diagnostic{Severity: host.SeverityWarning, Message: "unused"}), ""},
		"has the place":                   {one(host.Diagnostic{Severity: host.SeverityError, Message: "bad", Line: 3, Column: 5}), "3:5: bad"},
		"may have no place":               {one(host.Diagnostic{Severity: host.SeverityError, Message: "no lambda"}), "no lambda"},
		"is told by its code if need be":  {one(host.Diagnostic{Severity: host.SeverityError, Code: "syntax"}), "syntax"},
		"is never empty for an error":     {one(host.Diagnostic{Severity: host.SeverityError}), "the runtime refuses the source and does not say why"},
		"has 20 lines":                    {of(20, "bad"), twenty},
		"says that there is one more":     {of(21, "bad"), twenty + "\n… and 1 more"},
		"says how many more there are":    {of(1000, "bad"), twenty + "\n… and 980 more"},
		"is cut in a line without an end": {one(host.Diagnostic{Severity: host.SeverityError, Message: strings.Repeat("x", 5000)}), strings.Repeat("x", 1000) + "… (5000 bytes)"},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, c.result.Fault()) })
	}
	t.Run("has at most 4 KiB", func(t *testing.T) {
		for _, length := range []int{100, 190, 500, 999, 1000, 1001, 100_000} {
			fault := of(1000, strings.Repeat("ü", length/2)).Fault()
			require.LessOrEqual(t, len(fault), 4<<10)
			require.Greater(t, len(fault), 2000)
			require.True(t, utf8.ValidString(fault))
			lines := strings.Split(fault, "\n")
			require.Equal(t, fmt.Sprintf("… and %d more", 1000-len(lines)+1), lines[len(lines)-1])
		}
	})
}
