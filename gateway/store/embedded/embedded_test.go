package embedded_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/sluice-faas/sluice/gateway/store/embedded"
)

// childEnv makes the test program write into the folder it names until killed.
const childEnv = "SLUICE_TEST_WRITE_INTO"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		writeForEver(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// writeForEver prints the number of each write after etcd has acknowledged it.
func writeForEver(dir string) {
	s, err := embedded.Start(context.Background(), embedded.Config{Dir: dir, Log: zerolog.New(os.Stderr)})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for i := 0; ; i++ {
		if _, err := s.Client().Put(context.Background(), fmt.Sprintf("k%08d", i), strings.Repeat("x", i%5000)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(i)
	}
}

func start(t *testing.T, dir string) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(t.Context(), embedded.Config{Dir: dir, Log: zerolog.New(zerolog.NewTestWriter(t))})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestStart(t *testing.T) {
	t.Run("what was written is there after a restart", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "not", "there", "yet", strings.Repeat("long", 50))
		s := start(t, dir)
		_, err := s.Client().Put(t.Context(), "a", "b")
		require.NoError(t, err)
		require.NoError(t, s.Close())
		require.NoError(t, s.Close(), "closing twice is no error")
		<-s.Done()
		r, err := start(t, dir).Client().Get(t.Context(), "a")
		require.NoError(t, err)
		require.Equal(t, "b", string(r.Kvs[0].Value))
	})
	t.Run("a folder may have any name", func(t *testing.T) {
		for _, name := range []string{"[x]", "[", "a*", "a b", `back\slash?`} {
			dir := filepath.Join(t.TempDir(), name)
			s := start(t, dir)
			_, err := s.Client().Put(t.Context(), "a", "b")
			require.NoError(t, err)
			require.NoError(t, s.Close())
			r, err := start(t, dir).Client().Get(t.Context(), "a")
			require.NoError(t, err, name)
			require.Equal(t, "b", string(r.Kvs[0].Value))
		}
	})
	t.Run("the folder is its owner's alone", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "etcd")
		require.NoError(t, os.Mkdir(dir, 0o755))
		start(t, dir)
		info, err := os.Stat(dir)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	})
	t.Run("no socket is opened", func(t *testing.T) {
		sockets := func() (n int) {
			entries, err := os.ReadDir("/proc/self/fd")
			require.NoError(t, err)
			for _, e := range entries {
				if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(target, "socket:") {
					n++
				}
			}
			return n
		}
		before := sockets()
		s := start(t, t.TempDir())
		_, err := s.Client().Put(t.Context(), "a", "b")
		require.NoError(t, err)
		require.Equal(t, before, sockets())
	})
	t.Run("leases and watches work", func(t *testing.T) {
		s := start(t, t.TempDir())
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		lease, err := s.Client().Grant(ctx, 1)
		require.NoError(t, err)
		events := s.Client().Watch(ctx, "a")
		_, err = s.Client().Put(ctx, "a", "b", clientv3.WithLease(lease.ID))
		require.NoError(t, err)
		require.Equal(t, clientv3.EventTypePut, (<-events).Events[0].Type)
		require.Equal(t, clientv3.EventTypeDelete, (<-events).Events[0].Type)
	})
	t.Run("a start whose context has ended leaves nothing behind", func(t *testing.T) {
		dir := t.TempDir()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := embedded.Start(ctx, embedded.Config{Dir: dir})
		require.ErrorIs(t, err, context.Canceled)
		start(t, dir)
	})
}

