package sandbox

import (
	"errors"
	"math"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// The kernel sends a child its parent-death signal when the thread that started
// it ends, not when the process does, and Go ends threads as it likes. So every
// child is started by one goroutine that keeps its thread for the gateway's life.
var spawner struct {
	once sync.Once
	jobs chan func()
}

// onSpawner runs f on the spawning thread and returns when it is done.
func onSpawner(f func()) {
	spawner.once.Do(func() {
		spawner.jobs = make(chan func())
		go spawn()
	})
	done := make(chan struct{})
	spawner.jobs <- func() { defer close(done); f() }
	<-done
}

func spawn() {
	runtime.LockOSThread()
	// What the gateway opens is closed in its children, but it may itself have been
	// started with descriptors open. Kernels before 5.11 refuse; then they stay.
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	for job := range spawner.jobs {
		job()
	}
}

// awaitExit returns when the process has ended; it stays a zombie. It takes over
// the pidfd, which the poller can wait for, so that a thousand processes do not
// hold a thousand threads. Without one (before Linux 5.4) it waits on a thread.
func awaitExit(pid, pidfd int) {
	if pidfd < 0 || unix.SetNonblock(pidfd, true) != nil {
		waitid(unix.P_PID, pid, 0)
		return
	}
	f := os.NewFile(uintptr(pidfd), "pidfd")
	defer f.Close() //nolint:errcheck // nothing was written
	raw, err := f.SyscallConn()
	if err == nil {
		err = raw.Read(func(fd uintptr) bool { return waitid(unix.P_PIDFD, int(fd), unix.WNOHANG) })
	}
	if err != nil {
		waitid(unix.P_PID, pid, 0)
	}
}

// waitid reports whether the process has ended, without reaping it.
func waitid(kind, id, flags int) bool {
	for {
		var info unix.Siginfo
		err := unix.Waitid(kind, id, &info, unix.WEXITED|unix.WNOWAIT|flags, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		// An error means that there is no such child, hence nothing to wait for.
		return (err != nil && !errors.Is(err, unix.EAGAIN)) || info.Signo != 0
	}
}
