package sandbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sluice-faas/sluice/plugins/sandbox"
	"github.com/sluice-faas/sluice/plugins/sandbox/launch"
)

func TestMain(m *testing.M) {
	launch.Main()
	if len(os.Args) > 1 && os.Args[1] == "as-gateway" {
		if err := asGateway(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m,
		// The thread that starts processes is kept for the program's life.
		goleak.IgnoreAnyFunction("github.com/sluice-faas/sluice/plugins/sandbox.spawn"),
		goleak.Cleanup(func(code int) {
			if dir, err := hostile(); err == nil {
				_ = os.RemoveAll(dir) // in the system's folder for such things
			}
			os.Exit(code)
		}))
}

// shell starts a script and reads its outputs to the end, as go-plugin does.
func shell(t *testing.T, script string, env ...string) (p *sandbox.Process, stdout, stderr func() string) {
	t.Helper()
	p = sandbox.New(sandbox.Command{Path: "/bin/sh", Args: []string{"-c", script}, MemoryMiB: 64}, env, t.TempDir())
	require.NoError(t, p.Start(context.Background()))
	out, err := read(p.Stdout()), read(p.Stderr())
	t.Cleanup(func() {
		require.NoError(t, p.Kill(context.Background()))
		out()
		err()
		_ = p.Wait(context.Background()) // its error is the process's status
		_ = p.Egress().Close()           // its folder is gone
	})
	return p, out, err
}

// read collects r in the background; the function waits for its end.
func read(r io.Reader) func() string {
	var text bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(&text, r) // ends with the process or lastWords after it
	}()
	return func() string {
		<-done
		return text.String()
	}
}

const line = "1|1|unix|/s|grpc"

func TestOnlyTheHandshakeLineOfStdoutIsPassedOn(t *testing.T) {
	for name, test := range map[string]struct{ script, want, fault string }{
		"a handshake and then anything":     {script: "echo '" + line + "'; echo more; head -c 5000000 /dev/zero; echo done >&2", want: line + "\n"},
		"with the fields of newer servers":  {script: "echo '" + line + "||true'", want: line + "||true\n"},
		"with a carriage return":            {script: `printf '` + line + `\r\n'`, want: line + "\n"},
		"a line before it":                  {script: "echo warning; echo '" + line + "'", fault: `"warning"`},
		"an empty line before it":           {script: "echo; echo '" + line + "'", fault: `""`},
		"letters in front of it":            {script: "echo 'x" + line + "'", fault: `"x1|1`},
		"a half line, and it stays":         {script: "printf Loading; sleep 100", fault: `"Loading"`},
		"a line without end":                {script: "while :; do printf 1111111111111111; done", fault: `"1111`},
		"JSON":                              {script: `echo '{"@message":1}'`, fault: `{\"@message\":1}`},
		"too few fields":                    {script: "echo '1|1|unix'", fault: `"1|1|unix"`},
		"another protocol than gRPC":        {script: "echo '1|1|unix|/s|netrpc'", fault: "netrpc"},
		"nothing at all":                    {script: "exit 4", fault: sandbox.ErrNoHandshake.Error()},
		"stdout closed, and it stays alive": {script: "exec >&-; sleep 100", fault: sandbox.ErrNoHandshake.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			p, stdout, stderr := shell(t, test.script)
			require.Equal(t, test.want, stdout())
			if test.fault != "" {
				require.ErrorContains(t, p.HandshakeError(), test.fault)
				return
			}
			require.NoError(t, p.HandshakeError())
			if strings.Contains(test.script, "done") {
				require.Equal(t, "done\n", stderr(), "the rest of stdout was read")
			}
		})
	}
}

func TestTheEnvironmentIsWhatWasGivenAndTheWayToTheProxy(t *testing.T) {
	t.Setenv("VAULT_TOKEN", "s.secret")
	for _, env := range [][]string{nil, {"A=1", "PLUGIN_UNIX_SOCKET_DIR=/elsewhere"}} {
		p := sandbox.New(sandbox.Command{Path: "/bin/sh", Args: []string{"-c", "exec /usr/bin/env >&2"}}, env, t.TempDir())
		require.NoError(t, p.Start(context.Background()))
		said := read(p.Stderr())
		read(p.Stdout())()
		seen := strings.Split(strings.TrimSpace(said()), "\n")
		require.NoError(t, p.Wait(context.Background()))
		require.NoError(t, p.Egress().Close())
		want := []string{
			"HTTP_PROXY=http://127.0.0.1:3128", "http_proxy=http://127.0.0.1:3128", "HTTPS_PROXY=http://127.0.0.1:3128",
			"https_proxy=http://127.0.0.1:3128", "NO_PROXY=", "no_proxy=", "SLUICE_EGRESS=unix:" + p.Dir() + "/egress.sock",
		}
		if env != nil {
			want = append(want, "A=1", "PLUGIN_UNIX_SOCKET_DIR="+p.Dir())
		}
		// The shell's own.
		seen = slices.DeleteFunc(seen, func(e string) bool { return strings.HasPrefix(e, "PWD=") })
		require.ElementsMatch(t, want, seen)
	}
}

