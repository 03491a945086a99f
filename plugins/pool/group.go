package pool

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-faas/sluice/plugins/host"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

// member is one process in the pool.
type member struct {
	proc  Process
	stock *stock
	// group is set when the process has loaded a key, and never changed.
	group   atomic.Pointer[group]
	secrets runtime.Secrets // that it was loaded with; not changed after group is set

	// Guarded by Pool.mu:
	evicted bool    // to make room
	tenant  *tenant // whose it is

	// Guarded by the group's mu:
	open     int  // calls
	served   bool // had a call
	answered int  // calls, up to soundCalls
	draining bool // gets no more calls
	loadedAt time.Time
	lastUsed time.Time
}

// handle runs a call on a leased slot and gives the slot back.
func (m *member) handle(ctx context.Context, call runtime.Call) (result runtime.Result, ended time.Time, err error) {
	defer func() { // also if a caller's Log panics: the slot must not be lost
		ended = time.Now()
		m.group.Load().release(m, ended, err)
	}()
	result, err = m.proc.Handle(ctx, call)
	return result, ended, err
}

func (m *member) ended() bool {
	select {
	case <-m.proc.Done():
		return true
	default:
		return false
	}
}

// group has the processes of one key, and the calls that wait for one.
type group struct {
	pool   *Pool
	spec   Spec
	tenant *tenant

	mu      sync.Mutex
	members []*member // that have not exited, draining ones too
	waiters list.List // of *waiter, first come first served

	starting    bool // a process is being got; there is never a second start
	cancelStart context.CancelFunc

	keep int // processes that are to be ready though nobody calls

	served time.Time // when a process was loaded and there had been none

	ended     error // why the key is gone for good
	forgotten bool  // no longer in Pool.groups; look the key up again

	health
}

// wait says what a call had to wait for.
type wait struct {
	any    bool
	cold   bool      // there was no process
	served time.Time // then: when there was one again; before the wait if there was not
}

// waiter is a call (or a Warm) in the queue.
type waiter struct {
	warm   bool // wants a process to be there, no slot on it
	cold   bool // waits for a start
	served time.Time
	place  *list.Element // changed by leave alone
	ready  chan grant    // one grant is sent, after place has become nil
}

type grant struct {
	m   *member
	err error
}

// take takes a slot on the process with the least to do, or returns nil. The
// first wins a draw, so that under light load the others fall idle.
func (g *group) take() *member {
	var best *member
	least := 0
	for _, m := range g.members {
		if m.draining || m.open >= g.pool.cfg.MaxCallsPerProcess || best != nil && m.open >= least || !m.proc.Available() {
			continue
		}
		load := m.open
		if m.open > 0 && len(g.members) > 1 {
			load += min(int(m.proc.Lag()/lagOfCall), mostLagCalls)
		}
		if best == nil || load < least {
			best, least = m, load
		}
	}
	if best != nil {
		best.open++
		best.served = true
	}
	return best
}

// serving reports whether a process takes calls, full or not.
func (g *group) serving() bool {
	for _, m := range g.members {
		if !m.draining && m.proc.Available() {
			return true
		}
	}
	return false
}

// enqueue puts a call at the end of the queue and sees to it that somebody will
// serve it, or says why nobody can.
func (g *group) enqueue(warm bool) (*waiter, error) {
	if g.waiters.Len() >= g.pool.cfg.MaxWaiting {
		return nil, ErrBusy
	}
	if g.tenant.waiting.Add(1) > int64(g.pool.cfg.MaxWaitingPerAccount) {
		g.tenant.waiting.Add(-1)
		return nil, ErrBusy
	}
	g.startIfNeeded()
	if len(g.members) == 0 && !g.starting {
		g.tenant.waiting.Add(-1)
		return nil, g.startError(g.lastErr, true)
	}
	w := &waiter{warm: warm, cold: g.starting && !g.serving(), ready: make(chan grant, 1)}
	w.place = g.waiters.PushBack(w)
	return w, nil
}

// wait waits for w's turn. When ctx ends first, what w may just have been given
// goes to the next.
func (g *group) wait(ctx context.Context, w *waiter) (*member, error) {
	select {
	case got := <-w.ready:
		return got.m, got.err
	case <-ctx.Done():
	}
	g.mu.Lock()
	if w.place != nil {
		g.leave(w)
		g.mu.Unlock()
	} else {
		g.mu.Unlock()
		if got := <-w.ready; got.m != nil {
			g.release(got.m, time.Now(), nil)
		}
	}
	return nil, fmt.Errorf("wait for a process: %w", ctx.Err())
}

