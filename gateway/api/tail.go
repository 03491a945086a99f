package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

const (
	// tailPulse is how often a live tail that has nothing to say says so, and asks
	// whether its caller may still see it.
	tailPulse = 10 * time.Second
	// tailSend is how long a caller may take to receive what there is.
	tailSend = 10 * time.Second

	gatewayStops = "the gateway stops"
)

// tails bounds the live tails of each account and ends them when the gateway
// stops.
type tails struct {
	limit int
	pulse time.Duration

	mu      sync.Mutex
	open    map[string]int // by account
	ended   chan struct{}  // closed by end
	stopped bool
}

func newTails(limit int) *tails {
	return &tails{limit: limit, pulse: tailPulse, open: map[string]int{}, ended: make(chan struct{})}
}

// begin reserves one for an account. The caller calls done.
func (t *tails) begin(account string) (done func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.stopped:
		return nil, &lambda.Error{
			Kind: lambda.KindUnavailable, Code: lambda.CodeUnavailable, Phase: lambda.PhaseRequest, RetryAfter: time.Second,
			Message: "this gateway is going out of service: try again",
		}
	case t.open[account] >= t.limit:
		return nil, &lambda.Error{
			Kind: lambda.KindRateLimited, Code: lambda.CodeRateLimit, Phase: lambda.PhaseRequest, RetryAfter: time.Minute,
			Message: fmt.Sprintf("the account has %d live tails: the limit is %d, close one first", t.open[account], t.limit),
		}
	}
	t.open[account]++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.open[account]--; t.open[account] == 0 {
			delete(t.open, account)
		}
	}, nil
}

// count is how many there are.
func (t *tails) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, open := range t.open {
		n += open
	}
	return n
}

// end ends all there are, and lets none begin.
func (t *tails) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.stopped {
		t.stopped = true
		close(t.ended)
	}
}

// EndTails ends the live tails, which would otherwise hold up the end of the
// server: call it before that.
func (s *Server) EndTails() { s.tails.end() }

// tailLogs answers a lambda's log as it is written, as server-sent events, until
// the caller leaves, its token ends, or the gateway stops. A line is a message,
// with the same keys as one of GET /logs; an event "missed" tells how many lines
// were left out so far because the caller was too slow, an event "end" why no
// more will come.
func (s *Server) tailLogs(w http.ResponseWriter, r *http.Request) error {
	q, p := of(r), queryOf(r)
	filter := journal.TailFilter{
		Account: q.account(), LambdaID: p.text("lambdaUUID"), Levels: choices(p, "filterLevels", logLevels),
		Text: p.text("text"), RequestID: p.text("requestId"),
	}
	if _, err := s.required(q, p, filter.LambdaID); err != nil {
		return fmt.Errorf("tail logs: %w", err)
	}
	done, err := s.tails.begin(q.account())
	if err != nil {
		return err
	}
	defer done()
	tail := s.journal.Tail(filter)
	defer tail.Close()
	stream := newEventStream(w)
	if err := stream.open(); err != nil {
		return fmt.Errorf("tail logs: %w", err)
	}
	if err := s.follow(q, r, tail, stream); err != nil {
		q.err = fmt.Errorf("tail logs: %w", err) // for the log: the answer is on its way
	}
	return nil
}

// follow sends what comes until something ends it.
func (s *Server) follow(q *request, r *http.Request, tail *journal.Tail, stream *eventStream) error {
	pulse := time.NewTicker(s.tails.pulse)
	defer pulse.Stop()
	var missed uint64
	for {
		var why string // it ends, if it does
		select {
		case line, open := <-tail.C():
			if !open {
				why = gatewayStops
				break
			}
			stream.line(&line)
		case <-pulse.C:
			why = s.outlived(q, r)
			stream.comment("still here")
		case <-s.tails.ended:
			why = gatewayStops
		case <-r.Context().Done():
			return nil
		}
		stream.lines(tail.C())
		if n := tail.Missed(); n != missed {
			missed = n
			stream.event("missed", struct {
				Missed uint64 `json:"missed"`
			}{n})
		}
		if why != "" {
			return stream.end(why)
		}
		if err := stream.send(); err != nil {
			return err
		}
	}
}

// outlived says why a caller who was let in may not go on, if so. While etcd is
// away nobody is sent off.
func (s *Server) outlived(q *request, r *http.Request) string {
	if q.origin == operator {
		return ""
	}
	p, err := s.authenticator.Authenticate(q.Context, r.Header.Get("Authorization"), q.account())
	switch {
	case lambda.Is(err, lambda.KindUnauthorized):
		return lambda.As(err).Message
	case err == nil && !p.May(q.route.permission):
		return "the token does not carry the permission " + q.route.permission.String() + " any more"
	}
	return ""
}

// eventStream writes server-sent events. What is added is sent with send, in one
// piece.
type eventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	buffer  bytes.Buffer
}

// maxEventBatch is how many bytes of lines are gathered at most before they are sent.
const maxEventBatch = 64 << 10

func newEventStream(w http.ResponseWriter) *eventStream {
	return &eventStream{w: w, control: http.NewResponseController(w)}
}

// open begins the answer. From then on the limits of the server for a whole
// request do not hold, but one for each piece that is sent.
func (e *eventStream) open() error {
	h := e.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // a proxy in front shall pass lines on as they come
	if err := e.control.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	e.w.WriteHeader(http.StatusOK)
	e.comment("lines follow as they are written")
	return e.send()
}

// comment is what clients skip.
func (e *eventStream) comment(text string) { e.buffer.WriteString(": " + text + "\n\n") }

func (e *eventStream) event(name string, data any) {
	text, err := json.Marshal(data)
	if err != nil {
		return // a line whose extras are no JSON: the journal takes none
	}
	if name != "" {
		e.buffer.WriteString("event: " + name + "\n")
	}
	e.buffer.WriteString("data: ")
	e.buffer.Write(text) // JSON has no line ends of its own
	e.buffer.WriteString("\n\n")
}

func (e *eventStream) line(l *journal.Line) { e.event("", viewLine(l)) }

// lines adds what is there already, as much as goes in one piece.
func (e *eventStream) lines(from <-chan journal.Line) {
	for e.buffer.Len() < maxEventBatch {
		select {
		case l, open := <-from:
			if !open {
				return // the next look sees it too
			}
			e.line(&l)
		default:
			return
		}
	}
}

// end says why no more will come.
func (e *eventStream) end(reason string) error {
	e.event("end", struct {
		Reason string `json:"reason"`
	}{reason})
	return e.flush() // and the limit stays, for the end of the answer
}

// send gives the caller tailSend to receive what was added. While nothing is sent
// there is no limit: HTTP/2 would end the stream at it.
func (e *eventStream) send() error {
	if err := e.flush(); err != nil {
		return err
	}
	return e.control.SetWriteDeadline(time.Time{})
}

func (e *eventStream) flush() error {
	if err := e.control.SetWriteDeadline(time.Now().Add(tailSend)); err != nil {
		return err
	}
	if _, err := e.w.Write(e.buffer.Bytes()); err != nil {
		return err
	}
	if err := e.control.Flush(); err != nil {
		return err
	}
	e.buffer.Reset()
	return nil
}
