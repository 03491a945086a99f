// Package launch is the child's side of the sandbox: a process that the gateway
// has started in new namespaces shuts itself in, as its orders say, and becomes
// the runtime. It imports little, because it is started for every process.
package launch

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Argv0 is the name under which a program is a launcher.
const Argv0 = "sluice-sandbox"

// Control is the descriptor of the socket that the orders come from.
const Control = 4

// MaxMessage bounds the orders and the answer, in bytes.
const MaxMessage = 128 << 10

// Main turns this process into a runtime process if that is what it was started
// for; else it returns at once. Call it first in main and in a TestMain: then a
// program that starts runtime processes needs no launcher beside it.
func Main() {
	if len(os.Args) == 0 {
		return
	}
	switch os.Args[0] {
	case Argv0:
		os.Exit(run())
	case ProbeArgv0:
		os.Exit(probed())
	}
}

// run does what the orders say. It returns only if that failed.
func run() int {
	// Identity, Landlock and seccomp are a thread's, and it is the thread that
	// execs whose become the process's.
	runtime.LockOSThread()
	unix.CloseOnExec(Control)
	order, err := receive()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s is started by a gateway, not by hand: %v\n", Argv0, err)
		return 2
	}
	l := &launcher{order: order}
	program, err := l.prepare()
	if err != nil {
		_ = answer(failure(err), -1) // without a gateway nobody wants to know
		return 1
	}
	if err := answer(Answer{}, l.egress); err != nil {
		return 1 // the gateway is gone
	}
	// The answer is out before the filter is on; what fails from here on is a
	// second answer.
	if err := l.become(program); err != nil {
		_ = answer(failure(err), -1)
	}
	return 1
}

func receive() (Order, error) {
	var order Order
	buf := make([]byte, MaxMessage)
	n, err := unix.Read(Control, buf)
	if err != nil {
		return order, fmt.Errorf("orders: %w", err)
	}
	if n == 0 {
		return order, errors.New("orders: nobody sent any")
	}
	if err := json.Unmarshal(buf[:n], &order); err != nil {
		return order, fmt.Errorf("orders: %w", err)
	}
	return order, nil
}

// answer sends a and, unless it is negative, the descriptor.
func answer(a Answer, descriptor int) error {
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	var rights []byte
	if descriptor >= 0 {
		rights = unix.UnixRights(descriptor)
	}
	return unix.Sendmsg(Control, text, rights, nil, unix.MSG_NOSIGNAL)
}

// launcher is one start.
type launcher struct {
	order  Order
	egress int // the listening descriptor; -1 without
}

// stepError is a failure with the name of its step.
type stepError struct {
	step string
	err  error
}

func (e *stepError) Error() string { return e.err.Error() }

// step does f under the name of a step.
func (l *launcher) step(name string, f func() error) error {
	err := f()
	if err == nil || errors.As(err, new(*stepError)) {
		return err
	}
	return &stepError{name, err}
}

// failure is the answer that tells of err.
func failure(err error) Answer {
	a := Answer{Error: err.Error()}
	var e *stepError
	if errors.As(err, &e) {
		a.Step = e.step
	}
	return a
}

// prepare does everything but what ends the launcher's own freedom.
func (l *launcher) prepare() (*program, error) {
	l.egress = -1
	o := &l.order
	if o.Network {
		if err := l.step(StepNetwork, l.openNetwork); err != nil {
			return nil, err
		}
	}
	if o.Hostname != "" {
		if err := l.step(StepHostname, func() error { return unix.Sethostname([]byte(o.Hostname)) }); err != nil {
			return nil, err
		}
	}
	if o.Root != nil {
		if err := l.step(StepFiles, o.Root.enter); err != nil {
			return nil, err
		}
	}
	if err := l.step(StepFiles, func() error { return unix.Chdir(o.Dir) }); err != nil {
		return nil, err
	}
	if err := l.step(StepIdentity, func() error { return dropIdentity(o.Identity) }); err != nil {
		return nil, err
	}
	if err := l.step(StepParent, dieWithParent); err != nil {
		return nil, err
	}
	p, err := newProgram(o.Command, o.Args, o.Env)
	if err != nil {
		return nil, &stepError{StepExec, err}
	}
	return p, nil
}

// become puts on what also binds the launcher, and execs. It returns only if
// that failed.
func (l *launcher) become(p *program) error {
	o := &l.order
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return &stepError{StepIdentity, fmt.Errorf("no new privileges: %w", err)}
	}
	if o.Landlock != nil {
		if err := o.Landlock.enforce(); err != nil {
			return &stepError{StepLandlock, err}
		}
	}
	if o.Seccomp != nil {
		if err := o.Seccomp.enforce(p); err != nil {
			return &stepError{StepSeccomp, err}
		}
	}
	for _, limit := range o.Limits {
		if err := limit.lower(); err != nil {
			return &stepError{StepLimits, err}
		}
	}
	return &stepError{StepExec, p.exec()}
}
