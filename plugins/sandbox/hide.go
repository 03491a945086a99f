package sandbox

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// HideSelf keeps other processes of the same user, runtime processes among
// them, from reading this process's memory, environment and open files through
// /proc, and from tracing it. It does not bind root. Call it before secrets are
// read; it also turns core dumps off. Processes started later are not affected.
func HideSelf() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("hide this process from others of its user: %w", err)
	}
	return nil
}

// showSelf undoes HideSelf for the moment in which a process in a user namespace
// is started: a hidden process's child is hidden too, until it execs, and who is
// not root cannot map the users of a hidden one. No process that could look is in
// a sandbox with such a namespace. It returns the way back.
func showSelf(n namespaces) (hide func()) {
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil || dumpable != 0 || !n.has(unix.CLONE_NEWUSER) {
		return func() {}
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		return func() {}
	}
	return func() { _ = HideSelf() } // it worked before
}
