// Package sandbox starts the process of a language runtime and holds it: alone
// in its session and process group, with an environment that has nothing of the
// gateway's, within resource limits, and gone when the gateway is gone, however
// the gateway ends.
//
// A Sandbox, made once by Open, shuts processes in further, as far as the machine
// offers it: namespaces, files of their own, an unprivileged user, Landlock,
// seccomp and a cgroup. The gateway clones a launcher (package launch), which does
// that to itself as its orders say and becomes the runtime. The way out of a
// process is a listener that the gateway accepts on, see Process.Egress.
//
// Process is go-plugin's runner.Runner. go-plugin sees of it the handshake line
// and raw stderr, nothing else: what a runtime prints to stdout later is read
// and thrown away, so that it neither blocks nor reaches a parser.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-plugin/runner"

	"github.com/sluice-faas/sluice/plugins/sandbox/launch"
)

// lastWords is how long after a process's end its output is still read. The
// group is dead by then; only a child that left the group holds a pipe longer.
const lastWords = 500 * time.Millisecond

// Command is what to start.
type Command struct {
	Path string // absolute
	Args []string
	// Inherit is open in the process as the descriptor Inherited. It may be nil.
	Inherit *os.File
	// MemoryMiB is the memory the process is meant to need. The kernel refuses
	// it far more than that; keeping it near is the caller's work.
	MemoryMiB int
	// Files are the folders and files that it may read, beside its command and the
	// libraries of the system. Without a sandbox it may read what the gateway may.
	Files []string
	// Sandbox shuts it in. With nil nothing does.
	Sandbox *Sandbox
	argv0   string // default: Path
}

// Inherited is the descriptor of Command.Inherit in the process.
const Inherited = 3

// Process is one process of a runtime, for one go-plugin client. Its methods are
// safe for concurrent use; Start is called once.
type Process struct {
	command Command
	env     []string
	dir     string

	handshake handshake
	stdout    *os.File
	stderr    *os.File
	proc      *os.Process
	pidfd     int
	inside    string // dir as the process sees it
	user      int    // its own; 0 if it has the gateway's
	userLeft  bool
	group     *cgroup // nil if it has none
	ranOut    bool
	egress    net.Listener
	exited    chan struct{}
	read      chan struct{}

	mu     sync.Mutex
	pid    int
	killed bool
	reaped bool
	state  *os.ProcessState
}

var _ runner.Runner = (*Process)(nil)

// New returns a process that is not started. Its environment is env and nothing
// else. It runs in dir, its own folder, and its socket must be there.
func New(c Command, env []string, dir string) *Process {
	inside := dir
	if c.Sandbox.On() && c.Sandbox.plan.files {
		inside = insideRun
	}
	return &Process{command: c, env: env, dir: dir, inside: inside, pidfd: -1, exited: make(chan struct{}), read: make(chan struct{}), handshake: newHandshake()}
}

// Start starts the process. It fails if Kill came first.
func (p *Process) Start(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("start %s: %w", p.command.Path, err)
	}
	if !filepath.IsAbs(p.command.Path) {
		return fmt.Errorf("start %s: not an absolute path", p.command.Path)
	}
	if err := p.start(); err != nil {
		p.closeEgress()
		p.leaveUser() // the process, if there is one, is dead and reaped
		p.leaveGroup()
		return fmt.Errorf("start %s: %w", p.command.Path, err)
	}
	return nil
}

func (p *Process) start() error {
	order, err := p.prepare()
	if err != nil {
		return err
	}
	var control *talk
	var theirs *os.File
	if order != nil {
		if control, theirs, err = newTalk(); err != nil {
			return err
		}
		defer control.close()
	}
	if err := p.spawn(theirs); err != nil {
		return err
	}
	go p.reap()
	go p.handshake.read(p.stdout, p.exited)
	if order == nil {
		err = limit(p.PID(), p.command.MemoryMiB)
	} else {
		preferToKill(p.PID())
		err = p.become(control, *order)
	}
	if err != nil {
		_ = p.Kill(context.Background()) // never fails
		<-p.exited
		closeAll(p.stderr) // go-plugin will not read them
		_ = p.handshake.line.Close()
	}
	return err
}

// become waits until the launcher has become the command.
func (p *Process) become(control *talk, order launch.Order) error {
	listener, err := control.order(order)
	if err != nil {
		return err
	}
	if listener != nil {
		p.mu.Lock()
		p.egress = listener
		p.mu.Unlock()
	}
	return nil
}

