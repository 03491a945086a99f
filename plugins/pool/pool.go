// Package pool keeps the runtime processes of a gateway: for every key (one
// deployment of one lambda) the processes that have loaded it, and for every
// runtime some blank ones, started ahead, that a cold key can take.
//
// A call leases a slot on a process that is warm, or waits, first come first
// served, while a process is started for its key. There is one start at a time
// per key, however many calls wait. A process serves one key for its whole
// life: it is blank, then loaded, then drained or dead, and never anything again.
//
// The code is in six parts: group.go has the processes and the queue of one
// key, health.go when it gets more or may start none, stock.go the blank processes
// of one runtime, capacity.go the bound on all of them together, tenant.go the
// share of each account, and this file what others call.
//
// Locks are taken in this order: a group's or a stock's, then the pool's. None
// is held while a process is spoken to, but for Process.Available, Retired and Lag.
package pool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/sluice-faas/sluice/plugins/host"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

// Process is what the pool needs of a runtime process; *host.Process is one.
type Process interface {
	runtime.Handler
	Description() host.Description
	Types(ctx context.Context) (map[string]string, error)
	Build(ctx context.Context, source string, dependencies []host.Dependency) (host.BuildResult, error)
	Load(ctx context.Context, request host.LoadRequest) error
	// Available says whether to give it a call, Retired that it will never take
	// one again, Lag how far it is behind its work while calls are open. They are
	// called under a lock: they must not block.
	Available() bool
	Retired() bool
	Lag() time.Duration
	Drain(ctx context.Context) error
	Kill()
	Done() <-chan struct{}
	ExitReason() string
	// Printed is the end of what it has written outside any call, for its author.
	Printed() string
}

var _ Process = (*host.Process)(nil)

// Launcher starts one blank process of a runtime. It must give up when ctx ends.
type Launcher func(ctx context.Context, runtimeName string) (Process, error)

// Spec says what a call runs on.
type Spec struct {
	// Key names the deployment. Everything else in a Spec must be the same
	// whenever the key is.
	Key string
	// Account is whose the deployment is: accounts share the machine evenly when
	// it is full.
	Account string
	// Runtime is the name of the runtime.
	Runtime string
	// Load fetches what a process must load. It is called only when a process
	// is started for the key, never by a warm call.
	Load func(ctx context.Context) (host.LoadRequest, error)
}

// Info says how a call went, whether it failed or not.
type Info struct {
	Cold  bool          // it waited for a process to be started or loaded
	Ran   bool          // it was given to a process, so user code may have seen it
	Start time.Duration // until a process was started and loaded, when there was none
	Queue time.Duration // until one had a free slot, after that
	Run   time.Duration // inside the process
	// Secrets are those that the process was given (host.LoadRequest), and that no
	// other process has, if it Ran.
	Secrets runtime.Secrets
}

// waited accounts for the time of a wait.
func (i *Info) waited(w wait, from, until time.Time) {
	if w.cold {
		i.Cold = true
		served := until
		if w.served.After(from) {
			served = w.served
		}
		i.Start += served.Sub(from)
		from = served
	}
	i.Queue += until.Sub(from)
}

// Stats is a snapshot of the pool.
type Stats struct {
	Processes int // all that run, those below included
	Blank     int // started ahead
	Loaded    int // with a key, draining ones too
	Keys      int // keys with a process, a start under way or a recent failure
	OpenCalls int
	Waiting   int // calls that wait for a process
	Looping   int // keys that crash-loop
	// Since the pool was made:
	Launched  uint64 // processes
	Failed    uint64 // launches and loads
	Exited    uint64 // processes that ended without having been asked to
	Evicted   uint64 // processes drained to make room for others
	Added     uint64 // starts for a key whose processes were busy
	ColdCalls uint64
}

