package journal_test

import (
	"bytes"
	"database/sql"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

// activitiesFile opens the file of activities beside the journal.
func activitiesFile(t *testing.T, dir string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "activities.db")+"?_pragma=busy_timeout(10000)")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, db.Close()) })
	return db
}

// insertActivities writes n activities, a millisecond each, with changes of size
// bytes of text.
func insertActivities(t *testing.T, db *sql.DB, by string, from time.Time, n, size int) {
	t.Helper()
	_, err := db.Exec(`WITH RECURSIVE number (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < ?4)
		INSERT INTO activity (account, at, by, action, noun, thing, name, request, changes)
		SELECT ?1, ?3 + n, ?2, 'update', 'lambda', 'x', 'old', '', '[{"field":"f","after":"' || hex(zeroblob(?5 / 2)) || '"}]' FROM number`,
		account, by, from.UnixMilli(), n, size)
	require.NoError(t, err)
}

func countOf(t *testing.T, db *sql.DB, where string, args ...any) (n int) {
	t.Helper()
	require.NoError(t, db.QueryRow("SELECT count(*) FROM activity WHERE "+where, args...).Scan(&n))
	return n
}

func TestNotesAreWrittenWhileOldOnesAreDeleted(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, newClock(noon))
	require.NoError(t, j.Note(t.Context(), activity(noon, "first")))
	db := activitiesFile(t, dir)
	const n = 50_000
	insertActivities(t, db, "dev", noon.AddDate(-1, 0, 0), n, 10)
	done := make(chan struct{})
	go func() { j.Tidy(t.Context()); close(done) }()
	between, notes := 0, 1
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
			require.NoError(t, j.Note(t.Context(), activity(noon, "meanwhile")))
			notes++
			if left := countOf(t, db, "name = 'old'"); left > 0 && left < n {
				between++
			}
		}
	}
	require.NotZero(t, between, "no note was written between two pieces")
	require.Zero(t, countOf(t, db, "name = 'old'"))
	require.Equal(t, notes, countOf(t, db, "name <> 'old'"))
}

func TestTotalsThatAreKeptGoInPieces(t *testing.T) {
	dir, c := t.TempDir(), newClock(noon)
	j := open(t, dir, c)
	require.NoError(t, j.Note(t.Context(), activity(noon, "first")))
	db := activitiesFile(t, dir)
	_, err := db.Exec(`INSERT INTO lambda VALUES (1, ?, '')`, account)
	require.NoError(t, err)
	require.NoError(t, journal.InsertTotals(db, 2500, noon.AddDate(0, 0, -50)))
	require.Equal(t, 2500, counted(t, j))
	j.Tidy(t.Context())
	require.Zero(t, counted(t, j))
}

func TestAnAccountsActivitiesAreBounded(t *testing.T) {
	const kept = 64 << 20
	for name, flood := range map[string]struct{ n, size int }{
		"in their number": {100_500, 10},
		"in their bytes":  {5_000, 16 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var log bytes.Buffer
			j, err := journal.Open(journal.Config{Dir: dir, Log: zerolog.New(&log), Limits: lambda.DefaultLimits(), Now: newClock(noon).Now})
			require.NoError(t, err)
			t.Cleanup(func() { closeJournal(t, j) })
			elsewhere := activity(noon.Add(-time.Hour), "elsewhere")
			elsewhere.Account = "99"
			require.NoError(t, j.Note(t.Context(), elsewhere))
			db := activitiesFile(t, dir)
			insertActivities(t, db, "victim", noon.AddDate(0, 0, -50), 300, 200)
			insertActivities(t, db, "flood", noon.AddDate(0, 0, -1), flood.n, flood.size)
			j.Keep(t.Context())

			require.Equal(t, 300, countOf(t, db, "by = 'victim'"), "nobody drives out what others did")
			require.Equal(t, 1, countOf(t, db, "account = '99'"))
			left := countOf(t, db, "by = 'flood'")
			require.Less(t, left, min(flood.n, 100_000))
			require.Equal(t, left, countOf(t, db, "by = 'flood' AND at >= ?", noon.AddDate(0, 0, -1).UnixMilli()+int64(flood.n-left)), "the oldest go")
			var size int64
			require.NoError(t, db.QueryRow("SELECT sum(octet_length(changes)) FROM activity").Scan(&size))
			require.LessOrEqual(t, size, int64(kept))
			require.Greater(t, size+int64(left)*1000, int64(kept), "no more goes than must")
			require.EqualValues(t, flood.n-left, j.Stats().DroppedActivities)
			require.Greater(t, j.Stats().Bytes, size, "the size of all files has that of activities")
			before := countOf(t, db, "1")
			j.Keep(t.Context())
			require.Equal(t, before, countOf(t, db, "1"))
			closeJournal(t, j)
			require.Contains(t, log.String(), `"account":"`+account+`","activities":`)
			require.Contains(t, log.String(), `"by":"flood"`)
		})
	}
}

func TestAnAccountThatNotesMuchIsBoundedAtOnce(t *testing.T) {
	j := open(t, t.TempDir(), newClock(noon))
	text := strings.Repeat("x", 16<<10)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 70 {
				a := activity(noon, "much")
				for range 4 {
					a.Changes = append(a.Changes, journal.Change{Field: "code", Diff: text})
				}
				assert.NoError(t, j.Note(t.Context(), a))
			}
		})
	}
	all.Wait()
	require.Eventually(t, func() bool { return j.Stats().DroppedActivities > 0 }, 30*time.Second, time.Millisecond)
}
