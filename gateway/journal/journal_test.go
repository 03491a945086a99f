package journal_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

func TestLogs(t *testing.T) {
	c := newClock(noon)
	j := open(t, t.TempDir(), c)
	first := call(noon.Add(-time.Hour), "Info opened", "Error Ärger in Zeile 7")
	second := call(noon.Add(-time.Minute), "Warn stock is low", "Debug detail")
	second.Logs[0].Extras = json.RawMessage(`[{"article":"Umbrella"}]`)
	third := call(noon.Add(-2*time.Minute), "Info of another lambda")
	third.LambdaID = other
	foreign := call(noon.Add(-time.Minute), "Info of another account")
	foreign.Account = "99"
	odd := call(noon.Add(-time.Second), "Trace odd level")
	add(t, j, first, second, third, foreign, odd)

	for _, test := range []struct {
		name string
		q    journal.LogQuery
		want []string
	}{
		{"all of an account, the oldest first", journal.LogQuery{}, []string{"opened", "Ärger in Zeile 7", "of another lambda", "stock is low", "detail", "odd level"}},
		{"the newest first", journal.LogQuery{Newest: true}, []string{"odd level", "detail", "stock is low", "of another lambda", "Ärger in Zeile 7", "opened"}},
		{"of one lambda", journal.LogQuery{LambdaID: other}, []string{"of another lambda"}},
		{"of a lambda that has none", journal.LogQuery{LambdaID: "nothing"}, []string{}},
		{"by level", journal.LogQuery{Levels: []string{"Warn", "Error"}}, []string{"Ärger in Zeile 7", "stock is low"}},
		{"by a level that the platform does not know", journal.LogQuery{Levels: []string{"Trace"}}, []string{"odd level"}},
		{"by another such level", journal.LogQuery{Levels: []string{"Fatal"}}, []string{}},
		{"by text, whatever its case", journal.LogQuery{Text: "ÄRGER IN zeile"}, []string{"Ärger in Zeile 7"}},
		{"by text in the extras", journal.LogQuery{Text: "umbrella"}, []string{"stock is low"}},
		{"by text that is nowhere", journal.LogQuery{Text: "umbrellas"}, []string{}},
		{"text is not looked for across lines", journal.LogQuery{Text: "openedÄ"}, []string{}},
		{"by request", journal.LogQuery{RequestID: second.RequestID}, []string{"stock is low", "detail"}},
		{"by a request that never was", journal.LogQuery{RequestID: "x"}, []string{}},
		{"by time: the start is in", journal.LogQuery{From: second.At, To: noon.Add(time.Hour)}, []string{"stock is low", "detail", "odd level"}},
		{"by time: the end is not", journal.LogQuery{From: noon.Add(-24 * time.Hour), To: second.At}, []string{"opened", "Ärger in Zeile 7", "of another lambda"}},
		{"everything at once", journal.LogQuery{LambdaID: shop, Levels: []string{"Warn"}, Text: "LOW", RequestID: second.RequestID, Newest: true}, []string{"stock is low"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			require.Equal(t, test.want, logs(t, j, test.q))
		})
	}
	t.Run("a line has all that was written", func(t *testing.T) {
		page := lines(t, j, journal.LogQuery{Text: "umbrella"})
		require.Equal(t, []journal.Line{{LambdaID: shop, RequestID: second.RequestID, Version: 2, LogRecord: second.Logs[0]}}, page.Lines)
		require.Empty(t, page.Missing)
	})
}

func TestLogsAreInTheOrderOfTime(t *testing.T) {
	c := newClock(noon)
	j := open(t, t.TempDir(), c)
	// Invocations are written when they end: a long one comes late with old lines.
	long := call(noon, "Info 0", "Info 4")
	long.Logs[1].Timestamp = noon.Add(10 * time.Second).UnixMilli()
	long.Run = 20 * time.Second
	for i, at := range []int{1, 2, 3, 15} {
		c.Set(noon.Add(time.Duration(at) * time.Second))
		add(t, j, call(c.Now(), fmt.Sprintf("Info %d", []int{1, 2, 3, 5}[i])))
	}
	c.Set(noon.Add(20 * time.Second))
	add(t, j, long)
	want := []string{"0", "1", "2", "3", "4", "5"}
	require.Equal(t, want, logs(t, j, journal.LogQuery{}))
	require.Equal(t, want[:3], logs(t, j, journal.LogQuery{Limit: 3}))
	slices.Reverse(want)
	require.Equal(t, want, logs(t, j, journal.LogQuery{Newest: true}))
	require.Equal(t, want[:3], logs(t, j, journal.LogQuery{Newest: true, Limit: 3}))
	require.Equal(t, []string{"0", "1"}, logs(t, j, journal.LogQuery{From: noon, To: noon.Add(2 * time.Second)}))
}

