package pool

import (
	"errors"
	"fmt"
	"time"
)

// What Handle and Warm return when the call met no process. In each case user
// code did not see the call, so it is safe to make it again.
var (
	// ErrBusy says that every process of the key is full, and so is its queue or the
	// number of its account's calls that may wait.
	ErrBusy = errors.New("every process is busy and the queue is full")
	// ErrRetired says that the key was retired: another deployment is live, or none.
	ErrRetired = errors.New("the deployment was retired")
	// ErrClosed says that the pool is closing.
	ErrClosed = errors.New("the pool is closed")
)

// ErrFull says, in the chain of a *StartError, that no process could be started
// within the bound of Config.MaxProcesses. It is no fault of the key.
var ErrFull = errors.New("as many processes run as are permitted, and all are busy")

// CrashError says, in the chain of a *StartError, that process after process of
// the key ended of itself, soon after it was loaded.
type CrashError struct {
	Reason string // why the last one did
}

func (e *CrashError) Error() string { return "the process ended soon after it was loaded: " + e.Reason }

// StartError says that no process of a key could be started and loaded. A
// *host.LoadError in its chain means that the author's code is at fault. The
// call that meets it did not run.
type StartError struct {
	Runtime string
	// BackingOff says that no start was tried for this call, because earlier
	// ones failed a moment ago; Err is why the last of them did.
	BackingOff bool
	// Failures is how many starts in a row have failed.
	Failures int
	// RetryAfter is when the next start may be tried.
	RetryAfter time.Duration
	Err        error
}

func (e *StartError) Error() string {
	if e.BackingOff {
		return fmt.Sprintf("no %s process is started for another %v, because the last start failed: %v", e.Runtime, e.RetryAfter.Round(time.Millisecond), e.Err)
	}
	return fmt.Sprintf("start a %s process: %v", e.Runtime, e.Err)
}

func (e *StartError) Unwrap() error { return e.Err }
