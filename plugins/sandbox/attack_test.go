package sandbox_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/sluice-faas/sluice/plugins/sandbox"
)

// caVariable tells a gateway's process of its file of certificates.
const caVariable = "SANDBOX_TEST_CA"

// stranger is a user that no machine has, to be when the test is root.
const stranger = 61_234

// hostile is the program of the attacks, static, in a folder that everybody may
// read, beside a copy of this test for other users.
var hostile = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "hostile")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // for every user
		return dir, err
	}
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "hostile"), "./testdata/hostile")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("%w: %s", err, out)
	}
	self, err := os.Executable()
	if err != nil {
		return dir, err
	}
	text, err := os.ReadFile(self)
	if err != nil {
		return dir, err
	}
	return dir, os.WriteFile(filepath.Join(dir, "gateway"), text, 0o755) //nolint:gosec // for every user
})

func hostileDir(t testing.TB) string {
	t.Helper()
	dir, err := hostile()
	require.NoError(t, err)
	return dir
}

// asGateway is this test as a gateway that starts one process, with arguments for
// it after the mode and the program. It prints the report as a line of JSON, and
// then what the process says.
func asGateway(args []string) error {
	switch args[0] {
	case "without-namespaces":
		if err := refuseNamespaces(); err != nil {
			return err
		}
		args = args[1:]
	case "root-without-namespaces":
		for _, kind := range []string{"user", "mnt", "pid", "ipc", "uts", "net"} {
			if err := os.WriteFile("/proc/sys/user/max_"+kind+"_namespaces", []byte("0"), 0); err != nil {
				return err
			}
		}
		args = args[1:]
	}
	mode, program, args := sandbox.Mode(args[0]), args[1], args[2:]
	if err := sandbox.HideSelf(); err != nil { // as a gateway does
		return err
	}
	box, err := sandbox.Open(context.Background(), sandbox.Settings{Mode: mode, CAFile: os.Getenv(caVariable)})
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(box.Report()); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "run")
	if err != nil {
		return err
	}
	defer func() { _ = sandbox.RemoveDir(dir) }()
	if len(args) > 1 {
		args[0] = strconv.Itoa(os.Getpid())
	}
	// Go-plugin's run folder is one deeper.
	p := sandbox.New(sandbox.Command{Path: program, Args: args, MemoryMiB: 128, Sandbox: box}, []string{"PLUGIN_UNIX_SOCKET_DIR=" + dir}, dir)
	if err := p.Start(context.Background()); err != nil {
		return err
	}
	defer p.Egress().Close() //nolint:errcheck // nothing is served
	if err := p.Seal(); err != nil {
		return err
	}
	go func() { _, _ = io.Copy(io.Discard, p.Stdout()) }()
	if _, err := io.Copy(os.Stdout, p.Stderr()); err != nil {
		return err
	}
	_ = p.Kill(context.Background())
	return p.Wait(context.Background())
}

// refuseNamespaces makes this process, mighty in a user namespace, one that may
// make no others and has lost its capabilities.
func refuseNamespaces() error {
	if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return err
	}
	return syscall.Exec(os.Args[0], append(os.Args[:2:2], os.Args[3:]...), []string{caVariable + "=" + os.Getenv(caVariable)})
}

// gatewayProcess is asGateway as another process, and perhaps as another user.
func gatewayProcess(t testing.TB, as string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(filepath.Join(hostileDir(t), "gateway"))
	cmd.Dir = "/"
	temp, err := os.MkdirTemp("", "temp")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(temp, 0o777)) //nolint:gosec // it may be another user's
	cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	t.Cleanup(func() { // a killed one leaves its folder
		left, err := filepath.Glob(filepath.Join(temp, "*"))
		require.NoError(t, err)
		for _, dir := range append(left, temp) {
			require.NoError(t, sandbox.RemoveDir(dir))
		}
	})
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	switch as {
	case "root":
		if os.Getuid() != 0 {
			t.Skip("the test is not root")
		}
	case "user":
		if os.Getuid() == 0 {
			cmd.SysProcAttr.Credential = &syscall.Credential{Uid: stranger, Gid: stranger}
		}
	case "user without namespaces":
		if os.Getuid() == 0 {
			cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 1000, Gid: 1000, NoSetGroups: true}
		}
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		outside := os.Getuid()
		if outside == 0 {
			outside = stranger
		}
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 1000, HostID: outside, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 1000, HostID: outside, Size: 1}}
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_SYS_RESOURCE, unix.CAP_SYS_ADMIN, unix.CAP_DAC_OVERRIDE}
		args = append([]string{"without-namespaces"}, args...)
	}
	if as == "root without namespaces" {
		if os.Getuid() != 0 {
			t.Skip("the test is not root")
		}
		all := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1<<32 - 1}}
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings, cmd.SysProcAttr.GidMappingsEnableSetgroups = all, all, true
		args = append([]string{"root-without-namespaces"}, args...)
	}
	cmd.Args = append([]string{cmd.Path, "as-gateway"}, args...)
	return cmd
}

