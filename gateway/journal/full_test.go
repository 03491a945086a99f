package journal_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/journal"
)

var source = rand.NewChaCha8([32]byte{})

// noise is text that does not get smaller when it is packed.
func noise(n int) string {
	b := make([]byte, n)
	_, _ = source.Read(b) // never fails
	for i := range b {
		b[i] = ' ' + b[i]%94
	}
	return string(b)
}

// fill adds entries, waiting for nothing, and gives how many.
func fill(j *journal.Journal, c *clock, n, size int) int {
	for range n {
		j.Add(call(c.Now(), "Info "+noise(size)))
	}
	return n
}

// requireFull says that the journal knows that it cannot be written, and that it
// slows nobody.
func requireFull(t *testing.T, j *journal.Journal, c *clock) {
	t.Helper()
	require.ErrorContains(t, j.Check(t.Context()), "the journal cannot be written, since ")
	s := j.Stats()
	require.NotEmpty(t, s.LastError)
	require.NotZero(t, s.LastErrorAt)
	require.NotZero(t, s.Dropped[journal.DroppedDisk])
	for range 2 * journal.MaxQueued {
		j.Add(call(c.Now()))
	}
	require.Greater(t, j.Stats().Dropped[journal.DroppedDisk], s.Dropped[journal.DroppedDisk], "what found no room is so by the disk")
	require.Zero(t, j.Stats().Dropped[journal.DroppedQueue])
}

func TestFullDatabase(t *testing.T) {
	c := newClock(noon)
	j := open(t, t.TempDir(), c)
	add(t, j, call(noon, "Info before"))
	require.NoError(t, j.LimitPages(0))
	n := 1 + fill(j, c, 100, 10_000)
	require.NoError(t, j.Flush(t.Context()))
	require.ErrorContains(t, j.Check(t.Context()), "full")
	requireFull(t, j, c)
	n += 2 * journal.MaxQueued
	require.Equal(t, []string{"before"}, logs(t, j, journal.LogQuery{}), "what was written can be read")

	require.NoError(t, j.LimitPages(1<<30))
	require.NoError(t, j.Flush(t.Context()))
	add(t, j, call(c.Now(), "Info after"))
	n++
	require.NoError(t, j.Check(t.Context()))
	require.Empty(t, j.Stats().LastError)
	require.Equal(t, []string{"after"}, logs(t, j, journal.LogQuery{Text: "after"}))
	require.Equal(t, n, counted(t, j), "everything was counted")
	s := j.Stats()
	require.EqualValues(t, n, s.Written+s.Dropped[journal.DroppedDisk])
	require.Zero(t, s.Lost)
}

// TestFullDisk has a disk of 8 MiB.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m,mode=0700"); err != nil {
		t.Skipf("a small disk cannot be mounted here (%v): TestFullDatabase has the same error without one", err)
	}
	c := newClock(noon)
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	folder := filepath.Join(dir, "journal")
	j := open(t, folder, c)
	t.Cleanup(func() { closeJournal(t, j) })
	ballast := filepath.Join(dir, "ballast")
	n := fill(j, c, 10, 1000)
	require.NoError(t, j.Flush(t.Context()))
	require.NoError(t, j.Note(t.Context(), activity(noon, "before")))
	fillDisk(t, ballast)
	n += fill(j, c, 100, 20_000)
	require.NoError(t, j.Flush(t.Context()))
	requireFull(t, j, c)
	n += 2 * journal.MaxQueued
	require.Len(t, logs(t, j, journal.LogQuery{}), 10, "what was written can be read")
	require.Error(t, j.Note(t.Context(), journal.Activity{Account: account, Changes: []journal.Change{{Field: "code", After: noise(16_000)}, {Field: "more", After: noise(16_000)}}}))

	require.NoError(t, os.Remove(ballast))
	require.NoError(t, j.Flush(t.Context()))
	add(t, j, call(c.Now(), "Info after"))
	n++
	require.NoError(t, j.Check(t.Context()))
	require.Equal(t, []string{"after"}, logs(t, j, journal.LogQuery{Text: "after"}))
	require.Equal(t, n, counted(t, j), "everything was counted")
	require.NoError(t, j.Note(t.Context(), activity(noon, "after")))
}

// fillDisk writes a file until there is no room for another byte.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	require.NoError(t, err)
	for size := 64 << 10; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(bytes.Repeat([]byte("x"), size))
		}
		require.ErrorIs(t, err, syscall.ENOSPC)
	}
	require.NoError(t, f.Close())
}

// TestAFullDiskAtTheStart has no room for a single file.
func TestAFullDiskAtTheStart(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m,mode=0700"); err != nil {
		t.Skipf("a small disk cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	c := newClock(noon)
	ballast := filepath.Join(dir, "ballast")
	fillDisk(t, ballast)
	j := open(t, filepath.Join(dir, "journal"), c)
	t.Cleanup(func() { closeJournal(t, j) })
	add(t, j, call(noon, "Info lost"))
	requireFull(t, j, c)
	require.NoError(t, os.Remove(ballast))
	require.NoError(t, j.Flush(t.Context()))
	add(t, j, call(noon, "Info after"))
	require.NoError(t, j.Check(t.Context()))
	require.Equal(t, 2+2*journal.MaxQueued, counted(t, j))
}

func TestBackoff(t *testing.T) {
	c := newClock(noon)
	j := open(t, t.TempDir(), c)
	add(t, j, call(noon, "Info before"))
	require.NoError(t, j.LimitPages(0))
	fill(j, c, 100, 10_000)
	require.NoError(t, j.Flush(t.Context()))
	require.NotEmpty(t, j.Stats().LastError)
	require.NoError(t, j.LimitPages(1<<30))
	// Nobody flushes, and nothing more is added: the counts that wait are enough
	// to try again.
	require.Eventually(t, func() bool { return j.Stats().LastError == "" }, 30*time.Second, 10*time.Millisecond)
	require.Equal(t, 101, counted(t, j))
}
