// Package runtime is for authors of a language runtime in Go, and the one
// interface that a runtime's code, the gateway's proxy for it and a test's fake
// share: Handler.
//
// A runtime is a program whose main calls Serve with a function that reads user
// code and returns its Handler. Everything else, the go-plugin handshake, the
// gRPC services, batching, cancellation and draining, is Serve's.
package runtime

import (
	"context"
	"time"
)

// Handler runs user code. Handle may be called many times at once. The
// context's end means that nobody waits for the answer any more. A *Failure as
// error is the author's fault; any other error is the platform's.
type Handler interface {
	Handle(ctx context.Context, call Call) (Result, error)
}

// HandlerFunc makes a Handler of a function.
type HandlerFunc func(ctx context.Context, call Call) (Result, error)

// Handle calls f.
func (f HandlerFunc) Handle(ctx context.Context, call Call) (Result, error) { return f(ctx, call) }

// Header is one pair of a call's headers.
type Header struct {
	Key   string
	Value string
}

// Call is one invocation as user code sees it.
type Call struct {
	RequestID string   // the caller's id, for correlation only
	Headers   []Header // the contract's list of pairs
	Payload   []byte   // one JSON value
	Debug     bool     // debug records are wanted
	// Log takes what user code logs, as it happens, from any goroutine, until
	// Handle has returned. Nil drops it.
	Log func(LogRecord)
	// Secrets are those of the lambda's account, for use until Handle has returned.
	// Serve sets it; it is nil where there is no gateway to ask.
	Secrets Secrets
}

// Result is what user code answered.
type Result struct {
	Payload []byte // one JSON value
	// DroppedLogs counts records that a limit kept back.
	DroppedLogs int
}

// Level is the importance of a LogRecord.
type Level int

// The levels, in rising importance.
const (
	LevelDebug Level = iota + 1
	LevelInfo
	LevelWarn
	LevelError
)

// LogRecord is one line of user code's log.
type LogRecord struct {
	Level   Level
	Message string
	Extras  []byte // a JSON array; nil means []
	Time    time.Time
}

// FailureKind tells the author's reported errors from faults of the code itself.
type FailureKind int

// The kinds of Failure.
const (
	CustomFailure    FailureKind = iota + 1 // user code reported or threw an error
	RuntimeException                        // in JavaScript TypeError, SyntaxError, ReferenceError
)

// Failure is an error of user code.
type Failure struct {
	Kind    FailureKind
	Message string
	Stack   string // the author's; may be empty
}

func (f *Failure) Error() string { return f.Message }
