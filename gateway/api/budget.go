package api

import (
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

const (
	// maxHeldBodies bounds the bytes of large bodies that are being read or
	// served at once, of all accounts and of one, so that none keeps the others out.
	// Bodies up to readAhead are not counted: connections are.
	maxHeldBodies = 256 << 20
	maxHeldByOne  = maxHeldBodies / 2

	// An account may save this many bytes at once and then this many a second.
	// Every save stays in etcd's history for minutes, so that without a bound one
	// author's loop would fill the region's store.
	saveBurst     = 16 << 20
	saveBytes     = 256 << 10
	saveOverhead  = 4 << 10 // of a save beside its text
	savingTracked = 10_000  // accounts
)

// bodyBudget counts the bytes of large bodies in memory.
type bodyBudget struct {
	mu   sync.Mutex
	held int64
	of   map[string]int64 // by account
}

// take reserves n bytes for an account, or says that there is no room now.
func (b *bodyBudget) take(account string, n int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held+n > maxHeldBodies || b.of[account]+n > maxHeldByOne {
		return &lambda.Error{
			Kind: lambda.KindUnavailable, Code: lambda.CodeUnavailable, Phase: lambda.PhaseRequest, RetryAfter: time.Second,
			Message: "the gateway holds as many large bodies as it can: try again",
		}
	}
	if b.of == nil {
		b.of = map[string]int64{}
	}
	b.held += n
	b.of[account] += n
	return nil
}

func (b *bodyBudget) give(account string, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held -= n
	if b.of[account] -= n; b.of[account] == 0 {
		delete(b.of, account)
	}
}

// holdBody reserves room for r's body until release is called. What exceeds the
// limit is not reserved, because it is not read.
func (s *Server) holdBody(r *http.Request, limit int64) (release func(), err error) {
	n := r.ContentLength
	if n < 0 {
		n = limit // it may become as much
	}
	if n <= readAhead || n > limit {
		return func() {}, nil
	}
	account := of(r).account()
	if err := s.bodies.take(account, n); err != nil {
		return nil, err
	}
	return func() { s.bodies.give(account, n) }, nil
}

// saveBudget limits how fast each account writes. The accounts used longest ago
// are forgotten first, and begin with a full burst again.
type saveBudget struct {
	mu       sync.Mutex
	accounts *simplelru.LRU[string, *rate.Limiter]
}

func newSaveBudget() *saveBudget {
	accounts, err := simplelru.NewLRU[string, *rate.Limiter](savingTracked, nil)
	if err != nil {
		panic(err) // the size is a constant
	}
	return &saveBudget{accounts: accounts}
}

// take charges account with a save of size bytes at now.
func (b *saveBudget) take(account string, size int, now time.Time) error {
	b.mu.Lock()
	limiter, ok := b.accounts.Get(account)
	if !ok {
		limiter = rate.NewLimiter(saveBytes, saveBurst)
		b.accounts.Add(account, limiter)
	}
	b.mu.Unlock()
	r := limiter.ReserveN(now, size+saveOverhead)
	wait := r.DelayFrom(now)
	if wait == 0 {
		return nil
	}
	r.CancelAt(now)
	return &lambda.Error{
		Kind: lambda.KindRateLimited, Code: lambda.CodeRateLimit, Phase: lambda.PhaseRequest, RetryAfter: wait,
		Message: "the account saves too fast: the limit is 16 MiB at once and 256 KiB a second",
	}
}
