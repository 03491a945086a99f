package journal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

func TestMoreThanCanBeWritten(t *testing.T) {
	c := newClock(noon)
	j := open(t, t.TempDir(), c)
	add(t, j, call(noon))
	release := j.HoldWriter()
	const n = journal.MaxQueued + 5000
	for range n {
		j.Add(call(noon, "Info x")) // returns although nothing is written
	}
	s := j.Stats()
	require.LessOrEqual(t, s.Queued, journal.MaxQueued)
	require.NotZero(t, s.Dropped[journal.DroppedQueue])
	require.ErrorContains(t, j.Check(t.Context()), "invocations were dropped 0s ago")
	c.Forward(time.Minute)
	require.ErrorContains(t, j.Check(t.Context()), "invocations wait to be written, the first for 1m0s")
	release()
	require.NoError(t, j.Flush(t.Context()))
	require.NoError(t, j.Check(t.Context()))
	s = j.Stats()
	require.EqualValues(t, n+1, s.Written+s.Dropped[journal.DroppedQueue])
	require.Equal(t, n+1, counted(t, j), "reports are right although rows were dropped")
	require.Zero(t, s.Lost)
}

func TestMoreBytesThanTheQueueTakes(t *testing.T) {
	c := newClock(noon)
	j := open(t, t.TempDir(), c)
	release := j.HoldWriter()
	text := "Info " + strings.Repeat("x", 1<<20)
	for range 100 {
		j.Add(call(noon, text))
	}
	s := j.Stats()
	require.Less(t, s.QueuedBytes, int64(64<<20))
	require.NotZero(t, s.Dropped[journal.DroppedQueue])
	release()
	require.NoError(t, j.Flush(t.Context()))
	require.Equal(t, 100, counted(t, j))
}

func TestMoreLambdasThanAnybodyHas(t *testing.T) {
	c := newClock(noon)
	j := open(t, t.TempDir(), c)
	const n = 24_000
	for i := range n {
		e := call(noon)
		e.LambdaID = fmt.Sprint("random-", i)
		j.Add(e)
		if i%8_000 == 0 {
			require.NoError(t, j.Flush(t.Context()))
		}
	}
	require.NoError(t, j.Flush(t.Context()))
	for range 60 { // batches in which the old ones had nothing are forgotten
		add(t, j, call(noon))
	}
	s := j.Stats()
	require.EqualValues(t, n+60, s.Written+s.Dropped[journal.DroppedQueue]+s.Dropped[journal.DroppedLambdas])
	require.Equal(t, n+60-int(s.Lost), counted(t, j))
	require.Less(t, s.Lost, uint64(n/4))
}