func TestTheProcessIsAloneInItsSessionAndFolder(t *testing.T) {
	p, _, stderr := shell(t, `pwd -P >&2; cat /proc/self/stat >&2; readlink /proc/self/fd/0 >&2; ls /proc/self/fd | wc -l >&2`)
	dir, err := filepath.EvalSymlinks(p.Dir())
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(stderr()), "\n")
	require.Len(t, lines, 4)
	require.Equal(t, dir, lines[0])
	stat := strings.Fields(lines[1][strings.LastIndex(lines[1], ")")+2:])
	require.Equal(t, p.ID(), stat[2], "process group")
	require.Equal(t, p.ID(), stat[3], "session")
	require.Equal(t, "/dev/null", lines[2])
	require.Equal(t, "4", strings.TrimSpace(lines[3]), "three descriptors and ls's own")
}

func TestStatus(t *testing.T) {
	for script, want := range map[string]string{
		"exit 0": "exit status 0", "exit 3": "exit status 3", "kill -9 $$": "signal: killed",
	} {
		p, stdout, stderr := shell(t, script)
		<-p.Exited()
		stdout()
		stderr()
		require.Equal(t, want, p.Status())
		if err := p.Wait(context.Background()); want == "exit status 0" {
			require.NoError(t, err)
		} else {
			require.EqualError(t, err, want)
		}
	}
}

func TestKill(t *testing.T) {
	t.Run("before the start prevents it", func(t *testing.T) {
		p := sandbox.New(sandbox.Command{Path: "/bin/sh"}, nil, t.TempDir())
		require.NoError(t, p.Kill(context.Background()))
		require.ErrorContains(t, p.Start(context.Background()), "killed before it started")
		require.Empty(t, p.ID())
	})
	t.Run("often, and after the end", func(t *testing.T) {
		p, _, _ := shell(t, "sleep 100")
		for range 3 {
			require.NoError(t, p.Kill(context.Background()))
		}
		<-p.Exited()
		require.NoError(t, p.Kill(context.Background()))
		require.Equal(t, "signal: killed", p.Status())
	})
	t.Run("takes what ignores other signals, and its children", func(t *testing.T) {
		p, _, _ := shell(t, `trap '' TERM INT HUP; sleep 100 & sleep 100 & wait`)
		time.Sleep(20 * time.Millisecond)
		require.NoError(t, p.Kill(context.Background()))
		<-p.Exited()
		require.Eventually(t, func() bool { return errors.Is(syscall.Kill(-p.PID(), 0), syscall.ESRCH) }, 5*time.Second, time.Millisecond)
	})
}

func TestStartFails(t *testing.T) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for name, test := range map[string]struct {
		ctx  context.Context
		path string
		want error
	}{
		"of a file that is not there":   {context.Background(), "/nonexistent", os.ErrNotExist},
		"of a file that is not program": {context.Background(), "/etc/passwd", os.ErrPermission},
		"when the context has ended":    {ended, "/bin/sh", context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			p := sandbox.New(sandbox.Command{Path: test.path}, nil, t.TempDir())
			require.ErrorIs(t, p.Start(test.ctx), test.want)
		})
	}
	p := sandbox.New(sandbox.Command{Path: "sh"}, nil, t.TempDir())
	require.ErrorContains(t, p.Start(context.Background()), "not an absolute path")
}

func TestOnlyASocketInItsOwnFolderIsConnectedTo(t *testing.T) {
	dir := t.TempDir()
	p := sandbox.New(sandbox.Command{Path: "/bin/sh"}, nil, dir)
	for address, want := range map[[2]string]bool{
		{"unix", filepath.Join(dir, "s")}:           true,
		{"unix", filepath.Join(dir, ".", "s")}:      true,
		{"unix", dir + "/../s"}:                     false,
		{"unix", filepath.Join(dir, "deeper", "s")}: false,
		{"unix", "s"}:                false,
		{"unix", "@abstract"}:        false,
		{"unix", "/run/docker.sock"}: false,
		{"unix", dir}:                false,
		{"tcp", "127.0.0.1:80"}:      false,
	} {
		_, _, err := p.PluginToHost(address[0], address[1])
		require.Equal(t, want, err == nil, "%v: %v", address, err)
	}
}