// dispatch gives free slots to those who wait longest, and starts a process for
// the rest if one is permitted.
func (g *group) dispatch() {
	for e := g.waiters.Front(); e != nil; e = g.waiters.Front() {
		w := e.Value.(*waiter)
		if w.warm {
			if !g.serving() {
				break
			}
			g.answer(w, grant{})
			continue
		}
		m := g.take()
		if m == nil {
			break
		}
		g.answer(w, grant{m: m})
	}
	if g.waiters.Len() == 0 {
		return
	}
	g.startIfNeeded()
	if len(g.members) == 0 && !g.starting {
		g.failWaiters(g.startError(g.lastErr, true))
	}
}

func (g *group) answer(w *waiter, got grant) {
	g.leave(w)
	w.ready <- got
}

func (g *group) leave(w *waiter) {
	g.waiters.Remove(w.place)
	g.tenant.waiting.Add(-1)
	w.place, w.served = nil, g.served
}

func (g *group) failWaiters(err error) {
	for e := g.waiters.Front(); e != nil; e = g.waiters.Front() {
		g.answer(e.Value.(*waiter), grant{err: err})
	}
}

func (g *group) startError(err error, backingOff bool) error {
	if g.ended != nil {
		return g.ended
	}
	return &StartError{
		Runtime: g.spec.Runtime, BackingOff: backingOff, Failures: g.failures,
		RetryAfter: max(0, time.Until(g.retryAt)), Err: err,
	}
}

// startIfNeeded begins to start a process, unless one is being started, the key
// has as many as it may, or it is too soon after a failure.
func (g *group) startIfNeeded() {
	for _, m := range slices.Clone(g.members) {
		if m.ended() {
			g.bury(m) // it may be why nothing is to be started now
		}
	}
	if g.starting || g.ended != nil || len(g.members) >= g.pool.cfg.MaxProcessesPerKey {
		return
	}
	if g.failures > 0 && time.Now().Before(g.retryAt) {
		return
	}
	g.starting = true
	ctx, cancel := context.WithTimeout(g.pool.life, g.pool.cfg.StartTimeout)
	g.cancelStart = cancel
	g.pool.spawn(func() {
		defer cancel()
		m, err := g.prepare(ctx)
		g.started(m, err)
	})
}

// prepare gets a blank process and loads the key into it. What to load is
// fetched while the process is being started, if none is ready.
func (g *group) prepare(ctx context.Context) (*member, error) {
	s, err := g.pool.stock(g.spec.Runtime)
	if err != nil {
		return nil, err
	}
	o := s.order(g.tenant)
	request, err := g.spec.Load(ctx)
	if err != nil {
		s.cancel(o)
		return nil, fmt.Errorf("fetch what to load: %w", err)
	}
	for attempt := 1; ; attempt++ {
		m, err := s.await(ctx, o)
		if err != nil {
			return nil, err
		}
		err = g.load(ctx, m, request)
		if err == nil {
			return m, nil
		}
		g.pool.kill(m)
		// The blank process had died before it saw any user code.
		if !errors.Is(err, host.ErrUnavailable) || attempt == 3 {
			return nil, err
		}
		o = s.order(g.tenant)
	}
}

// load lets a process read user code. Nothing else keeps it busy, so taking
// too long or ending by itself is that code's doing.
func (g *group) load(ctx context.Context, m *member, request host.LoadRequest) error {
	limited, cancel := context.WithTimeout(ctx, g.pool.cfg.LoadTimeout)
	defer cancel()
	m.secrets = request.Secrets
	err := m.proc.Load(limited, request)
	var exit *host.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit) && exit.Own:
		return &host.LoadError{Message: "the process ended while the code was loaded: " + exit.Reason}
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return &host.LoadError{Message: fmt.Sprintf("the code took longer than %v to load", g.pool.cfg.LoadTimeout)}
	}
	return fmt.Errorf("load: %w", err)
}

