package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	goruntime "runtime"
	"runtime/debug"
	"sync"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc"

	runtimev1 "github.com/sluice-faas/sluice/plugins/proto/faas/runtime/v1"
)

const (
	heartbeat = 250 * time.Millisecond
	// frameTarget is where a frame is closed and the rest left for the next.
	frameTarget = 256 << 10
	// maxText bounds the message and the stack of a failure, each.
	maxText = 64 << 10
)

// session runs the calls of one stream. Each call has its goroutine; what they
// produce is collected in queue and sent by one writer, all that is there at once.
type session struct {
	stream grpc.BidiStreamingServer[runtimev1.HostFrame, runtimev1.RuntimeFrame]
	fn     *function
	wake   chan struct{} // one token: there is something to send, or an end

	mu     sync.Mutex
	open   map[uint64]*openCall
	queue  []entry
	drain  bool
	broken bool // the stream takes nothing more

	asked requests
}

// entry is one of what waits to be sent.
type entry struct {
	log     *runtimev1.LogRecord
	result  *runtimev1.Result
	request *runtimev1.HostRequest
	size    int
}

// openCall is one call under way.
type openCall struct {
	id      uint64
	cancel  context.CancelFunc
	records int
	dropped uint32

	requests int
}

func newSession(stream grpc.BidiStreamingServer[runtimev1.HostFrame, runtimev1.RuntimeFrame], fn *function) *session {
	return &session{stream: stream, fn: fn, wake: make(chan struct{}, 1), open: make(map[uint64]*openCall), asked: newRequests()}
}

// run returns when the host has drained the session or the stream broke. Handlers
// that still run are cancelled.
func (s *session) run() error {
	ctx, cancel := context.WithCancel(s.stream.Context())
	defer cancel()
	defer close(s.asked.over)
	go s.receive(ctx)
	return s.write()
}

func (s *session) receive(ctx context.Context) {
	for {
		frame, err := s.stream.Recv()
		if err != nil {
			s.stop(!errors.Is(err, io.EOF))
			return
		}
		for _, c := range frame.GetCalls() {
			s.start(ctx, c)
		}
		for _, c := range frame.GetCancels() {
			s.abandon(c.GetCallId())
		}
		for _, r := range frame.GetReplies() {
			s.settle(r)
		}
		if frame.GetDrain() {
			s.stop(false)
		}
	}
}

// stop makes write end: at once if the stream is broken, else after the open calls.
func (s *session) stop(broken bool) {
	s.mu.Lock()
	s.drain = true
	s.broken = s.broken || broken
	s.mu.Unlock()
	s.signal()
}

func (s *session) signal() {
	select {
	case s.wake <- struct{}{}:
	default: // it has been told
	}
}

func (s *session) start(ctx context.Context, in *runtimev1.Call) {
	var cancel context.CancelFunc
	if ms := in.GetTimeoutMs(); ms > 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(ms)*time.Millisecond)
	} else {
		ctx, cancel = context.WithCancel(ctx)
	}
	c := &openCall{id: in.GetId(), cancel: cancel}
	s.mu.Lock()
	s.open[c.id] = c
	s.mu.Unlock()
	call := Call{
		RequestID: in.GetRequestId(),
		Payload:   in.GetPayload(),
		Debug:     in.GetDebug(),
		Log:       func(r LogRecord) { s.log(c, r) },
		Secrets:   &callSecrets{s, c},
	}
	for _, h := range in.GetHeaders() {
		call.Headers = append(call.Headers, Header{Key: h.GetKey(), Value: h.GetValue()})
	}
	go func() {
		defer cancel()
		s.finish(c, s.answer(ctx, call))
	}()
}

// answer runs the handler and puts its outcome into the contract's words.
func (s *session) answer(ctx context.Context, call Call) (answer *runtimev1.Result) {
	defer func() {
		if fault := recover(); fault != nil {
			answer = failure(&Failure{Kind: RuntimeException, Message: fmt.Sprint(fault), Stack: string(debug.Stack())})
		}
	}()
	result, err := s.fn.handler.Handle(ctx, call)
	if err == nil {
		err = s.check(result.Payload)
	}
	if err != nil {
		f := &Failure{Kind: CustomFailure, Message: err.Error()}
		errors.As(err, &f)
		return failure(f)
	}
	return &runtimev1.Result{
		Outcome:     &runtimev1.Result_Payload{Payload: result.Payload},
		DroppedLogs: uint32(max(result.DroppedLogs, 0)),
	}
}

func (s *session) check(payload []byte) error {
	switch limit := s.fn.limits.ResultBytes; {
	case limit > 0 && len(payload) > limit:
		return fmt.Errorf("the result is %d bytes, the limit is %d", len(payload), limit)
	case !utf8.Valid(payload) || !json.Valid(payload):
		return errors.New("the result is not JSON")
	}
	return nil
}