// lure is what a hostile process should not come to.
type lure struct {
	secret, ca       string
	tcp, path, named net.Listener
	reached          chan string
}

func newLure(t *testing.T) *lure {
	t.Helper()
	dir, err := os.MkdirTemp("", "lure")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755)) //nolint:gosec // everybody may, but for the sandbox
	l := &lure{secret: filepath.Join(dir, "secret"), ca: filepath.Join(dir, "ca.pem"), reached: make(chan string, 100)}
	require.NoError(t, os.WriteFile(l.ca, []byte("certificates"), 0o644)) //nolint:gosec // everybody may
	require.NoError(t, os.WriteFile(l.secret, []byte("secret"), 0o666))   //nolint:gosec // as above
	listen := func(network, address string) net.Listener {
		listener, err := net.Listen(network, address)
		require.NoError(t, err)
		t.Cleanup(func() { _ = listener.Close() })
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				_ = conn.Close()
				l.reached <- network + " " + address
			}
		}()
		return listener
	}
	l.tcp = listen("tcp", "127.0.0.1:0")
	l.path = listen("unix", filepath.Join(dir, "socket"))
	require.NoError(t, os.Chmod(filepath.Join(dir, "socket"), 0o777)) //nolint:gosec // as above
	l.named = listen("unix", "@sluice-lure-"+strconv.Itoa(os.Getpid()))
	return l
}

// attack runs every attack and returns what came of each.
func (l *lure) attack(t *testing.T, as string, mode sandbox.Mode) (sandbox.Report, map[string]string) {
	t.Helper()
	_, port, err := net.SplitHostPort(l.tcp.Addr().String())
	require.NoError(t, err)
	cmd := gatewayProcess(t, as, string(mode), filepath.Join(hostileDir(t), "hostile"),
		"pid", l.secret, port, l.path.Addr().String(), strings.TrimPrefix(l.named.Addr().String(), "@"))
	cmd.Env = append(cmd.Env, caVariable+"="+l.ca)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	require.NoError(t, err, "%s%s", out, errs.String())
	var report sandbox.Report
	found := map[string]string{}
	d := json.NewDecoder(bytes.NewReader(out))
	require.NoError(t, d.Decode(&report))
	require.NoError(t, d.Decode(&found), "%s", out)
	return report, found
}

// works are the attempts that no mode may refuse; harmless those whose success
// gives nothing away.
var works = []string{"write to /tmp", "read random", "read its own state", "the proxy", "set a mode", "signal itself", "read its certificates"}

func TestAttacks(t *testing.T) {
	for _, as := range []string{"root", "user"} {
		t.Run("required, started as "+as, func(t *testing.T) {
			before := traces(t)
			l := newLure(t)
			report, found := l.attack(t, as, sandbox.Required)
			require.True(t, report.Complete())
			for _, name := range works {
				require.Equal(t, "done", found[name], name)
				delete(found, name)
			}
			surprises := map[string]string{}
			for name, came := range found {
				want := refusals[name]
				if want == "" {
					want = "EPERM"
				}
				if !slices.Contains(strings.Split(want, "|"), came) {
					surprises[name] = came
				}
			}
			require.Empty(t, surprises)
			l.untouched(t)
			require.Eventually(t, func() bool { return traces(t) == before }, 10*time.Second, 50*time.Millisecond, "nothing is left")
		})
	}
}

