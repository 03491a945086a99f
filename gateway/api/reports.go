package api

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

const (
	shortestReport = 15 * time.Minute // contract/management.md §9
	longestReport  = 30 * day
	longestCount   = 31 * day // a month

	usualInvocations   = hour
	longestInvocations = 30 * day
	pageOfInvocations  = journal.MaxInvocations
)

// bucketSizes are those that a report may have, in seconds.
var bucketSizes = []string{"300", "3600", "86400"}

// statisticsView is how many invocations of a stretch of time ended how. It has
// the states that were asked for, in the contract's order: clients make columns
// of the first one's keys.
type statisticsView struct {
	bucket *journal.Bucket
	states []journal.State
}

// MarshalJSON writes the keys in their order.
func (v statisticsView) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"from":%d,"to":%d`, v.bucket.From.UnixMilli(), v.bucket.To.UnixMilli())
	for _, state := range v.states {
		fmt.Fprintf(&b, `,%q:%d`, string(state), v.bucket.Counts.Of(state))
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// invocationReport answers how many invocations of a lambda ended how, by
// stretches of time (contract/management.md §9).
func (s *Server) invocationReport(w http.ResponseWriter, r *http.Request) error {
	p := queryOf(r)
	states := chosenStates(p)
	if len(states) == 0 {
		states = journal.States
	}
	l, buckets, err := s.buckets(w, of(r), p)
	if err != nil {
		return fmt.Errorf("report invocations: %w", err)
	}
	views := make([]statisticsView, len(buckets))
	for i := range buckets {
		views[i] = statisticsView{&buckets[i], states}
	}
	return respond(w, http.StatusOK, struct {
		UUID       string           `json:"uuid"`
		Name       string           `json:"name"`
		Statistics []statisticsView `json:"invocationStatistics"`
	}{l.ID, l.Name, views})
}

// chosenStates reads invocationStates, in the contract's order.
func chosenStates(p *query) []journal.State {
	given := choices(p, "invocationStates", journal.States)
	return slices.DeleteFunc(slices.Clone(journal.States), func(s journal.State) bool { return !slices.Contains(given, s) })
}

// buckets reads period and bucket size of a report of the lambda in the path, and
// asks the journal. It says in a header what the answer lacks.
func (s *Server) buckets(w http.ResponseWriter, q *request, p *query) (*lambda.Lambda, []journal.Bucket, error) {
	span := p.period(s.now(), hour, longestReport)
	if span.length() < shortestReport {
		p.fail(startParameter, "%s and %s are %s apart: the least is %s, begin earlier", startParameter, endParameter, span.length(), spell(shortestReport))
	}
	size, _ := strconv.Atoi(choice(p, "bucketSize", append([]string{usualBucket(span.length())}, bucketSizes...)...)) // one of the words
	l, err := s.required(q, p, q.params.ByName("id"))
	if err != nil {
		return nil, nil, err
	}
	buckets, missing, err := s.journal.Buckets(q, journal.BucketQuery{
		Account: q.account(), LambdaID: l.ID, From: span.from, To: span.to, Size: time.Duration(size) * time.Second,
	})
	if err != nil {
		return nil, nil, err
	}
	tellPage(w, "", missing)
	return l, buckets, nil
}

// usualBucket is what the public CLI asks for.
func usualBucket(length time.Duration) string {
	switch {
	case length <= hour:
		return bucketSizes[0]
	case length <= 7*day:
		return bucketSizes[1]
	}
	return bucketSizes[2]
}

// latencyView is how long the invocations of a stretch of time took, in
// milliseconds, waiting included.
type latencyView struct {
	From  int64   `json:"from"`
	To    int64   `json:"to"`
	Count int64   `json:"count"`
	P50   float64 `json:"p50"`
	P95   float64 `json:"p95"`
	P99   float64 `json:"p99"`
}

// latencyReport answers how long invocations of a lambda took.
func (s *Server) latencyReport(w http.ResponseWriter, r *http.Request) error {
	l, buckets, err := s.buckets(w, of(r), queryOf(r))
	if err != nil {
		return fmt.Errorf("report latency: %w", err)
	}
	views := make([]latencyView, len(buckets))
	for i, b := range buckets {
		views[i] = latencyView{From: b.From.UnixMilli(), To: b.To.UnixMilli(), P50: milliseconds(b.P50), P95: milliseconds(b.P95), P99: milliseconds(b.P99)}
		for _, n := range b.Counts {
			views[i].Count += n
		}
	}
	return respond(w, http.StatusOK, struct {
		UUID    string        `json:"uuid"`
		Name    string        `json:"name"`
		Latency []latencyView `json:"latency"`
	}{l.ID, l.Name, views})
}

// milliseconds is a length of time with microseconds behind the point.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// invocationCounts answers how many invocations of the account succeeded, and how
// many did not; without a start, of this month.
func (s *Server) invocationCounts(w http.ResponseWriter, r *http.Request) error {
	q, p := of(r), queryOf(r)
	now := s.now().UTC()
	month := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	span := p.period(now, now.Sub(month), longestCount)
	if p.fault != nil {
		return p.fault
	}
	succeeded, failed, missing, err := s.journal.Totals(q, q.account(), span.from, span.to)
	if err != nil {
		return fmt.Errorf("count invocations: %w", err)
	}
	tellPage(w, "", missing)
	return respond(w, http.StatusOK, struct {
		AccountID string `json:"accountId"`
		Succeeded int64  `json:"successfulInvocations"`
		Failed    int64  `json:"unsuccessfulInvocations"`
	}{q.account(), succeeded, failed})
}

// invocationView is one invocation, with what it cost.
type invocationView struct {
	RequestID  string             `json:"requestID"`
	LambdaUUID string             `json:"lambdaUUID"`
	LambdaName string             `json:"lambdaName"`
	Version    int                `json:"version"`
	Timestamp  int64              `json:"timestamp"`
	Caller     string             `json:"caller"`
	Trigger    lambda.Trigger     `json:"trigger"`
	EventID    string             `json:"eventId,omitempty"`
	State      journal.State      `json:"state"`
	Phase      lambda.Phase       `json:"phase,omitempty"`
	Code       string             `json:"errorCode,omitempty"`
	Message    string             `json:"errorMsg,omitempty"`
	Cold       bool               `json:"cold"`
	Queue      float64            `json:"queueMs"`
	Start      float64            `json:"startMs"`
	Run        float64            `json:"runMs"`
	Dropped    int                `json:"droppedLogs"`
	Logs       []lambda.LogRecord `json:"logs,omitempty"`
}

func viewInvocation(e *journal.Entry) invocationView {
	return invocationView{
		RequestID: e.RequestID, LambdaUUID: e.LambdaID, LambdaName: e.LambdaName, Version: e.Version, Timestamp: e.At.UnixMilli(),
		Caller: e.Caller, Trigger: e.Trigger, EventID: e.EventID, State: e.State, Phase: e.Phase, Code: e.Code, Message: e.Message,
		Cold: e.Cold, Queue: milliseconds(e.Queue), Start: milliseconds(e.Start), Run: milliseconds(e.Run), Dropped: e.Dropped, Logs: e.Logs,
	}
}

// triggers are what a call can have been made by; the first stands for any.
var triggers = []lambda.Trigger{"", lambda.TriggerCall, lambda.TriggerManual, lambda.TriggerEvent, lambda.TriggerSchedule}

// listInvocations answers invocations of one lambda, or of all, the newest first.
func (s *Server) listInvocations(w http.ResponseWriter, r *http.Request) error {
	q, p := of(r), queryOf(r)
	span := p.period(s.now(), usualInvocations, longestInvocations)
	wanted := journal.InvocationQuery{
		Account: q.account(), LambdaID: p.text("lambdaUUID"), From: span.from, To: span.to,
		States: chosenStates(p), RequestID: p.text("requestId"), Trigger: choice(p, "trigger", triggers...),
		MinDuration: time.Duration(p.number("minDuration", 0, 0, 3_600_000)) * time.Millisecond, Logs: p.flag("logs"),
		Newest: choice(p, "order", newestFirst, oldestFirst) == newestFirst,
		Limit:  p.number("limit", journal.DefaultLimit, 1, pageOfInvocations), Cursor: p.text("cursor"),
	}
	if p.fault != nil {
		return p.fault
	}
	if _, err := s.named(q, wanted.LambdaID); err != nil {
		return fmt.Errorf("list invocations: %w", err)
	}
	page, err := s.journal.Invocations(q, wanted)
	if err != nil {
		return fmt.Errorf("list invocations: %w", err)
	}
	views := make([]invocationView, len(page.Entries))
	for i := range page.Entries {
		views[i] = viewInvocation(&page.Entries[i])
	}
	return respond(w, http.StatusOK, struct {
		Invocations []invocationView `json:"invocations"`
		Next        string           `json:"next,omitempty"`
		Missing     []string         `json:"missing,omitempty"`
	}{views, page.Next, page.Missing})
}