// started takes in what came of a start.
func (g *group) started(m *member, err error) {
	if m != nil {
		m.group.Store(g) // before the look at Done: either it or exited sees the end
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.starting, g.cancelStart = false, nil
	if err == nil && m.ended() {
		err = fmt.Errorf("the process ended as soon as it was loaded: %s", m.proc.ExitReason())
	}
	switch {
	case g.ended != nil:
		if m != nil {
			g.pool.drain(m)
		}
	case err != nil:
		if errors.Is(err, ErrFull) {
			g.pool.counts.failed.Add(1)
		} else {
			g.failed(err, 0)
		}
		if len(g.members) == 0 {
			g.failWaiters(g.startError(err, false))
		}
	default:
		m.loadedAt = time.Now()
		m.lastUsed = m.loadedAt
		if !g.serving() {
			g.served = m.loadedAt
		}
		g.members = append(g.members, m)
		g.dispatch()
		g.fill()
	}
}

// release gives a slot back; err is what became of the call.
func (g *group) release(m *member, now time.Time, err error) {
	dying := err != nil && endedProcess(err) // nothing to drain, and Done follows
	g.mu.Lock()
	m.open--
	m.lastUsed = now
	if !dying && m.answered < soundCalls && !errors.Is(err, host.ErrUnavailable) {
		if m.answered++; m.answered == soundCalls {
			g.failures = 0
		}
	}
	idle := m.open == 0
	if idle && !m.draining && !dying && m.proc.Retired() {
		g.condemn(m) // it asked to be replaced, and has finished now
	}
	if g.waiters.Len() > 0 && !dying {
		g.dispatch()
	}
	if !idle && now.Sub(g.lookedAt) >= lookInterval {
		g.look(now)
	}
	g.mu.Unlock()
	if idle && g.pool.hungry.Load() {
		g.pool.wakeStarving()
	}
}

func endedProcess(err error) bool {
	var exit *host.ExitError
	return errors.As(err, &exit)
}

// condemn takes a process out of use and drains it.
func (g *group) condemn(m *member) {
	m.draining = true
	g.pool.drain(m)
}

// exited is called once for every process that had loaded the key.
func (g *group) exited(m *member) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.bury(m)
	if g.ended == nil {
		g.dispatch()
		g.fill()
	}
}

// bury takes a process that has ended off the list, if it is there still.
func (g *group) bury(m *member) {
	if i := slices.Index(g.members, m); i >= 0 {
		g.members = slices.Delete(g.members, i, i+1)
		g.unexpected(m)
	}
}

// retire ends the key for the given reason.
func (g *group) retire(reason error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended != nil {
		return
	}
	g.ended = reason
	if g.cancelStart != nil {
		g.cancelStart()
	}
	g.failWaiters(reason)
	for _, m := range g.members {
		if !m.draining {
			g.condemn(m)
		}
	}
}

// sweep does what no call does: reaps the idle, looks again after a back-off,
// forgets the key when nothing is left of it. It tells whether the key has fewer
// processes than are to be kept because there is no room.
func (g *group) sweep() (short bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended != nil {
		return false
	}
	now := time.Now()
	g.reap(now)
	g.look(now)
	if g.waiters.Len() > 0 {
		g.dispatch()
		return false
	}
	if g.keep > 0 {
		return g.fill()
	}
	quiet := g.failures == 0 || now.After(g.retryAt.Add(lastBackoff))
	if len(g.members) == 0 && !g.starting && quiet && !g.looping(now) {
		g.forgotten = true
		g.pool.forget(g)
	}
	return false
}

// reap drains the processes that nobody needs: one that is not the key's only one
// sooner than that.
func (g *group) reap(now time.Time) {
	left := g.lasting()
	for _, m := range g.members {
		if now.Sub(m.loadedAt) >= youngAge {
			g.failures = 0
		}
		if m.open > 0 || m.draining || m.ended() {
			continue
		}
		idle := now.Sub(m.lastUsed)
		spare := idle >= g.pool.cfg.IdleTimeout || left > 1 && idle >= g.pool.cfg.SpareTimeout
		if m.proc.Retired() || left > g.keep && spare {
			g.condemn(m)
			left--
		}
	}
}

// lasting counts the processes that are not on their way out.
func (g *group) lasting() int {
	n := 0
	for _, m := range g.members {
		if !m.draining && !m.ended() {
			n++
		}
	}
	return n
}

func (g *group) openOn(m *member) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return m.open
}

// idlest finds the process that has been idle longest.
func (g *group) idlest() idle {
	g.mu.Lock()
	defer g.mu.Unlock()
	var found *member
	for _, m := range g.members {
		if m.open == 0 && !m.draining && (found == nil || m.lastUsed.Before(found.lastUsed)) {
			found = m
		}
	}
	if found == nil {
		return idle{}
	}
	return idle{m: found, since: found.lastUsed, kept: g.lasting() <= g.keep}
}

// surrender drains m to make room for another, if it is still idle.
func (g *group) surrender(m *member) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if m.open > 0 || m.draining || m.ended() {
		return false
	}
	g.condemn(m)
	return true
}

// lightest finds the process with the fewest calls.
func (g *group) lightest() load {
	g.mu.Lock()
	defer g.mu.Unlock()
	found := load{only: g.lasting() == 1}
	for _, m := range g.members {
		if !m.draining && !m.ended() && (found.m == nil || m.open < found.calls) {
			found.m, found.calls = m, m.open
		}
	}
	return found
}

// giveUp drains m with its calls, so that another account gets its place.
func (g *group) giveUp(m *member) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if m.draining || m.ended() {
		return false
	}
	g.condemn(m)
	return true
}
