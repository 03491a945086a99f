package attacks_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/sluice-faas/sluice/sdk/client"
	"github.com/sluice-faas/sluice/tests/dev"
)

// mode is how much of a sandbox the gateway has.
type mode int

const (
	off      mode = iota // none: shows that an attack is one
	weak                 // --sandbox auto where the kernel gives no namespaces
	required             // --sandbox required
	modes
)

func (m mode) String() string {
	return [...]string{"off", "auto without namespaces", "required"}[m]
}

const (
	// runTime is how long a lambda may run here, so that one that never ends costs
	// little.
	runTime = 4 * time.Second
	// brandAccount is where the neighbour lives.
	brandAccount = "5550001"
	// neighbourTitle is the name of the neighbour's process.
	neighbourTitle = "neighbour"
	// weakUser is who runs the weak gateway where the tests are run by root.
	weakUser = 4711
)

// stage is a gateway in one mode, the neighbour on it, and the servers beside it
// that nothing may reach.
type stage struct {
	*dev.Gateway
	mode mode
	dir  string // holds all that the gateway may write
	run  string // its folder of sockets
	user int    // who runs it; 0: who runs the tests

	author    *client.Client // of the hostile lambdas
	admin     *client.Client // of their account's whitelist
	caller    *client.Client
	brand     *client.Client // of the neighbour's account
	neighbour *neighbour
	world     *world
	at        process // of the neighbour
	facts     map[string]any
	before    census
	marks     atomic.Int64
}

// process is where a process is found from outside.
type process struct {
	PID    int    `json:"pid"`
	Folder string `json:"folder"`
	Socket string `json:"socket"`
}

// openStage starts a gateway in a mode. What it is, is asked of it once more when
// the test ends: that it survived, ends with code 0 and leaves no process.
func openStage(t *testing.T, m mode) *stage {
	t.Helper()
	s := &stage{mode: m, dir: scratch(t), world: openWorld(t)}
	o := dev.Options{
		DataDir: filepath.Join(s.dir, "data"),
		Args:    []string{"--sandbox", [...]string{"off", "auto", "required"}[m], "--no-sample", "--limit", dev.NoLimits + ",memory=128,run-time=" + runTime.String()},
		Env:     environment(s.dir),
	}
	if m == weak {
		require.NoError(t, s.weaken(&o))
	}
	g, err := dev.Start(t.Context(), o)
	require.NoError(t, err)
	s.Gateway = g
	t.Cleanup(func() { s.close(t) })

	s.author, err = g.Login(t.Context(), "FaaS-Developer")
	require.NoError(t, err)
	s.admin, err = g.Login(t.Context(), "FaaS-Admin")
	require.NoError(t, err)
	s.caller, err = g.AppClient()
	require.NoError(t, err)
	s.settle(t)
	return s
}

// scratch is a short folder, because unix sockets live in it.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "atk")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755)) //nolint:gosec // the weak gateway's user passes through
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// environment is the gateway's: its temporary files go to dir, and what a lambda
// must not read is in it.
func environment(dir string) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, "ATTACK_SECRET=of the gateway"}
}

