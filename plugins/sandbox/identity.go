package sandbox

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
)

// userRange gives each process of a gateway that is root a user of its own, whom
// nobody else is.
type userRange struct {
	first, size int
	mu          sync.Mutex
	next        int
	taken       map[int]bool
}

const (
	usersWanted = 10_000
	// highUsers is above what distributions and container tools give out.
	highUsers = 2_000_000_000
	// lowUsers is where accounts are seldom, for a container that knows 65 536 users.
	lowUsers = 50_000
)

// newUserRange finds ids that both mappings know.
func newUserRange(users, groups []syscall.SysProcIDMap) (*userRange, error) {
	for _, first := range []int{highUsers, lowUsers} {
		if covers(users, first, usersWanted) && covers(groups, first, usersWanted) {
			return &userRange{first: first, size: usersWanted, next: rand.IntN(usersWanted), taken: map[int]bool{}}, nil //nolint:gosec // no secret
		}
	}
	return nil, fmt.Errorf("the gateway's user namespace has no %d ids from %d or %d on", usersWanted, lowUsers, highUsers)
}

func covers(mapping []syscall.SysProcIDMap, first, size int) bool {
	for _, m := range mapping {
		if m.ContainerID <= first && first+size <= m.ContainerID+m.Size {
			return true
		}
	}
	return false
}

// take returns an id that no process has.
func (u *userRange) take() (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for range u.size {
		id := u.first + u.next
		u.next = (u.next + 1) % u.size
		if !u.taken[id] {
			u.taken[id] = true
			return id, nil
		}
	}
	return 0, errors.New("every user id for processes is taken")
}

func (u *userRange) release(id int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.taken, id)
}