// Pool keeps processes. All its methods may be called at once.
type Pool struct {
	cfg    Config
	launch Launcher
	log    zerolog.Logger

	life       context.Context // ends when Close begins: ends starts
	stop       context.CancelFunc
	drainLife  context.Context // ends when Close may wait no longer: ends drains
	stopDrains context.CancelFunc
	launching  chan struct{} // a slot per launch under way

	mu        sync.RWMutex
	closed    bool
	sealed    bool // nothing may be spawned any more
	groups    map[string]*group
	stocks    map[string]*stock
	tenants   map[string]*tenant
	retired   retiredKeys
	processes map[*member]struct{} // every process that runs
	reserved  int                  // launches that have a place but no process yet
	starving  int                  // launches that wait for a place
	evicting  int                  // processes on their way out to make place
	freed     chan struct{}        // closed and made anew when a place may be had

	hungry     atomic.Bool // starving > 0, for the warm path
	spawned    sync.WaitGroup
	gone       chan struct{} // closed when Close is done
	counts     counts
	firstClose sync.Once
}

type counts struct {
	launched, failed, exited, evicted, added, cold atomic.Uint64
}

// New makes a pool and begins to start the blank processes that cfg asks for.
// Close must be called.
func New(cfg Config, launch Launcher, log zerolog.Logger) *Pool {
	cfg = cfg.withDefaults()
	p := &Pool{
		cfg: cfg, launch: launch, log: log,
		launching: make(chan struct{}, cfg.StartConcurrency),
		groups:    map[string]*group{},
		stocks:    map[string]*stock{},
		tenants:   map[string]*tenant{},
		retired:   retiredKeys{known: map[string]struct{}{}},
		processes: map[*member]struct{}{},
		freed:     make(chan struct{}),
		gone:      make(chan struct{}),
	}
	p.life, p.stop = context.WithCancel(context.Background())
	p.drainLife, p.stopDrains = context.WithCancel(context.Background())
	for name := range cfg.Prestart {
		if s, err := p.stock(name); err == nil {
			s.refill()
		}
	}
	p.spawn(p.janitor)
	return p
}

// Handle runs call on a process of spec's key, starting one if need be; it waits
// for that, or for a free slot, until ctx ends. Errors before the call ran
// (Info.Ran is false): ErrBusy, ErrRetired, ErrClosed, *StartError,
// host.ErrUnavailable when process after process refused it, host.ErrTooLarge, or
// ctx's error. Errors after: the others of host.Process.Handle.
func (p *Pool) Handle(ctx context.Context, spec Spec, call runtime.Call) (runtime.Result, Info, error) {
	var info Info
	since := time.Now() // everything before is accounted for
	for attempt := 1; ; attempt++ {
		m, w, err := p.lease(ctx, spec)
		if w.any || attempt > 1 {
			now := time.Now()
			info.waited(w, since, now)
			since = now
		}
		if err != nil {
			return runtime.Result{}, info, err
		}
		result, ended, err := m.handle(ctx, call)
		if err == nil || !errors.Is(err, host.ErrUnavailable) {
			info.Ran = err == nil || !errors.Is(err, host.ErrTooLarge)
			info.Run, info.Secrets = ended.Sub(since), m.secrets
			return result, info, err
		}
		if attempt == maxAttempts {
			return runtime.Result{}, info, fmt.Errorf("refused by %d processes in turn: %w", attempt, err)
		}
	}
}

// Warm returns when at least one process has loaded spec, which it starts if
// need be, and then can serve it. Its errors are Handle's before a call runs; a
// *host.LoadError in the chain is the author's fault.
func (p *Pool) Warm(ctx context.Context, spec Spec) error {
	g, err := p.lockGroup(spec)
	if err != nil {
		return err
	}
	if g.serving() {
		g.mu.Unlock()
		return nil
	}
	w, err := g.enqueue(true)
	g.mu.Unlock()
	if err != nil {
		return err
	}
	_, err = g.wait(ctx, w)
	return err
}

// Keep has n processes of spec's key kept ready though nobody calls, no more than
// Config.MaxProcessesPerKey; with 0 they end when they have been idle, as any. They
// are started when there is room for them, again after one has ended, and evicted
// last. An error means that the key cannot have any: ErrBusy, ErrRetired or ErrClosed.
func (p *Pool) Keep(spec Spec, n int) error {
	if n <= 0 && !p.knows(spec.Key) {
		return nil
	}
	g, err := p.lockGroup(spec)
	if err != nil {
		return err
	}
	defer g.mu.Unlock()
	g.keep = max(0, min(n, p.cfg.MaxProcessesPerKey))
	g.fill()
	return nil
}

func (p *Pool) knows(key string) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.groups[key] != nil
}

