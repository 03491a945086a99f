package host

import (
	"context"
	"errors"
	"fmt"
	"math"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	"github.com/sluice-faas/sluice/plugins"
	runtimev1 "github.com/sluice-faas/sluice/plugins/proto/faas/runtime/v1"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

const (
	// maxOpenCalls bounds what one process is given at once.
	maxOpenCalls = 4096
	// frameTarget is where a frame in the making is closed and another begun. A
	// single larger call has a frame of its own.
	frameTarget = 64 << 10
	// maxQueued bounds the bytes that wait for a process that does not read.
	maxQueued = 4 * plugins.MaxFrame
	// directBytes is how much may be on the way unanswered while callers still
	// write to the stream themselves. It is well under gRPC's quota of 64 KiB, so
	// that such a write never waits and a caller's deadline holds.
	directBytes = 32 << 10
	// maxUnanswered frames may be on the way to a runtime that answers within
	// holdTime; then the writer waits for an answer, holdTime at most. One was the
	// best of 0, 1, 2 for a gateway and a runtime that share two cores: a fifth
	// less processor time a call at 64 callers. A call that is alone never waits.
	maxUnanswered = 1
	holdTime      = time.Millisecond
	// controlSize is what a cancel or a drain needs at most.
	controlSize = 16
	// silence is how long a process with open calls may say nothing before it is
	// taken for blocked. A sound one sends a heartbeat every 250 ms.
	silence = time.Second
	// Entries that answer no open call (heartbeats, records of no call, late
	// results) are cheap to send and cost the host; this many are tolerated.
	idleEntriesPerSecond = 5_000
	idleEntriesBurst     = 20_000
)

// session is the one stream of a loaded process and the calls on it.
type session struct {
	proc   *Process
	stream grpc.ClientStream
	cancel context.CancelFunc
	limits Limits
	asked  requests
	ended  chan struct{} // closed when nothing more will be received
	idle   *rate.Limiter // only the receiver uses it

	retiring bool // the runtime has asked to be replaced; only the receiver uses it

	ids   atomic.Uint64
	heard atomic.Int64 // UnixNano of the last frame

	wake chan struct{} // one token: there is something for the writer

	unanswered atomic.Int32  // frames sent since the runtime was last heard
	holding    atomic.Bool   // the writer waits for the next frame of the runtime
	answered   chan struct{} // one token: it came

	recording sync.Mutex // held while a record is passed on; before mu
	recorded  uint64     // the highest sequence of a record
	areaTaken time.Time

	mu        sync.Mutex
	refusing  bool // no new calls
	calls     map[uint64]*call
	busySince int64         // UnixNano of the first call after a pause
	drained   chan struct{} // closed when no call is open and none will come
	abandoned abandoned
	frame     *[]byte       // in the making
	sealed    []*[]byte     // full, oldest first
	queued    int           // bytes in frame and sealed
	room      chan struct{} // closed when queued falls; nil: nobody waits
	writing   bool          // somebody is in SendMsg
	sent      uint64        // bytes queued since the start; a call's position is its end in them
	confirmed uint64        // the position up to which the runtime must have read
	suspect   suspicion
	lag       time.Duration // of the last heartbeats
	beatAt    int64         // UnixNano of the last one
}

// suspicion is held against a process that was silent when a call was abandoned:
// unless it is heard by then, it is blocked.
type suspicion struct {
	by    time.Time // zero: none
	heard int64
}

// call is one open call. Whoever takes it out of session.calls decides its
// outcome; the receiver says so on done.
type call struct {
	id       uint64
	position uint64
	log      func(runtime.LogRecord)
	done     chan struct{} // one token

	requests int // needs session.mu

	logging sync.Mutex // held while log runs
	logs    int        // needs logging

	payload []byte
	dropped uint32
	err     error
}

var callPool = sync.Pool{New: func() any { return &call{done: make(chan struct{}, 1)} }}

// release gives c back. It must be out of session.calls and its token taken.
func (c *call) release() {
	c.log, c.payload, c.err, c.logs, c.requests, c.dropped = nil, nil, nil, 0, 0, 0
	callPool.Put(c)
}

func openSession(p *Process, conn grpc.ClientConnInterface, limits Limits, secrets runtime.Secrets) (*session, error) {
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := conn.NewStream(ctx, &runtimev1.RuntimeService_ServiceDesc.Streams[0],
		runtimev1.RuntimeService_Session_FullMethodName, grpc.ForceCodecV2(rawCodec{}))
	if err != nil {
		cancel()
		return nil, err
	}
	s := newSession(p, stream, cancel, limits, secrets)
	go s.receive()
	go s.write()
	return s, nil
}

func newSession(p *Process, stream grpc.ClientStream, cancel context.CancelFunc, limits Limits, secrets runtime.Secrets) *session {
	s := &session{
		proc: p, stream: stream, cancel: cancel, limits: limits, asked: newRequests(secrets),
		ended:   make(chan struct{}),
		drained: make(chan struct{}),
		idle:    rate.NewLimiter(idleEntriesPerSecond, idleEntriesBurst),
		wake:    make(chan struct{}, 1), answered: make(chan struct{}, 1),
		calls: make(map[uint64]*call),
		frame: frames.Get(0),
	}
	s.heard.Store(time.Now().UnixNano())
	return s
}

// handle is Process.Handle for a loaded process.
func (s *session) handle(ctx context.Context, rc *runtime.Call) (runtime.Result, error) {
	if err := ctx.Err(); err != nil {
		return runtime.Result{}, fmt.Errorf("before the call was sent: %w", err)
	}
	makeReadable(rc)
	c := callPool.Get().(*call)
	c.log = rc.Log
	if err := s.submit(ctx, c, rc); err != nil {
		c.release()
		return runtime.Result{}, err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		if s.abandon(ctx, c) {
			c.release()
			return runtime.Result{}, fmt.Errorf("before the runtime answered: %w", ctx.Err())
		}
		<-c.done // the answer came first
	}
	result, err := runtime.Result{Payload: c.payload, DroppedLogs: int(c.dropped)}, c.err
	c.release()
	return result, err
}

// submit queues the call, and sends it if nobody else has anything on the way:
// then a hand-over to the writer would only cost time. With more calls open the
// writer is better, because it takes along what comes meanwhile.
func (s *session) submit(ctx context.Context, c *call, rc *runtime.Call) error {
	now := time.Now()
	timeout := timeoutMS(ctx, now)
	c.id = s.ids.Add(1)
	size := callSize(c.id, timeout, rc)
	if size > plugins.MaxFrame-16 || len(rc.Payload) > plugins.MaxPayload {
		return ErrTooLarge
	}
	s.mu.Lock()
	if s.refusing || len(s.calls) >= maxOpenCalls || !s.hasRoom(size) {
		s.mu.Unlock()
		return ErrUnavailable
	}
	if len(s.calls) == 0 {
		s.busySince = now.UnixNano() // before, it had nothing to say
	}
	before := len(*s.frameFor(size))
	*s.frame = appendCall(*s.frame, c.id, timeout, rc, size)
	s.count(len(*s.frame) - before)
	c.position = s.sent
	s.calls[c.id] = c
	if len(s.calls) > 1 || s.writing || len(s.sealed) > 0 || s.sent-s.confirmed > directBytes {
		s.mu.Unlock()
		s.wakeWriter()
		return nil
	}
	frame := s.take()
	s.writing = true
	s.mu.Unlock()
	s.send(frame)
	return nil
}

// makeReadable mends text that is not UTF-8: a runtime could not read the frame,
// and all calls of the session would fail for one caller's odd header.
func makeReadable(rc *runtime.Call) {
	rc.RequestID = strings.ToValidUTF8(rc.RequestID, "\uFFFD")
	cloned := false
	for i, h := range rc.Headers {
		if utf8.ValidString(h.Key) && utf8.ValidString(h.Value) {
			continue
		}
		if !cloned {
			rc.Headers, cloned = slices.Clone(rc.Headers), true // they are the caller's
		}
		rc.Headers[i] = runtime.Header{
			Key: strings.ToValidUTF8(h.Key, "\uFFFD"), Value: strings.ToValidUTF8(h.Value, "\uFFFD"),
		}
	}
}

// timeoutMS is the time left, rounded up; 0 when there is no deadline.
func timeoutMS(ctx context.Context, now time.Time) uint32 {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	left := (deadline.Sub(now) + time.Millisecond - 1) / time.Millisecond
	return uint32(min(max(left, 1), math.MaxUint32))
}

// hasRoom says whether an entry of that size may be queued. Needs mu, as all below
// that touch the frames do.
func (s *session) hasRoom(size int) bool { return s.queued == 0 || s.queued+size <= maxQueued }

// frameFor returns the frame in the making, a new one if size more would not fit.
func (s *session) frameFor(size int) *[]byte {
	if len(*s.frame) > 0 && len(*s.frame)+size > frameTarget {
		s.sealed = append(s.sealed, s.frame)
		s.frame = frames.Get(size + 16)
	}
	return s.frame
}

func (s *session) count(n int) {
	s.queued += n
	s.sent += uint64(n)
}

// take returns the next frame to send, or nil.
func (s *session) take() *[]byte {
	frame := s.frame
	switch {
	case len(s.sealed) > 0:
		frame = s.sealed[0]
		s.sealed[0] = nil
		s.sealed = s.sealed[1:]
	case len(*frame) > 0:
		s.frame = frames.Get(0)
	default:
		return nil
	}
	s.queued -= len(*frame)
	if s.room != nil {
		close(s.room)
		s.room = nil
	}
	return frame
}

func (s *session) wakeWriter() {
	select {
	case s.wake <- struct{}{}:
	default: // it has been told
	}
}

// send writes one frame to the stream; the caller has set writing.
func (s *session) send(frame *[]byte) {
	s.unanswered.Add(1)
	// An error means that the stream has ended; the receiver learns why.
	_ = s.stream.SendMsg(frame)
	s.mu.Lock()
	s.writing = false
	more := s.queued > 0
	s.mu.Unlock()
	if more {
		s.wakeWriter()
	}
}

// write sends whatever is queued, all that is there in one frame, until the
// session's end.
func (s *session) write() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-s.wake:
		case <-s.ended:
			return
		}
		// Goroutines that are about to queue a call do it first, so that it shares
		// the frame. With nothing else to run this returns at once.
		goruntime.Gosched()
		s.hold(timer)
		s.mu.Lock()
		if s.writing {
			s.mu.Unlock() // who writes will wake us
			continue
		}
		frame := s.take()
		s.writing = frame != nil
		s.mu.Unlock()
		if frame != nil {
			s.send(frame)
		}
	}
}