func failure(f *Failure) *runtimev1.Result {
	kind := runtimev1.FailureKind_FAILURE_KIND_CUSTOM
	if f.Kind == RuntimeException {
		kind = runtimev1.FailureKind_FAILURE_KIND_RUNTIME_EXCEPTION
	}
	return &runtimev1.Result{Outcome: &runtimev1.Result_Failure{Failure: &runtimev1.Failure{
		Kind: kind, Message: cutText(f.Message, maxText), Stack: cutText(f.Stack, maxText),
	}}}
}

// finish queues the result, unless nobody waits for it any more.
func (s *session) finish(c *openCall, answer *runtimev1.Result) {
	s.mu.Lock()
	defer s.signal()
	defer s.mu.Unlock()
	if s.open[c.id] != c {
		return
	}
	delete(s.open, c.id)
	answer.CallId = c.id
	answer.DroppedLogs += c.dropped
	s.queue = append(s.queue, entry{result: answer, size: len(answer.GetPayload()) + len(answer.GetFailure().GetMessage()) + len(answer.GetFailure().GetStack())})
}

func (s *session) abandon(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.open[id]; c != nil {
		delete(s.open, id)
		c.cancel()
		s.signal() // a drain may have waited for it
	}
}

// log queues a record of an open call, within the limits.
func (s *session) log(c *openCall, r LogRecord) {
	out := record(r, s.fn.limits.LogRecordBytes)
	out.CallId = c.id
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[c.id] != c {
		return
	}
	if limit := s.fn.limits.LogRecords; limit > 0 && c.records >= limit {
		c.dropped++
		return
	}
	c.records++
	s.queue = append(s.queue, entry{log: out, size: len(out.GetMessage()) + len(out.GetExtras())})
	s.signal()
}

// record cuts what is over the limit and mends what the host would not take.
func record(r LogRecord, limit int) *runtimev1.LogRecord {
	if limit > 0 && len(r.Extras) > limit || !json.Valid(r.Extras) || !utf8.Valid(r.Extras) || r.Extras[0] != '[' {
		r.Extras = nil
	}
	if limit > 0 {
		r.Message = cutText(r.Message, limit-len(r.Extras))
	}
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	level := runtimev1.Level_LEVEL_INFO
	if r.Level >= LevelDebug && r.Level <= LevelError {
		level = runtimev1.Level(r.Level)
	}
	return &runtimev1.LogRecord{Level: level, Message: cutText(r.Message, maxText), Extras: r.Extras, TimestampMs: r.Time.UnixMilli()}
}

// cutText makes s valid UTF-8 of at most n bytes and marks the cut.
func cutText(s string, n int) string {
	const mark = "…"
	if !utf8.ValidString(s) {
		s = string([]rune(s))
	}
	if len(s) <= n {
		return s
	}
	n = max(n-len(mark), 0)
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + mark
}

// write sends frames until the end, and heartbeats while calls are open.
func (s *session) write() error {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		var beat *runtimev1.Heartbeat
		select {
		case <-s.wake:
			goruntime.Gosched() // let those who are about to finish share the frame
		case due := <-tick.C:
			beat = s.beat(time.Since(due))
		}
		frame, over := s.take()
		if over {
			return nil
		}
		if frame == nil && beat == nil {
			continue
		}
		if frame == nil {
			frame = &runtimev1.RuntimeFrame{}
		}
		frame.Heartbeat = beat
		if err := s.stream.Send(frame); err != nil {
			return err
		}
	}
}

func (s *session) beat(lag time.Duration) *runtimev1.Heartbeat {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) == 0 {
		return nil
	}
	return &runtimev1.Heartbeat{EventLoopLagMs: uint32(max(lag, 0) / time.Millisecond), OpenCalls: uint32(len(s.open))}
}

// take makes a frame of what is queued; over says that the session has ended.
func (s *session) take() (frame *runtimev1.RuntimeFrame, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 || s.broken {
		return nil, s.broken || s.drain && len(s.open) == 0
	}
	frame = &runtimev1.RuntimeFrame{}
	taken := 0
	for size := 0; taken < len(s.queue); taken++ {
		e := &s.queue[taken]
		if size += e.size; taken > 0 && size > frameTarget {
			break
		}
		switch {
		case e.log != nil:
			frame.Logs = append(frame.Logs, e.log)
		case e.request != nil:
			frame.Requests = append(frame.Requests, e.request)
		default:
			frame.Results = append(frame.Results, e.result)
		}
	}
	rest := copy(s.queue, s.queue[taken:])
	clear(s.queue[rest:])
	s.queue = s.queue[:rest]
	if rest > 0 || s.drain {
		s.signal()
	}
	return frame, false
}