// Status tells how a key is. One that the pool does not know is idle.
func (p *Pool) Status(key string) Status {
	p.mu.RLock()
	g := p.groups[key]
	p.mu.RUnlock()
	if g == nil {
		return Status{State: Idle}
	}
	return g.status()
}

// Retire ends a key for good: calls of it that wait get ErrRetired, as does
// whoever asks for it later; open calls finish; its processes are drained.
// It does not wait for that. A start under way is abandoned.
func (p *Pool) Retire(key string) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.retired.add(key)
	g := p.groups[key]
	p.drop(g)
	p.mu.Unlock()
	if g != nil {
		g.retire(ErrRetired)
	}
}

// Build checks source and makes its artifact, in a process of the runtime that
// never runs user code. It is started when first needed and anew when it died.
// A source that two processes did not survive, or not answer in
// Config.BuildTimeout, is at fault: the result is an error diagnostic with the
// code "resources". A builder that cannot be started is a *StartError.
// No more than Config.BuildConcurrency builds go on at once; others wait until
// ctx ends.
func (p *Pool) Build(ctx context.Context, runtimeName, source string, dependencies []host.Dependency) (host.BuildResult, error) {
	s, err := p.stock(runtimeName)
	if err != nil {
		return host.BuildResult{}, err
	}
	return s.build(ctx, source, dependencies)
}

// Describe says what a runtime is. It is asked once, by the first process.
func (p *Pool) Describe(ctx context.Context, runtimeName string) (host.Description, error) {
	s, err := p.stock(runtimeName)
	if err != nil {
		return host.Description{}, err
	}
	return s.describe(ctx)
}

// Types returns all type declarations of a runtime for the editor, by file name.
// A builder is asked each time: keep them, or have clients keep them.
func (p *Pool) Types(ctx context.Context, runtimeName string) (map[string]string, error) {
	s, err := p.stock(runtimeName)
	if err != nil {
		return nil, err
	}
	return s.types(ctx)
}

// Stats counts what there is now.
func (p *Pool) Stats() Stats {
	p.mu.RLock()
	st := Stats{
		Processes: len(p.processes), Keys: len(p.groups),
		Launched: p.counts.launched.Load(), Failed: p.counts.failed.Load(), Exited: p.counts.exited.Load(),
		Evicted: p.counts.evicted.Load(), Added: p.counts.added.Load(), ColdCalls: p.counts.cold.Load(),
	}
	p.mu.RUnlock()
	for _, m := range p.running() {
		if g := m.group.Load(); g != nil {
			st.Loaded++
			st.OpenCalls += g.openOn(m)
		}
	}
	groups, stocks := p.all()
	for _, g := range groups {
		waiting, looping := g.condition()
		st.Waiting += waiting
		if looping {
			st.Looping++
		}
	}
	for _, s := range stocks {
		st.Blank += s.count()
	}
	return st
}

// Close ends the pool: calls that wait get ErrClosed, open ones may finish until
// ctx ends, then every process is killed. It returns when no process and no
// goroutine of the pool is left, with an error if it had to kill one that
// had calls open. It may be called again and then waits for the same end.
func (p *Pool) Close(ctx context.Context) error {
	p.firstClose.Do(p.shut)
	select {
	case <-p.gone:
		return nil
	case <-ctx.Done():
	}
	p.stopDrains()
	busy := p.Stats().OpenCalls
	for _, m := range p.running() {
		m.proc.Kill()
	}
	<-p.gone
	if busy > 0 {
		return fmt.Errorf("%d calls were cut off when the pool closed: %w", busy, ctx.Err())
	}
	return nil
}

func (p *Pool) shut() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	groups, stocks := p.all()
	for _, g := range groups {
		g.retire(ErrClosed)
	}
	for _, s := range stocks {
		s.close()
	}
	p.stop() // last: who waits has been told ErrClosed, and not that a start was cancelled
	go func() {
		p.waitForProcesses()
		p.mu.Lock()
		p.sealed = true
		p.mu.Unlock()
		p.spawned.Wait()
		p.stopDrains()
		close(p.gone)
	}()
}

// spawn runs f in a goroutine that Close waits for. It does nothing once Close
// has seen the last process end.
func (p *Pool) spawn(f func()) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if !p.sealed {
		p.spawned.Go(f)
	}
}

