package journal_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/journal"
)

// FuzzStored reads stored calls and lines that anything may have been done to:
// whatever it is, it ends with an error or with what was written.
func FuzzStored(f *testing.F) {
	calls, lines := journal.Texts(call(noon, "Info a", "Trace b"), call(noon.Add(-time.Second)))
	f.Add(calls, lines)
	f.Add([]byte{}, []byte{})
	f.Add(calls[:len(calls)-1], lines)
	f.Add(calls, lines[:len(lines)/2])
	f.Add([]byte{0, 0xff, 0xff, 0xff, 0xff, 0x0f}, []byte{9})
	f.Fuzz(func(_ *testing.T, calls, lines []byte) {
		_, _, _ = journal.DecodeTexts(calls, lines)
		_, _, _ = journal.Decode(calls, lines)
		_, _, _ = journal.Decode(journal.Squeeze(calls), journal.Squeeze(lines))
	})
}

func TestStored(t *testing.T) {
	calls, lines := journal.Texts(call(noon, "Info a", "Trace b"), call(noon.Add(-time.Second)))
	n, m, err := journal.Decode(journal.Squeeze(calls), journal.Squeeze(lines))
	require.NoError(t, err)
	require.Equal(t, []int{2, 2}, []int{n, m})
	t.Run("a bit that has changed is seen", func(t *testing.T) {
		stored := journal.Squeeze(calls)
		for i := range stored {
			for bit := range 8 {
				stored[i] ^= 1 << bit
				_, _, err := journal.Decode(stored, journal.Squeeze(lines))
				require.Error(t, err, "byte %d, bit %d", i, bit)
				stored[i] ^= 1 << bit
			}
		}
	})
	t.Run("what ends too early is seen", func(t *testing.T) {
		for n := range len(calls) {
			_, _, err := journal.DecodeTexts(calls[:n], lines)
			require.Error(t, err, n)
		}
		for n := range len(lines) {
			_, _, err := journal.DecodeTexts(calls, lines[:n])
			require.Error(t, err, n)
		}
	})
}

// FuzzCursor reads cursors that anybody may have made up.
func FuzzCursor(f *testing.F) {
	f.Add("AQAAAAAAxxxx", false)
	f.Add("", true)
	f.Fuzz(func(t *testing.T, text string, newest bool) {
		again, err := journal.ParseCursor(text, newest)
		if err != nil {
			requireInvalid(t, err, "cursor")
			return
		}
		third, err := journal.ParseCursor(again, newest)
		require.NoError(t, err)
		require.Equal(t, again, third)
	})
}

func BenchmarkAdd(b *testing.B) {
	c := newClock(noon)
	j := open(b, b.TempDir(), c)
	e := call(noon, "Info order 17 was sent", "Info order 18 was sent", "Info order 19 was sent")
	b.ReportAllocs()
	for b.Loop() {
		j.Add(e)
	}
}
