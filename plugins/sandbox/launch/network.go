package launch

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// EgressPort is where a process finds its proxy: on its own loopback device.
const EgressPort = 3128

const (
	loopback = "lo"
	backlog  = 128
)

// openNetwork makes the way out. A socket belongs to the network namespace in
// which it was made, so the gateway accepts on this one from outside.
func (l *launcher) openNetwork() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	request, err := unix.NewIfreq(loopback)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("bring up the loopback device: %w", err)
	}
	l.egress, err = listen()
	return err
}

func listen() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	if err = unix.Bind(fd, &unix.SockaddrInet4{Port: EgressPort, Addr: [4]byte{127, 0, 0, 1}}); err == nil {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		_ = unix.Close(fd) // nothing was written
		return -1, fmt.Errorf("listen for the proxy: %w", err)
	}
	return fd, nil
}
