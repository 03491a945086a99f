package secret

import (
	"context"
	"sync"
)

// locks are mutexes by name that wait no longer than a context. The zero value
// is ready for use.
type locks struct {
	mu   sync.Mutex
	held map[name]*lock
}

type lock struct {
	free  chan struct{} // has room for one: its holder
	users int           // who holds it or waits for it
}

// lock waits until the caller is the only one of that name, and gives what ends
// that.
func (l *locks) lock(ctx context.Context, n name) (unlock func(), err error) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[name]*lock{}
	}
	k := l.held[n]
	if k == nil {
		k = &lock{free: make(chan struct{}, 1)}
		l.held[n] = k
	}
	k.users++
	l.mu.Unlock()
	select {
	case k.free <- struct{}{}:
		return func() { <-k.free; l.leave(n, k) }, nil
	case <-ctx.Done():
		l.leave(n, k)
		return nil, context.Cause(ctx)
	}
}

func (l *locks) leave(n name, k *lock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.users--; k.users == 0 {
		delete(l.held, n)
	}
}
