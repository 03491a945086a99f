package host

import (
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	// beatInterval is how often a runtime with open calls sends a heartbeat.
	beatInterval = 250 * time.Millisecond
	// lagAge is how long a heartbeat tells how a process is.
	lagAge = 4 * beatInterval
	// maxLag cuts what a runtime says of itself.
	maxLag = time.Minute
)

// Lag tells how far behind its work the process is: how late its loop turned
// lately, by its own word, or for how long it has owed a word. It is 0 when no
// call is open. It allocates nothing and waits for nobody.
func (p *Process) Lag() time.Duration {
	if s := p.session.Load(); s != nil {
		return s.lagAt(time.Now())
	}
	return 0
}

// Printed is the end of what the process has printed to stderr, 2 KiB at most.
func (p *Process) Printed() string { return p.output.tail() }

func (s *session) lagAt(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.calls) == 0 {
		return 0
	}
	var told time.Duration
	if now.UnixNano()-s.beatAt <= int64(lagAge) {
		told = s.lag
	}
	overdue := now.UnixNano() - max(s.heard.Load(), s.busySince) - int64(beatInterval)
	return max(told, time.Duration(overdue))
}

// acceptHeartbeat takes half of what is new and half of what was, so that one
// late turn of the loop is not taken for a busy one. After a pause the first
// heartbeat stands for itself.
func (s *session) acceptHeartbeat(b []byte, now time.Time) error {
	var lag time.Duration
	err := eachField(b, func(field protowire.Number, typ protowire.Type, _ []byte, number uint64) error {
		if field != 1 {
			return nil
		}
		lag = time.Duration(min(number, uint64(maxLag/time.Millisecond))) * time.Millisecond
		return want("heartbeat.event_loop_lag_ms", typ, protowire.VarintType)
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.UnixNano()-s.beatAt <= int64(lagAge) {
		lag = (s.lag + lag) / 2
	}
	s.lag, s.beatAt = lag, now.UnixNano()
	return nil
}
