package secret

import (
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// The lambdas of an account may write this many bytes at once and then this many
// a second. Every write stays in the store's history for minutes, so that without
// a bound one lambda's loop would fill the region's etcd.
const (
	writeBurst    = 4 << 20
	writeBytes    = 64 << 10
	writeOverhead = 4 << 10 // of a write beside its value
	writesTracked = 10_000  // accounts
)

// budget limits how fast the lambdas of each account write. The accounts used
// longest ago are forgotten first, and begin with a full burst again.
type budget struct {
	mu       sync.Mutex
	accounts *simplelru.LRU[string, *rate.Limiter]
}

func newBudget() *budget {
	b := &budget{}
	// The size is a constant above zero, all that NewLRU can object to.
	b.accounts, _ = simplelru.NewLRU[string, *rate.Limiter](writesTracked, nil)
	return b
}

// take charges the account with a write of that secret, or says that it has to wait.
func (b *budget) take(n name, size int, now time.Time) error {
	b.mu.Lock()
	limiter, ok := b.accounts.Get(n.account)
	if !ok {
		limiter = rate.NewLimiter(writeBytes, writeBurst)
		b.accounts.Add(n.account, limiter)
	}
	b.mu.Unlock()
	size += writeOverhead
	if limiter.AllowN(now, size) {
		return nil
	}
	left := float64(size) - limiter.TokensAt(now)
	return &lambda.Error{
		Kind: lambda.KindRateLimited, Code: lambda.CodeSecretFailed, RetryAfter: time.Duration(left / writeBytes * float64(time.Second)),
		Message: fmt.Sprintf(textUpdating+": the lambdas of the account change secrets too fast: the limit is %d MiB at once and %d KiB a second, try again later",
			lambda.ClipSecretKey(n.key), writeBurst>>20, writeBytes>>10),
	}
}
