package pool_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/plugins/host"
	"github.com/sluice-faas/sluice/plugins/pool"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

// process is a process whose every answer a test decides: what needs exact
// times, or faults that a real one has once in a while.
type process struct {
	id       int
	runtime  string
	lab      *lab
	key      string // what it loaded
	blocked  atomic.Bool
	retired  atomic.Bool
	draining atomic.Bool
	open     atomic.Int64
	most     atomic.Int64
	calls    atomic.Int64
	builds   atomic.Int64
	lag      atomic.Int64 // time.Duration
	printed  string       // set before its end
	reason   string
	once     sync.Once
	done     chan struct{}
}

func (p *process) Types(context.Context) (map[string]string, error) {
	return map[string]string{"lambda.d.ts": "of " + p.runtime}, nil
}

func (p *process) Description() host.Description {
	return host.Description{Name: p.runtime, DisplayName: "Fake 1"}
}

func (p *process) Load(ctx context.Context, r host.LoadRequest) error {
	p.key = string(r.Artifact)
	if load := p.lab.now().load; load != nil {
		return load(ctx, p)
	}
	return nil
}

func (p *process) Handle(ctx context.Context, call runtime.Call) (runtime.Result, error) {
	if p.ended() || p.draining.Load() {
		return runtime.Result{}, host.ErrUnavailable
	}
	n := p.open.Add(1)
	defer p.open.Add(-1)
	for m := p.most.Load(); n > m && !p.most.CompareAndSwap(m, n); m = p.most.Load() {
	}
	if handle := p.lab.now().handle; handle != nil {
		return handle(ctx, p, call)
	}
	p.calls.Add(1)
	return runtime.Result{Payload: call.Payload}, nil
}

func (p *process) Build(ctx context.Context, source string, _ []host.Dependency) (host.BuildResult, error) {
	p.builds.Add(1)
	if build := p.lab.now().build; build != nil {
		return build(ctx, p, source)
	}
	return host.BuildResult{Artifact: []byte(source)}, nil
}

func (p *process) Available() bool { return !p.Retired() && !p.blocked.Load() }

func (p *process) Retired() bool { return p.ended() || p.draining.Load() || p.retired.Load() }

func (p *process) Lag() time.Duration { return time.Duration(p.lag.Load()) }

func (p *process) Printed() string { return p.printed }

func (p *process) Drain(ctx context.Context) error {
	p.draining.Store(true)
	defer p.exit("drained")
	for p.open.Load() > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.done:
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

func (p *process) Kill()                 { p.exit("killed") }
func (p *process) Done() <-chan struct{} { return p.done }

func (p *process) ExitReason() string {
	<-p.done
	return p.reason
}

func (p *process) exit(reason string) {
	p.once.Do(func() {
		p.reason = reason
		close(p.done)
	})
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// behaviour says what processes do; what is nil succeeds at once.
type behaviour struct {
	launch func(n int) error // of the nth launch, from 1
	load   func(context.Context, *process) error
	handle func(context.Context, *process, runtime.Call) (runtime.Result, error)
	build  func(context.Context, *process, string) (host.BuildResult, error)
}

// lab launches processes and remembers them.
type lab struct {
	behaviour // changed by become
	startTime time.Duration

	mu       sync.Mutex
	launches int
	all      []*process
	most     int // that ran at once
}

func (l *lab) launcher(ctx context.Context, runtimeName string) (pool.Process, error) {
	l.mu.Lock()
	l.launches++
	n, launch := l.launches, l.launch
	l.mu.Unlock()
	if l.startTime > 0 {
		select {
		case <-time.After(l.startTime):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if launch != nil {
		if err := launch(n); err != nil {
			return nil, err
		}
	}
	p := &process{id: n, runtime: runtimeName, lab: l, done: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, p)
	l.most = max(l.most, l.alive())
	return p, nil
}

func (l *lab) now() behaviour {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.behaviour
}

// become changes what processes do.
func (l *lab) become(b behaviour) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.behaviour = b
}

func (l *lab) alive() int {
	n := 0
	for _, p := range l.all {
		if !p.ended() {
			n++
		}
	}
	return n
}

func (l *lab) running() []*process {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ps []*process
	for _, p := range l.all {
		if !p.ended() {
			ps = append(ps, p)
		}
	}
	return ps
}

// mostAtOnce tells how many processes have run at once.
func (l *lab) mostAtOnce() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.most
}

func (l *lab) launched() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.launches
}

// open makes a pool of the lab's processes and checks at the end of the test
// that closing it leaves none.
func (l *lab) open(t *testing.T, cfg pool.Config) *pool.Pool {
	t.Helper()
	p := pool.New(cfg, l.launcher, zerolog.Nop())
	t.Cleanup(func() {
		l.shut(t, p)
	})
	return p
}

func (l *lab) shut(t *testing.T, p *pool.Pool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	require.NoError(t, p.Close(ctx))
	require.Empty(t, l.running(), "processes after Close")
	require.Zero(t, p.Stats().Processes)
}

func spec(key string) pool.Spec {
	return pool.Spec{Key: key, Runtime: "fake", Load: func(context.Context) (host.LoadRequest, error) {
		return host.LoadRequest{Artifact: []byte(key)}, nil
	}}
}

func call(payload string) runtime.Call { return runtime.Call{Payload: []byte(payload)} }

var errLaunch = errors.New("no such program")

// takes makes calls last for d, or until their context ends.
func takes(d time.Duration) func(context.Context, *process, runtime.Call) (runtime.Result, error) {
	return func(ctx context.Context, p *process, c runtime.Call) (runtime.Result, error) {
		select {
		case <-time.After(d):
			p.calls.Add(1)
			return runtime.Result{Payload: c.Payload}, nil
		case <-ctx.Done():
			return runtime.Result{}, ctx.Err()
		case <-p.done:
			return runtime.Result{}, &host.ExitError{Reason: p.reason}
		}
	}
}
