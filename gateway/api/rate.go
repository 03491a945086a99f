package api

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// ratesTracked bounds the accounts or lambdas whose rate is known at once. The
// ones used longest ago are forgotten first.
const ratesTracked = 20_000

// rates limits how often something may happen in a second, for each key: as many
// at once as in a second, and then evenly. Of several gateways each allows its
// share, because a look at the others would cost more than the call. Safe for
// concurrent use.
type rates[K comparable] struct {
	limit    int // in a second, on all gateways; 0: none
	what     string
	gateways atomic.Int64 // that are alive, this one included

	mu   sync.Mutex
	keys *simplelru.LRU[K, *rate.Limiter]
}

// lambdaKey names a lambda.
type lambdaKey struct{ account, id string }

func newRates[K comparable](limit int, what string) *rates[K] {
	keys, err := simplelru.NewLRU[K, *rate.Limiter](ratesTracked, nil)
	if err != nil {
		panic(err) // the size is a constant
	}
	r := &rates[K]{limit: limit, what: what, keys: keys}
	r.gateways.Store(1)
	return r
}

// share is what this gateway allows in a second.
func (r *rates[K]) share() int { return max(1, r.limit/int(r.gateways.Load())) }

// take counts one for k, or says RateLimited and when to try again.
func (r *rates[K]) take(w http.ResponseWriter, k K, now time.Time) error {
	return r.takeN(w, k, 1, now)
}

// takeMore counts n for k beside the one that was just taken, but no more than a
// second has together, or they would never be allowed.
func (r *rates[K]) takeMore(w http.ResponseWriter, k K, n int, now time.Time) error {
	if n = min(n, r.share()-1); r.limit <= 0 || n <= 0 {
		return nil
	}
	return r.takeN(w, k, n, now)
}

func (r *rates[K]) takeN(w http.ResponseWriter, k K, n int, now time.Time) error {
	if r.limit <= 0 {
		return nil
	}
	limiter := r.limiter(k)
	share := r.share()
	if limiter.Burst() != share {
		limiter.SetLimitAt(now, rate.Limit(share))
		limiter.SetBurstAt(now, share)
	}
	if limiter.AllowN(now, n) {
		return nil
	}
	wait := time.Duration(float64(time.Second) * (float64(n) - limiter.TokensAt(now)) / float64(share))
	h := w.Header()
	h.Set("RateLimit-Limit", strconv.Itoa(r.limit))
	h.Set("RateLimit-Remaining", "0")
	h.Set("RateLimit-Reset", strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
	return &lambda.Error{
		Kind: lambda.KindRateLimited, Code: lambda.CodeRateLimit, Phase: lambda.PhaseRequest, RetryAfter: max(wait, time.Millisecond),
		Message: fmt.Sprintf("too many %s: the limit is %d a second", r.what, r.limit),
	}
}

func (r *rates[K]) limiter(k K) *rate.Limiter {
	r.mu.Lock()
	defer r.mu.Unlock()
	limiter, ok := r.keys.Get(k)
	if !ok {
		share := r.share()
		limiter = rate.NewLimiter(rate.Limit(share), share)
		r.keys.Add(k, limiter)
	}
	return limiter
}

// SetGateways tells how many gateways are alive, this one included: each allows
// its share of the calls and requests in a second.
func (s *Server) SetGateways(n int) {
	alive := int64(max(n, 1))
	s.accountCalls.gateways.Store(alive)
	s.lambdaCalls.gateways.Store(alive)
	s.requests.gateways.Store(alive)
}