func TestPages(t *testing.T) {
	c := newClock(noon)
	j := open(t, t.TempDir(), c)
	// Several days, lambdas, batches and blocks, and lines of the same millisecond.
	want := 0
	for day := range 3 {
		for batch := range 3 {
			c.Set(noon.AddDate(0, 0, day-2).Add(time.Duration(batch) * time.Second))
			for i := range 200 {
				e := call(c.Now().Add(-time.Duration(i%7)*time.Millisecond), "Info a", "Warn b")
				if i%3 == 0 {
					e.LambdaID = other
				}
				j.Add(e)
				want += 2
			}
			require.NoError(t, j.Flush(t.Context()))
		}
	}
	for _, newest := range []bool{false, true} {
		for _, size := range []int{1000, 333} {
			all := pages(t, j, journal.LogQuery{Newest: newest, Limit: size})
			require.Len(t, all, want)
			seen := map[string]int{}
			for i, l := range all {
				seen[l.RequestID+l.Message]++
				if i > 0 {
					require.Equal(t, newest, all[i-1].Timestamp > l.Timestamp || newest && all[i-1].Timestamp == l.Timestamp, "line %d", i)
				}
				require.Equal(t, 1, seen[l.RequestID+l.Message])
			}
		}
	}
	t.Run("with a filter", func(t *testing.T) {
		all := pages(t, j, journal.LogQuery{Limit: 100, Levels: []string{"Warn"}, LambdaID: other})
		require.Len(t, all, 3*3*67)
	})
	t.Run("of invocations", func(t *testing.T) {
		for _, newest := range []bool{false, true} {
			var all []journal.Entry
			q := journal.InvocationQuery{Account: account, From: noon.AddDate(0, 0, -5), To: noon.AddDate(0, 0, 5), Newest: newest, Limit: 170}
			for {
				page, err := j.Invocations(t.Context(), q)
				require.NoError(t, err)
				all = append(all, page.Entries...)
				if q.Cursor = page.Next; q.Cursor == "" {
					break
				}
			}
			require.Len(t, all, want/2)
			require.True(t, slices.IsSortedFunc(all, func(a, b journal.Entry) int {
				if newest {
					return b.At.Compare(a.At)
				}
				return a.At.Compare(b.At)
			}))
		}
	})
}

func pages(t *testing.T, j *journal.Journal, q journal.LogQuery) (all []journal.Line) {
	t.Helper()
	for {
		page := lines(t, j, q)
		require.LessOrEqual(t, len(page.Lines), q.Limit)
		all = append(all, page.Lines...)
		if q.Cursor = page.Next; q.Cursor == "" {
			return all
		}
	}
}

func TestAPageIsBoundedInBytes(t *testing.T) {
	c := newClock(noon)
	j := open(t, t.TempDir(), c)
	const each = 1 << 20
	for i := range 24 {
		j.Add(call(noon.Add(time.Duration(i-30)*time.Second), "Info "+strings.Repeat("x", each)))
	}
	require.NoError(t, j.Flush(t.Context()))
	first := lines(t, j, journal.LogQuery{Limit: 24})
	require.Len(t, first.Lines, journal.PageBytes/each-1)
	require.NotEmpty(t, first.Next)
	require.Len(t, lines(t, j, journal.LogQuery{Limit: 24, Cursor: first.Next}).Lines, 24-len(first.Lines))
}

