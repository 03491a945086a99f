package journal_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/journal"
)

const (
	today     = "2026-11-24.db"
	yesterday = "2026-11-23.db"
)

// written is a folder with a journal of yesterday and today, closed.
func written(t *testing.T) (dir string, c *clock) {
	t.Helper()
	dir, c = t.TempDir(), newClock(noon.AddDate(0, 0, -1))
	j := open(t, dir, c)
	for range 300 {
		j.Add(call(c.Now(), numberedInfo(20)...))
	}
	require.NoError(t, j.Flush(t.Context()))
	c.Set(noon)
	add(t, j, call(c.Now(), "Info of today"))
	require.NoError(t, j.Note(t.Context(), activity(c.Now(), "one")))
	closeJournal(t, j)
	return dir, c
}

func numberedInfo(n int) []string {
	all := numbered(n)
	for i := range all {
		all[i] = "Info " + all[i]
	}
	return all
}

func activity(at time.Time, name string) journal.Activity {
	return journal.Activity{Account: account, At: at, By: "dev", Action: journal.Update, Noun: journal.Lambda, ID: shop, Name: name}
}

// spoil are ways in which a file can be lost.
var spoil = map[string]func(t *testing.T, path string){
	"garbage": func(t *testing.T, path string) {
		require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte("no database "), 2000), 0o600))
	},
	"a truncated file": func(t *testing.T, path string) {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.NoError(t, os.Truncate(path, info.Size()/2/8192*8192))
	},
	"a torn file": func(t *testing.T, path string) {
		require.NoError(t, os.Truncate(path, 1000))
	},
	"a folder": func(t *testing.T, path string) {
		require.NoError(t, os.Remove(path))
		require.NoError(t, os.Mkdir(path, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(path, "x"), nil, 0o600))
	},
	"a database of another program": func(t *testing.T, path string) {
		require.NoError(t, os.Remove(path))
		db, err := sql.Open("sqlite", path)
		require.NoError(t, err)
		_, err = db.Exec("CREATE TABLE block (x)")
		require.NoError(t, err)
		require.NoError(t, db.Close())
	},
	"a version of the future": func(t *testing.T, path string) {
		db, err := sql.Open("sqlite", path)
		require.NoError(t, err)
		_, err = db.Exec("PRAGMA user_version = 99")
		require.NoError(t, err)
		require.NoError(t, db.Close())
	},
	"a link": func(t *testing.T, path string) {
		require.NoError(t, os.Rename(path, path+".real"))
		require.NoError(t, os.Symlink(path+".real", path))
	},
}

func TestDamageFoundAtTheStart(t *testing.T) {
	for name, spoil := range spoil {
		t.Run(name, func(t *testing.T) {
			for _, file := range []string{yesterday, today, "activities.db"} {
				dir, c := written(t)
				spoil(t, filepath.Join(dir, file))
				j := open(t, dir, c)
				requireAside(t, j, dir, file)
				// Everything else is there, and everything new.
				require.Equal(t, file != yesterday, len(logs(t, j, journal.LogQuery{Text: "line 7"})) > 0)
				require.Equal(t, file != today, len(logs(t, j, journal.LogQuery{Text: "of today"})) > 0)
				add(t, j, call(c.Now(), "Info anew"))
				require.Equal(t, []string{"anew"}, logs(t, j, journal.LogQuery{Text: "anew"}))
				require.NoError(t, j.Note(t.Context(), activity(c.Now(), "two")))
				page, err := j.Activities(t.Context(), journal.ActivityQuery{Account: account, From: noon.Add(-time.Hour), To: noon.Add(time.Hour)})
				require.NoError(t, err)
				require.Equal(t, "two", page.Activities[0].Name)
				require.Len(t, page.Missing, map[bool]int{true: 1}[file == "activities.db"])

				// The answer names it for as long as it is there, the check for a day.
				c.Forward(25 * time.Hour)
				require.NoError(t, j.Check(t.Context()))
				closeJournal(t, j)
				again := open(t, dir, c)
				require.NoError(t, again.Check(t.Context()))
				if file != "activities.db" {
					require.Len(t, lines(t, again, journal.LogQuery{}).Missing, 1)
				}
			}
		})
	}
}

// requireAside says that a file was set aside, and nothing else.
func requireAside(t *testing.T, j *journal.Journal, dir, file string) {
	t.Helper()
	aside := j.Stats().Damaged
	require.Len(t, aside, 1)
	require.True(t, strings.HasPrefix(aside[0], file+".damaged-2026"), aside[0])
	_, err := os.Lstat(filepath.Join(dir, aside[0]))
	require.NoError(t, err)
	require.ErrorContains(t, j.Check(t.Context()), aside[0])
	if file != "activities.db" {
		require.Equal(t, aside, lines(t, j, journal.LogQuery{}).Missing)
		page, err := j.Invocations(t.Context(), journal.InvocationQuery{Account: account, From: noon.AddDate(0, 0, -2), To: noon.AddDate(0, 0, 2)})
		require.NoError(t, err)
		require.Equal(t, aside, page.Missing)
	}
}

