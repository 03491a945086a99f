package invoke

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

// logLimits bound what is stored of a call's log (contract/javascript-runtime.md §2).
type logLimits struct{ records, characters int }

// stored gathers the log of a call that is not manual, for the journal. Of a call
// that logs more than the limits it keeps one record, which says so: never a part
// of its log. Debug is not stored. A nil one gathers nothing.
//
// It is used again for other calls, so that calls that log nothing cost nothing.
type stored struct {
	log    func(runtime.LogRecord) // add, made once
	limits logLimits

	mu         sync.Mutex
	records    []lambda.LogRecord // within the limits
	last       lambda.LogRecord   // the newest record, which is not counted yet
	pending    bool               // there is a last
	count      int                // records that were logged, without last
	characters int                // of those
}

// storing makes the store of logs for calls.
func storing(l logLimits) *sync.Pool {
	return &sync.Pool{New: func() any {
		s := &stored{limits: l}
		s.log = s.add
		return s
	}}
}

// add takes a record as it comes. Its extras are the runtime's only until add
// returns.
func (s *stored) add(r runtime.LogRecord) {
	if r.Level == runtime.LevelDebug {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle()
	s.last, s.pending = recordOf(r), true
}

// settle counts the newest record: another came, or the call has ended.
func (s *stored) settle() {
	if !s.pending {
		return
	}
	s.count++
	s.characters += charactersOf(&s.last)
	if s.over() {
		s.records = nil
	} else {
		s.records = append(s.records, s.last)
	}
	s.last, s.pending = lambda.LogRecord{}, false
}

func (s *stored) over() bool {
	return s.count > s.limits.records || s.characters > s.limits.characters
}

// charactersOf counts a record's message and extras; no extras are none.
func charactersOf(r *lambda.LogRecord) int {
	n := utf8.RuneCountInString(r.Message)
	if len(r.Extras) > len(noExtras) {
		n += utf8.RuneCount(r.Extras)
	}
	return n
}

// take ends the gathering and gives the records that are stored, and how many
// others the call wrote; dropped of those the runtime itself kept back. The
// record that says how a call failed counts for no limit: the runtime's, if it
// reported the failure, or else one that is made here. The limits are for what the
// call wrote, and what is stored of it is masked; mask is asked if there is any.
// hint gives the extras of a record that is made here.
func (s *stored) take(dropped int, failure *lambda.Error, reported bool, mask func() *masker, hint func(*lambda.Error) []byte) (records []lambda.LogRecord, missing int) {
	if s == nil {
		return nil, 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var end *lambda.LogRecord
	if failure != nil && reported && s.pending {
		last := s.last
		end, s.pending = &last, false
	}
	s.settle()
	if failure != nil && failure.Kind == lambda.KindFunction && end == nil {
		end = &lambda.LogRecord{Level: "Error", Message: "Received Error - " + failure.Message, Extras: noExtras, Timestamp: time.Now().UnixMilli()}
		if extras := hint(failure); extras != nil {
			end.Extras = extras
		}
	}
	var m *masker
	if end != nil || len(s.records) > 0 {
		m = mask()
	}
	if end != nil {
		m.record(end) // before it is cut
	}
	for i := range s.records {
		m.record(&s.records[i])
	}
	switch {
	case dropped > 0 || s.over():
		records, missing = []lambda.LogRecord{s.exceeded(dropped, end)}, s.count+dropped
	case end != nil:
		records = append(s.records, s.fit(*end)) //nolint:gocritic // they are handed over
	default:
		records = s.records
	}
	s.records, s.last, s.pending, s.count, s.characters = nil, lambda.LogRecord{}, false, 0, 0
	return records, missing
}

// exceeded is what is stored instead of a log beyond the limits. How the call
// failed, if it did, is in its extras.
func (s *stored) exceeded(dropped int, end *lambda.LogRecord) lambda.LogRecord {
	atLeast := ""
	if dropped > 0 {
		atLeast = "at least "
	}
	r := lambda.LogRecord{
		Level: "Error", Extras: noExtras, Timestamp: time.Now().UnixMilli(),
		Message: fmt.Sprintf("%s: the call logged %d records with %s%d characters: the limits are %d records and %d characters, log less",
			lambda.CodeLogLimit, s.count+dropped, atLeast, s.characters, s.limits.records, s.limits.characters),
	}
	if end != nil {
		if extras, err := json.Marshal([]string{bounded(end.Message)}); err == nil {
			r.Extras = extras
		}
	}
	return r
}

// fit cuts the record that says how a call failed to what a whole log may have.
func (s *stored) fit(r lambda.LogRecord) lambda.LogRecord {
	if utf8.RuneCountInString(r.Message) > s.limits.characters {
		r.Message = bounded(r.Message)
	}
	if utf8.RuneCount(r.Extras) > s.limits.characters {
		r.Extras = noExtras
	}
	return r
}
