package lambda

import (
	"encoding/json"
	"time"
)

// Invocation is one call of a lambda, checked and ready to be dispatched. Its
// deadline is the context's.
type Invocation struct {
	Account  string
	LambdaID string
	// RequestID is the caller's X-Request-ID, or one that the gateway made.
	RequestID string
	// Headers and Payload are what the author's function gets as its input.
	Headers []Pair
	Payload json.RawMessage // one JSON value, valid UTF-8
	// Trigger is what made the call.
	Trigger Trigger
	// EventID is the event of a call by TriggerEvent, and SkillID the skill that
	// its caller named, if it named one.
	EventID, SkillID string
	// Manual asks for log records, Debug included, to be collected and returned
	// instead of stored.
	Manual bool
	// Caller is the user id or client id, for logs and metrics.
	Caller string
}

// Trigger is what made a call.
type Trigger string

// The triggers.
const (
	TriggerCall     Trigger = "call"     // a caller named the lambda
	TriggerManual   Trigger = "manual"   // a developer's test
	TriggerEvent    Trigger = "event"    // a caller named an event
	TriggerSchedule Trigger = "schedule" // its time had come
)

// Result is what a lambda answered.
type Result struct {
	Payload json.RawMessage // one JSON value
	Logs    []LogRecord     // only for manual invocations
	Version int             // the lambda version that ran
	Cold    bool            // a process had to be started or loaded for it
	Queue   time.Duration   // waiting for a free process
	Start   time.Duration   // waiting for one to be started and loaded
	Run     time.Duration   // inside the runtime
}

// LogRecord is one line that user code logged, spelled as the wire contract has
// it (contract/javascript-runtime.md §2).
type LogRecord struct {
	Level     string          `json:"level"` // Debug, Info, Warn, Error
	Message   string          `json:"message"`
	Extras    json.RawMessage `json:"extras"`    // a JSON array
	Timestamp int64           `json:"timestamp"` // epoch milliseconds
}
