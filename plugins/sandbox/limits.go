package sandbox

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	maxOpenFiles = 4096
	// A backstop for what grows faster than memory is watched. It counts writable
	// private mappings, touched or not, and so must be generous: thread stacks and
	// the heap reserve of a language count in full.
	dataFactor = 4
	dataRoom   = 1 << 30
	// The kernel, out of memory, should choose a lambda and not the gateway.
	oomScore = "500"
)

// limit sets the resource limits of a process that was just started: before it
// has read any user code, which is all that they are for.
func limit(pid, memoryMiB int) error {
	limits := []struct {
		name     string
		resource int
		value    uint64
	}{
		{"core", unix.RLIMIT_CORE, 0},
		{"open files", unix.RLIMIT_NOFILE, maxOpenFiles},
		{"message queues", unix.RLIMIT_MSGQUEUE, 0},
		{"data", unix.RLIMIT_DATA, dataFactor*uint64(max(memoryMiB, 0))<<20 + dataRoom},
	}
	for _, l := range limits {
		if err := lower(pid, l.resource, l.value); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
	}
	// Not every container lets it be written; the limits above do not need it.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte(oomScore), 0)
	return nil
}

// lower sets soft and hard limit to value, or leaves what is lower already.
func lower(pid, resource int, value uint64) error {
	var old unix.Rlimit
	err := unix.Prlimit(pid, resource, nil, &old)
	if err == nil {
		value = min(value, old.Max)
		err = unix.Prlimit(pid, resource, &unix.Rlimit{Cur: value, Max: value}, nil)
	}
	if errors.Is(err, unix.ESRCH) {
		return nil // ended already; whoever waits for it will say so
	}
	return err
}