// settle makes the neighbour and takes the census that all later ones are
// compared with.
func (s *stage) settle(t *testing.T) {
	t.Helper()
	s.operator(t, "account", "create", brandAccount, "--name", "The Brand")
	u := s.operator(t, "user", "add", "lpa@brand.example", "--role", "LPA", "--account", brandAccount)
	there, err := s.ClientOf(brandAccount)
	require.NoError(t, err)
	session, err := there.Login(t.Context(), "lpa@brand.example", u["password"].(string))
	require.NoError(t, err)
	s.brand = there.With(session)
	_, err = s.brand.CreateSecret(t.Context(), "brand-secret", "of the brand")
	require.NoError(t, err)

	l, err := s.brand.CreateLambda(t.Context(), client.LambdaSpec{Name: "neighbour", Description: "is not to notice anything", Code: code(t, "good-neighbour.js")})
	require.NoError(t, err)
	_, err = s.brand.DeployAndWait(t.Context(), l.ID)
	require.NoError(t, err)
	s.neighbour = &neighbour{client: s.brand, id: l.ID}
	require.NoError(t, s.neighbour.call(t.Context()))
	s.findRunFolder(t)
	s.findNeighbour(t)

	host, err := os.Hostname()
	require.NoError(t, err)
	s.facts = map[string]any{
		"gateway": s.PID(), "data": s.DataDir(), "run": s.run, "host": host, "neighbour": s.at,
		"ports":   s.world.ports(t, map[string]string{"https": s.Info.URLs["faasGW"], "http": s.Info.URLs["csds"], "admin": s.Info.URLs["admin"]}),
		"sockets": map[string]string{"path": s.world.path, "abstract": s.world.abstract},
		"theirs":  map[string]string{"account": brandAccount, "key": "brand-secret"},
		"addon":   s.world.addon, "extension": s.world.extension, "allowed": "localhost",
		// More than its own /tmp holds; what there is without a sandbox shows by less.
		"mib": [...]int{2, 20, 20}[s.mode],
		// None is on the whitelist, so none is ever connected to.
		"targets": []string{
			"http://169.254.169.254/latest/meta-data/", "http://[::ffff:169.254.169.254]/", "http://[64:ff9b::a9fe:a9fe]/", "http://2852039166/", "http://0xa9fea9fe/",
			"http://127.0.0.1:" + strings.TrimPrefix(s.world.web.URL, "http://127.0.0.1:") + "/secret", "http://metadata.attack.test/", "file:///etc/passwd",
		},
	}
	s.before = s.calm(t)
	t.Logf("%s: at rest: %s", s.mode, s.before)
}

// operator runs a command as whoever runs the gateway, and reads its answer.
func (s *stage) operator(t *testing.T, args ...string) map[string]any {
	t.Helper()
	binary, err := dev.Binary()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), binary, append(args, "-o", "json", "--data-dir", s.DataDir())...)
	cmd.Dir, cmd.Env = "/", environment(s.dir)
	if s.user != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(s.user), Gid: uint32(s.user)}}
	}
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); err != nil {
		if e, ok := err.(*exec.ExitError); ok { //nolint:errorlint // Output returns it bare
			exit = e
		}
		require.NoError(t, err, "sluice %q: %v", args, exit)
	}
	var v map[string]any
	require.NoError(t, json.Unmarshal(out, &v), "%s", out)
	return v
}

func (s *stage) findRunFolder(t *testing.T) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(s.dir, "sluice-*"))
	require.NoError(t, err)
	require.Len(t, found, 1, "the gateway's folder of sockets")
	s.run = found[0]
}

var processFolder = regexp.MustCompile(`/plugin-dir\d+`)

// findNeighbour looks for the folder of the neighbour's process: the one that is
// mounted for it, or that it works in.
func (s *stage) findNeighbour(t *testing.T) {
	t.Helper()
	p, err := s.Named(neighbourTitle)
	require.NoError(t, err)
	s.at = process{PID: p.PID}
	cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", p.PID)) // then the mounts tell
	name := processFolder.FindString(read(fmt.Sprintf("/proc/%d/mountinfo", p.PID)) + cwd)
	require.NotEmpty(t, name, "the folder of the neighbour's process")
	s.at.Folder = filepath.Join(s.run, name)
	names, err := os.ReadDir(s.at.Folder)
	require.NoError(t, err)
	for _, name := range names {
		if name.Type() == os.ModeSocket {
			s.at.Socket = filepath.Join(s.at.Folder, name.Name())
		}
	}
	require.NotEmpty(t, s.at.Socket, "the neighbour's socket in %s", s.at.Folder)
}

func (s *stage) close(t *testing.T) {
	below := s.Processes()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Errorf("the gateway did not end well: %v", err)
	}
	if left := dev.WaitGone(below, 5*time.Second); len(left) > 0 {
		t.Errorf("processes outlive the gateway: %v", left)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, "sluice-*")); len(left) > 0 {
		t.Errorf("the folder of sockets outlives the gateway: %v", left)
	}
	if t.Failed() {
		out := s.Output()
		t.Logf("the gateway printed last:\n%s", out[max(0, len(out)-12<<10):])
	}
}

