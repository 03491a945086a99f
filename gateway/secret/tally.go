package secret

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// noteEvery is how often it is noted that a lambda changes a secret. A loop
	// that did so at will would push what people did out of the account's
	// activities.
	noteEvery = time.Hour
	// talliesHeld are the secrets and lambdas of which that is remembered.
	talliesHeld = 10_000
)

// changer is a lambda with a secret that it changes.
type changer struct {
	name
	by string
}

// tally counts the updates by lambdas that are not noted yet. Those changed
// longest ago are forgotten first: their next update is noted at once.
type tally struct {
	mu   sync.Mutex
	held *simplelru.LRU[changer, *count]
}

// count is what happened since an update was noted.
type count struct {
	noted   time.Time // zero: none was
	updates int
}

func newTally() *tally {
	t := &tally{}
	// The size is a constant above zero, all that NewLRU can object to.
	t.held, _ = simplelru.NewLRU[changer, *count](talliesHeld, nil)
	return t
}

// add counts an update. It tells how many there were since the last note, this
// one included, when another is due, and 0 when none is.
func (t *tally) add(c changer, now time.Time) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.of(c)
	n.updates++
	if !n.noted.IsZero() && now.Sub(n.noted) < noteEvery {
		return 0
	}
	due := n.updates
	n.noted, n.updates = now, 0
	return due
}

// back takes back what add told and could not be noted: the next update is due.
func (t *tally) back(c changer, updates int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.of(c)
	n.noted = time.Time{}
	n.updates += updates
}

func (t *tally) of(c changer) *count {
	n, ok := t.held.Get(c)
	if !ok {
		n = &count{}
		t.held.Add(c, n)
	}
	return n
}
