package pool

import (
	"context"
	"errors"
	"time"
)

// reserve gets a place for one more process under the bound of all. While
// wanted says that somebody waits for the process, it makes room and waits for
// it; else it gives up with errNoCapacity when there is none.
func (p *Pool) reserve(wanted func() bool) error {
	starving := 0 // 1 from the first time we had to wait, so that nobody less in need comes first
	for {
		needed := wanted()
		p.mu.Lock()
		full := len(p.processes)+p.reserved >= p.cfg.MaxProcesses
		var err error
		switch {
		case p.closed:
			err = ErrClosed
		case !needed && (full || p.starving > starving):
			err = errNoCapacity
		case !full:
			p.reserved++
		default:
			p.setStarving(1 - starving)
			starving = 1
			freed, evict := p.freed, p.evicting < p.starving
			p.mu.Unlock()
			if evict {
				p.evict()
			}
			select {
			case <-freed:
			case <-p.life.Done():
			}
			continue
		}
		p.setStarving(-starving)
		p.mu.Unlock()
		return err
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

// evict asks one process to make room: a blank one of a runtime that nobody
// waits for, else the loaded one that has been idle longest, else an idle builder.
func (p *Pool) evict() {
	groups, stocks := p.all()
	for _, s := range stocks {
		if m := s.surrenderBlank(); m != nil {
			p.evicted(m)
			return
		}
	}
	for range 3 { // the one found may get a call before we are back
		m := idlest(groups)
		if m == nil {
			break
		}
		if m.group.Load().surrender(m) {
			p.evicted(m)
			return
		}
	}
	for _, s := range stocks {
		if m := s.surrenderBuilder(); m != nil {
			p.evicted(m)
			return
		}
	}
}

func idlest(groups []*group) *member {
	var found *member
	var since time.Time
	for _, g := range groups {
		if m, at := g.idlest(); m != nil && (found == nil || at.Before(since)) {
			found, since = m, at
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
		delete(p.groups, g.spec.Key)
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
