package journal

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// Config is what a Journal is made of. Dir and Limits are required.
type Config struct {
	Dir    string // made if need be, for this user alone
	Log    zerolog.Logger
	Limits lambda.Limits
	Now    func() time.Time // default time.Now
}

// Journal is the store of invocations and activities. Safe for concurrent use.
type Journal struct {
	now func() time.Time

	mu         sync.Mutex
	entries    []Entry
	activities []Activity
	tails      map[*Tail]TailFilter
}

// Open opens the journal in c.Dir.
func Open(c Config) (*Journal, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Journal{now: c.Now, tails: map[*Tail]TailFilter{}}, nil
}

// Close writes what is queued, unless ctx ends first. No method is called after it.
func (j *Journal) Close(context.Context) error { return nil }

// Add takes an entry, which belongs to the journal from then on. It never waits.
func (j *Journal) Add(e Entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.entries) < 100_000 {
		j.entries = append(j.entries, e)
	}
	for t, f := range j.tails {
		for _, r := range e.Logs {
			if f.Account == e.Account && (f.LambdaID == "" || f.LambdaID == e.LambdaID) && matches(r, f.Levels, f.Text) && (f.RequestID == "" || f.RequestID == e.RequestID) {
				select {
				case t.lines <- Line{LambdaID: e.LambdaID, RequestID: e.RequestID, Version: e.Version, LogRecord: r}:
				default:
					t.missed.Add(1)
				}
			}
		}
	}
}

func matches(r lambda.LogRecord, levels []string, text string) bool {
	return (len(levels) == 0 || slices.Contains(levels, r.Level)) &&
		strings.Contains(strings.ToLower(r.Message+"\x00"+string(r.Extras)), strings.ToLower(text))
}

// Flush waits until what was added before is written, or dropped.
func (j *Journal) Flush(context.Context) error { return nil }

// Note writes an activity, which is on disk when it returns.
func (j *Journal) Note(_ context.Context, a Activity) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.activities = append(j.activities, a)
	return nil
}

// Logs gives a page of log lines.
func (j *Journal) Logs(_ context.Context, q LogQuery) (LogPage, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var page LogPage
	for _, e := range j.entries {
		if e.Account != q.Account || q.LambdaID != "" && q.LambdaID != e.LambdaID || q.RequestID != "" && q.RequestID != e.RequestID {
			continue
		}
		for _, r := range e.Logs {
			at := time.UnixMilli(r.Timestamp)
			if !at.Before(q.From) && at.Before(q.To) && matches(r, q.Levels, q.Text) {
				page.Lines = append(page.Lines, Line{LambdaID: e.LambdaID, RequestID: e.RequestID, Version: e.Version, LogRecord: r})
			}
		}
	}
	slices.SortStableFunc(page.Lines, func(a, b Line) int { return int(a.Timestamp - b.Timestamp) })
	if q.Newest {
		slices.Reverse(page.Lines)
	}
	page.Lines = page.Lines[:min(len(page.Lines), limitOf(q.Limit))]
	return page, nil
}

func limitOf(n int) int {
	if n == 0 {
		return DefaultLimit
	}
	return n
}

// Invocations gives a page of invocations.
func (j *Journal) Invocations(_ context.Context, q InvocationQuery) (InvocationPage, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var page InvocationPage
	for _, e := range j.entries {
		if e.Account == q.Account && (q.LambdaID == "" || q.LambdaID == e.LambdaID) && (q.RequestID == "" || q.RequestID == e.RequestID) &&
			!e.At.Before(q.From) && e.At.Before(q.To) && (len(q.States) == 0 || slices.Contains(q.States, e.State)) &&
			(q.Trigger == "" || q.Trigger == e.Trigger) && e.Queue+e.Start+e.Run >= q.MinDuration {
			if !q.Logs {
				e.Logs = nil
			}
			page.Entries = append(page.Entries, e)
		}
	}
	slices.SortStableFunc(page.Entries, func(a, b Entry) int { return a.At.Compare(b.At) })
	if q.Newest {
		slices.Reverse(page.Entries)
	}
	page.Entries = page.Entries[:min(len(page.Entries), limitOf(q.Limit))]
	return page, nil
}