// hold waits for the next answer of a runtime that is busy with what it was sent
// and answers quickly, so that the calls that come meanwhile share a frame: a
// frame costs both sides more than many calls in it.
func (s *session) hold(timer *time.Timer) {
	if s.unanswered.Load() < maxUnanswered || time.Now().UnixNano()-s.heard.Load() > int64(holdTime) {
		return
	}
	s.holding.Store(true)
	defer s.holding.Store(false)
	if s.unanswered.Load() < maxUnanswered {
		return
	}
	timer.Reset(holdTime)
	select {
	case <-s.answered:
	case <-timer.C:
	case <-s.ended:
	}
}

// control queues an entry that is not a call; size is about its size.
func (s *session) control(size int, appendTo func([]byte) []byte) {
	before := len(*s.frameFor(size))
	*s.frame = appendTo(*s.frame)
	s.count(len(*s.frame) - before)
	s.wakeWriter()
}

// abandon gives the call up, because its context has ended, and reports whether
// it still could. From then on c.log is not called.
func (s *session) abandon(ctx context.Context, c *call) bool {
	now := time.Now()
	atDeadline := errors.Is(ctx.Err(), context.DeadlineExceeded)
	if atDeadline {
		s.takeArea(false, now)
	}
	s.mu.Lock()
	if s.calls[c.id] != c {
		s.mu.Unlock()
		return false
	}
	blocked := s.silentLocked(now)
	others := len(s.calls) - 1
	delete(s.calls, c.id)
	s.abandoned.add(c.id, now)
	s.control(controlSize, func(b []byte) []byte { return appendCancel(b, c.id) })
	s.checkDrained()
	if blocked && !atDeadline {
		s.suspectUntil(ctx, now)
	}
	s.mu.Unlock()
	c.logging.Lock()   // wait for a record that is being passed on
	c.logging.Unlock() //nolint:staticcheck // see above
	if blocked && atDeadline {
		s.proc.end(verdict{reason: reasonBlocked, shared: others > 0})
	}
	return true
}

