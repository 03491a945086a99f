package sandbox

import (
	"fmt"

	"github.com/sluice-faas/sluice/plugins/sandbox/launch"
)

// landlockOf says what a process may open: of its own file system, or, where it
// has none, of the machine's.
func landlockOf(v *view, own bool, dir string, trusted certificates) *launch.Landlock {
	l := &launch.Landlock{Execute: v.execute, Device: devices, Sockets: dir, Ports: []uint16{launch.EgressPort}}
	l.Read = append(l.Read, v.read...)
	if own {
		l.Read = append(l.Read, "/etc", "/proc")
		l.Write = []string{insideScratch}
		l.Sockets = insideRun
		return l
	}
	l.Read = append(l.Read, "/proc/self", "/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/localtime",
		"/etc/ssl/openssl.cnf") // Node does not start where it is there and may not be read
	if trusted.extra != "" {
		l.Read = append(l.Read, trusted.extra, trusted.roots)
	}
	return l
}

// landlockGaps says what this kernel's version of Landlock does not forbid.
func landlockGaps(abi int) string {
	gaps := ""
	for _, g := range []struct {
		since int
		what  string
	}{
		{3, "truncating files"}, {4, "TCP ports"}, {5, "ioctl on devices"}, {6, "signals and abstract sockets"}, {9, "connecting to unix sockets"},
	} {
		if abi < g.since {
			if gaps != "" {
				gaps += ", "
			}
			gaps += g.what
		}
	}
	detail := fmt.Sprintf("version %d", abi)
	if gaps != "" {
		detail += "; it does not cover " + gaps
	}
	return detail
}
