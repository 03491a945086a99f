package journal_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/journal"
)

// next waits for a line of a tail.
func next(t *testing.T, tail *journal.Tail) journal.Line {
	t.Helper()
	select {
	case l, ok := <-tail.C():
		require.True(t, ok, "the tail is closed")
		return l
	case <-time.After(10 * time.Second):
		require.Fail(t, "no line came")
		return journal.Line{}
	}
}

func TestTail(t *testing.T) {
	j := open(t, t.TempDir(), newClock(noon))
	wanted := call(noon, "Info one", "Error TWO", "Warn three")
	for name, test := range map[string]struct {
		filter journal.TailFilter
		want   string
	}{
		"of an account": {journal.TailFilter{}, "one TWO three"},
		"of a lambda":   {journal.TailFilter{LambdaID: shop}, "one TWO three"},
		"by level":      {journal.TailFilter{Levels: []string{"Warn", "Error"}}, "TWO three"},
		"by text":       {journal.TailFilter{Text: "two"}, "TWO"},
		"by request":    {journal.TailFilter{RequestID: wanted.RequestID}, "one TWO three"},
	} {
		t.Run(name, func(t *testing.T) {
			test.filter.Account = account
			tail := j.Tail(test.filter)
			defer tail.Close()
			foreign := call(noon, "Error two")
			foreign.Account = "99"
			j.Add(foreign)
			if test.filter.LambdaID != "" {
				e := call(noon, "Error two")
				e.LambdaID = other
				j.Add(e)
			}
			if test.filter.RequestID != "" {
				j.Add(call(noon, "Error two"))
			}
			j.Add(wanted)
			var got []string
			for range len(strings.Fields(test.want)) {
				l := next(t, tail)
				require.Equal(t, wanted.RequestID, l.RequestID)
				require.Equal(t, 2, l.Version)
				got = append(got, l.Message)
			}
			require.Equal(t, test.want, strings.Join(got, " "))
			require.Empty(t, tail.C())
			require.Zero(t, tail.Missed())
		})
	}
}

func TestASlowTailMissesLinesAndSlowsNothing(t *testing.T) {
	j := open(t, t.TempDir(), newClock(noon))
	slow, quick := j.Tail(journal.TailFilter{Account: account}), j.Tail(journal.TailFilter{Account: account, LambdaID: other})
	defer slow.Close()
	const n = 20_000
	for range n {
		j.Add(call(noon, "Info x"))
	}
	e := call(noon, "Info y")
	e.LambdaID = other
	require.Eventually(t, func() bool {
		j.Add(e)
		select {
		case l := <-quick.C():
			return l.Message == "y"
		default:
			return false
		}
	}, 10*time.Second, time.Millisecond, "the other goes on")
	require.NotZero(t, slow.Missed())
	got := len(slow.C())
	require.LessOrEqual(t, got, 256)
	require.NotZero(t, got)
	quick.Close()
	quick.Close()
	for range quick.C() {
		continue // it ends
	}
}

func TestWhatNobodyHadTimeToLookAtIsMissed(t *testing.T) {
	j := open(t, t.TempDir(), newClock(noon))
	tail, foreign := j.Tail(journal.TailFilter{Account: account}), j.Tail(journal.TailFilter{Account: "99"})
	defer tail.Close()
	defer foreign.Close()
	release := j.HoldTails() // as while lines are searched for a text
	const n = 1000
	for range n {
		j.Add(call(noon, "Info x", "Info y"))
	}
	missed := tail.Missed()
	release()
	require.GreaterOrEqual(t, missed, uint64(2*(n-257)), "all but those that wait, and the one that is looked at")
	require.Zero(t, foreign.Missed())
}

func TestTailsEndWithTheJournal(t *testing.T) {
	j := open(t, t.TempDir(), newClock(noon))
	tail := j.Tail(journal.TailFilter{Account: account})
	closeJournal(t, j)
	_, ok := <-tail.C()
	require.False(t, ok)
	tail.Close()
	late := j.Tail(journal.TailFilter{Account: account})
	_, ok = <-late.C()
	require.False(t, ok)
	late.Close()
	j.Add(call(noon, "Info x"))
}
