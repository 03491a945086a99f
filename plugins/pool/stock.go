package pool

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-faas/sluice/plugins/host"
)

// stock has the blank processes of one runtime. Who needs one places an order:
// it is met at once from what is ready, else by the next process launched. What
// was taken is replaced in the background.
type stock struct {
	pool   *Pool
	name   string
	target int

	ready atomic.Int32 // len(blanks), for who holds another lock

	buildSlots  chan struct{} // one per build under way
	builderTurn chan struct{} // held while a builder is being got

	mu        sync.Mutex
	closed    bool
	blanks    []*member // oldest first
	orders    list.List // of *order; not empty only while blanks is
	launching int
	full      bool      // the pool had no place for a replacement
	orderedAt time.Time // last

	failures int       // launches that failed, blanks that died, in a row
	retryAt  time.Time // no replacement before
	pausing  bool      // nor while a timer runs that ends the pause

	described   bool
	description host.Description

	builder   *member // nil until needed
	builds    int     // under way
	lastBuild time.Time
}

// order is somebody's wish for a blank process.
type order struct {
	tenant *tenant       // whose the process will be; nil: a builder's
	place  *list.Element // nil once delivered or cancelled
	ready  chan delivery // one delivery is sent, unless cancelled
}

type delivery struct {
	m   *member
	err error
}

func newStock(p *Pool, name string) *stock {
	s := &stock{
		pool: p, name: name, target: max(0, min(p.cfg.Prestart[name], p.cfg.MaxProcesses)),
		buildSlots: make(chan struct{}, p.cfg.BuildConcurrency), builderTurn: make(chan struct{}, 1),
	}
	s.orders.Init()
	return s
}

