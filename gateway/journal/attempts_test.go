package journal_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

func attempt(at time.Time, host string, rule lambda.EgressRule) lambda.Attempt {
	return lambda.Attempt{
		Account: account, LambdaID: shop, At: at, Host: host, Port: 443, Method: "CONNECT", Rule: rule,
		Address: netip.MustParseAddr("93.184.216.34"), Duration: 1500 * time.Microsecond, Count: 1,
	}
}

func try(t testing.TB, j *journal.Journal, all ...lambda.Attempt) {
	t.Helper()
	for _, a := range all {
		j.Attempt(a)
	}
	require.NoError(t, j.Flush(t.Context()))
}

// tried gives the hosts that a query finds, page after page.
func tried(t testing.TB, j *journal.Journal, q journal.AttemptQuery) (hosts []string) {
	t.Helper()
	if q.Account == "" {
		q.Account = account
	}
	if q.To.IsZero() {
		q.From, q.To = noon.AddDate(0, 0, -30), noon.AddDate(0, 0, 30)
	}
	for {
		page, err := j.Attempts(t.Context(), q)
		require.NoError(t, err)
		require.Empty(t, page.Missing)
		for _, a := range page.Attempts {
			hosts = append(hosts, a.Host)
		}
		if page.Next == "" {
			return hosts
		}
		q.Cursor = page.Next
	}
}

func TestAttemptsAreFound(t *testing.T) {
	c := newClock(noon)
	dir := t.TempDir()
	j := open(t, dir, c)
	var all []lambda.Attempt
	for i := range 10 {
		a := attempt(noon.Add(time.Duration(i-20)*time.Hour/2), fmt.Sprintf("h%d.example.com", i), lambda.RuleListed)
		all = append(all, a)
	}
	all[1].Rule, all[2].Rule, all[3].Rule = lambda.RuleNotListed, lambda.RuleUnreachable, lambda.RuleRate
	all[3].Count = 40
	all[4].LambdaID = other
	all[5].Account = "another"
	all[6].Host, all[6].Address, all[6].Entry = "api.example.org", netip.Addr{}, "*.example.org"
	try(t, j, all...)
	add(t, j, call(noon, "Info beside them"))

	newest := []string{"h9.example.com", "h8.example.com", "h7.example.com", "api.example.org", "h4.example.com", "h3.example.com", "h2.example.com", "h1.example.com", "h0.example.com"}
	for again := range 2 {
		require.Equal(t, newest, tried(t, j, journal.AttemptQuery{}))
		for limit := 1; limit < 10; limit++ {
			require.Equal(t, newest, tried(t, j, journal.AttemptQuery{Limit: limit}), "pages of %d", limit)
		}
		require.Equal(t, []string{"h4.example.com"}, tried(t, j, journal.AttemptQuery{LambdaID: other}))
		require.Equal(t, []string{"h5.example.com"}, tried(t, j, journal.AttemptQuery{Account: "another"}))
		require.Empty(t, tried(t, j, journal.AttemptQuery{Account: "nobody"}))
		require.Equal(t, []string{"h3.example.com", "h1.example.com"}, tried(t, j, journal.AttemptQuery{Verdict: lambda.Refused}))
		require.Equal(t, []string{"h2.example.com"}, tried(t, j, journal.AttemptQuery{Verdict: lambda.Failed}))
		require.Equal(t, []string{"h3.example.com"}, tried(t, j, journal.AttemptQuery{Verdict: lambda.Refused, Rules: []lambda.EgressRule{lambda.RuleRate, lambda.RuleListed}}))
		require.Empty(t, tried(t, j, journal.AttemptQuery{Verdict: lambda.Failed, Rules: []lambda.EgressRule{lambda.RuleRate}}))
		require.Equal(t, []string{"api.example.org"}, tried(t, j, journal.AttemptQuery{Host: "Example.ORG"}))
		require.Equal(t, []string{"h2.example.com", "h1.example.com"}, tried(t, j, journal.AttemptQuery{From: all[1].At, To: all[3].At}), "from is in, to is not")

		page, err := j.Attempts(t.Context(), journal.AttemptQuery{Account: account, From: noon.AddDate(0, 0, -2), To: noon, Limit: 6})
		require.NoError(t, err)
		require.Equal(t, all[6], page.Attempts[3])
		require.Equal(t, all[3], page.Attempts[5])
		if again == 0 { // and they outlive the process
			closeJournal(t, j)
			j = open(t, dir, c)
		}
	}
	require.Equal(t, []string{"beside them"}, logs(t, j, journal.LogQuery{}))
}