func TestFolder(t *testing.T) {
	t.Run("a second start on one folder says that it is in use", func(t *testing.T) {
		dir := t.TempDir()
		first := start(t, dir)
		_, err := embedded.Start(t.Context(), embedded.Config{Dir: dir})
		require.ErrorContains(t, err, dir)
		require.ErrorContains(t, err, "another process uses it")
		_, err = first.Client().Put(t.Context(), "a", "b")
		require.NoError(t, err, "the first goes on")
	})
	t.Run("a folder that cannot be made or written is named", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		for _, dir := range []string{file, filepath.Join(file, "below"), "/proc/none", ""} {
			_, err := embedded.Start(t.Context(), embedded.Config{Dir: dir})
			require.Error(t, err, "%q", dir)
			require.ErrorContains(t, err, dir)
		}
	})
	t.Run("a member folder that is a file is told", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "data"), nil, 0o600))
		_, err := embedded.Start(t.Context(), embedded.Config{Dir: dir})
		require.ErrorContains(t, err, dir)
	})
}

// lines is a log that may be read while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestFull(t *testing.T) {
	const quota = 16 << 20
	startSmall := func(t *testing.T, dir string, log io.Writer) *embedded.Server {
		t.Helper()
		s, err := embedded.Start(t.Context(), embedded.Config{Dir: dir, Quota: quota, Log: zerolog.New(log)})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return s
	}
	put := func(s *embedded.Server, k string) error {
		_, err := s.Client().Put(t.Context(), k, strings.Repeat("x", 1<<20))
		return err
	}
	fill := func(t *testing.T, s *embedded.Server, k func(i int) string) {
		t.Helper()
		for i := range 2 * quota >> 20 {
			if err := put(s, k(i)); err != nil {
				require.ErrorIs(t, err, rpctypes.ErrNoSpace)
				return
			}
		}
		t.Fatal("it is never full")
	}
	t.Run("of old versions, it takes writes again after a restart", func(t *testing.T) {
		dir := t.TempDir()
		s := startSmall(t, dir, io.Discard)
		fill(t, s, func(int) string { return "same" })
		require.ErrorIs(t, put(s, "other"), rpctypes.ErrNoSpace)
		require.NoError(t, s.Close())
		s = startSmall(t, dir, io.Discard)
		require.NoError(t, put(s, "other"))
		r, err := s.Client().Get(t.Context(), "same", clientv3.WithKeysOnly())
		require.NoError(t, err)
		require.Len(t, r.Kvs, 1)
	})
	t.Run("of what is wanted, it says so, and takes writes again when that is less", func(t *testing.T) {
		dir := t.TempDir()
		var log lines
		s := startSmall(t, dir, &log)
		// What is free in a full database differs; what a restart gives back is
		// filled again, until there is nothing.
		for i := 0; !strings.Contains(log.String(), "etcd is full"); i++ {
			require.Less(t, i, 10)
			fill(t, s, func(j int) string { return fmt.Sprint("k", i, "-", j) })
			require.NoError(t, s.Close())
			s = startSmall(t, dir, &log)
		}
		require.ErrorIs(t, put(s, "other"), rpctypes.ErrNoSpace)
		_, err := s.Client().Delete(t.Context(), "k", clientv3.WithPrefix())
		require.NoError(t, err)
		require.NoError(t, s.Close())
		require.NoError(t, put(startSmall(t, dir, io.Discard), "other"))
	})
}

// filled makes a folder with some data and gives it back closed.
func filled(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s := start(t, dir)
	for i := range 300 {
		_, err := s.Client().Put(t.Context(), fmt.Sprint(i), strings.Repeat("x", 2000))
		require.NoError(t, err)
	}
	require.NoError(t, s.Close())
	return dir
}

// contents reads every file below dir but the lock.
func contents(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		files[path], err = os.ReadFile(path)
		return err
	}))
	return files
}

