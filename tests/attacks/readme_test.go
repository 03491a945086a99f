package attacks_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The list in README.md is made of the table that the attacks are checked against,
// so it says what is tested and no more. SLUICE_UPDATE=1 writes it anew.
func TestTheReadmeListsWhatIsTested(t *testing.T) {
	const file, begin, end = "README.md", "<!-- list -->\n", "<!-- end of the list -->"
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(text), begin)
	require.True(t, found)
	_, after, found := strings.Cut(rest, end)
	require.True(t, found)
	want := before + begin + attackList() + end + after
	if os.Getenv("SLUICE_UPDATE") != "" {
		require.NoError(t, os.WriteFile(file, []byte(want), 0o644)) //nolint:gosec // it is for all to read
		return
	}
	require.Equal(t, want, string(text), "run SLUICE_UPDATE=1 go test -run Readme ./tests/attacks")
}

// attackList is the table for people.
func attackList() string {
	var b strings.Builder
	b.WriteString("| attack | goes for | off | auto without namespaces | required |\n|---|---|---|---|---|\n")
	for _, a := range attacks {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", a.file, a.about, a.word(off), a.word(weak), a.word(required))
	}
	return b.String()
}

// word says whether the gateway holds against the attack, and if not what of it
// succeeds.
func (a attack) word(m mode) string {
	switch {
	case m == off && a.notOff != "":
		return "–"
	case a.holds(m):
		return "holds"
	case m == off:
		return "does not hold"
	}
	return "does not hold: " + strings.Join(a.successes(m), ", ")
}
