package lambda

import (
	"encoding/json"
	"time"
	"unicode/utf8"
)

// MaxCron is the largest cron line, in characters.
const MaxCron = 256

// Schedule has a deployed lambda called again and again, at times that a cron
// line of five fields names in UTC (contract/management.md §6). A lambda has one
// at most.
type Schedule struct {
	Account  string `json:"account"`
	ID       string `json:"id"` // UUID
	LambdaID string `json:"lambdaId"`
	Cron     string `json:"cron"`
	Active   bool   `json:"active"`
	// Payload is one JSON value; {} when there is none.
	Payload json.RawMessage `json:"payload,omitempty"`
	// From is when it was made, got another line or was activated: a run that was
	// due before that is none.
	From      time.Time `json:"from"`
	CreatedAt time.Time `json:"createdAt"`
	CreatedBy string    `json:"createdBy"`
	UpdatedAt time.Time `json:"updatedAt"`
	UpdatedBy string    `json:"updatedBy"`
}

// ValidatePayload checks the payload, which must be empty or one JSON value.
func (s *Schedule) ValidatePayload(limits Limits) error {
	const field = "invocationBody"
	if n := utf8.RuneCount(s.Payload); n > limits.SchedulePayload {
		return tooLong(field, field, n, limits.SchedulePayload)
	}
	return nil
}

// skew is how far apart the clocks of gateways may be.
const skew = time.Minute

// After is the time after which the schedule's next run is due, where r, which
// may be nil, is what became of its runs so far.
func (s *Schedule) After(r *Runs) time.Time {
	switch {
	case r == nil || r.ScheduleID != s.ID:
		return s.From
	case r.From.Equal(s.From):
		return r.Due
	case r.Due.After(s.From) && r.Due.Sub(s.From) <= skew:
		// It was saved by a gateway whose clock is slower than that of the one which
		// made the run.
		return r.Due
	}
	return s.From
}

// Runs is what became of a schedule's runs so far.
type Runs struct {
	ScheduleID string `json:"scheduleId"`
	// Due is the time up to which every run was made or missed, for a schedule with
	// this From.
	Due  time.Time  `json:"due"`
	From time.Time  `json:"from"`
	Last *Execution `json:"last,omitempty"` // nil before the first
	// Missed counts the runs that did not take place, because no gateway was there
	// to make them. They are not made up for.
	Missed      int       `json:"missed,omitempty"`
	MissedSince time.Time `json:"missedSince,omitzero"` // the first was due then
	MissedUntil time.Time `json:"missedUntil,omitzero"` // and the last then
}

// Execution is one run of a schedule.
type Execution struct {
	Due       time.Time `json:"due"`
	RequestID string    `json:"requestId"`
	Gateway   string    `json:"gateway"` // that made it
	StartedAt time.Time `json:"startedAt"`
	EndedAt   time.Time `json:"endedAt,omitzero"` // zero while it goes on
	Failed    bool      `json:"failed,omitempty"`
	Code      string    `json:"code,omitempty"` // why it failed
	Message   string    `json:"message,omitempty"`
}

// Running reports whether a run goes on.
func (r *Runs) Running() bool { return r != nil && r.Last != nil && r.Last.EndedAt.IsZero() }