func TestInvocations(t *testing.T) {
	c := newClock(noon)
	j := open(t, t.TempDir(), c)
	whole := journal.Entry{
		Account: account, LambdaID: shop, LambdaName: "shop", Version: 7, RequestID: "my-request", Caller: "app/1", Trigger: lambda.TriggerEvent,
		EventID: "controllerbot_messaging_new_conversation", At: noon.Add(-time.Hour - 123*time.Microsecond),
		Queue: 5 * time.Microsecond, Start: 20 * time.Millisecond, Run: 3 * time.Second, Cold: true, State: journal.CodingFailure,
		Phase: lambda.PhaseRun, Code: lambda.CodeRuntimeException, Message: "x is not a function",
		Logs: []lambda.LogRecord{{Level: "Error", Message: "x is not a function", Extras: json.RawMessage(`[{"a":1}]`), Timestamp: noon.Add(-time.Hour).UnixMilli()}},
		// A lambda wrote more than is stored.
		Dropped: 3,
	}
	quick := call(noon.Add(-time.Minute))
	late := call(noon.Add(-time.Second), "Info x")
	late.State, late.LambdaID, late.Trigger = journal.Timeout, other, lambda.TriggerSchedule
	add(t, j, whole, quick, late)

	ask := func(q journal.InvocationQuery) []journal.Entry {
		t.Helper()
		q.Account, q.Logs = account, true
		if q.To.IsZero() {
			q.From, q.To = noon.Add(-24*time.Hour), noon.Add(time.Hour)
		}
		page, err := j.Invocations(t.Context(), q)
		require.NoError(t, err)
		require.Empty(t, page.Missing)
		return page.Entries
	}
	ids := func(entries []journal.Entry) []string {
		list := []string{}
		for _, e := range entries {
			list = append(list, e.RequestID)
		}
		return list
	}
	t.Run("what goes in comes out", func(t *testing.T) {
		require.Equal(t, []journal.Entry{whole}, ask(journal.InvocationQuery{RequestID: "my-request"}))
		got := ask(journal.InvocationQuery{RequestID: quick.RequestID})[0]
		require.Empty(t, got.Logs)
		got.Logs = nil
		require.Equal(t, quick, got)
	})
	for _, test := range []struct {
		name string
		q    journal.InvocationQuery
		want []string
	}{
		{"all, the oldest first", journal.InvocationQuery{}, []string{whole.RequestID, quick.RequestID, late.RequestID}},
		{"the newest first", journal.InvocationQuery{Newest: true}, []string{late.RequestID, quick.RequestID, whole.RequestID}},
		{"of one lambda", journal.InvocationQuery{LambdaID: other}, []string{late.RequestID}},
		{"by state", journal.InvocationQuery{States: []journal.State{journal.CodingFailure, journal.Timeout}}, []string{whole.RequestID, late.RequestID}},
		{"by trigger", journal.InvocationQuery{Trigger: lambda.TriggerEvent}, []string{whole.RequestID}},
		{"by duration", journal.InvocationQuery{MinDuration: 3*time.Second + 20*time.Millisecond}, []string{whole.RequestID}},
		{"by a longer duration", journal.InvocationQuery{MinDuration: 3*time.Second + 21*time.Millisecond}, []string{}},
		{"by time", journal.InvocationQuery{From: quick.At, To: late.At}, []string{quick.RequestID}},
	} {
		t.Run(test.name, func(t *testing.T) { require.Equal(t, test.want, ids(ask(test.q))) })
	}
	t.Run("without their logs", func(t *testing.T) {
		page, err := j.Invocations(t.Context(), journal.InvocationQuery{Account: account, From: noon.Add(-2 * time.Hour), To: noon})
		require.NoError(t, err)
		for _, e := range page.Entries {
			require.Nil(t, e.Logs)
		}
		require.Len(t, page.Entries, 3)
	})
}