func TestDamage(t *testing.T) {
	walFile := func(t *testing.T, dir string) string {
		files, err := filepath.Glob(filepath.Join(dir, "data", "member", "wal", "0*.wal"))
		require.NoError(t, err)
		require.NotEmpty(t, files)
		return files[0]
	}
	database := func(_ *testing.T, dir string) string { return filepath.Join(dir, "data", "member", "snap", "db") }
	overwrite := func(at int64, with []byte) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			require.NoError(t, err)
			_, err = f.WriteAt(with, at)
			require.NoError(t, err)
			require.NoError(t, f.Close())
		}
	}
	cut := func(size int64) func(*testing.T, string) {
		return func(t *testing.T, path string) { require.NoError(t, os.Truncate(path, size)) }
	}
	whole := filled(t)
	garbage := bytes.Repeat([]byte{0xa5}, 64<<10)
	for name, c := range map[string]struct {
		file   func(*testing.T, string) string
		damage func(*testing.T, string)
	}{
		"an overwritten database":       {database, overwrite(0, garbage)},
		"a database cut to nothing":     {database, cut(100)},
		"a database cut to its header":  {database, cut(8 << 10)},
		"a log overwritten at its head": {walFile, overwrite(0, garbage)},
		"a log overwritten inside":      {walFile, overwrite(100_000, garbage)},
		"a database overwritten inside": {database, overwrite(500_000, garbage)},
		"a log cut in the middle":       {walFile, cut(200_000)},
		"a log that is gone":            {walFile, func(t *testing.T, path string) { require.NoError(t, os.Remove(path)) }},
		"a database that is a folder": {database, func(t *testing.T, path string) {
			require.NoError(t, os.Remove(path))
			require.NoError(t, os.Mkdir(path, 0o700))
		}},
	} {
		t.Run(name+" is an error that names the folder, and nothing is changed", func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.CopyFS(dir, os.DirFS(whole)))
			c.damage(t, c.file(t, dir))
			before := contents(t, dir)
			_, err := embedded.Start(t.Context(), embedded.Config{Dir: dir, Log: zerolog.Nop()})
			require.ErrorContains(t, err, dir)
			t.Log(err)
			require.True(t, maps.EqualFunc(before, contents(t, dir), bytes.Equal), "the damaged folder was changed")
		})
	}
}

func TestKillDuringFirstStart(t *testing.T) {
	for _, after := range []time.Duration{0, 5, 10, 20, 30, 50, 80, 120} {
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+dir)
		require.NoError(t, cmd.Start())
		time.Sleep(after * time.Millisecond)
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
		require.NoError(t, start(t, dir).Close(), "killed after %d ms", after)
	}
}

func TestKill(t *testing.T) {
	dir := t.TempDir()
	acknowledged := -1
	for range 2 {
		acknowledged = max(acknowledged, writeAndKill(t, dir))
		s := start(t, dir)
		for i := range acknowledged + 1 {
			r, err := s.Client().Get(t.Context(), fmt.Sprintf("k%08d", i), clientv3.WithKeysOnly())
			require.NoError(t, err)
			require.Len(t, r.Kvs, 1, "write %d was acknowledged and is lost", i)
		}
		require.NoError(t, s.Close())
	}
	require.Greater(t, acknowledged, 50)
}

// writeAndKill has another process write and kills it in the middle; it returns
// the last write that was acknowledged.
func writeAndKill(t *testing.T, dir string) int {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	last := -1
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		n, err := strconv.Atoi(lines.Text())
		require.NoError(t, err)
		last = n
		if n == 1500 { // beyond a snapshot of the log
			require.NoError(t, cmd.Process.Kill())
		}
	}
	_ = cmd.Wait()
	return last
}

func TestLog(t *testing.T) {
	var mu sync.Mutex
	var b bytes.Buffer
	w := writerFunc(func(p []byte) (int, error) { mu.Lock(); defer mu.Unlock(); return b.Write(p) })
	s, err := embedded.Start(t.Context(), embedded.Config{Dir: t.TempDir(), Log: zerolog.New(w)})
	require.NoError(t, err)
	_, err = s.Client().Revoke(t.Context(), 12345) // etcd warns about a lease that it does not know
	require.Error(t, err)
	require.NoError(t, s.Close())
	mu.Lock()
	defer mu.Unlock()
	require.NotContains(t, b.String(), `"level":"error"`)
	require.NotContains(t, b.String(), `"level":"info"`)
	require.Contains(t, b.String(), `"component":"etcd"`)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
