// Package host starts one runtime process and speaks the runtime contract with
// it. A Process is started, described, loaded with one lambda version, used by
// many calls at once, drained and gone; it is never restarted. What a process
// does, prints or sends, the host outlives: everything that comes from it is
// checked, counted and bounded.
package host

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/rs/zerolog"

	"github.com/sluice-faas/sluice/plugins/catalog"
	"github.com/sluice-faas/sluice/plugins/sandbox"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

// Options say what to start and within which bounds.
type Options struct {
	Runtime catalog.Runtime
	// RunDir is the folder for the process's own folder and socket: owned by the
	// gateway, mode 0700, emptied by PrepareRunDir when the gateway starts. Its
	// path is at most MaxRunDir bytes.
	RunDir string
	// Log takes what the process prints and what the host says about it.
	Log zerolog.Logger
	// StartTimeout bounds the way from start to the answered Describe. Default 20 s.
	StartTimeout time.Duration
	// MemoryMiB is the memory a process may use before it is killed. Default 256.
	MemoryMiB int
	// IdleWork is how long a process may keep a processor busy, by more than half,
	// while no call is open: then it is killed. Default 30 s.
	IdleWork time.Duration
	// Sandbox shuts the process in. With nil it runs as the gateway's user and sees
	// what that sees.
	Sandbox *sandbox.Sandbox
}

// Dependency is a package that user code may import.
type Dependency struct {
	Name    string
	Version string
}

// Description is what a runtime says about itself.
type Description struct {
	Name             string
	DisplayName      string
	Version          string
	Dependencies     []Dependency
	SampleSource     string
	TypeDeclarations map[string]string // by file name
}

// Severity tells faults from advice.
type Severity int

// The severities of a Diagnostic.
const (
	SeverityError Severity = iota + 1
	SeverityWarning
)

// Diagnostic is what a runtime says about a source.
type Diagnostic struct {
	Severity Severity
	Code     string // for programs
	Message  string // for people
	Line     int    // from 1; 0 when it concerns the whole source
	Column   int    // from 1, in UTF-16 code units
}

// BuildResult is what became of a source. Artifact is empty if a diagnostic is
// an error.
type BuildResult struct {
	Artifact    []byte
	Diagnostics []Diagnostic
}

// Limits bound what user code may produce. A zero field means its default.
type Limits struct {
	ResultBytes    int // largest result of one call; default plugins.MaxPayload
	LogRecordBytes int // largest log record, message plus extras; default 64 KiB
	LogRecords     int // records of one call; default 1000
	MemoryMiB      int // default Options.MemoryMiB
	Connections    int // of the process to its proxy at once; default 64
}

// LoadRequest is a lambda version as a process takes it.
type LoadRequest struct {
	Artifact    []byte
	Environment map[string]string
	Limits      Limits
	// Secrets are those of the lambda's account, and serve whatever the process asks
	// for in its life, up to 64 requests at once. The context ends after 10 seconds
	// and with the process, and a method should return then. With nil every request
	// is answered with runtime.SecretAuthFailed.
	Secrets runtime.Secrets
	// Egress serves the connections that the process opens to its proxy, each in a
	// goroutine of its own and no more at once than Limits.Connections. With nil they
	// are closed at once.
	Egress Egress
	// Redact takes out of a text what nobody may read in a log. What the process says
	// outside of calls, and why it ends by its own word, goes through it before it is
	// logged or kept. It must not wait, and be safe for concurrent use. nil leaves all.
	Redact func(string) string
}

// Egress is the way of one loaded process to other hosts: an HTTP proxy.
type Egress interface {
	// ServeConn speaks HTTP with the process on conn until either side ends, and
	// closes conn. It returns soon after ctx ends, which the process's end does.
	ServeConn(ctx context.Context, conn net.Conn)
}

// LoadError is a fault of user code found while it was read.
type LoadError struct {
	Message string
	Stack   string // the author's; may be empty
}

func (e *LoadError) Error() string { return e.Message }

// ExitError says that the process ended while the call was open. It may have
// run user code; it was not answered.
type ExitError struct {
	Reason string
	// Own is true if this call's code ended the process: the runtime named it, or
	// no other call's code could have. A SIGKILL, SIGTERM, SIGINT or SIGHUP that the
	// runtime did not announce came from outside and is nobody's.
	Own bool
}

// OutOfMemory is the Reason of a process that needed more than its MemoryMiB.
const OutOfMemory = "out of memory"

func (e *ExitError) Error() string { return "the runtime process ended: " + e.Reason }

// ErrUnavailable means that the call was refused before any of it was sent, so
// user code did not see it and another process may be tried.
var ErrUnavailable = errors.New("the runtime process takes no calls")

// ErrTooLarge means that the call, payload and headers together, is over the
// limit of a frame. It was not sent.
var ErrTooLarge = errors.New("the call is larger than a runtime takes")

var _ runtime.Handler = (*Process)(nil)