// neighbour is the lambda of another account that must not notice anything.
type neighbour struct {
	client *client.Client
	id     string
	calls  atomic.Int64
}

func (n *neighbour) call(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	number := n.calls.Add(1)
	got, err := n.client.Invoke(ctx, n.id, map[string]int64{"number": number})
	if err != nil {
		return err
	}
	var answer struct {
		Number  int64  `json:"number"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal(got, &answer); err != nil {
		return err
	}
	if answer.Number != number || answer.Message != "good morning" {
		return fmt.Errorf("call %d was answered %s", number, got)
	}
	return nil
}

// keepCalling calls the neighbour all the time until stop, which tells what went
// wrong.
func (n *neighbour) keepCalling() (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var first error
	var calls, failed int
	wg.Go(func() {
		for ctx.Err() == nil {
			calls++
			if err := n.call(context.WithoutCancel(ctx)); err != nil {
				failed++
				if first == nil {
					first = err
				}
			}
			select {
			case <-ctx.Done():
			case <-time.After(30 * time.Millisecond):
			}
		}
	})
	return func() error {
		cancel()
		wg.Wait()
		if first == nil {
			return nil
		}
		return fmt.Errorf("%d of %d calls of the neighbour failed, the first: %w", failed, calls, first)
	}
}

// code reads a lambda and puts the prelude behind it.
func code(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("lambdas", file))
	require.NoError(t, err)
	prelude, err := os.ReadFile(filepath.Join("lambdas", "prelude.js"))
	require.NoError(t, err)
	return string(text) + string(prelude)
}

// portOf is the port of an address like http://127.0.0.1:8080.
func portOf(t *testing.T, address string) int {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	port, err := strconv.Atoi(u.Port())
	require.NoError(t, err)
	return port
}

// The weak stage: the gateway in a user namespace in which there are no more of
// any kind, as an ordinary user.

// stageVariable tells this program that it is to become the gateway.
const stageVariable = "SLUICE_ATTACKS_STAGE"

func (s *stage) weaken(o *dev.Options) error {
	binary, err := dev.Binary()
	if err != nil {
		return err
	}
	if o.Binary, err = os.Executable(); err != nil {
		return err
	}
	s.user = os.Geteuid()
	mapping := []syscall.SysProcIDMap{{ContainerID: s.user, HostID: s.user, Size: 1}}
	groups := []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
	if os.Geteuid() == 0 {
		s.user = weakUser
		mapping = []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 65536}}
		groups = mapping
		if err := os.Chown(s.dir, s.user, s.user); err != nil {
			return err
		}
	}
	o.Env = append(o.Env, fmt.Sprintf("%s=%d:%s", stageVariable, s.user, binary))
	o.Sys = syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER, UidMappings: mapping, GidMappings: groups, GidMappingsEnableSetgroups: os.Geteuid() == 0,
	}
	return nil
}

// enterWeakStage forbids namespaces, becomes the user, and then the gateway.
func enterWeakStage() error {
	who, binary, _ := strings.Cut(os.Getenv(stageVariable), ":")
	user, err := strconv.Atoi(who)
	if err != nil {
		return err
	}
	for _, kind := range []string{"user", "mnt", "pid", "ipc", "uts", "net", "cgroup"} {
		if err := os.WriteFile("/proc/sys/user/max_"+kind+"_namespaces", []byte("0"), 0); err != nil {
			return err
		}
	}
	if os.Geteuid() == 0 && user != 0 {
		if err := syscall.Setgroups(nil); err != nil {
			return err
		}
		if err := syscall.Setresgid(user, user, user); err != nil {
			return err
		}
		if err := syscall.Setresuid(user, user, user); err != nil {
			return err
		}
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return err
	}
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) // the test binary's own
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, stageVariable) {
			env = append(env, v)
		}
	}
	return syscall.Exec(binary, append([]string{binary}, os.Args[1:]...), env)
}
