package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-faas/sluice/plugins/sandbox/launch"
)

// launchTime bounds the talk with a launcher.
const launchTime = 15 * time.Second

// talk is the gateway's side of the socket to a launcher.
type talk struct{ conn *net.UnixConn }

// newTalk returns it, and the launcher's side.
func newTalk() (*talk, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket to the launcher: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control")
	defer ours.Close() //nolint:errcheck // the connection has a descriptor of its own
	conn, err := net.FileConn(ours)
	if err != nil {
		_ = theirs.Close()
		return nil, nil, fmt.Errorf("socket to the launcher: %w", err)
	}
	return &talk{conn.(*net.UnixConn)}, theirs, nil //nolint:forcetypeassert // a unix socket gives no other
}

func (t *talk) close() { _ = t.conn.Close() }

// stepFailure is a launcher's word that a step did not work.
type stepFailure struct{ step, text string }

func (e *stepFailure) Error() string { return e.step + ": " + e.text }

// order sends the orders and waits until the launcher has become the command. The
// listener is nil if none was ordered.
func (t *talk) order(o launch.Order) (net.Listener, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	if len(text) > launch.MaxMessage {
		return nil, fmt.Errorf("arguments and environment have %d bytes, the limit is %d", len(text), launch.MaxMessage)
	}
	_ = t.conn.SetDeadline(time.Now().Add(launchTime))
	if _, err := t.conn.Write(text); err != nil {
		return nil, fmt.Errorf("orders to the launcher: %w", err)
	}
	fd, err := t.answer()
	if errors.Is(err, io.EOF) {
		return nil, errNoLauncher
	}
	if err != nil {
		return nil, err
	}
	var listener net.Listener
	if fd >= 0 {
		if listener, err = egressListener(fd); err != nil {
			return nil, err
		}
	}
	// The exec closes the launcher's side.
	if _, err := t.answer(); !errors.Is(err, io.EOF) {
		if listener != nil {
			_ = listener.Close()
		}
		if err == nil {
			err = errNoLauncher
		}
		return nil, err
	}
	return listener, nil
}

// answer reads one answer, and the descriptor that came with it, or -1.
func (t *talk) answer() (int, error) {
	text, rights := make([]byte, launch.MaxMessage), make([]byte, unix.CmsgSpace(4))
	n, m, _, _, err := t.conn.ReadMsgUnix(text, rights)
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		return -1, err
	}
	fd := received(rights[:m])
	var a launch.Answer
	if err := json.Unmarshal(text[:n], &a); err != nil {
		err = fmt.Errorf("answer of the launcher: %w", err)
		closeFD(fd)
		return -1, err
	}
	if a.Error != "" {
		closeFD(fd)
		return -1, &stepFailure{a.Step, a.Error}
	}
	return fd, nil
}

func received(rights []byte) int {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil || len(messages) == 0 {
		return -1
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) == 0 {
		return -1
	}
	return fds[0]
}

func closeFD(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd)
	}
}

// startLauncher starts the launcher in new namespaces. files are its descriptors
// from 0 on, as for os.StartProcess; the last of them is the socket.
func (s *Sandbox) startLauncher(files []*os.File, group *cgroup, pidfd *int) (proc *os.Process, err error) {
	sys := &syscall.SysProcAttr{
		Setsid:    true,            // own session, hence own group and no terminal
		Pdeathsig: syscall.SIGKILL, // see spawner
		PidFD:     pidfd,
	}
	if err := s.plan.namespaces.apply(sys, s.users == nil); err != nil {
		return nil, err
	}
	if group != nil {
		sys.UseCgroupFD, sys.CgroupFD = true, int(group.folder.Fd())
	}
	attr := &os.ProcAttr{Dir: "/", Env: []string{}, Files: files, Sys: sys}
	onSpawner(func() {
		defer showSelf(s.plan.namespaces)()
		proc, err = os.StartProcess(s.launcher, []string{launch.Argv0}, attr)
	})
	if err != nil {
		return nil, &startFailure{err}
	}
	return proc, nil
}