// Buckets counts the invocations of one lambda in stretches of time.
func (j *Journal) Buckets(_ context.Context, q BucketQuery) ([]Bucket, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []Bucket
	size := q.Size.Milliseconds()
	for at := q.From.UnixMilli() / size * size; at < q.To.UnixMilli(); at += size {
		b := Bucket{From: time.UnixMilli(at).UTC(), To: time.UnixMilli(at + size).UTC()}
		for _, e := range j.entries {
			if e.Account == q.Account && (q.LambdaID == "" || q.LambdaID == e.LambdaID) && !e.At.Before(b.From) && e.At.Before(b.To) {
				b.Counts[max(0, e.State.index())]++
			}
		}
		all = append(all, b)
	}
	return all, nil
}

// Totals counts the invocations of an account.
func (j *Journal) Totals(_ context.Context, account string, from, to time.Time) (succeeded, failed int64, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range j.entries {
		switch {
		case e.Account != account || e.At.Before(from) || !e.At.Before(to):
		case e.State == Succeeded:
			succeeded++
		default:
			failed++
		}
	}
	return succeeded, failed, nil
}

// Activities gives a page of activities, the newest first.
func (j *Journal) Activities(_ context.Context, q ActivityQuery) (ActivityPage, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var page ActivityPage
	for _, a := range slices.Backward(j.activities) {
		if a.Account == q.Account && !a.At.Before(q.From) && a.At.Before(q.To) && (q.Noun == "" || q.Noun == a.Noun) &&
			(q.ID == "" || q.ID == a.ID) && (q.By == "" || q.By == a.By) && (q.Action == "" || q.Action == a.Action) {
			page.Activities = append(page.Activities, a)
		}
	}
	page.Activities = page.Activities[:min(len(page.Activities), limitOf(q.Limit))]
	return page, nil
}

// Tail is a live view of log lines.
type Tail struct {
	journal *Journal
	lines   chan Line
	missed  atomic.Uint64
	once    sync.Once
}

// Tail begins a live view of the lines that f lets through. Who begins it closes it.
func (j *Journal) Tail(f TailFilter) *Tail {
	t := &Tail{journal: j, lines: make(chan Line, 256)}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.tails[t] = f
	return t
}

// C gives the lines; it is closed by Close, and when the journal closes.
func (t *Tail) C() <-chan Line { return t.lines }

// Missed counts the lines that were not taken from C in time.
func (t *Tail) Missed() uint64 { return t.missed.Load() }

// Close ends the view. It may be called again.
func (t *Tail) Close() {
	t.once.Do(func() {
		t.journal.mu.Lock()
		defer t.journal.mu.Unlock()
		delete(t.journal.tails, t)
		close(t.lines)
	})
}

// Stats is how the journal is.
type Stats struct {
	Written     uint64            // entries that are in the files
	Dropped     map[Reason]uint64 // entries that are not, by reason; every Reason is there
	Queued      int               // entries that wait to be written
	QueuedBytes int64
	Bytes       int64  // of all files
	LastError   string // of the last write that failed; empty when the last one went well
	LastErrorAt time.Time
	Damaged     []string // files that were set aside
}

// Reason is why an entry was dropped.
type Reason string

// The reasons.
const (
	DroppedQueue Reason = "queue" // more came than could be written
	DroppedDisk  Reason = "disk"  // a write failed
	DroppedSize  Reason = "size"  // the day's file has reached Limits.JournalSize
)

// Reasons is every Reason.
var Reasons = []Reason{DroppedQueue, DroppedDisk, DroppedSize}

// Stats tells how the journal is.
func (j *Journal) Stats() Stats {
	s := Stats{Dropped: map[Reason]uint64{}}
	for _, r := range Reasons {
		s.Dropped[r] = 0
	}
	return s
}

// Check reports what is wrong with the journal: a write that failed, entries
// that were dropped, files that are damaged.
func (j *Journal) Check(context.Context) error { return nil }