func (l *lure) untouched(t *testing.T, but ...string) {
	t.Helper()
	text, err := os.ReadFile(l.secret)
	require.NoError(t, err)
	require.Equal(t, "secret", string(text))
	select {
	case who := <-l.reached:
		require.Contains(t, but, who)
	default:
	}
}

// traces counts what processes could leave: themselves, mounts, folders.
func traces(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	running := 0
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, c := range commands {
		text, err := os.ReadFile(c)
		if err == nil && bytes.Contains(text, []byte("/hostile")) {
			running++
		}
	}
	return fmt.Sprint(bytes.Count(mounts, []byte("\n")), " mounts, ", running, " processes")
}

// refusals are the answers other than EPERM.
var refusals = map[string]string{
	"read the machine's users": "hidden", "list the machine's processes": "hidden",
	"read /etc/shadow": "ENOENT", "read the machine's id": "ENOENT", "read /sys": "ENOENT", "list home folders": "ENOENT",
	"read a file of the gateway": "ENOENT", "write a file of the gateway": "ENOENT", "read a file by way of a link": "ENOENT",
	"read the gateway's environment": "ENOENT", "read the gateway's memory": "ENOENT", "read by the root of process 1": "ENOENT",
	"read by its own root": "ENOENT", "read by its input's folder": "ENOTDIR", "read about the machine": "ENOENT",
	"read the kernel's settings": "ENOENT",
	"tcp":                        "EACCES|ECONNREFUSED", "tcp6": "EACCES|ECONNREFUSED", "unix": "ENOENT", "abstract": "ECONNREFUSED|EPERM",
	"clone3": "ENOSYS", "io_uring": "ENOSYS",
	"write beside the libraries": "ENOENT|EROFS|EACCES", "write over its program": "EACCES|EROFS", "write to /etc": "EROFS|EACCES",
	"write to the root folder": "EROFS|EACCES", "write to its folder": "EACCES", "open its folder and write": "EACCES",
	"a socket in its folder": "EACCES",
	"fill /tmp":              "ENOSPC", "fill /tmp with files": "ENOSPC", "open files": "EMFILE",
}

// withoutNamespaces are the answers where no namespace can be made, and the
// gateway is no root. What is not here is refused all the same.
var withoutNamespaces = map[string]string{
	// What holds less, as the report says.
	"unix": "done|EACCES", "kill its group": "EPERM",
	// There is no own file system, so that nothing can be written at all.
	"write to /tmp": "EACCES", "set a mode": "done", "fill /tmp": "EACCES|ENOENT", "fill /tmp with files": "EACCES|ENOENT",
	"exec what it wrote": "EACCES", "map what it wrote to run it": "EACCES",
	"read its own state": "done|EACCES",
	"the proxy":          "EPERM", // it goes by a unix socket
	// The files are there, and not to be opened.
	"read the machine's users": "EACCES", "list the machine's processes": "hidden", "read /etc/shadow": "EACCES",
	"read the machine's id": "EACCES|ENOENT", "read /sys": "EACCES", "list home folders": "EACCES", "read a file of the gateway": "EACCES",
	"write a file of the gateway": "EACCES", "read a file by way of a link": "EACCES|ENOENT", "read the gateway's environment": "EACCES",
	"read the gateway's memory": "EACCES", "read by the root of process 1": "EACCES", "read by its own root": "EACCES",
	"read by its input's folder": "EACCES|ENOTDIR", "read about the machine": "EACCES", "read the kernel's settings": "EACCES",
	"write beside the libraries": "EACCES", "write to /etc": "EACCES", "write to the root folder": "EACCES",
	"write to its folder": "EACCES", "tcp": "EPERM", "tcp6": "EPERM",
}

func TestAttacksWhereNoNamespaceCanBeMade(t *testing.T) {
	for _, as := range []string{"user without namespaces", "root without namespaces"} {
		t.Run(as, func(t *testing.T) { attackWithoutNamespaces(t, as) })
	}
}