// lease takes a slot on a process of the key. The caller must use it.
func (p *Pool) lease(ctx context.Context, spec Spec) (*member, wait, error) {
	if err := ctx.Err(); err != nil {
		return nil, wait{}, err
	}
	g, err := p.lockGroup(spec)
	if err != nil {
		return nil, wait{}, err
	}
	if g.waiters.Len() == 0 {
		if m := g.take(); m != nil {
			g.mu.Unlock()
			return m, wait{}, nil
		}
	}
	w, err := g.enqueue(false)
	g.mu.Unlock()
	if err != nil {
		return nil, wait{}, err
	}
	m, err := g.wait(ctx, w)
	if w.cold {
		p.counts.cold.Add(1)
	}
	return m, wait{any: true, cold: w.cold, served: w.served}, err
}

// lockGroup finds or makes the group of spec's key and locks it.
func (p *Pool) lockGroup(spec Spec) (*group, error) {
	for {
		p.mu.RLock()
		g := p.groups[spec.Key]
		p.mu.RUnlock()
		if g == nil {
			var err error
			if g, err = p.newGroup(spec); err != nil {
				return nil, err
			}
		}
		g.mu.Lock()
		switch {
		case g.ended != nil:
			err := g.ended
			g.mu.Unlock()
			return nil, err
		case g.forgotten: // swept away since we found it
			g.mu.Unlock()
		default:
			return g, nil
		}
	}
}

func (p *Pool) newGroup(spec Spec) (*group, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return nil, ErrClosed
	case p.retired.has(spec.Key):
		return nil, ErrRetired
	}
	if g := p.groups[spec.Key]; g != nil {
		return g, nil
	}
	// Keys without a process are few: they have a start under way or failed a
	// moment ago. A flood of them is refused rather than remembered.
	if len(p.groups) >= 4*p.cfg.MaxProcesses+1024 {
		return nil, ErrBusy
	}
	g := &group{pool: p, spec: spec, tenant: p.tenantOf(spec.Account)}
	g.waiters.Init()
	p.groups[spec.Key] = g
	return g, nil
}

func (p *Pool) stock(name string) (*stock, error) {
	p.mu.RLock()
	s, closed := p.stocks[name], p.closed
	p.mu.RUnlock()
	if closed {
		return nil, ErrClosed
	}
	if s != nil {
		return s, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return nil, ErrClosed
	case p.stocks[name] != nil:
		return p.stocks[name], nil
	case len(p.stocks) >= maxRuntimes:
		return nil, fmt.Errorf("runtime %q is one too many: the limit is %d", name, maxRuntimes)
	}
	s = newStock(p, name)
	p.stocks[name] = s
	return s, nil
}

func (p *Pool) all() ([]*group, []*stock) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	groups := make([]*group, 0, len(p.groups))
	for _, g := range p.groups {
		groups = append(groups, g)
	}
	stocks := make([]*stock, 0, len(p.stocks))
	for _, s := range p.stocks {
		stocks = append(stocks, s)
	}
	return groups, stocks
}

// janitor reaps idle processes, forgets idle keys and wakes queues whose
// back-off is over.
func (p *Pool) janitor() {
	tick := time.NewTicker(min(sweepInterval, p.cfg.IdleTimeout))
	defer tick.Stop()
	for {
		select {
		case <-p.life.Done():
			return
		case <-tick.C:
			p.sweep()
		}
	}
}

func (p *Pool) sweep() {
	groups, stocks := p.all()
	short := false
	for _, g := range groups {
		short = g.sweep() || short
	}
	if short {
		p.makeRoom(p.cfg.SpareTimeout)
	}
	for _, s := range stocks {
		s.sweep()
	}
}

// retiredKeys remembers the last maxRetired keys. Guarded by Pool.mu.
type retiredKeys struct {
	known map[string]struct{}
	order []string // a ring once it is full
	next  int
}

func (r *retiredKeys) has(key string) bool {
	_, ok := r.known[key]
	return ok
}

func (r *retiredKeys) add(key string) {
	if r.has(key) {
		return
	}
	r.known[key] = struct{}{}
	if len(r.order) < maxRetired {
		r.order = append(r.order, key)
		return
	}
	delete(r.known, r.order[r.next])
	r.order[r.next] = key
	r.next = (r.next + 1) % maxRetired
}