func TestBuckets(t *testing.T) {
	c := newClock(time.UnixMilli(1656420000000))
	j := open(t, t.TempDir(), c)
	// The sample of contract/management.md §9.
	from := c.Now()
	add(t, j, call(from))
	c.Forward(time.Minute)
	for _, s := range []journal.State{journal.CodingFailure, journal.CodingFailure} {
		e := call(c.Now())
		e.State, e.Run = s, time.Second
		j.Add(e)
	}
	c.Forward(10 * time.Minute)
	e := call(c.Now())
	e.LambdaID, e.State = other, "NO STATE"
	add(t, j, e)

	t.Run("every bucket of the time is there, also without any call", func(t *testing.T) {
		buckets, _, err := j.Buckets(t.Context(), journal.BucketQuery{Account: account, LambdaID: shop, From: from, To: from.Add(15 * time.Minute), Size: journal.SlotSize})
		require.NoError(t, err)
		require.Len(t, buckets, 3)
		require.EqualValues(t, 1656420000000, buckets[0].From.UnixMilli())
		require.EqualValues(t, 1656420300000, buckets[0].To.UnixMilli())
		require.Equal(t, journal.Counts{0, 1, 2, 0, 0}, buckets[0].Counts)
		require.EqualValues(t, 2, buckets[0].Counts.Of(journal.CodingFailure))
		require.Zero(t, buckets[0].Counts.Of("NO STATE"))
		require.InDelta(t, float64(time.Second), float64(buckets[0].P99), float64(time.Second)/3)
		require.InDelta(t, float64(time.Second), float64(buckets[0].P50), float64(time.Second)/3)
		for _, b := range buckets[1:] {
			require.Zero(t, b.Counts)
			require.Zero(t, b.P99)
		}
	})
	t.Run("times are widened to whole buckets", func(t *testing.T) {
		buckets, _, err := j.Buckets(t.Context(), journal.BucketQuery{Account: account, LambdaID: shop, From: from.Add(time.Second), To: from.Add(2 * time.Second), Size: 24 * time.Hour})
		require.NoError(t, err)
		require.Len(t, buckets, 1)
		require.Equal(t, time.Date(2022, 6, 28, 0, 0, 0, 0, time.UTC), buckets[0].From)
		require.Equal(t, journal.Counts{0, 1, 2, 0, 0}, buckets[0].Counts)
	})
	t.Run("of all lambdas together", func(t *testing.T) {
		buckets, _, err := j.Buckets(t.Context(), journal.BucketQuery{Account: account, From: from, To: from.Add(time.Hour), Size: time.Hour})
		require.NoError(t, err)
		require.Equal(t, journal.Counts{1, 1, 2, 0, 0}, buckets[0].Counts)
	})
	t.Run("the account's totals", func(t *testing.T) {
		succeeded, failed, missing, err := j.Totals(t.Context(), account, from.AddDate(0, -1, 0), from.AddDate(0, 1, 0))
		require.NoError(t, err)
		require.EqualValues(t, 1, succeeded)
		require.EqualValues(t, 3, failed)
		require.Empty(t, missing)
		succeeded, failed, _, err = j.Totals(t.Context(), "nobody", from, from.Add(time.Hour))
		require.NoError(t, err)
		require.Zero(t, succeeded+failed)
	})
	t.Run("wrong questions", func(t *testing.T) {
		for field, q := range map[string]journal.BucketQuery{
			"bucketSize":     {From: from, To: from.Add(time.Hour), Size: time.Minute},
			"endTimestamp":   {From: from, To: from, Size: time.Hour},
			"startTimestamp": {From: from, To: from.AddDate(5, 0, 0), Size: time.Hour},
		} {
			_, _, err := j.Buckets(t.Context(), q)
			requireInvalid(t, err, field)
		}
		_, _, err := j.Buckets(t.Context(), journal.BucketQuery{From: from, To: from.AddDate(0, 0, 90), Size: journal.SlotSize})
		requireInvalid(t, err, "bucketSize")
		_, _, _, err = j.Totals(t.Context(), account, from, from)
		requireInvalid(t, err, "endTimestamp")
	})
}

func TestPercentiles(t *testing.T) {
	c := newClock(noon)
	j := open(t, t.TempDir(), c)
	for ms := 1; ms <= 1000; ms++ {
		e := call(noon)
		e.Run = time.Duration(ms) * time.Millisecond
		j.Add(e)
	}
	require.NoError(t, j.Flush(t.Context()))
	buckets, _, err := j.Buckets(t.Context(), journal.BucketQuery{Account: account, LambdaID: shop, From: noon, To: noon.Add(time.Second), Size: journal.SlotSize})
	require.NoError(t, err)
	b := buckets[0]
	require.InEpsilon(t, 500*time.Millisecond, b.P50, 0.17)
	require.InEpsilon(t, 950*time.Millisecond, b.P95, 0.17)
	require.InEpsilon(t, 990*time.Millisecond, b.P99, 0.17)
	t.Run("however short or long the calls were", func(t *testing.T) {
		for i, run := range []time.Duration{-time.Second, 0, time.Microsecond, 300 * time.Hour, 1<<63 - 1} {
			c.Forward(journal.SlotSize)
			e := call(c.Now())
			e.Run = run
			add(t, j, e)
			buckets, _, err := j.Buckets(t.Context(), journal.BucketQuery{Account: account, LambdaID: shop, From: c.Now(), To: c.Now().Add(time.Second), Size: journal.SlotSize})
			require.NoError(t, err)
			require.EqualValues(t, 1, buckets[0].Counts.Of(journal.Succeeded), i)
			require.GreaterOrEqual(t, buckets[0].P99, buckets[0].P50)
		}
	})
}