// spoilPages overwrites all of a file but its head.
func spoilPages(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte{0xa5}, int(info.Size())-8192), 8192)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func TestDamageFoundByAReader(t *testing.T) {
	dir, c := written(t)
	j := open(t, dir, c)
	spoilPages(t, filepath.Join(dir, yesterday))
	page := lines(t, j, journal.LogQuery{})
	require.Equal(t, []string{yesterday}, page.Missing)
	require.Len(t, page.Lines, 1, "the other day is there")
	require.Eventually(t, func() bool { return len(j.Stats().Damaged) == 1 }, 10*time.Second, time.Millisecond)
	requireAside(t, j, dir, yesterday)
}

func TestReportsSayWhatTheyLack(t *testing.T) {
	for _, file := range []string{yesterday, "activities.db"} {
		dir, c := written(t)
		j := open(t, dir, c)
		require.NoError(t, j.Note(t.Context(), activity(noon, "two")))
		closeJournal(t, j)
		if file == yesterday {
			spoilPages(t, filepath.Join(dir, file))
		} else {
			spoilActivities(t, filepath.Join(dir, file))
		}
		j = open(t, dir, c)
		_, _, missing, err := j.Totals(t.Context(), account, noon.AddDate(0, 0, -2), noon.AddDate(0, 0, 1))
		require.NoError(t, err)
		require.Len(t, missing, 1)
		require.True(t, strings.HasPrefix(missing[0], file), missing[0])
		require.Eventually(t, func() bool { return len(j.Stats().Damaged) == 1 }, 10*time.Second, time.Millisecond)
		q := journal.BucketQuery{Account: account, LambdaID: shop, From: noon.AddDate(0, 0, -2), To: noon.Add(time.Hour), Size: 24 * time.Hour}
		buckets, missing, err := j.Buckets(t.Context(), q)
		require.NoError(t, err)
		require.EqualValues(t, 1, buckets[2].Counts.Of(journal.Succeeded), "the other day is there")
		require.Equal(t, j.Stats().Damaged, missing, "what was set aside is still missing")
		q.From = noon
		_, missing, err = j.Buckets(t.Context(), q)
		require.NoError(t, err)
		require.Empty(t, missing, "a day that is whole lacks nothing")
	}
}

func TestDamageFoundByTheWriter(t *testing.T) {
	dir, c := written(t)
	spoilPages(t, filepath.Join(dir, today))
	j := open(t, dir, c)
	add(t, j, call(c.Now(), "Info anew"))
	require.Equal(t, []string{"anew"}, logs(t, j, journal.LogQuery{Text: "anew"}), "it is written to a new file")
	requireAside(t, j, dir, today)
	require.Zero(t, j.Stats().Dropped[journal.DroppedDisk])
}

func TestDamagedActivities(t *testing.T) {
	dir, c := written(t)
	j := open(t, dir, c)
	require.NoError(t, j.Note(t.Context(), activity(c.Now(), "two")))
	closeJournal(t, j)
	spoilActivities(t, filepath.Join(dir, "activities.db"))
	j = open(t, dir, c)
	q := journal.ActivityQuery{Account: account, From: noon.Add(-time.Hour), To: noon.Add(time.Hour)}
	page, err := j.Activities(t.Context(), q)
	require.NoError(t, err)
	require.NotEmpty(t, page.Missing)
	require.Eventually(t, func() bool { return len(j.Stats().Damaged) == 1 }, 10*time.Second, time.Millisecond)
	require.NoError(t, j.Note(t.Context(), activity(c.Now(), "three")))
	page, err = j.Activities(t.Context(), q)
	require.NoError(t, err)
	require.Len(t, page.Activities, 1)
	require.Len(t, page.Missing, 1)
}

// spoilActivities overwrites the pages behind the schema's.
func spoilActivities(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte{0xa5}, int(info.Size())-4096), 4096)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func TestAGarbledBlock(t *testing.T) {
	c := newClock(noon)
	j := open(t, t.TempDir(), c)
	add(t, j, call(noon, "Info garbled"))
	require.NoError(t, j.Garble())
	page := lines(t, j, journal.LogQuery{})
	require.Empty(t, page.Lines)
	require.Equal(t, []string{today}, page.Missing, "it is said")
	// SQLite knows nothing of what is in a block: the file goes on.
	j.Keep(t.Context())
	require.Empty(t, j.Stats().Damaged)
	require.Equal(t, 1, counted(t, j))
}

