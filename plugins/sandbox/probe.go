package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-faas/sluice/plugins/sandbox/launch"
)

const probeTime = 20 * time.Second

// probe finds out what works, by starting processes until one starts, each with
// less than the one before, and reports it.
func (s *Sandbox) probe(ctx context.Context) error {
	why := map[string]string{}
	s.plan = plan{files: true, proc: true, network: true, identity: true, landlock: true, seccomp: true}
	for _, n := range allNamespaces {
		s.plan.namespaces |= n.flag
	}
	if os.Geteuid() == 0 {
		if err := s.findUsers(); err != nil {
			why[stepIdentity] = err.Error() // unless its root is none of the machine's: judge sees
		}
	}
	if abi := launch.ABI(); abi == 0 {
		s.plan.landlock, why[stepLandlock] = false, "this kernel has no Landlock, or it is not turned on"
	}
	_, err := s.try(ctx)
	if errors.As(err, new(*startFailure)) {
		s.dropNamespaces(ctx, why)
	}
	var sight launch.Sight
	for {
		if sight, err = s.try(ctx); err == nil {
			break
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !s.dropStep(err, why) {
			return err
		}
	}
	if s.groups, err = openCgroups(controllers); err != nil {
		why[stepCgroup] = err.Error()
	}
	s.judge(sight, why)
	return nil
}

func (s *Sandbox) findUsers() error {
	users, err := ownMapping("/proc/self/uid_map")
	if err != nil {
		return err
	}
	groups, err := ownMapping("/proc/self/gid_map")
	if err != nil {
		return err
	}
	s.users, err = newUserRange(users, groups)
	return err
}

// dropNamespaces tries each alone, with a user namespace where that is possible.
func (s *Sandbox) dropNamespaces(ctx context.Context, why map[string]string) {
	whole := s.plan
	var base, found namespaces
	for _, n := range allNamespaces {
		s.plan = plan{namespaces: base | n.flag, identity: whole.identity}
		_, err := s.try(ctx)
		var failure *startFailure
		if errors.As(err, &failure) {
			why[n.step] = failure.Error()
			continue
		}
		found |= n.flag
		if n.flag == unix.CLONE_NEWUSER {
			base = n.flag
		}
	}
	s.plan = whole
	s.plan.namespaces = found
	s.plan.files = found.has(unix.CLONE_NEWNS)
	s.plan.proc = s.plan.files && found.has(unix.CLONE_NEWPID)
	s.plan.network = found.has(unix.CLONE_NEWNET)
}

// dropStep leaves out what a start failed at. It is false if there is nothing to
// leave out.
func (s *Sandbox) dropStep(err error, why map[string]string) bool {
	var failure *stepFailure
	if !errors.As(err, &failure) {
		return false
	}
	drop := func(part *bool, step string) bool {
		had := *part
		*part, why[step] = false, failure.text
		return had
	}
	switch failure.step {
	case launch.StepNetwork:
		s.plan.namespaces &^= unix.CLONE_NEWNET
		return drop(&s.plan.network, stepNet)
	case launch.StepHostname:
		had := s.plan.namespaces.has(unix.CLONE_NEWUTS)
		s.plan.namespaces &^= unix.CLONE_NEWUTS
		why[stepUTS] = failure.text
		return had
	case launch.StepFiles:
		s.plan.proc, why[stepProc] = false, "there is no file system of its own to mount it in"
		return drop(&s.plan.files, stepFiles)
	case launch.StepProc:
		return drop(&s.plan.proc, stepProc)
	case launch.StepIdentity:
		return drop(&s.plan.identity, stepIdentity)
	case launch.StepLandlock:
		return drop(&s.plan.landlock, stepLandlock)
	case launch.StepSeccomp:
		return drop(&s.plan.seccomp, stepSeccomp)
	}
	return false
}

// judge writes the report of what works, and of what a process saw of it.
func (s *Sandbox) judge(sight launch.Sight, why map[string]string) {
	r := &s.report
	r.Mode = s.settings.Mode
	r.add(stepLauncher, "", s.launcher)
	for _, n := range allNamespaces {
		r.add(n.step, reason(s.plan.namespaces.has(n.flag), why[n.step]), "")
	}
	r.add(stepFiles, reason(s.plan.files, why[stepFiles]), "")
	r.add(stepProc, reason(s.plan.proc, why[stepProc]), "")
	identity := ""
	switch {
	case sight.UID == 0, os.Geteuid() == 0 && s.users == nil && isMachineRoot():
		identity = reason(false, why[stepIdentity])
	case sight.Capabilities != 0:
		identity = fmt.Sprintf("the process kept capabilities: %x", sight.Capabilities)
	case !sight.NoNewPrivs:
		identity = "the process may gain privileges"
	}
	r.add(stepIdentity, identity, fmt.Sprintf("user %d", sight.UID))
	r.add(stepLandlock, reason(s.plan.landlock, why[stepLandlock]), landlockGaps(launch.ABI()))
	r.add(stepSeccomp, reason(s.plan.seccomp && sight.Seccomp, why[stepSeccomp]), "")
	r.add(stepLimits, "", "")
	r.add(stepCgroup, reason(s.groups != nil, why[stepCgroup]), "")
}

// isMachineRoot says that user 0 here is the machine's own, as far as can be told.
func isMachineRoot() bool {
	users, err := ownMapping("/proc/self/uid_map")
	return err != nil || covers(users, 0, 1<<32-1)
}

func reason(available bool, why string) string {
	switch {
	case available:
		return ""
	case why != "":
		return why
	}
	return "it was not tried, because what it needs is missing"
}

// startFailure is of a launcher that could not even be started.
type startFailure struct{ err error }

func (e *startFailure) Error() string {
	var number syscall.Errno
	if errors.As(e.err, &number) {
		return "the kernel refused it: " + number.Error() // all else that the error says is known
	}
	return e.err.Error()
}

func (e *startFailure) Unwrap() error { return e.err }

// try starts one process as planned, which says what it is.
func (s *Sandbox) try(ctx context.Context) (sight launch.Sight, err error) {
	dir, err := os.MkdirTemp("", "sluice-probe")
	if err != nil {
		return sight, err
	}
	defer func() { err = errors.Join(err, RemoveDir(dir)) }()
	settings := *s
	settings.settings.Mode = Auto
	p := New(Command{Path: s.launcher, Sandbox: &settings, argv0: launch.ProbeArgv0}, nil, dir)
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = p.Kill(ctx) })()
	if err := p.Start(ctx); err != nil {
		return sight, err
	}
	defer p.closeEgress()
	text, _ := io.ReadAll(io.LimitReader(p.Stderr(), 4096)) // an error is the process's end
	_ = p.Kill(ctx)                                         // should it not have ended by itself
	err = p.Wait(ctx)
	if bad := json.Unmarshal(text, &sight); bad != nil {
		return sight, fmt.Errorf("a process in the sandbox: %w: %.500s", errors.Join(err, bad), text)
	}
	return sight, nil
}