func TestTextComesOutAsItWentIn(t *testing.T) {
	c := newClock(noon)
	j := open(t, t.TempDir(), c)
	for name, test := range map[string]struct{ in, out string }{
		"control characters":  {"a\x01\x1b[31m\r\n\t\x7f", "a\x01\x1b[31m\r\n\t\x7f"},
		"NUL":                 {"a\x00b", "a\x00b"},
		"quotes":              {`it's "quoted"; DROP TABLE block; --`, `it's "quoted"; DROP TABLE block; --`},
		"what CSV would mind": {"=1+1;@x,-y", "=1+1;@x,-y"},
		"letters of all sort": {"ä漢🙂\u2028", "ä漢🙂\u2028"},
		"no UTF-8":            {"a\xff\xc3", "a\ufffd"},
		"nothing":             {"", ""},
		"much":                {strings.Repeat("0123456789", 100_000), strings.Repeat("0123456789", 100_000)},
	} {
		t.Run(name, func(t *testing.T) {
			e := call(noon, "Info x")
			e.RequestID, e.Message, e.Caller, e.LambdaName = test.in+name, test.in, test.in, test.in
			e.Logs[0].Message = test.in
			e.Logs[0].Extras, _ = json.Marshal([]string{test.in})
			add(t, j, e)
			page := lines(t, j, journal.LogQuery{RequestID: test.out + name, Limit: 2})
			require.Len(t, page.Lines, 1)
			require.Equal(t, test.out, page.Lines[0].Message)
			require.JSONEq(t, string(e.Logs[0].Extras), string(page.Lines[0].Extras))
			got, err := j.Invocations(t.Context(), journal.InvocationQuery{Account: account, RequestID: test.out + name, From: noon.Add(-time.Hour), To: noon.Add(time.Hour)})
			require.NoError(t, err)
			require.Len(t, got.Entries, 1)
			for _, s := range []string{got.Entries[0].Message, got.Entries[0].Caller, got.Entries[0].LambdaName} {
				require.Equal(t, test.out, s)
			}
			found := lines(t, j, journal.LogQuery{Text: start(test.out), RequestID: test.out + name})
			require.Len(t, found.Lines, 1, "it can be looked for")
		})
	}
	t.Run("extras that are no JSON array come as one", func(t *testing.T) {
		for in, out := range map[string]string{"{broken": `["{broken"]`, `{"a":1}`: `["{\"a\":1}"]`, "": "[]", "[]": "[]", "\xff": `["\ufffd"]`} {
			e := call(noon, "Info x")
			e.Logs[0].Extras = json.RawMessage(in)
			add(t, j, e)
			page := lines(t, j, journal.LogQuery{RequestID: e.RequestID})
			require.JSONEq(t, out, string(page.Lines[0].Extras))
		}
	})
}

// start is the first letters of s.
func start(s string) string {
	letters := []rune(s)
	return string(letters[:min(len(letters), 6)])
}

func TestTimesThatCannotBe(t *testing.T) {
	c := newClock(noon)
	j := open(t, t.TempDir(), c)
	e := call(noon.Add(-time.Second), "Info long ago", "Info far away", "Info now")
	e.Logs[0].Timestamp, e.Logs[1].Timestamp = -1<<62, 1<<62
	future := call(noon.AddDate(1, 0, 0), "Info of a clock that was set back")
	add(t, j, e, future)
	page := lines(t, j, journal.LogQuery{})
	require.Len(t, page.Lines, 4)
	for _, l := range page.Lines {
		require.GreaterOrEqual(t, l.Timestamp, e.At.UnixMilli())
		require.LessOrEqual(t, l.Timestamp, noon.UnixMilli())
	}
}

