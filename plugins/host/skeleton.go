package host

import (
	"context"
	"errors"

	"github.com/sluice-faas/sluice/sdk/runtime"
)

// MaxRunDir is the longest path of Options.RunDir, so that sockets in it fit the
// kernel's 107 bytes.
const MaxRunDir = 64

// PrepareRunDir makes dir if needed, readable by this user alone, and empties it
// of what a killed gateway left. Call it once, before the first Launch.
func PrepareRunDir(dir string) error { return errors.New("not built yet") }

// Process is one runtime process. Its methods are safe for concurrent use.
type Process struct{ done chan struct{} }

// Launch starts a process and returns it once it has answered Describe. The
// process is gone again when Launch returns an error.
func Launch(ctx context.Context, o Options) (*Process, error) { return nil, errors.New("not built yet") }

// Description returns what the runtime said of itself after the start.
func (p *Process) Description() Description { return Description{} }

// Build checks a source and turns it into an artifact. It runs no user code.
func (p *Process) Build(ctx context.Context, source string, deps []Dependency) (BuildResult, error) {
	return BuildResult{}, ErrUnavailable
}

// Load gives the process its lambda version, once. A *LoadError is the author's
// fault. After any error the process is killed.
func (p *Process) Load(ctx context.Context, r LoadRequest) error { return ErrUnavailable }

// Handle runs one call.
func (p *Process) Handle(ctx context.Context, call runtime.Call) (runtime.Result, error) {
	return runtime.Result{}, ErrUnavailable
}

// OpenCalls counts the calls that were sent and not answered.
func (p *Process) OpenCalls() int { return 0 }

// Available says whether the process should be given another call.
func (p *Process) Available() bool { return false }

// Drain lets open calls finish, then ends the process.
func (p *Process) Drain(ctx context.Context) error { return nil }

// Kill ends the whole process group now.
func (p *Process) Kill() {}

// Done is closed when the process and all its calls have ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// ExitReason says why the process ended; call it after Done.
func (p *Process) ExitReason() string { return "" }

// PID is the process id of the runtime.
func (p *Process) PID() int { return 0 }

// RSSBytes is the resident memory of the process.
func (p *Process) RSSBytes() (int64, error) { return 0, nil }

// PrivateBytes is the memory that the process shares with no other.
func (p *Process) PrivateBytes() (int64, error) { return 0, nil }
