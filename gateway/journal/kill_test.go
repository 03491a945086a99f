package journal_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

// childDir is the variable that makes the test binary a child: its value is the
// journal's folder.
const childDir = "JOURNAL_TEST_DIR"

// promised is how old an answered call is that the journal has, whatever becomes
// of the process.
const promised = time.Second

// child adds entries until it is killed, at a pace of about 2 000 in a second,
// and prints the number and time of each.
func child(dir string) {
	j, err := journal.Open(journal.Config{Dir: dir, Log: zerolog.Nop(), Limits: lambda.DefaultLimits()})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	out := bufio.NewWriter(os.Stdout)
	for i := 0; i < 120_000; i++ {
		now := time.Now()
		e := call(now, fmt.Sprintf("Info %d", i))
		e.RequestID = strconv.Itoa(i)
		j.Add(e)
		fmt.Fprintln(out, i, now.UnixMilli())
		if i%10 == 9 {
			_ = out.Flush()
			time.Sleep(5 * time.Millisecond)
		}
	}
}

func TestKilled(t *testing.T) {
	dir := t.TempDir()
	for round := range 3 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		added := map[int]int64{} // when, by number
		first := int64(0)
		killed := time.Time{}
		for scan := bufio.NewScanner(out); scan.Scan(); {
			number, at, ok := strings.Cut(scan.Text(), " ")
			i, err := strconv.Atoi(number)
			if !ok || err != nil {
				continue // the last line may be torn
			}
			ms, err := strconv.ParseInt(at, 10, 64)
			if err != nil || len(at) < 13 {
				continue
			}
			added[i] = ms
			if first == 0 {
				first = ms
			}
			if killed.IsZero() && ms-first > 2500 {
				killed = time.Now()
				require.NoError(t, cmd.Process.Kill())
			}
		}
		_ = cmd.Wait() // it was killed
		require.False(t, killed.IsZero(), "the child ended on its own")

		j, err := journal.Open(journal.Config{Dir: dir, Log: zerolog.New(zerolog.NewTestWriter(t)), Limits: lambda.DefaultLimits()})
		require.NoError(t, err)
		require.NoError(t, j.Check(t.Context()))
		stored := storedSince(t, j, time.UnixMilli(first))
		missing := 0
		for i, at := range added {
			if killed.UnixMilli()-at > promised.Milliseconds() {
				require.True(t, stored[i], "round %d: call %d, %d ms before the kill, is not in the journal", round, i, killed.UnixMilli()-at)
			} else if !stored[i] {
				missing++
			}
		}
		// What is in the totals is what is in the files.
		sum := 0
		buckets, _, err := j.Buckets(t.Context(), journal.BucketQuery{Account: account, LambdaID: shop, From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Minute), Size: journal.SlotSize})
		require.NoError(t, err)
		for _, b := range buckets {
			sum += int(b.Counts.Of(journal.Succeeded))
		}
		require.Len(t, storedSince(t, j, time.Now().Add(-time.Hour)), sum)
		t.Logf("round %d: %d calls, of which %d of the last second are missing", round, len(added), missing)
		require.NoError(t, j.Close(context.Background()))
		// The next child begins with other numbers' times, but the same numbers.
		require.NoError(t, os.RemoveAll(dir))
	}
}

// storedSince gives the numbers of the calls that are in the journal.
func storedSince(t *testing.T, j *journal.Journal, from time.Time) map[int]bool {
	t.Helper()
	stored := map[int]bool{}
	q := journal.LogQuery{Account: account, LambdaID: shop, From: from, To: time.Now().Add(time.Minute), Limit: 50_000}
	for {
		page, err := j.Logs(t.Context(), q)
		require.NoError(t, err)
		require.Empty(t, page.Missing)
		for _, l := range page.Lines {
			require.Equal(t, l.RequestID, l.Message, "a call and its lines are one")
			i, err := strconv.Atoi(l.RequestID)
			require.NoError(t, err)
			require.False(t, stored[i])
			stored[i] = true
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return stored
		}
	}
}
