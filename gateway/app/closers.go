package app

import (
	"context"
	"errors"
	"fmt"
)

// closers remembers how to close what was opened, and does it in reverse.
type closers struct {
	entries []closer
}

type closer struct {
	name  string
	close func(context.Context) error
}

// push adds what was just opened. close must return soon after its context ends.
func (c *closers) push(name string, close func(context.Context) error) {
	c.entries = append(c.entries, closer{name, close})
}

// closeAll closes the newest first, each once, whatever the others say.
func (c *closers) closeAll(ctx context.Context) error {
	var all error
	for len(c.entries) > 0 {
		last := c.entries[len(c.entries)-1]
		c.entries = c.entries[:len(c.entries)-1]
		if err := last.close(ctx); err != nil {
			all = errors.Join(all, fmt.Errorf("close %s: %w", last.name, err))
		}
	}
	return all
}
