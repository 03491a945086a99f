package launch

import (
	"encoding/json"
	"os"

	"golang.org/x/sys/unix"
)

// ProbeArgv0 is the name under which a launcher is started inside a sandbox, to
// say what it is there.
const ProbeArgv0 = "sluice-probe"

// Sight is what a probe says.
type Sight struct {
	UID, PID     int
	Capabilities uint64 // in effect
	NoNewPrivs   bool
	Seccomp      bool
}

// probed prints a Sight as JSON, on stderr: stdout is the handshake's.
func probed() int {
	s := Sight{UID: os.Getuid(), PID: os.Getpid()}
	if n, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err == nil {
		s.NoNewPrivs = n == 1
	}
	if n, err := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0); err == nil {
		s.Seccomp = n == 2 // SECCOMP_MODE_FILTER
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err == nil {
		s.Capabilities = uint64(data[0].Effective) | uint64(data[1].Effective)<<32
	}
	if err := json.NewEncoder(os.Stderr).Encode(s); err != nil {
		return 1
	}
	return 0
}