func TestAGarbledActivity(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, newClock(noon))
	for i := range 5 {
		require.NoError(t, j.Note(t.Context(), activity(noon.Add(time.Duration(i)*time.Second), fmt.Sprint(i))))
	}
	db := activitiesFile(t, dir)
	_, err := db.Exec("UPDATE activity SET changes = '[{' WHERE name IN ('1', '3')")
	require.NoError(t, err)
	q := journal.ActivityQuery{Account: account, From: noon, To: noon.Add(time.Hour), Limit: 2}
	page, err := j.Activities(t.Context(), q)
	require.NoError(t, err)
	require.Len(t, page.Activities, 2)
	require.Equal(t, "4", page.Activities[0].Name)
	require.Equal(t, "2", page.Activities[1].Name, "what is older is there")
	require.Equal(t, []string{"activities.db"}, page.Missing, "it is said")
	q.Cursor = page.Next
	page, err = j.Activities(t.Context(), q)
	require.NoError(t, err)
	require.Len(t, page.Activities, 1)
	require.Equal(t, "0", page.Activities[0].Name)
	require.Empty(t, page.Next)
	// SQLite knows nothing of what is in a text: the file goes on.
	j.Keep(t.Context())
	require.Empty(t, j.Stats().Damaged)
}

func TestAnEmptyFile(t *testing.T) {
	for _, file := range []string{yesterday, today, "activities.db"} {
		dir, c := t.TempDir(), newClock(noon)
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), nil, 0o600))
		j := open(t, dir, c)
		require.Empty(t, lines(t, j, journal.LogQuery{}).Missing, "there was nothing in it")
		require.NoError(t, j.Check(t.Context()))
		add(t, j, call(noon, "Info 1"))
		require.Equal(t, []string{"1"}, logs(t, j, journal.LogQuery{}))
		require.NoError(t, j.Note(t.Context(), activity(noon, "one")))
		require.Empty(t, j.Stats().Damaged)
	}
}

func TestADeletedFile(t *testing.T) {
	dir, c := t.TempDir(), newClock(noon)
	j := open(t, dir, c)
	add(t, j, call(noon, "Info 1"))
	for _, suffix := range []string{"", "-wal", "-shm"} {
		require.NoError(t, os.Remove(filepath.Join(dir, today+suffix)))
	}
	add(t, j, call(noon, "Info 2"))
	require.Equal(t, []string{"2"}, logs(t, j, journal.LogQuery{}), "what comes later is written to a new file")
	require.NoError(t, j.Check(t.Context()))
}

func TestRightsOfFiles(t *testing.T) {
	dir, c := written(t)
	require.NoError(t, os.Chmod(dir, 0o777))
	for _, file := range []string{yesterday, today, "activities.db"} {
		require.NoError(t, os.Chmod(filepath.Join(dir, file), 0o666))
	}
	j := open(t, dir, c)
	add(t, j, call(noon, "Info 1"))
	require.NoError(t, j.Note(t.Context(), activity(noon, "one")))
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Greater(t, len(entries), 4)
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), e.Name())
	}
}

func TestAFolderThatCannotBeUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, dir := range []string{file, filepath.Join(file, "below"), "/proc/1/nothing"} {
		_, err := journal.Open(journal.Config{Dir: dir})
		require.ErrorContains(t, err, "the journal's folder "+dir+" cannot be used")
	}
}

// TestFilesOfAnotherUser runs itself as a user who may not read the files: root
// may read everything.
func TestFilesOfAnotherUser(t *testing.T) {
	const nobody = 65534
	if dir := os.Getenv("JOURNAL_TEST_FOREIGN"); dir != "" {
		j := open(t, dir, newClock(noon))
		require.Len(t, j.Stats().Damaged, 2, "files that cannot be read are set aside")
		add(t, j, call(noon, "Info anew"))
		require.Equal(t, []string{"anew"}, logs(t, j, journal.LogQuery{}))
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can give files to another user")
	}
	dir, _ := written(t)
	require.NoError(t, os.Remove(filepath.Join(dir, "activities.db")))
	for parent := dir; parent != "/"; parent = filepath.Dir(parent) {
		info, err := os.Stat(parent)
		require.NoError(t, err)
		if info.Mode().Perm()&0o011 == 0 {
			require.NoError(t, os.Chmod(parent, info.Mode().Perm()|0o011))
		}
	}
	require.NoError(t, os.Chown(dir, nobody, nobody))
	program := filepath.Join(dir, "test")
	text, err := os.ReadFile(os.Args[0])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(program, text, 0o755)) //nolint:gosec // another user runs it
	cmd := exec.Command(program, "-test.run", "^TestFilesOfAnotherUser$", "-test.v")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "JOURNAL_TEST_FOREIGN="+dir, "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "--- PASS: TestFilesOfAnotherUser")
}
