package launch

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Identity is who a process is.
type Identity struct{ UID, GID int }

// dropIdentity makes this thread an unprivileged user's, without capabilities.
// With nil it stays the user's it is and loses the capabilities.
func dropIdentity(id *Identity) error {
	for c := 0; c <= unix.CAP_LAST_CAP+24; c++ { // newer kernels may have more
		err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			break // there is no such capability, and none after it
		}
		if errors.Is(err, unix.EPERM) {
			break // without namespaces and root there is nothing to drop
		}
		if err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	if id != nil {
		if err := changeUser(*id); err != nil {
			return err
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("drop ambient capabilities: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return nil
}

// changeUser is for this thread alone, unlike the functions of package syscall.
func changeUser(id Identity) error {
	if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); e != 0 {
		return fmt.Errorf("leave all groups: %w", e)
	}
	gid, uid := uintptr(id.GID), uintptr(id.UID)
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); e != 0 {
		return fmt.Errorf("change to group %d: %w", id.GID, e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); e != 0 {
		return fmt.Errorf("change to user %d: %w", id.UID, e)
	}
	return nil
}

// dieWithParent asks for the signal at the gateway's end once more: the kernel
// forgot the wish with the change of user. A gateway that ended in between has
// closed its side of the socket.
func dieWithParent() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return err
	}
	poll := []unix.PollFd{{Fd: Control}}
	for {
		n, err := unix.Poll(poll, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if n > 0 && poll[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0 {
			return errors.New("the gateway has ended")
		}
		return nil
	}
}
