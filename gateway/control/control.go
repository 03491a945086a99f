// Package control is the way from the operator's commands to a running gateway: a
// unix socket in its data folder. Who may open the socket is the operator, so
// nobody needs a token there; the kernel says who that is, twice: by the mode of
// the file, and by the user that it names for each connection.
package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// File is the socket's name in the data folder.
const File = "control.sock"

// Peer is the process at the other end of a connection.
type Peer struct {
	UID uint32
	PID int32
}

func (p Peer) String() string { return fmt.Sprintf("user %d, process %d", p.UID, p.PID) }

// Network makes a Peer a net.Addr: it stands for the address of a caller.
func (p Peer) Network() string { return "unix" }

// Listener accepts connections of the user that runs this process, and of root,
// who could become that user.
type Listener struct {
	*net.UnixListener
	dir     *os.File
	path    string
	refused func(Peer)
}

// Listen opens the socket in dir, in the place of one that a killed process left.
// The caller must own dir: nobody else listens there. refused is told of each
// connection of somebody else, which is closed.
func Listen(dir string, refused func(Peer)) (*Listener, error) {
	path := filepath.Join(dir, File)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove what the last run left: %w", err)
	}
	folder, err := openFolder(dir)
	if err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", address(folder))
	if err == nil {
		l.SetUnlinkOnClose(false) // Close does it, by the real path
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		if l != nil {
			err = errors.Join(err, l.Close())
		}
		return nil, errors.Join(fmt.Errorf("listen on %s: %w", path, err), folder.Close())
	}
	return &Listener{UnixListener: l, dir: folder, path: path, refused: refused}, nil
}

// Accept waits for the next connection of the operator.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		peer, err := peerOf(c)
		if err == nil && allowed(peer) {
			return conn{c, peer}, nil
		}
		_ = c.Close() // nobody of ours waits for it
		l.refused(peer)
	}
}

// Close removes the socket. That another takes its place before, the folder's
// owner sees to.
func (l *Listener) Close() error {
	err := l.UnixListener.Close()
	if errors.Is(err, net.ErrClosed) {
		return err
	}
	if rerr := os.Remove(l.path); !errors.Is(rerr, fs.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return errors.Join(err, l.dir.Close())
}

func allowed(peer Peer) bool {
	own := uint32(os.Geteuid()) //nolint:gosec // user ids are not negative
	if peer.UID != own {
		return peer.UID == 0
	}
	return !isBelow(peer.PID)
}

// isBelow tells whether a process of this user was started by this one, or by one
// that was. So are those that run lambdas: where the kernel gives them no
// namespaces, they have the operator's user, and its Landlock may know nothing of
// unix sockets.
func isBelow(pid int32) bool {
	for pid > 1 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return true // what sends a command and ends is not waited for by anybody
		}
		var state string
		var parent int32
		// The name before them may hold anything, also a parenthesis.
		if _, err := fmt.Sscan(string(stat[bytes.LastIndexByte(stat, ')')+1:]), &state, &parent); err != nil {
			return true
		}
		if int(parent) == os.Getpid() {
			return true
		}
		pid = parent
	}
	return false
}

// conn tells who is at its other end.
type conn struct {
	*net.UnixConn
	peer Peer
}

func (c conn) RemoteAddr() net.Addr { return c.peer }

func peerOf(c *net.UnixConn) (Peer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	var cred *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) //nolint:gosec // a file descriptor
	})
	if err = errors.Join(err, failed); err != nil {
		return Peer{}, err
	}
	return Peer{UID: cred.Uid, PID: cred.Pid}, nil
}

// ErrNotRunning says that no gateway listens in a folder.
var ErrNotRunning = errors.New("no gateway runs there")

// Dial connects to the gateway whose data folder is dir. Its error is
// ErrNotRunning if there is none.
func Dial(ctx context.Context, dir string) (net.Conn, error) {
	folder, err := openFolder(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = folder.Close() }() // it was only read
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", address(folder).Name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, ErrNotRunning
	}
	if err != nil {
		// The address in err is of no use to anybody.
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return nil, fmt.Errorf("connect to %s: %w", filepath.Join(dir, File), err)
	}
	return c, nil
}

// A unix socket's address holds 107 bytes, and a folder's path may be longer. So
// the folder is opened, and named by its number.
func openFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the data folder: %w", err)
	}
	return f, nil
}

func address(folder *os.File) *net.UnixAddr {
	return &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("/proc/self/fd/%d/%s", folder.Fd(), File)}
}
