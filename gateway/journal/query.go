package journal

import (
	"time"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// LogQuery asks for log lines of one account.
type LogQuery struct {
	Account  string
	LambdaID string // empty: of all its lambdas
	// From and To bound the time of a line: From is in, To is not.
	From, To  time.Time
	Levels    []string // as LogRecord.Level has them; none: all
	Text      string   // somewhere in message or extras, whatever its case, 500 letters at most; empty: any
	RequestID string   // empty: any
	Newest    bool     // the newest first; else the oldest
	Limit     int      // lines of a page; 1 to MaxLines, 0: DefaultLimit
	Cursor    string   // Next of the page before; empty: the first page
}

// Line is a line of a log.
type Line struct {
	LambdaID  string
	RequestID string
	Version   int
	lambda.LogRecord
}

// LogPage is a part of the answer to a LogQuery, in the order of the lines' time.
type LogPage struct {
	Lines []Line
	// Next asks for what follows; empty after the last page.
	Next string
	// Missing names what the answer lacks because it could not be read.
	Missing []string
}

// InvocationQuery asks for invocations of one account.
type InvocationQuery struct {
	Account  string
	LambdaID string // empty: of all its lambdas
	// From and To bound the time at which an invocation came: From is in, To is not.
	From, To    time.Time
	States      []State // none: all
	RequestID   string  // empty: any
	Trigger     lambda.Trigger
	MinDuration time.Duration // least sum of Queue, Start and Run
	Logs        bool          // the entries come with their Logs
	Newest      bool          // the newest first; else the oldest
	Limit       int           // entries of a page; 1 to MaxInvocations, 0: DefaultLimit
	Cursor      string        // Next of the page before; empty: the first page
}

// InvocationPage is a part of the answer to an InvocationQuery.
type InvocationPage struct {
	Entries []Entry
	Next    string
	Missing []string
}

// BucketQuery asks how many invocations of one lambda ended how.
type BucketQuery struct {
	Account  string
	LambdaID string // empty: of all its lambdas together
	// From and To bound the time; both are widened to whole buckets.
	From, To time.Time
	// Size of a bucket, a multiple of SlotSize. Buckets begin at multiples of it
	// since 1970, UTC.
	Size time.Duration
}

// Bucket is what came in a stretch of time. Its latencies are those of the whole
// invocations, waiting included, and at most a factor of 1.4, the square root of
// 2, off; they are 0 when nothing came.
type Bucket struct {
	From, To      time.Time
	Counts        Counts
	P50, P95, P99 time.Duration
}

// Counts is the number of invocations per State, in the order of States.
type Counts [5]int64

// Of is the number of invocations that ended so.
func (c Counts) Of(s State) int64 {
	if i := s.index(); i >= 0 {
		return c[i]
	}
	return 0
}

// index is the place of s in States, or -1.
func (s State) index() int {
	for i, known := range States {
		if s == known {
			return i
		}
	}
	return -1
}

// ActivityQuery asks who changed what on one account. The newest comes first.
type ActivityQuery struct {
	Account  string
	From, To time.Time // From is in, To is not
	Noun     Noun      // empty: any
	Without  []Noun    // what is left out
	ID       string    // of the thing; empty: any
	By       string    // empty: anybody
	Action   Action    // empty: any
	Limit    int       // activities of a page; 1 to MaxActivities, 0: DefaultLimit
	Cursor   string    // Next of the page before; empty: the first page
}

// ActivityPage is a part of the answer to an ActivityQuery.
type ActivityPage struct {
	Activities []Activity
	Next       string
	Missing    []string
}

// TailFilter says which lines a Tail gets.
type TailFilter struct {
	Account   string
	LambdaID  string   // empty: of all its lambdas
	Levels    []string // none: all
	Text      string   // empty: any
	RequestID string   // empty: any
}

// What queries are bounded by.
const (
	DefaultLimit   = 100
	MaxLines       = 100_000
	MaxInvocations = 1_000
	MaxActivities  = 1_000
	MaxAttempts    = 1_000
	MaxBuckets     = 10_000
	SlotSize       = 5 * time.Minute
)
