package secret

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Bounds of what is kept in memory.
const (
	heldSecrets = 20_000
	heldBytes   = 32 << 20 // of values, with what each entry costs besides
	heldAbsent  = 4_096    // keys that were asked for in vain
	entryCost   = 512
)

// How old an answer may be.
const (
	freshFor  = 30 * time.Second // an answer is given without asking the store
	absentFor = 5 * time.Second  // so is one that there is no such secret
	staleFor  = time.Hour        // an answer is given when the store does not answer
	retryFor  = time.Second      // for which a store that did not answer is not asked for the same secret again
)

// Bounds of the reads of a store that are under way.
const (
	maxFlights        = 1_024
	maxAccountFlights = 128
)

// name is whose secret and which.
type name struct{ account, key string }

// entry is what was learned of a secret. It is changed under the cache's lock.
type entry struct {
	secret *Secret // nil: there is none, or nothing is known
	err    error   // of the last read, when there is no secret
	at     time.Time
	failed time.Time // when the store last did not answer for it
	doubt  bool      // it may have been changed since
}

func (e *entry) cost(n name) int {
	return len(e.secret.Value) + len(n.account) + len(n.key) + entryCost
}

// flight is one read of the store, for all who ask for the same secret while it
// is under way.
type flight struct {
	done   chan struct{}
	secret *Secret
	err    error
}

// cache holds what lambdas read, and the reads under way.
type cache struct {
	mu      sync.Mutex
	held    *simplelru.LRU[name, *entry] // secrets
	absent  *simplelru.LRU[name, *entry] // everything else that was learned
	bytes   int                          // of held
	flights map[name]*flight
	flying  map[string]int // flights of an account, those included that are detached
	flown   int            // and of all accounts
}

func newCache() *cache {
	c := &cache{flights: map[name]*flight{}, flying: map[string]int{}}
	// The sizes are constants above zero, all that NewLRU can object to.
	c.held, _ = simplelru.NewLRU(heldSecrets, func(n name, e *entry) { c.bytes -= e.cost(n) })
	c.absent, _ = simplelru.NewLRU[name, *entry](heldAbsent, nil)
	return c
}

// answer is what the cache has to say to a read.
type answer struct {
	known  bool    // what follows is fresh enough
	secret *Secret // and it is this, or
	err    error   // this
	old    bool    // it is older than it should be, because the store does not answer
	stale  *Secret // known, and to be given when the store does not answer
	flight *flight // to wait for
	begin  bool    // the flight is new: whoever gets it carries it out
	full   bool    // there are too many flights
}

func (c *cache) ask(n name, now time.Time) answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.held.Get(n)
	if !ok {
		e, ok = c.absent.Get(n)
	}
	var a answer
	if ok {
		if e.fresh(now) {
			return answer{known: true, secret: e.secret, err: e.err, old: e.secret != nil && e.failed.After(e.at)}
		}
		a.stale = e.usable(now)
	}
	if f := c.flights[n]; f != nil {
		a.flight = f
		return a
	}
	if c.flown >= maxFlights || c.flying[n.account] >= maxAccountFlights {
		a.full = true
		return a
	}
	a.flight, a.begin = &flight{done: make(chan struct{})}, true
	c.flights[n] = a.flight
	c.flying[n.account]++
	c.flown++
	return a
}

// fresh tells whether the answer needs no question to the store.
func (e *entry) fresh(now time.Time) bool {
	switch age := now.Sub(e.at); {
	case now.Sub(e.failed) < retryFor && (e.usable(now) != nil || e.secret == nil):
		return true
	case e.doubt:
		return false
	case e.secret != nil:
		return age < freshFor
	case e.failed.IsZero():
		return age < absentFor
	}
	return false
}

// usable is the secret if it is not too old to be given without the store.
func (e *entry) usable(now time.Time) *Secret {
	if e.secret == nil || now.Sub(e.at) >= staleFor {
		return nil
	}
	return e.secret
}

// land ends a flight: those who wait get its outcome, and it is kept, unless the
// secret was changed since the flight began, which was when the store was asked.
func (c *cache) land(n name, f *flight, asked time.Time, outcome entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.secret, f.err = outcome.secret, outcome.err
	close(f.done)
	c.flown--
	if c.flying[n.account]--; c.flying[n.account] == 0 {
		delete(c.flying, n.account)
	}
	if c.flights[n] != f {
		return // forget has detached it
	}
	delete(c.flights, n)
	outcome.at = asked
	if old, ok := c.held.Peek(n); ok && !outcome.failed.IsZero() && old.usable(outcome.failed) != nil {
		old.failed = outcome.failed
		return
	}
	c.put(n, &outcome)
}

func (c *cache) put(n name, e *entry) {
	c.drop(n)
	if e.secret == nil {
		c.absent.Add(n, e)
		return
	}
	c.bytes += e.cost(n)
	c.held.Add(n, e)
	for c.bytes > heldBytes {
		c.held.RemoveOldest()
	}
}

func (c *cache) drop(n name) {
	c.held.Remove(n)
	c.absent.Remove(n)
}

// forget drops what is known of a secret, because it was changed. Reads that are
// under way end for those who wait already, and for nobody else.
func (c *cache) forget(n name) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(n)
	delete(c.flights, n)
}

// question has the store asked before the secret is given again, because it may
// have been changed. When the store does not answer, what is known holds.
func (c *cache) question(n name) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.held.Peek(n); ok {
		e.doubt = true
	}
	c.absent.Remove(n)
	delete(c.flights, n)
}

// size tells how many secrets are held, and how many bytes they take.
func (c *cache) size() (secrets, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held.Len(), c.bytes
}