// suspectUntil remembers that the call's time is not over yet but its caller has
// gone, so that nobody else would notice that the loop is blocked.
func (s *session) suspectUntil(ctx context.Context, now time.Time) {
	by, ok := ctx.Deadline()
	if !ok || by.Before(now.Add(silence)) {
		by = now.Add(silence)
	}
	if s.suspect.by.IsZero() {
		s.suspect = suspicion{by: by, heard: s.heard.Load()}
	}
}

// checkSuspicion is called now and then, by the watch.
func (s *session) checkSuspicion(now time.Time) {
	s.mu.Lock()
	suspect := s.suspect
	cleared := !suspect.by.IsZero() && s.heard.Load() != suspect.heard
	if cleared {
		s.suspect = suspicion{}
	}
	shared := len(s.calls) > 0
	s.mu.Unlock()
	if !cleared && !suspect.by.IsZero() && now.After(suspect.by) {
		s.proc.end(verdict{reason: reasonBlocked, shared: shared})
	}
}

func (s *session) silentLocked(now time.Time) bool {
	return len(s.calls) > 0 && now.UnixNano()-max(s.heard.Load(), s.busySince) > int64(silence)
}

func (s *session) available(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	suspected := !s.suspect.by.IsZero() && s.heard.Load() == s.suspect.heard
	return !s.refusing && len(s.calls) < maxOpenCalls && !suspected && !s.silentLocked(now)
}