func TestManyAtOnce(t *testing.T) {
	c := newClock(noon)
	j := open(t, t.TempDir(), c)
	const writers, each = 8, 500
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				e := call(c.Now(), fmt.Sprintf("Info %d-%d", w, i))
				e.LambdaID = fmt.Sprint("lambda-", i%5)
				j.Add(e)
				if i%50 == 0 {
					c.Forward(time.Second)
					_ = j.Stats()
					_ = j.Check(t.Context())
				}
			}
		})
		wg.Go(func() {
			for range 5 {
				_, err := j.Logs(t.Context(), journal.LogQuery{Account: account, From: noon, To: noon.AddDate(0, 0, 1), Newest: true})
				if err != nil {
					t.Error(err)
				}
				if err := j.Note(t.Context(), activity(noon, "x")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, j.Flush(t.Context()))
	require.Len(t, lines(t, j, journal.LogQuery{Limit: 2 * writers * each}).Lines, writers*each)
	require.Equal(t, writers*each, counted(t, j))
}

func TestRetention(t *testing.T) {
	dir, c := t.TempDir(), newClock(noon.AddDate(0, 0, -5))
	j := open(t, dir, c, func(l *lambda.Limits) { l.LogRetention = 3 * 24 * time.Hour; l.ActivityRetention = 4 * 24 * time.Hour })
	for c.Now().Before(noon.Add(time.Second)) {
		add(t, j, call(c.Now(), "Info "+c.Now().Format(time.DateOnly)))
		require.NoError(t, j.Note(t.Context(), activity(c.Now(), c.Now().Format(time.DateOnly))))
		c.Forward(24 * time.Hour)
	}
	c.Set(noon)
	j.Keep(t.Context())
	require.Equal(t, []string{"2026-11-21", "2026-11-22", "2026-11-23", "2026-11-24"}, logs(t, j, journal.LogQuery{}))
	require.NoFileExists(t, filepath.Join(dir, "2026-11-20.db"))
	require.NoFileExists(t, filepath.Join(dir, "2026-11-20.db-wal"))
	page, err := j.Activities(t.Context(), journal.ActivityQuery{Account: account, From: noon.AddDate(0, 0, -30), To: noon.Add(time.Hour)})
	require.NoError(t, err)
	require.Len(t, page.Activities, 5)
	require.Equal(t, 6, counted(t, j), "the month's total is right all the same")

	t.Run("at the start, too", func(t *testing.T) {
		closeJournal(t, j)
		c.Forward(24 * time.Hour)
		again := open(t, dir, c, func(l *lambda.Limits) { l.LogRetention = 24 * time.Hour })
		require.Eventually(t, func() bool { return len(logs(t, again, journal.LogQuery{})) == 1 }, 10*time.Second, time.Millisecond)
		require.Equal(t, 6, counted(t, again))
	})
	t.Run("totals go when no month needs them", func(t *testing.T) {
		c.Forward(40 * 24 * time.Hour)
		again := open(t, dir, c, func(l *lambda.Limits) { l.LogRetention = 24 * time.Hour })
		again.Keep(t.Context())
		require.Zero(t, counted(t, again))
		files, err := filepath.Glob(filepath.Join(dir, "2026-*"))
		require.NoError(t, err)
		require.Empty(t, files)
	})
}

func TestJournalSize(t *testing.T) {
	const mib = 1 << 20
	dir, c := t.TempDir(), newClock(noon.AddDate(0, 0, -2))
	j := open(t, dir, c, func(l *lambda.Limits) { l.JournalSize = 40 })
	text := noise(mib)
	write := func(name string) {
		for range 15 {
			add(t, j, call(c.Now(), "Info "+name+text))
		}
	}
	write("first ")
	c.Forward(24 * time.Hour)
	write("second ")
	j.Keep(t.Context())
	require.Len(t, logs(t, j, journal.LogQuery{Text: "first "}), 15)
	c.Forward(24 * time.Hour)
	write("third ")
	j.Keep(t.Context())
	t.Run("the oldest day goes first", func(t *testing.T) {
		require.Empty(t, logs(t, j, journal.LogQuery{Text: "first "}))
		require.Len(t, logs(t, j, journal.LogQuery{Text: "second "}), 15)
		require.Len(t, logs(t, j, journal.LogQuery{Text: "third "}), 15)
		require.NoError(t, j.Check(t.Context()))
		require.Equal(t, 45, counted(t, j), "but not its totals")
		buckets, _, err := j.Buckets(t.Context(), journal.BucketQuery{Account: account, LambdaID: shop, From: noon.AddDate(0, 0, -2), To: noon.AddDate(0, 0, 1), Size: 24 * time.Hour})
		require.NoError(t, err)
		for i, n := range []int64{15, 15, 15, 0} {
			require.Equal(t, n, buckets[i].Counts.Of(journal.Succeeded), i)
		}
	})
	t.Run("a day that alone is too large is not written to", func(t *testing.T) {
		write("more ")
		write("more ")
		j.Keep(t.Context())
		require.ErrorContains(t, j.Check(t.Context()), "journal-size")
		before := j.Stats()
		add(t, j, call(c.Now(), "Info dropped"))
		require.Empty(t, logs(t, j, journal.LogQuery{Text: "dropped"}))
		s := j.Stats()
		require.Equal(t, before.Dropped[journal.DroppedSize]+1, s.Dropped[journal.DroppedSize])
		require.Less(t, s.Bytes, int64(60*mib))
		require.EqualValues(t, counted(t, j), s.Written+s.Dropped[journal.DroppedSize])
	})
	t.Run("until the next day", func(t *testing.T) {
		c.Forward(24 * time.Hour)
		j.Keep(t.Context())
		add(t, j, call(c.Now(), "Info next day"))
		require.Equal(t, []string{"next day"}, logs(t, j, journal.LogQuery{Text: "next day"}))
		require.NoError(t, j.Check(t.Context()))
	})
	t.Run("what was set aside counts", func(t *testing.T) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "2026-11-20.db.damaged-20261120T000000.000Z"), make([]byte, 41*mib), 0o600))
		j.Keep(t.Context())
		require.NoFileExists(t, filepath.Join(dir, "2026-11-20.db.damaged-20261120T000000.000Z"))
		require.Equal(t, []string{"next day"}, logs(t, j, journal.LogQuery{Text: "next day"}))
	})
}

func TestADayThatHasJustEndedStays(t *testing.T) {
	dir, c := t.TempDir(), newClock(noon.Add(12*time.Hour-time.Second))
	j := open(t, dir, c, func(l *lambda.Limits) { l.JournalSize = 1 })
	for range 3 {
		add(t, j, call(c.Now(), "Info "+noise(1<<20)))
	}
	c.Forward(time.Minute)
	j.Keep(t.Context())
	add(t, j, call(c.Now().Add(-time.Minute), "Info late"))
	require.FileExists(t, filepath.Join(dir, today), "what began in it is still being written")
	c.Forward(time.Hour)
	j.Keep(t.Context())
	require.NoFileExists(t, filepath.Join(dir, today))
	require.Equal(t, 4, counted(t, j))
}
