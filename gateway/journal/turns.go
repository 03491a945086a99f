package journal

import (
	"context"
	"sync"
)

// turns bounds what runs at once, of all accounts and of each.
type turns struct {
	all  chan struct{} // a place for each that runs
	each int

	mu sync.Mutex
	of map[string]*turn
}

// turn is what an account has of the places.
type turn struct {
	places chan struct{}
	users  int // that run or wait
}

func newTurns(all, each int) *turns {
	return &turns{all: make(chan struct{}, all), each: each, of: map[string]*turn{}}
}

// begin waits for a place among those of the account, and then among all, so that
// never more of an account wait there than may run. end gives both back.
func (t *turns) begin(ctx context.Context, account string) (end func(), err error) {
	own := t.join(account)
	select {
	case own.places <- struct{}{}:
	case <-ctx.Done():
		t.leave(account, own)
		return nil, ctx.Err()
	}
	back := func() { <-own.places; t.leave(account, own) }
	select {
	case t.all <- struct{}{}:
		return func() { <-t.all; back() }, nil
	case <-ctx.Done():
		back()
		return nil, ctx.Err()
	}
}

func (t *turns) join(account string) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	own := t.of[account]
	if own == nil {
		own = &turn{places: make(chan struct{}, t.each)}
		t.of[account] = own
	}
	own.users++
	return own
}

func (t *turns) leave(account string, own *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if own.users--; own.users == 0 {
		delete(t.of, account)
	}
}