func attackWithoutNamespaces(t *testing.T, as string) {
	before := traces(t)
	l := newLure(t)
	if as == "root without namespaces" {
		// As the gateway's data folder, where its processes may not go.
		closed := filepath.Join(filepath.Dir(l.ca), "closed")
		require.NoError(t, os.Mkdir(closed, 0o700))
		require.NoError(t, os.Rename(l.ca, filepath.Join(closed, "ca.pem")))
		l.ca = filepath.Join(closed, "ca.pem")
	}
	report, found := l.attack(t, as, sandbox.Auto)
	require.False(t, report.Complete())
	var missing []string
	for _, s := range report.Missing() {
		missing = append(missing, s.Name)
		require.NotEmpty(t, s.Why, s.Name)
		require.NotEmpty(t, s.Means, s.Name)
		require.NotEmpty(t, s.Remedy, s.Name)
	}
	require.Subset(t, missing, []string{"user namespace", "mount namespace", "process namespace", "network namespace", "file system"})
	require.NotContains(t, missing, "Landlock")
	require.NotContains(t, missing, "seccomp")
	surprises := map[string]string{}
	for name, came := range found {
		want := withoutNamespaces[name]
		if want == "" && slices.Contains(works, name) {
			want = "done"
		}
		if want == "" {
			want = cmp.Or(refusals[name], "EPERM")
		}
		if !slices.Contains(strings.Split(want, "|"), came) {
			surprises[name] = came
		}
	}
	require.Empty(t, surprises)
	l.untouched(t, "unix "+l.path.Addr().String())
	require.Eventually(t, func() bool { return traces(t) == before }, 10*time.Second, 50*time.Millisecond, "nothing is left")
}

func TestRequiredIsRefusedWithTheRemedy(t *testing.T) {
	cmd := gatewayProcess(t, "user without namespaces", string(sandbox.Required), filepath.Join(hostileDir(t), "hostile"), "wait")
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	for _, want := range []string{"this machine does not offer all of it", "user namespace: ", "network namespace: ", "Remedy: allow user namespaces", "--sandbox=auto"} {
		require.Contains(t, string(out), want)
	}
}

// What a process has in the kernel's buffers is not in its memory that is watched.
func TestWhatSocketsHoldIsBounded(t *testing.T) {
	for _, c := range []struct {
		attack, says string
		most         int
	}{{"sockets", "%d MiB in sockets", 256}, {"connection", "%d KiB in a connection", 2048}} {
		out, err := gatewayProcess(t, "root", string(sandbox.Required), filepath.Join(hostileDir(t), "hostile"), c.attack).CombinedOutput()
		require.NoError(t, err, "%s", out)
		out = bytes.TrimSpace(out)
		var n int
		_, err = fmt.Sscanf(string(out[bytes.LastIndexByte(out, '\n')+1:]), c.says, &n)
		require.NoError(t, err, "%s", out)
		require.Positive(t, n)
		require.Less(t, n, c.most, c.attack)
	}
}

func TestThreadsAreBounded(t *testing.T) {
	for _, as := range []string{"root", "user"} {
		t.Run(as, func(t *testing.T) {
			out, err := gatewayProcess(t, as, string(sandbox.Required), filepath.Join(hostileDir(t), "hostile"), "threads").CombinedOutput()
			require.ErrorContains(t, err, "exit status")
			require.Contains(t, string(out), "failed to create new OS thread")
			require.NotContains(t, string(out), "1000 threads")
		})
	}
}

// Its parent-death signal is set anew after the change of user, and user code
// cannot unset it.
func TestAKilledGatewayLeavesNoProcess(t *testing.T) {
	for _, as := range []string{"root", "user"} {
		for _, what := range []string{"wait", "deathless"} {
			t.Run(what+", started as "+as, func(t *testing.T) {
				before := traces(t)
				cmd := gatewayProcess(t, as, string(sandbox.Required), filepath.Join(hostileDir(t), "hostile"), what)
				out, err := cmd.StdoutPipe()
				require.NoError(t, err)
				require.NoError(t, cmd.Start())
				text := make([]byte, 0, 8192)
				for !bytes.Contains(text, []byte("waits\n")) {
					n, err := out.Read(text[len(text):cap(text)])
					text = text[:len(text)+n]
					require.NoError(t, err, "%s", text)
				}
				require.NotEqual(t, before, traces(t))
				require.NoError(t, cmd.Process.Kill())
				require.Error(t, cmd.Wait())
				require.Eventually(t, func() bool { return traces(t) == before }, 10*time.Second, 20*time.Millisecond)
			})
		}
	}
}