func TestMidnight(t *testing.T) {
	midnight := noon.Add(12 * time.Hour)
	c := newClock(midnight.Add(-time.Second))
	j := open(t, t.TempDir(), c)
	add(t, j, call(c.Now(), "Info 1"))
	c.Set(midnight.Add(2 * time.Second))
	// Both days in one batch, and lines of a call on both sides of midnight.
	late := call(midnight.Add(-500*time.Millisecond), "Info 2", "Info 4")
	late.Logs[1].Timestamp = midnight.Add(1500 * time.Millisecond).UnixMilli()
	add(t, j, call(midnight.Add(time.Second), "Info 3"), late)

	require.Equal(t, []string{"1", "2", "3", "4"}, logs(t, j, journal.LogQuery{}))
	require.Equal(t, []string{"4", "3", "2", "1"}, logs(t, j, journal.LogQuery{Newest: true}))
	require.Equal(t, []string{"3", "4"}, logs(t, j, journal.LogQuery{From: midnight, To: midnight.Add(time.Hour)}))
	require.Equal(t, []string{"4"}, logs(t, j, journal.LogQuery{From: midnight.Add(1500 * time.Millisecond), To: midnight.Add(time.Hour)}))
	require.Equal(t, 3, counted(t, j))
	buckets, _, err := j.Buckets(t.Context(), journal.BucketQuery{Account: account, LambdaID: shop, From: midnight.Add(-time.Minute), To: midnight.Add(time.Minute), Size: journal.SlotSize})
	require.NoError(t, err)
	require.EqualValues(t, 2, buckets[0].Counts.Of(journal.Succeeded))
	require.EqualValues(t, 1, buckets[1].Counts.Of(journal.Succeeded))
}

func TestWhatWasWrittenIsThereAfterClose(t *testing.T) {
	dir, c := t.TempDir(), newClock(noon)
	j := open(t, dir, c)
	j.Add(call(noon, "Info written by the close"))
	closeJournal(t, j)
	j.Add(call(noon, "Info too late"))
	require.EqualValues(t, 1, j.Stats().Dropped[journal.DroppedQueue])
	require.Error(t, j.Flush(t.Context()))
	require.Error(t, j.Note(t.Context(), journal.Activity{}))
	_, err := j.Logs(t.Context(), journal.LogQuery{From: noon, To: noon.Add(time.Second)})
	require.Error(t, err)

	again := open(t, dir, c)
	require.Equal(t, []string{"written by the close"}, logs(t, again, journal.LogQuery{}))
	// The same millisecond, and a clock that was set back.
	add(t, again, call(noon, "Info second"))
	c.Forward(-time.Minute)
	add(t, again, call(c.Now(), "Info earlier"))
	require.Equal(t, []string{"earlier", "written by the close", "second"}, logs(t, again, journal.LogQuery{}))
}

func TestTheLogOfAFileBeginsAnew(t *testing.T) {
	dir, c := t.TempDir(), newClock(noon)
	j := open(t, dir, c)
	const each = 1 << 20
	for i := range 8 {
		add(t, j, call(c.Now(), fmt.Sprintf("Info %d %s", i, noise(each))))
		j.Sync(t.Context())
	}
	info, err := os.Stat(filepath.Join(dir, today+"-wal"))
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(4*each), "it holds what came since the last time")
	require.Equal(t, 8, len(logs(t, j, journal.LogQuery{})))
}

