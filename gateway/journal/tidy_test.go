package journal_test

import (
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/journal"
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
