package host

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	// exitPatience is how long a process may live on after it said that it ends.
	exitPatience = 2 * time.Second
	// maxReason cuts what a runtime gives as a reason.
	maxReason = 500
	// Slack over the limits of logs: the host's check is against abuse, the
	// runtime's cut is the one that users see.
	logSlackRecords = 16
	logSlackBytes   = 4 << 10
	// maxTextBytes bounds message and stack of one failure.
	maxTextBytes = 256 << 10
)

// accept acts on one frame. An error is a violation. Records come before
// results, because what a call logged happened before it answered, and a frame
// does not say so by itself.
func (s *session) accept(frame []byte, now time.Time) error {
	useful := false
	err := eachField(frame, func(field protowire.Number, typ protowire.Type, value []byte, _ uint64) error {
		switch field {
		case runtimeFrameResults:
			useful = true
			return want("results", typ, protowire.BytesType)
		case runtimeFrameLogs:
			if err := want("logs", typ, protowire.BytesType); err != nil {
				return err
			}
			useful = true
			return s.acceptRecord(value, now)
		case runtimeFrameHeartbeat:
			if err := want("heartbeat", typ, protowire.BytesType); err != nil {
				return err
			}
			return s.acceptHeartbeat(value, now)
		case runtimeFrameRetire:
			if err := want("retire", typ, protowire.BytesType); err != nil {
				return err
			}
			return s.acceptRetire(value)
		case runtimeFrameExit:
			if err := want("exit", typ, protowire.BytesType); err != nil {
				return err
			}
			return s.acceptExit(value)
		case runtimeFrameRequests:
			if err := want("requests", typ, protowire.BytesType); err != nil {
				return err
			}
			useful = true
			return s.acceptRequest(value, now)
		}
		return nil // a newer runtime may say more than this host understands
	})
	if err != nil {
		return err
	}
	if !useful {
		return s.spend(len(frame), now)
	}
	return eachField(frame, func(field protowire.Number, _ protowire.Type, value []byte, _ uint64) error {
		if field != runtimeFrameResults {
			return nil
		}
		return s.acceptResult(value, now)
	})
}

// spend counts what belongs to no open call: every entry, and every KiB of it.
func (s *session) spend(bytes int, now time.Time) error {
	if !s.idle.AllowN(now, 1+bytes>>10) {
		return violationf("more than %d entries a second that belong to no open call", idleEntriesPerSecond)
	}
	return nil
}

func (s *session) acceptResult(b []byte, now time.Time) error {
	r, err := parseResult(b)
	if err != nil {
		return err
	}
	if err := s.checkResult(r); err != nil {
		return err
	}
	s.mu.Lock()
	c := s.calls[r.id]
	if c == nil {
		legal := s.abandoned.settle(r.id)
		s.mu.Unlock()
		if !legal {
			return violationf("a result for call %d, which is not open", r.id)
		}
		return s.spend(0, now) // of any size, but once
	}
	delete(s.calls, r.id)
	s.checkDrained()
	s.confirmed = max(s.confirmed, c.position)
	s.mu.Unlock()

	c.dropped = r.dropped
	if r.failure != nil {
		c.err = r.failure
	} else {
		c.payload = bytes.Clone(r.payload)
	}
	c.done <- struct{}{}
	return nil
}

func (s *session) checkResult(r result) error {
	switch {
	case r.failure != nil:
		if len(r.failure.Message)+len(r.failure.Stack) > maxTextBytes {
			return violationf("the failure of call %d is larger than %d bytes", r.id, maxTextBytes)
		}
	case r.payload == nil:
		return violationf("the result of call %d has no outcome", r.id)
	case len(r.payload) > s.limits.ResultBytes:
		return violationf("the result of call %d is larger than %d bytes", r.id, s.limits.ResultBytes)
	case !validJSON(r.payload):
		return violationf("the result of call %d is not JSON in UTF-8", r.id)
	}
	return nil
}

func validJSON(b []byte) bool { return utf8.Valid(b) && json.Valid(b) }

func (s *session) acceptRecord(b []byte, now time.Time) error {
	r, err := parseRecord(b)
	if err != nil {
		return err
	}
	if err := s.checkRecord(&r, now); err != nil {
		return err
	}
	s.recording.Lock()
	defer s.recording.Unlock()
	if r.sequence != 0 && r.sequence <= s.recorded {
		return s.spend(len(b), now) // it was found in the record area
	}
	return s.passOn(r, now)
}

// passOn gives a record to whom it belongs. Needs recording.
func (s *session) passOn(r record, now time.Time) error {
	s.recorded = max(s.recorded, r.sequence)
	s.mu.Lock()
	c := s.calls[r.id]
	if c == nil {
		s.mu.Unlock()
		return s.strayRecord(r, now)
	}
	c.logging.Lock() // before mu is released, so that abandon waits
	s.mu.Unlock()
	defer c.logging.Unlock()
	if c.logs++; c.logs > s.limits.LogRecords+logSlackRecords {
		return violationf("more than %d log records of call %d", s.limits.LogRecords, r.id)
	}
	if c.log != nil {
		c.log(r.LogRecord)
	}
	return nil
}

func (s *session) checkRecord(r *record, now time.Time) error {
	if n := len(r.Message) + len(r.Extras); n > s.limits.LogRecordBytes+logSlackBytes {
		return violationf("a log record of %d bytes, the limit is %d", n, s.limits.LogRecordBytes)
	}
	if len(r.Extras) > 0 && (!validJSON(r.Extras) || bytes.TrimLeft(r.Extras, " \t\r\n")[0] != '[') {
		return violationf("the extras of a log record are not a JSON array")
	}
	// A clock that user code has turned must not break those who print times.
	if d := now.Sub(r.Time); d > 24*time.Hour || d < -24*time.Hour {
		r.Time = now
	}
	return nil
}

// strayRecord takes a record of no open call: logged outside any call, or by code
// that works on after its call has ended. Only an id that was never given out is
// illegal.
func (s *session) strayRecord(r record, now time.Time) error {
	if r.id > s.ids.Load() {
		return violationf("a log record for call %d, which never was", r.id)
	}
	if err := s.spend(len(r.Message)+len(r.Extras), now); err != nil {
		return err
	}
	s.proc.output.record(r.LogRecord)
	return nil
}

func (s *session) acceptRetire(b []byte) error {
	e, err := parseEnding(b, 1)
	if err != nil {
		return err
	}
	s.refuse()
	if !s.retiring { // the runtime must not fill the log
		s.retiring = true
		s.proc.log.Info().Str("reason", s.proc.output.clean(cut(e.reason, maxReason))).Msg("runtime process asks to be replaced")
	}
	return nil
}

// acceptExit notes whose code ends the process. It has a moment to do so.
func (s *session) acceptExit(b []byte) error {
	e, err := parseEnding(b, 2)
	if err != nil {
		return err
	}
	if e.id > s.ids.Load() {
		return violationf("an exit by call %d, which never was", e.id)
	}
	s.refuse()
	s.proc.announceExit(e)
	return nil
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return fmt.Sprintf("%s… (%d bytes)", s[:n], len(s))
}
