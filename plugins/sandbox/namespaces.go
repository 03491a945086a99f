package sandbox

import (
	"bufio"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// namespaces are those of a new process, as flags of clone.
type namespaces uintptr

// allNamespaces in the order in which they are told of.
var allNamespaces = []struct {
	flag namespaces
	step string
}{
	{unix.CLONE_NEWUSER, stepUser},
	{unix.CLONE_NEWNS, stepMount},
	{unix.CLONE_NEWPID, stepPID},
	{unix.CLONE_NEWIPC, stepIPC},
	{unix.CLONE_NEWUTS, stepUTS},
	{unix.CLONE_NEWNET, stepNet},
}

func (n namespaces) has(flag namespaces) bool { return n&flag != 0 }

// insideUser is who a process is in a user namespace of one user: it maps to the
// gateway's.
const insideUser = 1000

// apply asks for the namespaces at the start of a process. With single, its user
// namespace knows no user but the gateway's.
func (n namespaces) apply(attr *syscall.SysProcAttr, single bool) error {
	attr.Cloneflags = uintptr(n)
	if !n.has(unix.CLONE_NEWUSER) {
		return nil
	}
	if single {
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: insideUser, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: insideUser, HostID: os.Getegid(), Size: 1}}
		// For the launcher, which drops them.
		attr.AmbientCaps = []uintptr{unix.CAP_SETPCAP, unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN}
		return nil
	}
	var err error
	if attr.UidMappings, err = ownMapping("/proc/self/uid_map"); err == nil {
		attr.GidMappings, err = ownMapping("/proc/self/gid_map")
	}
	attr.GidMappingsEnableSetgroups = true // so that the launcher can leave its groups
	return err
}

// ownMapping maps every id that this process knows to itself.
func ownMapping(file string) (list []syscall.SysProcIDMap, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read from
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var inside, outside, size int
		if _, err := fmt.Sscan(lines.Text(), &inside, &outside, &size); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		list = append(list, syscall.SysProcIDMap{ContainerID: inside, HostID: inside, Size: size})
	}
	return list, lines.Err()
}
