package launch

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Limit is a resource limit.
type Limit struct {
	Name     string
	Resource int
	Value    uint64
}

// lower sets soft and hard limit, or leaves what is lower already.
func (l Limit) lower() error {
	var old unix.Rlimit
	err := unix.Prlimit(0, l.Resource, nil, &old)
	if err == nil {
		value := min(l.Value, old.Max)
		err = unix.Prlimit(0, l.Resource, &unix.Rlimit{Cur: value, Max: value}, nil)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", l.Name, err)
	}
	return nil
}
