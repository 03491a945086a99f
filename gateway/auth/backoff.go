package auth

import (
	"fmt"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

const (
	loginFailures = 5               // free of delay
	loginWindow   = 5 * time.Minute // after the last failure all is forgotten
	loginRetry    = 5 * time.Second // first delay; it doubles with each failure
	loginRetryMax = time.Minute     // a guesser must not lock a user out for long
	loginsTracked = 10_000          // accounts and users
)

// backoff slows down those who guess a user's password. It remembers a bounded
// number of users, the ones that failed least recently are forgotten first.
// Safe for concurrent use.
type backoff struct {
	now    func() time.Time
	mu     sync.Mutex
	failed *lru.LRU[string, failures]
}

type failures struct {
	count   int
	last    time.Time
	blocked time.Time // no attempt before
}

func newBackoff(now func() time.Time) (*backoff, error) {
	failed, err := lru.NewLRU[string, failures](loginsTracked, nil)
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	return &backoff{now: now, failed: failed}, nil
}

// loginKey does not tell users apart that differ in case only, so that a guesser
// has no more attempts than one name allows.
func loginKey(account, username string) string {
	return account + "/" + strings.ToLower(username)
}

// check says RateLimited while key has to wait.
func (b *backoff) check(key string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	f, ok := b.failed.Peek(key)
	if !ok {
		return nil
	}
	if wait := f.blocked.Sub(b.now()); wait > 0 {
		return rateLimited(max(wait, loginRetry), "too many failed logins of this user")
	}
	return nil
}

// note records how an attempt ended.
func (b *backoff) note(key string, success bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if success {
		b.failed.Remove(key)
		return
	}
	now := b.now()
	f, _ := b.failed.Peek(key)
	if now.Sub(f.last) > loginWindow {
		f = failures{}
	}
	f.count++
	f.last = now
	if excess := f.count - loginFailures; excess >= 0 {
		f.blocked = now.Add(min(loginRetry<<min(excess, 10), loginRetryMax))
	}
	b.failed.Add(key, f)
}

func rateLimited(wait time.Duration, what string) *lambda.Error {
	seconds := (wait + time.Second - 1) / time.Second
	return &lambda.Error{
		Kind: lambda.KindRateLimited, Code: lambda.CodeRateLimit, Phase: lambda.PhaseAuthenticate,
		Message: fmt.Sprintf("%s: try again in %d seconds", what, seconds), RetryAfter: seconds * time.Second,
	}
}