func TestWrongQuestions(t *testing.T) {
	j := open(t, t.TempDir(), newClock(noon))
	add(t, j, call(noon, "Info 1"), call(noon, "Info 2"))
	next := lines(t, j, journal.LogQuery{Limit: 1}).Next
	require.NotEmpty(t, next)
	for name, test := range map[string]struct {
		q     journal.LogQuery
		field string
	}{
		"the end before the start":       {journal.LogQuery{From: noon, To: noon.Add(-time.Hour)}, "endTimestamp"},
		"years":                          {journal.LogQuery{From: noon.AddDate(-10, 0, 0), To: noon}, "startTimestamp"},
		"too many lines":                 {journal.LogQuery{Limit: journal.MaxLines + 1}, "limit"},
		"less than none":                 {journal.LogQuery{Limit: -1}, "limit"},
		"a long text":                    {journal.LogQuery{Text: strings.Repeat("x", 2_001)}, "text"},
		"a cursor that nobody gave out":  {journal.LogQuery{Cursor: "abc"}, "cursor"},
		"a cursor that was changed":      {journal.LogQuery{Cursor: "B" + next[1:]}, "cursor"},
		"a cursor of the other order":    {journal.LogQuery{Cursor: next, Newest: true}, "cursor"},
		"a cursor that never ends":       {journal.LogQuery{Cursor: strings.Repeat("A", 10_000)}, "cursor"},
		"a cursor with something behind": {journal.LogQuery{Cursor: next + "AAAA"}, "cursor"},
	} {
		t.Run(name, func(t *testing.T) {
			if test.q.To.IsZero() {
				test.q.From, test.q.To = noon.Add(-time.Hour), noon.Add(time.Hour)
			}
			test.q.Account = account
			_, err := j.Logs(t.Context(), test.q)
			requireInvalid(t, err, test.field)
		})
	}
	t.Run("a cursor of another list", func(t *testing.T) {
		_, err := j.Invocations(t.Context(), journal.InvocationQuery{Account: account, From: noon, To: noon.Add(time.Second), Cursor: next})
		requireInvalid(t, err, "cursor")
		_, err = j.Activities(t.Context(), journal.ActivityQuery{Account: account, From: noon, To: noon.Add(time.Second), Cursor: next})
		requireInvalid(t, err, "cursor")
	})
	t.Run("errors tell what was given and what to do", func(t *testing.T) {
		_, err := j.Logs(t.Context(), journal.LogQuery{Account: account, From: noon, To: noon.Add(time.Second), Text: strings.Repeat("x", 2001)})
		require.ErrorContains(t, err, "text has 2001 bytes, and 2000 is the most: give no more than 500 letters")
		_, err = j.Logs(t.Context(), journal.LogQuery{Account: account, From: noon, To: noon.Add(time.Second), Limit: -3})
		require.ErrorContains(t, err, "limit is -3: give 1 to 100000, or 0 for 100")
		_, _, err = j.Buckets(t.Context(), journal.BucketQuery{Account: account, From: noon, To: noon.Add(time.Second), Size: time.Minute})
		require.ErrorContains(t, err, "bucketSize is 1m0s: give a multiple of 5m0s")
	})
	t.Run("500 letters of any script are looked for", func(t *testing.T) {
		for _, letter := range []string{"x", "ü", "語", "😀"} {
			text := strings.Repeat(letter, 500)
			add(t, j, call(noon, "Info "+text))
			require.Equal(t, []string{text}, logs(t, j, journal.LogQuery{Text: text}))
		}
	})
	t.Run("a state that there is not", func(t *testing.T) {
		_, err := j.Invocations(t.Context(), journal.InvocationQuery{Account: account, From: noon, To: noon.Add(time.Second), States: []journal.State{"UNKNOWN"}})
		requireInvalid(t, err, "invocationStates")
	})
}

func TestNoAccountKeepsTheOthersFromAsking(t *testing.T) {
	j := open(t, t.TempDir(), newClock(noon))
	add(t, j, call(noon, "Info hello"))
	var all sync.WaitGroup
	release := make(chan struct{})
	const n = 12
	for range n {
		all.Go(func() {
			assert.NoError(t, j.Query(t.Context(), "greedy", func(context.Context) error { <-release; return nil }))
		})
	}
	require.Eventually(t, func() bool {
		all, running := j.Queries("greedy")
		return all == n && running == journal.MaxOfAccount
	}, 10*time.Second, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	page, err := j.Logs(ctx, journal.LogQuery{Account: account, From: noon, To: noon.Add(time.Hour)})
	assert.NoError(t, err)
	assert.Len(t, page.Lines, 1)
	left, leave := context.WithCancel(t.Context())
	leave()
	_, err = j.Logs(left, journal.LogQuery{Account: "greedy", From: noon, To: noon.Add(time.Hour)})
	assert.ErrorIs(t, err, context.Canceled)
	close(release)
	all.Wait()
	running, _ := j.Queries("greedy")
	require.Zero(t, running)
}

func TestAQueryEndsWithItsContext(t *testing.T) {
	j := open(t, t.TempDir(), newClock(noon))
	add(t, j, call(noon, "Info 1"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := j.Logs(ctx, journal.LogQuery{Account: account, From: noon, To: noon.Add(time.Second)})
	require.ErrorIs(t, err, context.Canceled)
	_, err = j.Activities(ctx, journal.ActivityQuery{Account: account, From: noon, To: noon.Add(time.Second)})
	require.ErrorIs(t, err, context.Canceled)
	ctx, cancel = context.WithTimeout(t.Context(), 0)
	defer cancel()
	_, _, err = j.Buckets(ctx, journal.BucketQuery{Account: account, From: noon, To: noon.Add(time.Second), Size: time.Hour})
	require.True(t, lambda.Is(err, lambda.KindUnavailable), "%v", err)
}
