package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Mode says what a sandbox must be.
type Mode string

// The modes.
const (
	// Required is all of it, or the gateway does not start.
	Required Mode = "required"
	// Auto is what this machine offers.
	Auto Mode = "auto"
	// Off is none: processes run as the gateway's user and see what it sees.
	Off Mode = "off"
)

// ParseMode reads a mode.
func ParseMode(s string) (Mode, error) {
	switch m := Mode(s); m {
	case Required, Auto, Off:
		return m, nil
	}
	return "", fmt.Errorf("%q is no mode of the sandbox: required, auto or off", s)
}

// Settings are of a whole gateway.
type Settings struct {
	Mode Mode
	// CAFile has certificates (PEM) that processes trust beside their language's
	// own; empty for none. RootsFile has all that a process trusts whose language
	// takes one file for everything, as Go does: these, and the machine's. Default:
	// CAFile.
	CAFile, RootsFile string
	// Launcher is the program that starts processes. Default: sluice-sandbox beside
	// this program, else this program itself, which then must call launch.Main.
	Launcher string
}

// Sandbox is how the processes of a gateway are shut in. It is made once, and
// safe for concurrent use. A nil Sandbox is one that is off.
type Sandbox struct {
	settings Settings
	launcher string
	certificates
	plan   plan
	report Report
	groups *cgroups   // nil if there are none
	users  *userRange // nil if processes have the gateway's user
}

// plan is what a start makes use of.
type plan struct {
	namespaces namespaces
	files      bool // a file system of its own
	proc       bool
	network    bool // a network namespace with a listener in it
	identity   bool // an unprivileged user of its own
	landlock   bool
	seccomp    bool
}

// Open finds out what this machine offers, by starting a process in it. Under
// Required its error names all that is missing, with the remedy.
func Open(ctx context.Context, settings Settings) (*Sandbox, error) {
	s := &Sandbox{settings: settings}
	var err error
	if s.certificates, err = openCertificates(settings); err != nil {
		return nil, err
	}
	if settings.Mode == Off {
		s.report = Report{Mode: Off}
		return s, nil
	}
	if s.launcher, err = findLauncher(settings.Launcher); err != nil {
		return nil, err
	}
	if err := s.probe(ctx); err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	if missing := s.report.missing(); settings.Mode == Required && len(missing) > 0 {
		return nil, &MissingError{Steps: missing}
	}
	return s, nil
}

// On says whether processes are shut in at all.
func (s *Sandbox) On() bool { return s != nil && s.settings.Mode != Off && s.settings.Mode != "" }

// ByMachinePaths says that each process is a user of its own and comes to its files
// by the machine's paths: then its folder must be where everybody may go.
func (s *Sandbox) ByMachinePaths() bool {
	return s.On() && s.plan.identity && s.users != nil && !s.plan.files
}

// Mode is the mode that was asked for.
func (s *Sandbox) Mode() Mode {
	if s == nil {
		return Off
	}
	return s.settings.Mode
}

// Report says what there is.
func (s *Sandbox) Report() Report {
	if s == nil {
		return Report{Mode: Off}
	}
	return s.report
}

// launcherName is that of the launcher's file.
const launcherName = "sluice-sandbox"

// findLauncher returns the program that starts processes, links resolved.
func findLauncher(named string) (string, error) {
	if named != "" {
		path, err := filepath.Abs(named)
		if err == nil {
			path, err = filepath.EvalSymlinks(path)
		}
		if err != nil {
			return "", fmt.Errorf("launcher of the sandbox: %w", err)
		}
		return path, nil
	}
	self, err := os.Executable()
	if err == nil {
		self, err = filepath.EvalSymlinks(self)
	}
	if err != nil {
		return "", fmt.Errorf("launcher of the sandbox: %w", err)
	}
	beside := filepath.Join(filepath.Dir(self), launcherName)
	if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
		return filepath.EvalSymlinks(beside)
	}
	return self, nil
}

// MissingError is Open's when the machine does not offer what was required.
type MissingError struct{ Steps []Step }

func (e *MissingError) Error() string {
	var b strings.Builder
	b.WriteString("the sandbox is required, and this machine does not offer all of it:")
	for _, s := range e.Steps {
		fmt.Fprintf(&b, "\n%s: %s. Without it %s. Remedy: %s", s.Name, s.Why, s.Means, s.Remedy)
	}
	b.WriteString("\n`sluice sandbox check` tries each step; --sandbox=auto takes what there is")
	return b.String()
}

var errNoLauncher = errors.New("the launcher did not answer: is it the program that belongs to this gateway?")
