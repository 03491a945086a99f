package journal_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/sluice-faas/sluice/gateway/journal"
)

func TestMatches(t *testing.T) {
	for _, test := range []struct {
		text, in string
		want     bool
	}{
		{"", "", true},
		{"", "anything", true},
		{"a", "", false},
		{"error", "An ERROR came", true},
		{"ERROR", "an error came", true},
		{"error", "erro", false},
		{"error", "errerror", true},
		{"[@{", "x[@{x", true},
		{"[@{", "x{`[x", false}, // these differ by the bit that makes small letters
		{"straße", "STRASSE", false},
		{"straße", "Eine Straße", true},
		{"ÄÖÜ", "äöü", true},
		{"ж", "Ж", true},
		{"漢字", "the 漢字 here", true},
		{"漢字", "the 漢here", false},
		{"\x00", "a\x00b", true},
		{"😀", "a😀b", true},
		{"k", "\u212a", false}, // the sign of Kelvin takes more bytes
	} {
		require.Equal(t, test.want, journal.Matches(test.text, []byte(test.in)), "%q in %q", test.text, test.in)
	}
}

// TestMatchesLikeTheSlowWay compares with strings of small letters, of those
// whose forms take the same number of bytes.
func TestMatchesLikeTheSlowWay(t *testing.T) {
	letters := rapid.SampledFrom([]rune("abkszABKSZ 0_[{@`äÄöÖéÉжЖσΣ漢🙂\x00"))
	rapid.Check(t, func(t *rapid.T) {
		in := string(rapid.SliceOfN(letters, 0, 40).Draw(t, "in"))
		text := string(rapid.SliceOfN(letters, 0, 4).Draw(t, "text"))
		if rapid.Bool().Draw(t, "part") && in != "" {
			runes := []rune(in)
			from := rapid.IntRange(0, len(runes)-1).Draw(t, "from")
			text = strings.ToUpper(string(runes[from:]))
		}
		want := strings.Contains(strings.ToLower(in), strings.ToLower(text))
		require.Equal(t, want, journal.Matches(text, []byte(in)), "%q in %q", text, in)
		if text != "" {
			require.Equal(t, want, journal.MatchesSmall(text, []byte(in)), "%q in %q", text, in)
		}
	})
}

// TestNoTextIsExpensive takes those that are compared almost to their end at every
// place.
func TestNoTextIsExpensive(t *testing.T) {
	for _, letter := range []string{"a", "A", "ä", "漢", "\x00"} {
		in := strings.Repeat(letter, 50_000)
		most := 5*len(in) + 500
		for _, end := range []string{"e", "ä", "漢"} {
			text := strings.Repeat(letter, 499) + end
			found, compared := journal.Compared(text, []byte(in))
			require.False(t, found && letter != end)
			require.LessOrEqual(t, compared, most, "%q…%q", letter, end)
			found, compared = journal.Compared(text, []byte(in+strings.ToUpper(text)))
			require.True(t, found, "%q…%q", letter, end)
			require.LessOrEqual(t, compared, most+5*len(text), "%q…%q", letter, end)
		}
	}
}

func FuzzMatches(f *testing.F) {
	f.Add("a", []byte("A"))
	f.Add("ü", []byte{0xc3})
	f.Fuzz(func(t *testing.T, text string, in []byte) {
		got := journal.Matches(text, in)
		if utf8.ValidString(text) && strings.Contains(string(in), text) {
			require.True(t, got)
		}
		if got && strings.IndexFunc(text, func(r rune) bool { return r > unicode.MaxASCII }) < 0 {
			require.Contains(t, strings.ToLower(string(in)), strings.ToLower(text))
		}
	})
}
