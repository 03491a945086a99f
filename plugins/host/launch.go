package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"

	"github.com/sluice-faas/sluice/plugins"
	runtimev1 "github.com/sluice-faas/sluice/plugins/proto/faas/runtime/v1"
	"github.com/sluice-faas/sluice/plugins/sandbox"
)

const (
	defaultStartTimeout = 20 * time.Second
	defaultMemoryMiB    = 256
	// MaxRunDir is the longest path of Options.RunDir, in bytes, so that a socket
	// below it fits the kernel's 107.
	MaxRunDir = 64
	// processDirs is how go-plugin begins the names of the folders it makes.
	processDirs = "plugin-dir"
)

// PrepareRunDir makes dir if needed, for this user alone, and removes what a
// killed gateway left in it. Call it once, before the first Launch. It refuses a
// folder that is another's or that holds anything but processes' folders.
func PrepareRunDir(dir string) error {
	if err := checkRunDir(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("run folder: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("run folder: %w", err)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || !ok || int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("run folder %s must be a folder of this user", dir)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("run folder: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("run folder: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), processDirs) {
			return fmt.Errorf("run folder %s holds %q, which no runtime process left; use an empty folder", dir, e.Name())
		}
	}
	for _, e := range entries {
		if err := sandbox.RemoveDir(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("run folder: %w", err)
		}
	}
	return nil
}

func checkRunDir(dir string) error {
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("run folder %q is not an absolute path", dir)
	}
	if len(dir) > MaxRunDir {
		return fmt.Errorf("run folder %s has a path of %d bytes, the limit is %d, because unix sockets live in it", dir, len(dir), MaxRunDir)
	}
	return nil
}

// Launch starts a process and returns it once it has answered Describe. On an
// error, and when ctx ends first, nothing is left of it.
func Launch(ctx context.Context, o Options) (*Process, error) {
	if o.StartTimeout <= 0 {
		o.StartTimeout = defaultStartTimeout
	}
	if o.IdleWork <= 0 {
		o.IdleWork = defaultIdleWork
	}
	if o.MemoryMiB <= 0 {
		o.MemoryMiB = defaultMemoryMiB
	}
	if err := checkRunDir(o.RunDir); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.StartTimeout,
		fmt.Errorf("it took longer than %v: %w", o.StartTimeout, context.DeadlineExceeded))
	defer cancel()
	p := &Process{options: o, log: o.Log, done: make(chan struct{})}
	p.output = newOutput(o.Log)
	var err error
	if p.area, err = newRecordArea(); err != nil {
		return nil, fmt.Errorf("%s: %w", o.Runtime.Name, err)
	}
	if err := p.start(ctx); err != nil {
		return nil, p.startError(ctx, err)
	}
	return p, nil
}

// start brings the process up, or leaves nothing of it.
func (p *Process) start(ctx context.Context) (err error) {
	var starting starting
	stop := context.AfterFunc(ctx, starting.kill)
	defer stop()
	p.client = plugin.NewClient(p.clientConfig(&starting))
	_, err = p.client.Start()
	if p.box = starting.box; p.box == nil {
		p.area.close()
		return err // go-plugin could not even make the folder
	}
	if p.box.PID() == 0 {
		p.forget()
		return err
	}
	p.log = p.log.With().Int("pid", p.box.PID()).Logger()
	p.output.setLog(p.log)
	p.egress.listener = p.box.Egress()
	go p.supervise()
	if err == nil {
		err = p.connect(ctx)
	}
	if err != nil || !stop() { // the context's end has killed it, or is about to
		p.end(verdict{reason: "did not start", shared: true, planned: true})
		<-p.done
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return err
	}
	return nil
}

// starting lets a context's end reach a process that go-plugin is starting.
type starting struct {
	mu     sync.Mutex
	killed bool
	box    *sandbox.Process
}

func (s *starting) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.killed = true
	if s.box != nil {
		_ = s.box.Kill(context.Background()) // never fails
	}
}

