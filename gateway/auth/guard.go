package auth

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// The limits of failed logins. All of a user's count, whether there is such a
// user or not.
const (
	// One who fails from one address waits, each time twice as long.
	delayFree   = 5                // failures without delay
	delayFirst  = 5 * time.Second  // contract/oauth2.md §2.1
	delayMax    = 5 * time.Minute  // who forgot a password shall not give up
	delayForget = 15 * time.Minute // after the last failure all is forgotten

	// Failures from many addresses lock the user out, except where they logged in
	// before: a stranger cannot keep people out of their usual places.
	lockFailures = 20
	lockWindow   = 10 * time.Minute
	lockTime     = 15 * time.Minute
	maxPlaces    = 8 // known of one user; the one used least recently is forgotten

	// Each failure costs a hash. No gateway makes so many within lockTime that a
	// guesser who fails on made-up names could have this one forgotten before.
	guardTracked = 1 << 17 // users, and pairs of user and address
)

// guard holds up those who guess passwords. What it remembers is bounded; what
// was touched least recently is forgotten first. Each gateway counts by itself.
// Safe for concurrent use.
type guard struct {
	now    func() time.Time
	mu     sync.Mutex
	delays *lru.LRU[attempt, delay]
	locks  *lru.LRU[string, *lock]
	places *lru.LRU[string, []string]
}

// attempt is a user, as userKey names them, and the address of the caller.
type attempt struct{ user, source string }

type delay struct {
	failures int
	last     time.Time
	until    time.Time
}

type lock struct {
	failures []time.Time // at most lockFailures
	until    time.Time
}

func newGuard(now func() time.Time) (*guard, error) {
	g := &guard{now: now}
	var err error
	if g.delays, err = lru.NewLRU[attempt, delay](guardTracked, nil); err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	if g.locks, err = lru.NewLRU[string, *lock](guardTracked, nil); err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	if g.places, err = lru.NewLRU[string, []string](guardTracked, nil); err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	return g, nil
}

// userKey does not tell users apart that differ in case only, so that a guesser
// has no more attempts than one name allows. It is short, however long the name.
func userKey(account, username string) string {
	sum := sumOf(account + "/" + strings.ToLower(username))
	return string(sum[:16])
}

// source is where a request comes from: an address, or the network of one where a
// subscriber gets a whole network, as with IPv6. It is empty if that is unknown.
func source(r *http.Request) string {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	addr := from.Addr().Unmap().WithZone("")
	if addr.Is6() {
		if network, err := addr.Prefix(64); err == nil {
			return network.String()
		}
	}
	return addr.String()
}

// check says RateLimited while an attempt has to wait.
func (g *guard) check(a attempt) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	if d, ok := g.delays.Peek(a); ok && now.Before(d.until) {
		return rateLimited(max(d.until.Sub(now), delayFirst), "too many failed logins of this user")
	}
	if l, ok := g.locks.Peek(a.user); ok && now.Before(l.until) && !g.knows(a) {
		return rateLimited(max(l.until.Sub(now), delayFirst), "too many failed logins of this user from many places")
	}
	return nil
}

// knows tells whether the user logged in from there before.
func (g *guard) knows(a attempt) bool {
	places, _ := g.places.Peek(a.user)
	return a.source != "" && slices.Contains(places, a.source)
}

// note records how an attempt ended.
func (g *guard) note(a attempt, success bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if success {
		g.delays.Remove(a)
		g.remember(a)
		return
	}
	now := g.now()
	d, _ := g.delays.Peek(a)
	if now.Sub(d.last) > delayForget {
		d = delay{}
	}
	d.failures++
	d.last = now
	if excess := d.failures - delayFree; excess >= 0 {
		d.until = now.Add(min(delayFirst<<min(excess, 10), delayMax))
	}
	g.delays.Add(a, d)
	g.count(a.user, now)
}

// forgive forgets the failures of a user, from wherever. Where they logged in
// before stays known.
func (g *guard) forgive(user string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.locks.Remove(user)
	for _, a := range g.delays.Keys() {
		if a.user == user {
			g.delays.Remove(a)
		}
	}
}

// count adds a failure of the user, from wherever.
func (g *guard) count(user string, now time.Time) {
	l, ok := g.locks.Peek(user)
	if !ok {
		l = &lock{}
	}
	l.failures = slices.DeleteFunc(l.failures, func(t time.Time) bool { return now.Sub(t) > lockWindow })
	if l.failures = append(l.failures, now); len(l.failures) >= lockFailures {
		l.failures, l.until = nil, now.Add(lockTime)
	}
	g.locks.Add(user, l)
}

// remember adds a place where the user logged in, the newest last.
func (g *guard) remember(a attempt) {
	if a.source == "" {
		return
	}
	known, _ := g.places.Peek(a.user)
	places := append(slices.DeleteFunc(slices.Clone(known), func(p string) bool { return p == a.source }), a.source)
	g.places.Add(a.user, places[max(0, len(places)-maxPlaces):])
}

func rateLimited(wait time.Duration, what string) *lambda.Error {
	seconds := (wait + time.Second - 1) / time.Second
	text := fmt.Sprintf("%d seconds", seconds)
	if seconds >= 120 {
		text = fmt.Sprintf("%d minutes", (seconds+59)/60)
	}
	return &lambda.Error{
		Kind: lambda.KindRateLimited, Code: lambda.CodeRateLimit, Phase: lambda.PhaseAuthenticate,
		Message: fmt.Sprintf("%s: try again in %s", what, text), RetryAfter: seconds * time.Second,
	}
}
