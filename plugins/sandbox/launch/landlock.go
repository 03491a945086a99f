package launch

import (
	"errors"
	"fmt"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Landlock names what may be opened, once more and whatever is mounted. What the
// kernel's version of Landlock cannot forbid, it does not forbid: see ABI.
type Landlock struct {
	Read    []string
	Execute []string // files; Read does not allow it
	Write   []string // folders to make, change and remove files in
	Device  []string
	Sockets string // a folder to make sockets in, and to connect to those in it
	// Ports are those of TCP that may be connected to.
	Ports []uint16
}

// NewestABI is the newest version of Landlock that is made use of.
const NewestABI = 10

// configs are the access rights by version.
var configs = [NewestABI + 1]landlock.Config{
	{}, landlock.V1, landlock.V2, landlock.V3, landlock.V4, landlock.V5, landlock.V6, landlock.V7, landlock.V8, landlock.V9, landlock.V10,
}

// ABI is the version of Landlock that this kernel has; 0 for none.
func ABI() int {
	version, err := ll.LandlockGetABIVersion()
	if err != nil {
		return 0
	}
	return version
}

const (
	readRights  = ll.AccessFSReadFile | ll.AccessFSReadDir
	writeRights = readRights | ll.AccessFSWriteFile | ll.AccessFSRemoveDir | ll.AccessFSRemoveFile | ll.AccessFSMakeDir |
		ll.AccessFSMakeReg | ll.AccessFSMakeSym | ll.AccessFSMakeFifo | ll.AccessFSRefer | ll.AccessFSTruncate
	socketRights = readRights | ll.AccessFSWriteFile | ll.AccessFSRemoveFile | ll.AccessFSMakeReg | ll.AccessFSMakeSock |
		ll.AccessFSTruncate | ll.AccessFSResolveUnix
	deviceRights = ll.AccessFSReadFile | ll.AccessFSWriteFile
	execRights   = ll.AccessFSReadFile | ll.AccessFSExecute
	fileRights   = ll.AccessFSExecute | ll.AccessFSReadFile | ll.AccessFSWriteFile | ll.AccessFSTruncate
)

// enforce binds this thread and what it execs.
func (l *Landlock) enforce() error {
	config := configs[min(ABI(), NewestABI)]
	handled := uint64(config.HandledAccessFS)
	if handled == 0 {
		return errors.New("this kernel has no Landlock")
	}
	set, err := ll.LandlockCreateRuleset(&ll.RulesetAttr{
		HandledAccessFS: handled, HandledAccessNet: uint64(config.HandledAccessNet), Scoped: uint64(config.Scoped),
	}, 0)
	if err != nil {
		return err
	}
	defer unix.Close(set) //nolint:errcheck // nothing was written
	for _, rule := range []struct {
		rights uint64
		paths  []string
	}{
		{readRights, l.Read}, {execRights, l.Execute}, {writeRights, l.Write}, {deviceRights, l.Device}, {socketRights, []string{l.Sockets}},
	} {
		for _, path := range rule.paths {
			if err := allow(set, path, rule.rights&handled); err != nil {
				return fmt.Errorf("allow %s: %w", path, err)
			}
		}
	}
	if config.HandledAccessNet != 0 {
		for _, port := range l.Ports {
			rule := ll.NetPortAttr{AllowedAccess: ll.AccessNetConnectTCP, Port: uint64(port)}
			if err := ll.LandlockAddNetPortRule(set, &rule, 0); err != nil {
				return fmt.Errorf("allow port %d: %w", port, err)
			}
		}
	}
	return ll.LandlockRestrictSelf(set, 0)
}

func allow(set int, path string, rights uint64) error {
	if path == "" {
		return nil
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EACCES) {
		return nil // what is not there, or not for this user, need not be allowed
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	var info unix.Stat_t
	if err := unix.Fstat(fd, &info); err != nil {
		return err
	}
	if info.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= fileRights
	}
	return ll.LandlockAddPathBeneathRule(set, &ll.PathBeneathAttr{AllowedAccess: rights, ParentFd: fd}, 0)
}
