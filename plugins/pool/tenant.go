package pool

import (
	"container/list"
	"sync/atomic"
)

// tenant is an account with what it has of the pool. When the machine is full,
// every account that has processes or waits for one may have the same share of
// them. One that is alone may have all; so it may be over its share when others
// come, and then it gives up places: idle processes at once, busy ones one by one
// (see yield).
type tenant struct {
	account string
	waiting atomic.Int64 // calls

	// Guarded by Pool.mu:
	groups  int // keys that the pool knows
	held    int // processes, from when one is got for a key until it has ended
	wanting int // keys that wait for one to be got
}

// tenantOf finds or makes the tenant of an account, for one more key. It and what
// follows, where it says so, are called with mu held.
func (p *Pool) tenantOf(account string) *tenant {
	t := p.tenants[account]
	if t == nil {
		t = &tenant{account: account}
		p.tenants[account] = t
	}
	t.groups++
	return t
}

// leaveTenant notes that the pool knows a key less. Needs mu.
func (p *Pool) leaveTenant(t *tenant) {
	t.groups--
	p.forgetTenant(t)
}

// forgetTenant forgets one that has nothing left. Needs mu.
func (p *Pool) forgetTenant(t *tenant) {
	if t.groups == 0 && t.held == 0 && t.wanting == 0 && p.tenants[t.account] == t {
		delete(p.tenants, t.account)
	}
}

// assign makes a process the tenant's, or with nil nobody's.
func (p *Pool) assign(m *member, t *tenant) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, running := p.processes[m]; running {
		p.hold(m, t)
	}
}

// hold is assign with mu held.
func (p *Pool) hold(m *member, t *tenant) {
	if old := m.tenant; old != nil {
		old.held--
		p.forgetTenant(old)
	}
	if m.tenant = t; t != nil {
		t.held++
	}
}

// want counts the keys of a tenant that wait for a process. A builder has none.
func (p *Pool) want(t *tenant, by int) {
	if t == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	t.wanting += by
	p.forgetTenant(t)
}

// poorest finds, of orders, of which there must be one, the first of those whose
// tenant has the fewest processes.
func (p *Pool) poorest(orders *list.List) *order {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var found *order
	least := 0
	for e := orders.Front(); e != nil; e = e.Next() {
		o, held := e.Value.(*order), 0
		if o.tenant != nil {
			held = o.tenant.held
		}
		if found == nil || held < least {
			found, least = o, held
		}
	}
	return found
}

// overShare tells how many processes more than its share a tenant has.
func (p *Pool) overShare(t *tenant) int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	active := 0
	for _, other := range p.tenants {
		if other.held > 0 || other.wanting > 0 {
			active++
		}
	}
	return max(0, t.held-max(1, p.cfg.MaxProcesses/max(1, active)))
}

// hasRoom says whether a process of a runtime can be had without that another
// must go or somebody in greater need waits longer.
func (p *Pool) hasRoom(runtimeName string) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if s := p.stocks[runtimeName]; s != nil && s.ready.Load() > 0 {
		return p.starving == 0
	}
	return p.starving == 0 && len(p.processes)+p.reserved < p.cfg.MaxProcesses
}

// yield has the account that has most processes give one up, if one that waits
// would still have fewer then: its process with the fewest calls gets no more of
// them and ends when they have finished. No call is cut off.
func (p *Pool) yield() {
	rich := p.unfair()
	if rich == nil {
		return
	}
	groups, _ := p.all()
	var found load
	for _, g := range groups {
		if g.tenant != rich {
			continue
		}
		if l := g.lightest(); l.m != nil && (found.m == nil || l.lighter(found)) {
			found = l
		}
	}
	if found.m != nil && found.m.group.Load().giveUp(found.m) {
		p.evicted(found.m)
	}
}

// unfair finds the tenant that has most, if it has more than is fair to the one
// that waits and has fewest.
func (p *Pool) unfair() *tenant {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var rich, poor *tenant
	for _, t := range p.tenants {
		if rich == nil || t.held > rich.held {
			rich = t
		}
		if t.wanting > 0 && (poor == nil || t.held < poor.held) {
			poor = t
		}
	}
	if poor == nil || rich.held < poor.held+2 {
		return nil
	}
	return rich
}

// load is a process with what it does.
type load struct {
	m     *member
	only  bool // its key has no other
	calls int
}

func (l load) lighter(than load) bool {
	if l.only != than.only {
		return than.only
	}
	return l.calls < than.calls
}