// spawn opens the pipes and starts the process, or the launcher with its side of
// the socket, on the spawning thread.
func (p *Process) spawn(control *os.File) (err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var files []*os.File // the child's ends, closed here whatever happens
	if control != nil {
		files = append(files, control)
	}
	defer func() {
		closeAll(files...)
		if err != nil {
			closeAll(p.stdout, p.stderr)
		}
	}()
	if p.killed {
		return errors.New("killed before it started")
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	given := []*os.File{null}
	files = append(files, null)
	for _, ours := range []**os.File{&p.stdout, &p.stderr} {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		*ours, files, given = r, append(files, w), append(given, w)
	}
	if control != nil {
		given = append(given, p.command.Inherit, control)
		p.proc, err = p.command.Sandbox.startLauncher(given, p.group, &p.pidfd)
	} else {
		err = p.spawnDirectly(given)
	}
	if err != nil {
		return err
	}
	p.pid = p.proc.Pid
	return nil
}

// spawnDirectly starts the command itself.
func (p *Process) spawnDirectly(files []*os.File) (err error) {
	if p.command.Inherit != nil {
		files = append(files, p.command.Inherit)
	}
	attr := &os.ProcAttr{Dir: p.dir, Env: p.environment(), Files: files, Sys: &syscall.SysProcAttr{
		Setsid:    true,            // own session, hence own group and no terminal
		Pdeathsig: syscall.SIGKILL, // see spawner
		PidFD:     &p.pidfd,
	}}
	argv := append([]string{p.command.Path}, p.command.Args...)
	onSpawner(func() { p.proc, err = os.StartProcess(p.command.Path, argv, attr) })
	return err
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close()
		}
	}
}

// reap waits for the process's end, ends what is left of its group while the
// group's number is still its own, and only then lets the kernel forget it.
func (p *Process) reap() {
	awaitExit(p.pid, p.pidfd)
	p.mu.Lock()
	p.killLocked()
	state, err := p.proc.Wait()
	p.reaped = true
	if err == nil {
		p.state = state
	}
	p.mu.Unlock()
	// What is in the pipes is still read; nobody may hold them open for longer.
	limit := time.Now().Add(lastWords)
	_ = p.stdout.SetReadDeadline(limit)
	_ = p.stderr.SetReadDeadline(limit)
	p.leaveUser()
	p.leaveGroup()
	close(p.exited)
}

// killLocked ends the process group, unless its number may be another's by now.
func (p *Process) killLocked() {
	p.killed = true
	if p.pid == 0 || p.reaped {
		return
	}
	// ESRCH is impossible while the leader is not reaped; EPERM would mean that
	// every member changed its user, which an unprivileged one cannot.
	_ = syscall.Kill(-p.pid, syscall.SIGKILL)
}

// Kill ends the process and all of its group at once. It does not wait, and may
// be called at any time, also before Start and more than once.
func (p *Process) Kill(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.killLocked()
	return nil
}

// Exited is closed when the process has ended and been reaped.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Status says how the process ended, for example "exit status 1" or "signal:
// killed". Before the end it is empty.
func (p *Process) Status() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == nil {
		return ""
	}
	return p.state.String()
}

// Signal is what ended the process; 0 if no signal did, and before the end.
func (p *Process) Signal() syscall.Signal {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == nil {
		return 0
	}
	status, ok := p.state.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() {
		return 0
	}
	return status.Signal()
}

// OutputRead is closed when the process has ended and what it printed has been
// read, at the latest half a second after its end.
func (p *Process) OutputRead() <-chan struct{} { return p.read }

// Wait is go-plugin's: it calls it once, when both outputs have been read.
func (p *Process) Wait(context.Context) error {
	<-p.exited
	closeAll(p.stderr) // go-plugin, its only reader, has finished
	p.mu.Lock()
	select {
	case <-p.read:
	default:
		close(p.read)
	}
	p.mu.Unlock()
	if s := p.Status(); s != "exit status 0" {
		return errors.New(s)
	}
	return nil
}

// Stdout gives the handshake line, if it is one, and then ends.
func (p *Process) Stdout() io.ReadCloser { return p.handshake.line }

// HandshakeError says why what the runtime printed first is not a handshake
// line; nil while nothing wrong was seen.
func (p *Process) HandshakeError() error { return p.handshake.fault() }

// Stderr is the process's own, unfiltered.
func (p *Process) Stderr() io.ReadCloser { return p.stderr }

// Name is the path of the command.
func (p *Process) Name() string { return p.command.Path }

// ID is the process id in decimal; empty if nothing was started.
func (p *Process) ID() string {
	if pid := p.PID(); pid != 0 {
		return strconv.Itoa(pid)
	}
	return ""
}

// Dir is the process's own folder.
func (p *Process) Dir() string { return p.dir }

// PID is the process id; 0 if nothing was started.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

// Diagnose adds nothing: HandshakeError and Status say more, and say it sooner.
func (p *Process) Diagnose(context.Context) string { return "" }

// PluginToHost accepts a unix socket in the process's own folder and nothing
// else, so that a runtime cannot make the gateway connect elsewhere.
func (p *Process) PluginToHost(network, address string) (string, string, error) {
	if network != "unix" {
		return "", "", fmt.Errorf("the runtime listens on %q, it must be a unix socket", network)
	}
	if filepath.Dir(filepath.Clean(address)) != filepath.Clean(p.inside) {
		return "", "", fmt.Errorf("the runtime listens on %q, it must be a socket in PLUGIN_UNIX_SOCKET_DIR", address)
	}
	address = filepath.Join(p.dir, filepath.Base(address))
	if info, err := os.Lstat(address); err == nil && info.Mode().Type() != os.ModeSocket {
		return "", "", fmt.Errorf("the runtime listens on %q, which is no socket", address)
	}
	return network, address, nil
}

// HostToPlugin changes nothing: go-plugin does not use it.
func (p *Process) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}
