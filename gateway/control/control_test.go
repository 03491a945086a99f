package control_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/control"
)

// TestMain lets the test binary be a foreign process that dials.
func TestMain(m *testing.M) {
	if dir := os.Getenv("DIAL"); dir != "" {
		os.Exit(dial(dir))
	}
	os.Exit(m.Run())
}

// dial exits with 0 when somebody answers.
func dial(dir string) int {
	c, err := control.Dial(context.Background(), dir)
	if err != nil {
		fmt.Println(err)
		return 3
	}
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	text, err := io.ReadAll(c)
	fmt.Println(string(text), err)
	if string(text) != "hello" {
		return 4
	}
	return 0
}

// listen greets everybody who is let in, and tells who was not.
func listen(t *testing.T, dir string) (refused <-chan control.Peer) {
	t.Helper()
	strangers := make(chan control.Peer, 8)
	l, err := control.Listen(dir, func(p control.Peer) { strangers <- p })
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "hello") // a reader who left is the test's to see
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		<-done
		require.NoFileExists(t, filepath.Join(dir, control.File))
		require.ErrorIs(t, l.Close(), net.ErrClosed)
	})
	return strangers
}

func greet(t *testing.T, dir string) {
	t.Helper()
	c, err := control.Dial(t.Context(), dir)
	require.NoError(t, err)
	text, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, "hello", string(text))
	require.NoError(t, c.Close())
}

func TestTheOwnerIsLetIn(t *testing.T) {
	dir := t.TempDir()
	listen(t, dir)
	greet(t, dir)
	info, err := os.Stat(filepath.Join(dir, control.File))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.NotZero(t, info.Mode()&os.ModeSocket)
}

func TestTheOtherEndIsNamed(t *testing.T) {
	dir := t.TempDir()
	l, err := control.Listen(dir, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	go func() {
		c, err := control.Dial(t.Context(), dir)
		if err == nil {
			_ = c.Close()
		}
	}()
	c, err := l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	require.Equal(t, fmt.Sprintf("user %d, process %d", os.Geteuid(), os.Getpid()), c.RemoteAddr().String())
}

func TestAFolderOfAnyLengthWillDo(t *testing.T) {
	dir := t.TempDir()
	for range 4 {
		dir = filepath.Join(dir, strings.Repeat("long name, ", 20))
	}
	require.NoError(t, os.MkdirAll(dir, 0o700))
	listen(t, dir)
	greet(t, dir)
}

func TestWhatAKilledProcessLeftIsReplaced(t *testing.T) {
	dir := t.TempDir()
	left, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: filepath.Join(dir, control.File)})
	require.NoError(t, err)
	left.SetUnlinkOnClose(false)
	require.NoError(t, left.Close())
	_, err = control.Dial(t.Context(), dir)
	require.ErrorIs(t, err, control.ErrNotRunning, "nobody listens there")
	listen(t, dir)
	greet(t, dir)
}

func TestWhereNobodyListens(t *testing.T) {
	for name, dir := range map[string]string{"an empty folder": t.TempDir(), "no folder": filepath.Join(t.TempDir(), "none")} {
		_, err := control.Dial(t.Context(), dir)
		require.ErrorIs(t, err, control.ErrNotRunning, name)
	}
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := control.Dial(t.Context(), file)
	require.ErrorIs(t, err, syscall.ENOTDIR)
	_, err = control.Listen(file, nil)
	require.Error(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(filepath.Dir(file), control.File), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(file), control.File, "x"), nil, 0o600))
	_, err = control.Listen(filepath.Dir(file), nil)
	require.ErrorContains(t, err, "not empty", "what is not ours is left alone")
}

// TestAForeignUserIsRefused needs to be root to become another user.
func TestAForeignUserIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can start a process of another user")
	}
	const nobody = 65534
	dir, err := os.MkdirTemp("/tmp", "control") // every user can pass through to it
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	binary := filepath.Join(dir, "dialler") // that of the test may lie where others cannot read
	text, err := os.ReadFile(os.Args[0])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(binary, text, 0o755)) //nolint:gosec // others run it
	require.NoError(t, os.Chmod(dir, 0o755))              //nolint:gosec // and reach it
	strangers := listen(t, dir)
	foreign := func() (string, int) {
		cmd := exec.CommandContext(t.Context(), binary)
		cmd.Env, cmd.Dir = []string{"DIAL=" + dir}, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		out, err := cmd.CombinedOutput()
		require.NotNil(t, cmd.ProcessState, "%v", err)
		return string(out), cmd.ProcessState.ExitCode()
	}
	out, code := foreign()
	require.Equal(t, 3, code, out)
	require.Contains(t, out, "permission denied", "the file's mode holds it off")

	require.NoError(t, os.Chmod(filepath.Join(dir, control.File), 0o666)) //nolint:gosec // as if somebody had opened it
	out, code = foreign()
	require.Equal(t, 4, code, out)
	select {
	case p := <-strangers:
		require.EqualValues(t, nobody, p.UID)
	case <-time.After(5 * time.Second):
		t.Fatal("the kernel's word for the user was not asked")
	}
	greet(t, dir)
}

func TestAProcessThatThisOneStartedIsRefused(t *testing.T) {
	dir := t.TempDir()
	refused := listen(t, dir)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "DIAL="+dir)
	out, err := cmd.CombinedOutput()
	require.Error(t, err, "%s", out)
	require.Equal(t, 4, cmd.ProcessState.ExitCode(), "%s", out)
	require.Equal(t, int32(cmd.Process.Pid), (<-refused).PID)
	greet(t, dir)
}
