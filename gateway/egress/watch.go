package egress

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// look is how often the proxy looks at what is open.
const look = time.Second

// watch ends what is open for too long or moves nothing, tells of floods, and
// forgets what is over.
func (p *Proxy) watch() {
	tick := time.NewTicker(min(look, max(p.idle/4, 10*time.Millisecond)))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			now := p.now()
			p.endOld(now)
			p.flush()
			p.rates.sweep(now)
		case <-p.ctx.Done():
			return
		}
	}
}

func (p *Proxy) endOld(now time.Time) {
	for _, s := range p.sessions.all("") {
		e := s.exchange()
		if e == nil {
			continue // the server's own limits hold between requests
		}
		if moved := s.conn.moved.Load(); !e.lookedYet || moved != e.moved {
			e.lookedYet, e.moved, e.movedAt = true, moved, now
		}
		if now.Sub(e.movedAt) >= p.idle || now.Sub(e.begun) >= p.total {
			p.log.Debug().Str("account", s.caller.account).Str("lambda", s.caller.lambdaID).Str("host", e.decision.host()).
				Dur("open", now.Sub(e.begun)).Msg("a connection of a lambda was idle or open for too long, and is closed")
			e.abort()
		}
	}
}

// relisted decides anew on what is open of an account whose whitelist has changed.
func (p *Proxy) relisted(account string) {
	for _, s := range p.sessions.all(account) {
		s.transport.CloseIdleConnections() // what was let be dialled may not be now
		e := s.exchange()
		if e == nil {
			continue
		}
		if again := p.decide(account, e.decision.target); !again.allowed() || e.decision.permitted && !again.permitted {
			p.log.Debug().Str("account", account).Str("lambda", s.caller.lambdaID).Str("host", e.decision.host()).
				Msg("the whitelist has changed: a connection that it had allowed is closed")
			e.abort()
		}
	}
}

// counts are what is shown of the proxy.
type counts struct {
	sent, received atomic.Uint64 // bytes, by lambdas and by hosts

	mu    sync.Mutex
	rules map[lambda.EgressRule]uint64
}

// Stats are counts since the proxy began, and what is open now.
type Stats struct {
	Attempts       map[lambda.EgressRule]uint64
	Sent, Received uint64 // bytes
	Connections    int
}

// Stats tells the counts of this moment.
func (p *Proxy) Stats() Stats {
	p.counts.mu.Lock()
	defer p.counts.mu.Unlock()
	return Stats{
		Attempts: maps.Clone(p.counts.rules), Sent: p.counts.sent.Load(), Received: p.counts.received.Load(),
		Connections: p.sessions.count(),
	}
}

func (p *Proxy) count(rule lambda.EgressRule, n int) {
	p.counts.mu.Lock()
	defer p.counts.mu.Unlock()
	if p.counts.rules == nil {
		p.counts.rules = map[lambda.EgressRule]uint64{}
	}
	p.counts.rules[rule] += uint64(max(n, 0)) //nolint:gosec // it is a count
}

// record counts an attempt and has it reported.
func (p *Proxy) record(a lambda.Attempt) {
	a.Count = 1
	p.count(a.Rule, 1)
	p.tell(a)
}

func (p *Proxy) tell(a lambda.Attempt) {
	p.log.Debug().Str("account", a.Account).Str("lambda", a.LambdaID).Str("host", a.Host).Int("port", a.Port).
		Str("method", a.Method).Str("verdict", string(a.Rule.Verdict())).Str("rule", string(a.Rule)).Int("count", a.Count).
		Msg("a lambda asked for another host")
	p.report(a)
}

// maxFloods bounds the refusals that are counted together at once.
const maxFloods = 10_000

// flood names refusals of which a lambda can make any number in a second.
type flood struct {
	caller caller
	rule   lambda.EgressRule
}

// floods are such refusals, of which the first of a second is told, with how many
// there were.
type floods struct {
	mu   sync.Mutex
	open map[flood]*lambda.Attempt
}

func newFloods() *floods { return &floods{open: map[flood]*lambda.Attempt{}} }

// flood counts a refusal of a flood.
func (p *Proxy) flood(a lambda.Attempt) {
	a.Count = 1
	p.count(a.Rule, 1)
	key := flood{caller{a.Account, a.LambdaID}, a.Rule}
	p.floods.mu.Lock()
	defer p.floods.mu.Unlock()
	if first := p.floods.open[key]; first != nil {
		first.Count++
		return
	}
	if len(p.floods.open) < maxFloods {
		p.floods.open[key] = &a
	} // else it is in the counts alone
}

// flush tells of the floods since it was last called.
func (p *Proxy) flush() {
	p.floods.mu.Lock()
	open := p.floods.open
	p.floods.open = map[flood]*lambda.Attempt{}
	p.floods.mu.Unlock()
	for _, a := range open {
		p.tell(*a)
	}
}
