package launch

import (
	"fmt"
	"os"

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
	limitBuffers()
	l.egress, err = listen()
	return err
}

// limitBuffers bounds what the kernel holds of each TCP connection of this network
// namespace: least, first and most bytes. With a quarter of that most, a tunnel is
// three times slower. Where /proc/sys cannot be written to, as in many containers,
// the gateway's side of a connection is bounded alone.
func limitBuffers() {
	for _, name := range []string{"tcp_rmem", "tcp_wmem"} {
		_ = os.WriteFile("/proc/sys/net/ipv4/"+name, []byte("4096 131072 524288"), 0)
	}
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
