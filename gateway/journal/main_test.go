package journal_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

// TestMain also is the process that TestKilled kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		child(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

const (
	account = "12345678"
	shop    = "5d8c6d4e-0000-4000-8000-000000000001"
	other   = "5d8c6d4e-0000-4000-8000-000000000002"
)

// noon is a time within a day.
var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// clock stands still until it is set.
type clock struct{ at atomic.Int64 }

func newClock(at time.Time) *clock {
	c := &clock{}
	c.Set(at)
	return c
}

func (c *clock) Now() time.Time          { return time.Unix(0, c.at.Load()).UTC() }
func (c *clock) Set(at time.Time)        { c.at.Store(at.UnixNano()) }
func (c *clock) Forward(d time.Duration) { c.at.Add(int64(d)) }

// open opens a journal in dir, which the end of the test closes.
func open(t testing.TB, dir string, c *clock, limits ...func(*lambda.Limits)) *journal.Journal {
	t.Helper()
	l := lambda.DefaultLimits()
	for _, set := range limits {
		set(&l)
	}
	j, err := journal.Open(journal.Config{Dir: dir, Log: zerolog.Nop(), Limits: l, Now: c.Now})
	require.NoError(t, err)
	t.Cleanup(func() { closeJournal(t, j) })
	return j
}

func closeJournal(t testing.TB, j *journal.Journal) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	require.NoError(t, j.Close(ctx))
}

// call is an entry of the lambda shop with one line for each of logs, which are
// written as LEVEL text.
func call(at time.Time, logs ...string) journal.Entry {
	e := journal.Entry{
		Account: account, LambdaID: shop, LambdaName: "shop", Version: 2, RequestID: uuid.NewString(), Caller: "client",
		Trigger: lambda.TriggerCall, At: at, Run: time.Millisecond, State: journal.Succeeded,
	}
	for _, text := range logs {
		level, message, _ := strings.Cut(text, " ")
		e.Logs = append(e.Logs, lambda.LogRecord{Level: level, Message: message, Extras: json.RawMessage("[]"), Timestamp: at.UnixMilli()})
	}
	return e
}

// add adds entries and waits until they are written.
func add(t testing.TB, j *journal.Journal, entries ...journal.Entry) {
	t.Helper()
	for _, e := range entries {
		j.Add(e)
	}
	require.NoError(t, j.Flush(t.Context()))
}

// logs gives the messages of what a query of the day of noon finds.
func logs(t testing.TB, j *journal.Journal, q journal.LogQuery) []string {
	t.Helper()
	page := lines(t, j, q)
	messages := make([]string, len(page.Lines))
	for i, l := range page.Lines {
		messages[i] = l.Message
	}
	return messages
}

func lines(t testing.TB, j *journal.Journal, q journal.LogQuery) journal.LogPage {
	t.Helper()
	if q.Account == "" {
		q.Account = account
	}
	if q.To.IsZero() {
		q.From, q.To = noon.AddDate(0, 0, -30), noon.AddDate(0, 0, 30)
	}
	page, err := j.Logs(t.Context(), q)
	require.NoError(t, err)
	return page
}

// counted is the number of invocations in the totals.
func counted(t testing.TB, j *journal.Journal) int {
	t.Helper()
	yes, no, _, err := j.Totals(t.Context(), account, noon.AddDate(0, 0, -60), noon.AddDate(0, 0, 60))
	require.NoError(t, err)
	return int(yes + no)
}

func numbered(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("line %d", i)
	}
	return all
}

func requireInvalid(t *testing.T, err error, field string) {
	t.Helper()
	e := lambda.As(err)
	require.NotNil(t, e, "want a lambda.Error, got %v", err)
	require.Equal(t, lambda.KindInvalid, e.Kind)
	require.Equal(t, field, e.Field, e.Message)
}
