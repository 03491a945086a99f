package app

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// sendLimit is how long a client may go on sending a request when the gateway
// stops, and a body whose request is answered already at any time.
const sendLimit = 2 * time.Second

// requests are what a server has under way. When it stops, those whose client is
// still sending are told from those that are worked on: a slow client holds
// nothing up, and a call is let finish.
type requests struct {
	next http.Handler
	log  zerolog.Logger
	open atomic.Int64 // in the handler

	mu       sync.Mutex
	bodies   map[*body]struct{}    // still being sent
	silent   map[net.Conn]struct{} // connections that have sent no request yet
	deadline time.Time             // of both; zero until the server stops
}

func newRequests(next http.Handler, log zerolog.Logger) *requests {
	return &requests{next: next, log: log, bodies: map[*body]struct{}{}, silent: map[net.Conn]struct{}{}}
}

func (q *requests) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q.open.Add(1)
	defer q.open.Add(-1)
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		q.next.ServeHTTP(w, r)
		return
	}
	b := &body{ReadCloser: r.Body, requests: q, control: http.NewResponseController(w), left: r.ContentLength}
	r.Body = b
	q.begin(b)
	defer q.leave(b, r.ProtoMajor == 1)
	q.next.ServeHTTP(w, r)
}

// body is a request's body that tells when all of it was read.
type body struct {
	io.ReadCloser
	requests *requests
	control  *http.ResponseController
	left     int64 // bytes to come; negative when unknown
	limited  bool  // it has a deadline; requests.mu guards it
	ended    atomic.Bool
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left > 0 {
		b.left -= int64(n)
	}
	// After any other error the deadline stays: the server still wants the rest.
	if (errors.Is(err, io.EOF) || b.left == 0) && b.ended.CompareAndSwap(false, true) {
		b.requests.end(b)
	}
	return n, err
}

func (q *requests) begin(b *body) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bodies[b] = struct{}{}
	if !q.deadline.IsZero() {
		q.limit(b, q.deadline)
	}
}

// end takes the deadline away again: the server goes on reading the connection,
// to learn whether the client leaves, and would take its end for that.
func (q *requests) end(b *body) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.bodies, b)
	if b.limited {
		b.limited = false
		q.limit(b, time.Time{})
	}
}

// leave ends the watch over a request that is answered. What is left of its body
// HTTP/1 has to read before the next request; HTTP/2 has not.
func (q *requests) leave(b *body, mustRead bool) {
	if b.ended.Load() {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.bodies, b)
	if mustRead && !b.limited {
		q.limit(b, time.Now().Add(sendLimit))
	}
}

// limit sets a deadline, under the lock: it must not be set after the handler's
// end.
func (q *requests) limit(b *body, deadline time.Time) {
	b.limited = !deadline.IsZero()
	if err := b.control.SetReadDeadline(deadline); err != nil {
		q.log.Debug().Err(err).Msg("no deadline for a body: its client has gone")
	}
}

// state follows the server's connections.
func (q *requests) state(conn net.Conn, state http.ConnState) {
	if state != http.StateNew && state != http.StateActive && state != http.StateClosed {
		return // it was active before
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if state == http.StateNew {
		q.silent[conn] = struct{}{}
	} else {
		delete(q.silent, conn)
	}
}

// hurry gives sendLimit to every client that is sending, and to those that come
// after. The caller calls done when the server has stopped.
func (q *requests) hurry() (done func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.deadline = time.Now().Add(sendLimit)
	for b := range q.bodies {
		q.limit(b, q.deadline)
	}
	timer := time.AfterFunc(sendLimit, q.closeSilent)
	return func() { timer.Stop() }
}

func (q *requests) closeSilent() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for conn := range q.silent {
		_ = conn.Close() // its goroutine meets the error, and ends
	}
}