func (s *session) open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls)
}

// refuse takes no more calls.
func (s *session) refuse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusing = true
	s.checkDrained()
}

// checkDrained is called with mu held when a call has gone or none may come.
func (s *session) checkDrained() {
	if !s.refusing || len(s.calls) > 0 {
		return
	}
	select {
	case <-s.drained:
	default:
		close(s.drained)
	}
}

// drain tells the runtime that no call will come any more.
func (s *session) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.control(controlSize, appendDrain)
}

// sole reports whether one call alone can have ended the process: it is the only
// open one, and none was abandoned lately whose code might still run.
func (s *session) sole(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls) == 1 && !s.abandoned.lately(now)
}

// fail ends every open call. Called once nothing more is received.
func (s *session) fail(v verdict) {
	s.mu.Lock()
	s.refusing = true
	calls := s.calls
	s.calls = make(map[uint64]*call)
	s.checkDrained()
	s.mu.Unlock()
	for id, c := range calls {
		c.err = &ExitError{Reason: v.reason, Own: v.blames(id)}
		c.done <- struct{}{}
	}
}

// receive reads frames until the stream ends or one of them is illegal.
func (s *session) receive() {
	defer close(s.ended)
	defer s.asked.stop() // no reply would arrive
	for {
		var buf mem.Buffer
		if err := s.stream.RecvMsg(&buf); err != nil {
			s.proc.sessionEnded(err)
			return
		}
		now := time.Now()
		s.heard.Store(now.UnixNano())
		s.unanswered.Store(0)
		if s.holding.Load() {
			select {
			case s.answered <- struct{}{}:
			default: // it has been told
			}
		}
		err := s.accept(buf.ReadOnlyData(), now)
		buf.Free()
		if err != nil {
			s.proc.end(verdict{reason: err.Error(), violation: true})
			return
		}
	}
}

// abandoned remembers the calls that were given up, because what the runtime
// says of them is not illegal, only late. It forgets the oldest when it is full.
type abandoned struct {
	when      map[uint64]time.Time
	order     []uint64 // a ring of the last maxAbandoned
	next      int
	last      time.Time
	forgotten uint64 // the highest forgotten id; up to it nothing is held against anyone
}

const (
	maxAbandoned = 4096
	// stillRunning is how long an abandoned call's code is reckoned with.
	stillRunning = time.Minute
)

func (a *abandoned) add(id uint64, now time.Time) {
	if a.when == nil {
		a.when = make(map[uint64]time.Time)
	}
	a.when[id], a.last = now, now
	if len(a.order) < maxAbandoned {
		a.order = append(a.order, id)
		return
	}
	old := a.order[a.next]
	if _, ok := a.when[old]; ok {
		delete(a.when, old)
		a.forgotten = max(a.forgotten, old)
	}
	a.order[a.next] = id
	a.next = (a.next + 1) % maxAbandoned
}

// settle reports whether a late result for id is no offence, and allows no second.
func (a *abandoned) settle(id uint64) bool {
	_, ok := a.when[id]
	delete(a.when, id)
	return ok || id != 0 && id <= a.forgotten
}

// lately reports whether code of an abandoned call may still run.
func (a *abandoned) lately(now time.Time) bool {
	return len(a.when) > 0 && now.Sub(a.last) < stillRunning
}
