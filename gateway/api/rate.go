package api

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// ratesTracked bounds the accounts or lambdas whose rate is known at once. The
// ones used longest ago are forgotten first.
const ratesTracked = 20_000

// rates limits how often something may happen in a second, for each key: as many
// at once as in a second, and then evenly. Safe for concurrent use.
type rates[K comparable] struct {
	limit int // in a second; 0: none
	what  string

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
	return &rates[K]{limit: limit, what: what, keys: keys}
}

// take counts one for k, or says RateLimited and when to try again.
func (r *rates[K]) take(w http.ResponseWriter, k K, now time.Time) error {
	if r.limit <= 0 {
		return nil
	}
	r.mu.Lock()
	limiter, ok := r.keys.Get(k)
	if !ok {
		limiter = rate.NewLimiter(rate.Limit(r.limit), r.limit)
		r.keys.Add(k, limiter)
	}
	r.mu.Unlock()
	if limiter.AllowN(now, 1) {
		return nil
	}
	wait := time.Duration(float64(time.Second) * (1 - limiter.TokensAt(now)) / float64(r.limit))
	h := w.Header()
	h.Set("RateLimit-Limit", strconv.Itoa(r.limit))
	h.Set("RateLimit-Remaining", "0")
	h.Set("RateLimit-Reset", strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
	return &lambda.Error{
		Kind: lambda.KindRateLimited, Code: lambda.CodeRateLimit, Phase: lambda.PhaseRequest, RetryAfter: max(wait, time.Millisecond),
		Message: fmt.Sprintf("too many %s: the limit is %d a second", r.what, r.limit),
	}
}
