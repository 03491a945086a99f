package auth

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// How often one user, and all users of one account, may get codes and refresh
// tokens and sessions: so many at once, and then so many a second. Each is a write
// that stays in etcd's history for minutes, so that without a bound one user's loop
// would fill the region's store.
const (
	userBurst, userPace       = 100, 20
	accountBurst, accountPace = 1_000, 200

	paceTracked = 10_000 // users, and accounts
)

// pace holds up users who write too often. The ones seen longest ago are forgotten
// first. Safe for concurrent use.
type pace struct {
	now      func() time.Time
	mu       sync.Mutex
	users    *lru.LRU[string, *rate.Limiter]
	accounts *lru.LRU[string, *rate.Limiter]
}

func newPace(now func() time.Time) (*pace, error) {
	p := &pace{now: now}
	var err error
	if p.users, err = lru.NewLRU[string, *rate.Limiter](paceTracked, nil); err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	if p.accounts, err = lru.NewLRU[string, *rate.Limiter](paceTracked, nil); err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	return p, nil
}

// take counts one write of a user, or says RateLimited. The user must be known to
// be the caller, so that nobody can hold up another.
func (p *pace) take(account, userID string) *lambda.Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if !limiter(p.users, account+"/"+userID, userPace, userBurst).AllowN(now, 1) ||
		!limiter(p.accounts, account, accountPace, accountBurst).AllowN(now, 1) {
		return rateLimited(time.Second, "too many logins and refreshes of this user or account")
	}
	return nil
}

func limiter(known *lru.LRU[string, *rate.Limiter], k string, perSecond rate.Limit, burst int) *rate.Limiter {
	l, ok := known.Get(k)
	if !ok {
		l = rate.NewLimiter(perSecond, burst)
		known.Add(k, l)
	}
	return l
}

// takeOAuth is take with an error of Sentinel's.
func (p *pace) takeOAuth(account, userID string) error {
	e := p.take(account, userID)
	if e == nil {
		return nil
	}
	return &OAuthError{Status: http.StatusTooManyRequests, Code: "temporarily_unavailable", Description: e.Message, RetryAfter: e.RetryAfter}
}
