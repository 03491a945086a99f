package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// LogLine is a stored line of a lambda's log.
type LogLine struct {
	LogRecord
	RequestID string `json:"requestID"`
	LambdaID  string `json:"lambdaUUID"`
	Version   int    `json:"version"`
}

// Query narrows what Logs, ExportLogs, Invocations, Activities and Attempts give. What is
// zero is not asked for: then the gateway decides.
type Query struct {
	LambdaID  string
	From, To  time.Time // From is in, To is not
	Levels    []string  // of log lines
	Text      string    // of log lines
	RequestID string
	States    []string // of invocations
	Noun      string   // of activities
	Verdict   string   // of attempts: allowed, refused or failed
	Rules     []string // of attempts
	Host      string   // of attempts
	Oldest    bool     // the oldest first, of log lines and invocations
	Limit     int
	Cursor    string // of the answer before
}

func (q Query) values() url.Values {
	v := url.Values{"v": {"1"}}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	set("lambdaUUID", q.LambdaID)
	set("text", q.Text)
	set("requestId", q.RequestID)
	set("noun", q.Noun)
	set("verdict", q.Verdict)
	set("host", q.Host)
	set("cursor", q.Cursor)
	if !q.From.IsZero() {
		set("startTimestamp", strconv.FormatInt(q.From.UnixMilli(), 10))
	}
	if !q.To.IsZero() {
		set("endTimestamp", strconv.FormatInt(q.To.UnixMilli(), 10))
	}
	if q.Oldest {
		set("order", "oldest")
	}
	if q.Limit > 0 {
		set("limit", strconv.Itoa(q.Limit))
	}
	v["filterLevels"], v["invocationStates"], v["rule"] = q.Levels, q.States, q.Rules
	return v
}

// Logs gives stored log lines and, if there are more, the cursor for them.
func (c *Client) Logs(ctx context.Context, q Query) (lines []LogLine, next string, err error) {
	k := c.management(http.MethodGet, "logs")
	k.query = q.values()
	a, err := c.do(ctx, k)
	if err != nil {
		return nil, "", fmt.Errorf("list logs: %w", err)
	}
	err = a.decode("list logs", &lines)
	return lines, a.header.Get("X-Sluice-Cursor"), err
}

// ExportLogs gives the stored log of a lambda as CSV.
func (c *Client) ExportLogs(ctx context.Context, q Query) (string, error) {
	k := c.management(http.MethodGet, "logs", "export")
	k.query = q.values()
	a, err := c.do(ctx, k)
	if err != nil {
		return "", fmt.Errorf("export logs: %w", err)
	}
	return string(a.body), nil
}

// PastInvocation is an invocation that has ended.
type PastInvocation struct {
	RequestID  string      `json:"requestID"`
	LambdaID   string      `json:"lambdaUUID"`
	LambdaName string      `json:"lambdaName"`
	Version    int         `json:"version"`
	Timestamp  int64       `json:"timestamp"` // epoch milliseconds
	Caller     string      `json:"caller"`
	Trigger    string      `json:"trigger"`
	EventID    string      `json:"eventId"`
	State      string      `json:"state"`
	Phase      string      `json:"phase"`
	Code       string      `json:"errorCode"`
	Message    string      `json:"errorMsg"`
	Cold       bool        `json:"cold"`
	QueueMS    float64     `json:"queueMs"`
	StartMS    float64     `json:"startMs"`
	RunMS      float64     `json:"runMs"`
	Dropped    int         `json:"droppedLogs"`
	Logs       []LogRecord `json:"logs"`
}

// Invocations gives invocations and, if there are more, the cursor for them.
func (c *Client) Invocations(ctx context.Context, q Query) (list []PastInvocation, next string, err error) {
	k := c.management(http.MethodGet, "invocations")
	k.query = q.values()
	a, err := c.do(ctx, k)
	if err != nil {
		return nil, "", fmt.Errorf("list invocations: %w", err)
	}
	var page struct {
		Invocations []PastInvocation `json:"invocations"`
		Next        string           `json:"next"`
	}
	err = a.decode("list invocations", &page)
	return page.Invocations, page.Next, err
}

// Statistic is how many invocations of a stretch of time ended how.
type Statistic struct {
	From            int64 `json:"from"` // epoch milliseconds
	To              int64 `json:"to"`
	Unknown         int64 `json:"UNKOWN"` // spelled so on the wire
	Succeeded       int64 `json:"SUCCEEDED"`
	CodingFailure   int64 `json:"CODING_FAILURE"`
	PlatformFailure int64 `json:"PLATFORM_FAILURE"`
	Timeout         int64 `json:"TIMEOUT"`
}

// Report gives how many invocations of a lambda ended how, from From to To of q,
// in stretches of bucket.
func (c *Client) Report(ctx context.Context, lambdaID string, q Query, bucket time.Duration) ([]Statistic, error) {
	k := c.management(http.MethodGet, "reports", "invocations", lambdaID)
	q.LambdaID = ""
	k.query = q.values()
	k.query.Set("bucketSize", strconv.Itoa(int(bucket/time.Second)))
	a, err := c.do(ctx, k)
	if err != nil {
		return nil, fmt.Errorf("report invocations: %w", err)
	}
	var report struct {
		Statistics []Statistic `json:"invocationStatistics"`
	}
	err = a.decode("report invocations", &report)
	return report.Statistics, err
}

// Activity is a change that somebody made.
type Activity struct {
	Timestamp time.Time `json:"timestamp"`
	By        string    `json:"by"`
	Action    string    `json:"action"`
	Noun      string    `json:"noun"`
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	RequestID string    `json:"requestID"`
	Changes   []Change  `json:"changes"`
}

// Change is one field that an Activity changed.
type Change struct {
	Field  string `json:"field"`
	Before string `json:"before"`
	After  string `json:"after"`
	Diff   string `json:"diff"` // of long text, a unified diff
}

// Activities gives who changed what, the newest first, and, if there is more, the
// cursor for it.
func (c *Client) Activities(ctx context.Context, q Query) (list []Activity, next string, err error) {
	k := c.management(http.MethodGet, "activities")
	k.query = q.values()
	a, err := c.do(ctx, k)
	if err != nil {
		return nil, "", fmt.Errorf("list activities: %w", err)
	}
	var page struct {
		Activities []Activity `json:"activities"`
		Next       string     `json:"next"`
	}
	err = a.decode("list activities", &page)
	return page.Activities, page.Next, err
}