func (s *starting) set(box *sandbox.Process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.box = box
	if s.killed {
		_ = box.Kill(context.Background()) // never fails; Start will
	}
}

func (p *Process) clientConfig(s *starting) *plugin.ClientConfig {
	return &plugin.ClientConfig{
		HandshakeConfig:  plugins.Handshake,
		VersionedPlugins: plugins.VersionedPlugins(nil),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, dir string) (runner.Runner, error) {
			box := sandbox.New(sandbox.Command{
				Path:      p.options.Runtime.Command,
				Args:      p.options.Runtime.Arguments(p.options.MemoryMiB),
				MemoryMiB: p.options.MemoryMiB,
				Inherit:   p.area.file,
				Files:     p.options.Runtime.Shown(),
				Sandbox:   p.options.Sandbox,
			}, append(cmd.Env, plugins.RecordAreaEnv+"="+strconv.Itoa(sandbox.Inherited)), dir)
			s.set(box)
			return box, nil
		},
		SkipHostEnv:      true, // user code would read the gateway's secrets
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: p.options.RunDir},
		GRPCDialOptions:  plugins.DialOptions(),
		StartTimeout:     p.options.StartTimeout,
		// go-plugin parses stderr lines for its logger and panics on some. Off, and
		// only Off, keeps it from parsing.
		Logger:              hclog.New(&hclog.LoggerOptions{Level: hclog.Off}),
		Stderr:              p.output.lines(),
		SyncStderr:          p.output.lines(),
		PluginLogBufferSize: maxLine,
	}
}

// connect dials the process and asks what it is.
func (p *Process) connect(ctx context.Context) error {
	protocol, err := p.client.Client()
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	raw, err := protocol.Dispense(plugins.PluginName)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	conn, ok := raw.(*grpc.ClientConn)
	if !ok {
		return fmt.Errorf("connect: dispensed a %T", raw)
	}
	p.conn, p.service = conn, runtimev1.NewRuntimeServiceClient(conn)
	if err := errors.Join(p.memory.statm.open(p.PID(), "statm"), p.labour.stat.open(p.PID(), "stat")); err != nil {
		return err
	}
	answer, err := p.service.Describe(ctx, &runtimev1.DescribeRequest{})
	if contextError(ctx, err) != nil {
		<-ctx.Done() // its cause names the time that was over
	}
	if err != nil {
		return fmt.Errorf("describe: %w", err)
	}
	p.description = descriptionOf(answer)
	if err := p.box.Seal(); err != nil {
		return err
	}
	p.memory.setLimit(p.options.MemoryMiB)
	watch.add(p)
	select {
	case <-p.box.Exited(): // supervise may have taken it off before it was on
		watch.remove(p)
	default:
	}
	return nil
}

// forget lets go of everything that belonged to the ended process.
func (p *Process) forget() {
	watch.remove(p)
	p.egress.close()
	p.memory.statm.close()
	p.labour.stat.close()
	p.area.close()
	p.client.Kill() // it is dead: this frees what go-plugin holds
	p.output.flush()
	if err := sandbox.RemoveDir(p.box.Dir()); err != nil {
		p.log.Error().Err(err).Msg("runtime process left a folder behind")
	}
}

// startError says why a process did not start: the best of what is known, with
// what the process said last.
func (p *Process) startError(ctx context.Context, err error) error {
	name := p.options.Runtime.Name
	if p.box != nil {
		bad := p.box.HandshakeError()
		ended := p.box.Status()
		switch {
		case context.Cause(ctx) != nil: // that is the reason, and err says it
		case errors.Is(bad, sandbox.ErrNoHandshake) && ended != "":
			err = fmt.Errorf("it ended (%s) before its handshake line", ended)
		case bad != nil:
			err = bad
		}
	}
	if said := p.output.tail(); said != "" {
		return fmt.Errorf("start runtime %s: %w; it said: %s", name, err, said)
	}
	return fmt.Errorf("start runtime %s: %w", name, err)
}