// order asks for a blank process, for t, or with nil for a builder. It must be
// awaited or cancelled.
func (s *stock) order(t *tenant) *order {
	o := &order{tenant: t, ready: make(chan delivery, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.orderedAt = time.Now()
	if s.closed {
		o.ready <- delivery{err: ErrClosed}
		return o
	}
	if m := s.takeBlank(); m != nil {
		s.pause()
		s.pool.assign(m, t)
		o.ready <- delivery{m: m}
	} else {
		o.place = s.orders.PushBack(o)
		s.pool.want(t, 1)
	}
	s.launchWanted()
	return o
}

// await waits for an order until ctx ends, which cancels it.
func (s *stock) await(ctx context.Context, o *order) (*member, error) {
	select {
	case d := <-o.ready:
		return d.m, d.err
	case <-ctx.Done():
	}
	s.cancel(o)
	if s.pool.hungry.Load() {
		return nil, fmt.Errorf("%w: %w", ErrFull, ctx.Err())
	}
	return nil, fmt.Errorf("wait for a blank process: %w", ctx.Err())
}

// cancel withdraws an order; a process delivered meanwhile goes to the next.
func (s *stock) cancel(o *order) {
	s.mu.Lock()
	if o.place != nil {
		s.remove(o)
		s.mu.Unlock()
		s.pool.wakeStarving() // the launch meant for it may no longer be wanted
		return
	}
	s.mu.Unlock()
	if d := <-o.ready; d.m != nil {
		s.mu.Lock()
		s.deliver(d.m)
		s.mu.Unlock()
	}
}

// remove takes an order off the list. It and what follows need mu.
func (s *stock) remove(o *order) {
	s.orders.Remove(o.place)
	o.place = nil
	s.pool.want(o.tenant, -1)
}

func (s *stock) keep(blanks []*member) {
	s.blanks = blanks
	s.ready.Store(int32(len(blanks)))
}

func (s *stock) takeBlank() *member {
	for len(s.blanks) > 0 {
		m := s.blanks[0]
		s.keep(s.blanks[1:])
		if !m.ended() {
			s.failures = 0
			return m
		}
	}
	return nil
}

// deliver gives a blank process to whoever has waited longest of those whose
// accounts have the fewest, or keeps it.
func (s *stock) deliver(m *member) {
	switch {
	case s.closed:
		s.pool.kill(m)
	case s.orders.Len() > 0:
		s.settle(delivery{m: m})
	case len(s.blanks) < s.target && !m.ended():
		s.pool.assign(m, nil)
		s.keep(append(s.blanks, m))
	default:
		s.pool.kill(m)
	}
}

func (s *stock) settle(d delivery) {
	o := s.pool.poorest(&s.orders)
	s.remove(o)
	if d.m != nil {
		s.pool.assign(d.m, o.tenant)
	}
	o.ready <- d
}

// launchWanted starts as many launches as orders and target ask for, orders first.
func (s *stock) launchWanted() {
	for !s.closed && s.launching < s.pool.cfg.StartConcurrency && s.launching < s.orders.Len()+s.target-len(s.blanks) {
		if s.launching >= s.orders.Len() && (s.full || s.pausing || time.Now().Before(s.retryAt)) {
			return // it would only be a replacement, and those can wait
		}
		s.launching++
		s.pool.spawn(s.launchOne)
	}
}

// pause puts replacements off for a moment.
func (s *stock) pause() {
	if s.pausing {
		return
	}
	s.pausing = true
	time.AfterFunc(refillPause, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pausing = false
		s.launchWanted()
	})
}

func (s *stock) launchOne() {
	m, err := s.launch()
	if s.launched(m, err) {
		s.pool.makeRoom(reserveIdle)
	}
}

// launched takes in what came of a launch. It tells whether a replacement found no
// place although orders came a moment ago: where the machine is full and
// starts are many, one blank process more is worth an idle one, because each start
// that has to evict a process first and then launch one takes many times as long.
func (s *stock) launched(m *member, err error) (missed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.launching--
	switch {
	case err == nil:
		s.deliver(m)
	case errors.Is(err, ErrFull):
		s.full = true
		missed = time.Since(s.orderedAt) < reserveTime
	default:
		s.failed()
		if s.orders.Len() > 0 {
			s.settle(delivery{err: err})
		}
	}
	s.launchWanted()
	return missed
}

func (s *stock) failed() {
	s.failures++
	s.retryAt = time.Now().Add(backoff(s.failures))
}

func (s *stock) launch() (*member, error) {
	p := s.pool
	if err := p.reserve(s.hasOrders); err != nil {
		return nil, err
	}
	proc, err := s.launchProcess()
	if err != nil {
		p.unreserve()
		if p.life.Err() != nil {
			return nil, ErrClosed
		}
		p.counts.failed.Add(1)
		p.log.Warn().Err(err).Str("runtime", s.name).Msg("a runtime process could not be launched")
		return nil, fmt.Errorf("launch: %w", err)
	}
	m := p.adopt(proc, s)
	s.mu.Lock()
	s.described, s.description = true, proc.Description()
	s.mu.Unlock()
	return m, nil
}

func (s *stock) launchProcess() (Process, error) {
	p := s.pool
	ctx, cancel := context.WithTimeout(p.life, p.cfg.StartTimeout)
	defer cancel()
	select {
	case p.launching <- struct{}{}:
		defer func() { <-p.launching }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return p.launch(ctx, s.name)
}

func (s *stock) hasOrders() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.orders.Len() > 0
}

func (s *stock) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.blanks)
}

// refill looks whether blanks are missing, now that there may be room.
func (s *stock) refill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = false
	s.launchWanted()
}

// sweep refills after a back-off and reaps a builder that is not used.
func (s *stock) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.builder; b != nil && s.builds == 0 && time.Since(s.lastBuild) >= s.pool.cfg.IdleTimeout {
		s.builder = nil
		s.pool.drain(b)
	}
	s.full = false
	s.launchWanted()
}

// surrenderBlank ends a blank process to make room for another.
func (s *stock) surrenderBlank() *member {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.takeBlank()
	if m != nil {
		s.pool.kill(m)
	}
	return m
}

// surrenderBuilder ends the builder to make room for another, if it is idle.
func (s *stock) surrenderBuilder() *member {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.builder
	if m == nil || s.builds > 0 {
		return nil
	}
	s.builder = nil
	s.pool.drain(m)
	return m
}

// exited is called once for every process of the runtime.
func (s *stock) exited(m *member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.builder == m {
		s.builder = nil
	}
	for i, blank := range s.blanks {
		if blank == m {
			s.keep(append(s.blanks[:i], s.blanks[i+1:]...))
			s.failed()
			s.pool.log.Warn().Str("runtime", s.name).Str("reason", m.proc.ExitReason()).Msg("a blank process ended")
			break
		}
	}
}

func (s *stock) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for s.orders.Len() > 0 {
		s.settle(delivery{err: ErrClosed})
	}
	for _, m := range s.blanks {
		s.pool.kill(m)
	}
	s.keep(nil)
	if s.builder != nil {
		s.pool.drain(s.builder)
	}
}
