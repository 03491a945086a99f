package egress

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

// ratesTracked bounds the lambdas whose rate is known at once. The ones that asked
// longest ago are forgotten first.
const ratesTracked = 20_000

// rateIdle is after how long a rate says nothing any more: its bucket is full.
const rateIdle = time.Minute

// rates limits how often each lambda asks in a second: as many at once as in a
// second, and then evenly. Of several gateways each allows its share.
type rates struct {
	limit    int // in a second, on all gateways; 0: none
	gateways atomic.Int64

	mu      sync.Mutex
	lambdas *simplelru.LRU[caller, *pace]
}

type pace struct {
	limiter *rate.Limiter
	used    time.Time
}

func newRates(limit int) *rates {
	lambdas, err := simplelru.NewLRU[caller, *pace](ratesTracked, nil)
	if err != nil {
		panic(err) // the size is a constant
	}
	r := &rates{limit: limit, lambdas: lambdas}
	r.gateways.Store(1)
	return r
}

// take counts a request, or tells when to try again.
func (r *rates) take(c caller, now time.Time) (wait time.Duration, ok bool) {
	if r.limit <= 0 {
		return 0, true
	}
	share := max(1, r.limit/int(r.gateways.Load()))
	r.mu.Lock()
	defer r.mu.Unlock()
	p, known := r.lambdas.Get(c)
	if !known {
		p = &pace{limiter: rate.NewLimiter(rate.Limit(share), share)}
		r.lambdas.Add(c, p)
	}
	p.used = now
	if p.limiter.Burst() != share {
		p.limiter.SetLimitAt(now, rate.Limit(share))
		p.limiter.SetBurstAt(now, share)
	}
	if p.limiter.AllowN(now, 1) {
		return 0, true
	}
	wait = time.Duration(float64(time.Second) * (1 - p.limiter.TokensAt(now)) / float64(share))
	return max(wait, time.Millisecond), false
}

// sweep forgets lambdas that have not asked for a while.
func (r *rates) sweep(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		_, p, ok := r.lambdas.GetOldest()
		if !ok || now.Sub(p.used) < rateIdle {
			return
		}
		r.lambdas.RemoveOldest()
	}
}
