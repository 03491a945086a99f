package embedded_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/store/embedded"
)

// resident is how much of the database of a member's folder this process has in
// its memory.
func resident(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	file, err := filepath.EvalSymlinks(filepath.Join(dir, "data", "member", "snap", "db"))
	require.NoError(t, err)
	smaps, err := os.Open("/proc/self/smaps")
	require.NoError(t, err)
	defer func() { require.NoError(t, smaps.Close()) }()
	inside := false
	for lines := bufio.NewScanner(smaps); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		switch {
		case !strings.HasSuffix(fields[0], ":"):
			inside = strings.HasSuffix(lines.Text(), strings.ReplaceAll(file, "\n", `\012`))
		case inside && fields[0] == "Rss:":
			kb, err := strconv.ParseInt(fields[1], 10, 64)
			require.NoError(t, err)
			bytes += kb << 10
		}
	}
	return bytes
}

const (
	bigKeys  = 600
	bigValue = 32 << 10
)

func fill(t *testing.T, s *embedded.Server) {
	t.Helper()
	var wg sync.WaitGroup
	for w := range 20 {
		wg.Go(func() {
			for i := range bigKeys / 20 {
				if _, err := s.Client().Put(t.Context(), fmt.Sprintf("k%02d/%d", w, i), strings.Repeat("v", bigValue)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// readBig reads what fill wrote.
func readBig(t *testing.T, s *embedded.Server) {
	t.Helper()
	r, err := s.Client().Get(t.Context(), "k", clientv3.WithPrefix())
	require.NoError(t, err)
	require.Len(t, r.Kvs, bigKeys)
	for _, kv := range r.Kvs {
		require.Len(t, kv.Value, bigValue)
	}
}

func TestTheDatabaseIsNotHeldInMemory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a name\nof two lines")
	s := start(t, dir)
	fill(t, s)
	require.NoError(t, s.Close())

	s = start(t, dir) // it reads everything
	require.Eventually(t, func() bool { return resident(t, dir) < bigKeys*bigValue/4 }, 5*time.Second, 10*time.Millisecond)
	readBig(t, s)
	require.Greater(t, resident(t, dir), int64(bigKeys*bigValue/2))
	require.NoError(t, s.ForgetPages())
	require.Less(t, resident(t, dir), int64(bigKeys*bigValue/4))
	readBig(t, s)
}

func TestPagesAreForgottenWhileTheDatabaseIsInUse(t *testing.T) {
	s := start(t, t.TempDir())
	fill(t, s)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, work := range []func(i int) error{
		func(int) error { return s.ForgetPages() },
		func(i int) error {
			_, err := s.Client().Put(t.Context(), "other", strings.Repeat("x", i%1000))
			return err
		},
		func(i int) error {
			_, err := s.Client().Get(t.Context(), fmt.Sprintf("k%02d/%d", i%20, i%30))
			return err
		},
		func(int) error { return s.Defragment() }, // it maps another file
	} {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := work(i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	time.Sleep(time.Second)
	close(stop)
	wg.Wait()
	readBig(t, s)
	require.NoError(t, s.Close())
	require.NoError(t, s.ForgetPages(), "nothing is mapped any more")
}
