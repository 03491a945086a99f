package pool

import (
	"context"
	"errors"
	"time"
)

// reserve gets a place for one more process under the bound of all. While
// wanted says that somebody waits for the process, it makes room and waits for
// it; else it gives up with ErrFull when there is none.
func (p *Pool) reserve(wanted func() bool) error {
	starving := 0 // 1 from the first time we had to wait, so that nobody less in need comes first
	var since time.Time
	for {
		needed := wanted()
		p.mu.Lock()
		full := len(p.processes)+p.reserved >= p.cfg.MaxProcesses
		var err error
		switch {
		case p.closed:
			err = ErrClosed
		case !needed && (full || p.starving > starving):
			err = ErrFull
		case !full:
			p.reserved++
		default:
			p.setStarving(1 - starving)
			if starving == 0 {
				starving, since = 1, time.Now()
			}
			freed, evict := p.freed, p.evicting < p.starving
			p.mu.Unlock()
			if evict && !p.evict() && time.Since(since) >= yieldAfter {
				p.yield()
			}
			p.await(freed)
			continue
		}
		p.setStarving(-starving)
		p.mu.Unlock()
		return err
	}
}

// await waits until a place may have become free, and for yieldAfter at most.
func (p *Pool) await(freed <-chan struct{}) {
	timer := time.NewTimer(yieldAfter)
	defer timer.Stop()
	select {
	case <-freed:
	case <-timer.C:
	case <-p.life.Done():
	}
}

// setStarving is called with mu held.
func (p *Pool) setStarving(by int) {
	p.starving += by
	p.hungry.Store(p.starving > 0)
}

// unreserve gives back a place that no process came to use.
func (p *Pool) unreserve() {
	p.mu.Lock()
	p.reserved--
	p.wake()
	p.mu.Unlock()
}

// adopt turns a reserved place into a process, which it watches to its end.
func (p *Pool) adopt(proc Process, s *stock) *member {
	m := &member{proc: proc, stock: s}
	p.mu.Lock()
	p.reserved--
	p.processes[m] = struct{}{}
	closed := p.closed
	p.mu.Unlock()
	p.counts.launched.Add(1)
	p.spawn(func() { p.watch(m) })
	if closed {
		p.kill(m)
	}
	return m
}

// watch waits for the end of a process and lets go of all that was its.
func (p *Pool) watch(m *member) {
	<-m.proc.Done()
	if g := m.group.Load(); g != nil {
		g.exited(m)
	}
	m.stock.exited(m)
	p.mu.Lock()
	delete(p.processes, m)
	p.hold(m, nil)
	if m.evicted {
		p.evicting--
	}
	p.wake()
	p.mu.Unlock()
	_, stocks := p.all()
	for _, s := range stocks {
		s.refill()
	}
}

// wake tells all who wait for a place to look again. Called with mu held.
func (p *Pool) wake() {
	close(p.freed)
	p.freed = make(chan struct{})
}

func (p *Pool) wakeStarving() {
	p.mu.Lock()
	p.wake()
	p.mu.Unlock()
}

// evict asks one process to make room, if one can: a blank one of a runtime that
// nobody waits for, else an idle one of the account that is furthest over its
// share, else the loaded one that has been idle longest, else an idle builder.
// Those that are kept ready though nobody calls come last of the loaded ones.
func (p *Pool) evict() bool {
	groups, stocks := p.all()
	for _, s := range stocks {
		if m := s.surrenderBlank(); m != nil {
			p.evicted(m)
			return true
		}
	}
	if p.evictIdle(groups, func(idle) bool { return true }) {
		return true
	}
	for _, s := range stocks {
		if m := s.surrenderBuilder(); m != nil {
			p.evicted(m)
			return true
		}
	}
	return false
}

// evictIdle evicts the idle process that is needed least of those that fit.
func (p *Pool) evictIdle(groups []*group, fits func(idle) bool) bool {
	for range 3 { // the one found may get a call before we are back
		found := p.leastNeeded(groups, fits)
		if found.m == nil {
			return false
		}
		if found.m.group.Load().surrender(found.m) {
			p.evicted(found.m)
			return true
		}
	}
	return false
}

// makeRoom evicts an idle process for one that no call waits for: only one that is
// not to be kept ready itself and has had no call for that long.
func (p *Pool) makeRoom(idleFor time.Duration) {
	p.mu.RLock()
	underWay := p.evicting > 0
	p.mu.RUnlock()
	if underWay {
		return
	}
	groups, _ := p.all()
	before := time.Now().Add(-idleFor)
	p.evictIdle(groups, func(i idle) bool { return !i.kept && !i.since.After(before) })
}

// idle is a process that has no call.
type idle struct {
	m     *member
	since time.Time
	kept  bool // its key wants it though nobody calls
	over  int  // by how many processes its account is over its share
}

func (i idle) neededLess(than idle) bool {
	switch {
	case i.kept != than.kept:
		return than.kept
	case i.over != than.over:
		return i.over > than.over
	}
	return i.since.Before(than.since)
}

func (p *Pool) leastNeeded(groups []*group, fits func(idle) bool) idle {
	var found idle
	for _, g := range groups {
		i := g.idlest()
		if i.m == nil || !fits(i) {
			continue
		}
		i.over = p.overShare(g.tenant)
		if found.m == nil || i.neededLess(found) {
			found = i
		}
	}
	return found
}

func (p *Pool) evicted(m *member) {
	p.counts.evicted.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, running := p.processes[m]; running {
		m.evicted = true
		p.evicting++
	}
}

// drain lets a process finish its calls and ends it.
func (p *Pool) drain(m *member) {
	p.spawn(func() {
		ctx, cancel := context.WithTimeout(p.drainLife, p.cfg.DrainTimeout)
		defer cancel()
		if err := m.proc.Drain(ctx); err != nil && !errors.Is(err, context.Canceled) {
			p.log.Warn().Err(err).Msg("a process did not drain in time")
		}
		m.proc.Kill()
	})
}

// kill ends a process that has no calls.
func (p *Pool) kill(m *member) { p.spawn(m.proc.Kill) }

// forget removes a group that has nothing left. Called with its mu held.
func (p *Pool) forget(g *group) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.groups[g.spec.Key] == g {
		p.drop(g)
	}
}

// drop takes a group, or nil, off the list. Needs mu.
func (p *Pool) drop(g *group) {
	if g != nil {
		delete(p.groups, g.spec.Key)
		p.leaveTenant(g.tenant)
	}
}

// running lists every process.
func (p *Pool) running() []*member {
	p.mu.RLock()
	defer p.mu.RUnlock()
	ms := make([]*member, 0, len(p.processes))
	for m := range p.processes {
		ms = append(ms, m)
	}
	return ms
}

// waitForProcesses returns when the pool is closed and no process is left. None
// can come after that: each needs a place first.
func (p *Pool) waitForProcesses() {
	for {
		p.mu.RLock()
		left, freed := len(p.processes)+p.reserved, p.freed
		p.mu.RUnlock()
		if left == 0 {
			return
		}
		<-freed
	}
}