func TestAttemptQueriesAreChecked(t *testing.T) {
	j := open(t, t.TempDir(), newClock(noon))
	try(t, j, attempt(noon, "a", lambda.RuleListed), attempt(noon, "b", lambda.RuleListed))
	ask := func(change func(*journal.AttemptQuery)) error {
		q := journal.AttemptQuery{Account: account, From: noon.Add(-time.Hour), To: noon.Add(time.Hour)}
		change(&q)
		_, err := j.Attempts(t.Context(), q)
		return err
	}
	requireInvalid(t, ask(func(q *journal.AttemptQuery) { q.To = q.From }), "endTimestamp")
	requireInvalid(t, ask(func(q *journal.AttemptQuery) { q.Limit = journal.MaxAttempts + 1 }), "limit")
	requireInvalid(t, ask(func(q *journal.AttemptQuery) { q.Cursor = "made up" }), "cursor")
	_, next, err := func() (int, string, error) {
		p, err := j.Attempts(t.Context(), journal.AttemptQuery{Account: account, From: noon.Add(-time.Hour), To: noon.Add(time.Hour), Limit: 1})
		return len(p.Attempts), p.Next, err
	}()
	require.NoError(t, err)
	_, err = j.Activities(t.Context(), journal.ActivityQuery{Account: account, From: noon.Add(-time.Hour), To: noon.Add(time.Hour), Cursor: next})
	requireInvalid(t, err, "cursor")
}

func TestAFloodOfAttemptsIsCountedAndKeepsNobodyOut(t *testing.T) {
	j := open(t, t.TempDir(), newClock(noon))
	for i := range 30_000 {
		a := attempt(noon, fmt.Sprintf("h%d", i), lambda.RuleNotListed)
		a.Count = 2
		j.Attempt(a)
	}
	polite := attempt(noon, "polite", lambda.RuleListed)
	polite.Account = "another"
	try(t, j, polite)
	require.Equal(t, []string{"polite"}, tried(t, j, journal.AttemptQuery{Account: "another"}))
	s := j.Stats()
	require.Equal(t, uint64(60_001), s.Attempts+s.DroppedAttempts, "each is in the files or counted")
	require.Positive(t, s.DroppedAttempts)
	require.Len(t, tried(t, j, journal.AttemptQuery{Limit: 1000}), int(s.Attempts-1)/2)
}

func TestOfTooManyAttemptsOfADayTheOldestGo(t *testing.T) {
	j := open(t, t.TempDir(), newClock(noon.Add(12*time.Hour-time.Second)))
	n := 0
	for n <= 100_000 {
		for range 4_000 {
			j.Attempt(attempt(noon.Add(time.Duration(n)*time.Millisecond), fmt.Sprint(n), lambda.RuleListed))
			n++
		}
		require.NoError(t, j.Flush(t.Context()))
	}
	s := j.Stats()
	require.Zero(t, s.DroppedAttempts)
	require.Positive(t, s.ForgottenAttempts)
	q := journal.AttemptQuery{Account: account, From: noon, To: noon.Add(time.Duration(s.ForgottenAttempts) * time.Millisecond)}
	require.Empty(t, tried(t, j, q))
	q.To = q.To.Add(2 * time.Millisecond)
	require.Equal(t, []string{fmt.Sprint(s.ForgottenAttempts + 1), fmt.Sprint(s.ForgottenAttempts)}, tried(t, j, q))
	require.Equal(t, fmt.Sprint(n-1), tried(t, j, journal.AttemptQuery{From: noon.Add(time.Duration(n-2) * time.Millisecond), To: noon.Add(time.Hour)})[0])
}

func TestAttemptsGoWithTheirDay(t *testing.T) {
	c := newClock(noon)
	dir := t.TempDir()
	j := open(t, dir, c, func(l *lambda.Limits) { l.LogRetention = 24 * time.Hour })
	try(t, j, attempt(noon, "old", lambda.RuleListed))
	c.Forward(72 * time.Hour)
	try(t, j, attempt(c.Now(), "new", lambda.RuleListed))
	j.Keep(context.Background())
	require.Equal(t, []string{"new"}, tried(t, j, journal.AttemptQuery{}))
	_, err := os.Stat(filepath.Join(dir, "2026-11-24.db"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestAttemptsThatCannotBeWrittenAreCounted(t *testing.T) {
	j := open(t, t.TempDir(), newClock(noon))
	try(t, j, attempt(noon, "first", lambda.RuleListed))
	require.NoError(t, j.LimitPages(1))
	for i := range 200 {
		j.Attempt(attempt(noon, fmt.Sprintf("%0200d", i), lambda.RuleListed))
	}
	require.NoError(t, j.Flush(t.Context()))
	require.Equal(t, uint64(200), j.Stats().DroppedAttempts)
	require.NotEmpty(t, j.Stats().LastError)
	require.NoError(t, j.LimitPages(1<<20))
	try(t, j, attempt(noon, "last", lambda.RuleListed))
	require.Equal(t, []string{"last", "first"}, tried(t, j, journal.AttemptQuery{}))
}
