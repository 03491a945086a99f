package sandbox

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/sluice-faas/sluice/plugins/sandbox/launch"
)

const (
	// maxOpenFiles bounds what the kernel holds for it too: some 280 KiB a socket, which is
	// in no memory that is watched.
	maxOpenFiles = 1024
	// maxThreads is of a process that has its user, or its user namespace, to itself:
	// the kernel counts threads by user.
	maxThreads  = 128
	maxFileSize = 16 << 20
	// A backstop for what grows faster than memory is watched. It counts writable
	// private mappings, touched or not, and so must be generous: thread stacks and
	// the heap reserve of a language count in full.
	dataFactor = 4
	dataRoom   = 1 << 30
	// The kernel, out of memory, should choose a lambda and not the gateway.
	oomScore = "500"
)

// limitsOf are the resource limits of every process. Without memoryMiB nothing
// bounds its data.
func limitsOf(memoryMiB int) []launch.Limit {
	limits := []launch.Limit{
		{Name: "core", Resource: unix.RLIMIT_CORE, Value: 0},
		{Name: "open files", Resource: unix.RLIMIT_NOFILE, Value: maxOpenFiles},
		{Name: "message queues", Resource: unix.RLIMIT_MSGQUEUE, Value: 0},
	}
	if memoryMiB > 0 {
		limits = append(limits, launch.Limit{Name: "data", Resource: unix.RLIMIT_DATA, Value: dataFactor*uint64(memoryMiB)<<20 + dataRoom})
	}
	return limits
}

// sandboxLimits are those that a process in a sandbox has in addition. alone says
// that it is the only one that the kernel counts under its user.
func sandboxLimits(alone bool) []launch.Limit {
	limits := []launch.Limit{
		{Name: "file size", Resource: unix.RLIMIT_FSIZE, Value: maxFileSize},
		{Name: "locked memory", Resource: unix.RLIMIT_MEMLOCK, Value: 0},
		{Name: "nice", Resource: unix.RLIMIT_NICE, Value: 0},
		{Name: "real-time priority", Resource: unix.RLIMIT_RTPRIO, Value: 0},
	}
	if alone {
		limits = append(limits,
			launch.Limit{Name: "threads", Resource: unix.RLIMIT_NPROC, Value: maxThreads},
			launch.Limit{Name: "queued signals", Resource: unix.RLIMIT_SIGPENDING, Value: 1024})
	}
	return limits
}

// limit sets the resource limits of a process that was just started without a
// launcher: before it has read any user code, which is all that they are for.
func limit(pid, memoryMiB int) error {
	for _, l := range limitsOf(max(memoryMiB, 1)) {
		if err := lower(pid, l.Resource, l.Value); err != nil {
			return fmt.Errorf("%s: %w", l.Name, err)
		}
	}
	preferToKill(pid)
	return nil
}

// preferToKill offers the process to the kernel that is out of memory. Not every
// container lets it; nothing else needs it.
func preferToKill(pid int) {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte(oomScore), 0)
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
