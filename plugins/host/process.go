package host

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-plugin"
	"github.com/rs/zerolog"
	"google.golang.org/grpc"

	runtimev1 "github.com/sluice-faas/sluice/plugins/proto/faas/runtime/v1"
	"github.com/sluice-faas/sluice/plugins/sandbox"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

const (
	// settleTime is how long the two signs of an end, the stream's and the
	// process's, wait for each other, so that what was sent before is still read
	// and the reason is the true one.
	settleTime = time.Second
	// shutdownPatience is how long a drained process may take to leave.
	shutdownPatience = 2 * time.Second
)

const (
	reasonBlocked = "event loop blocked"
	reasonMemory  = OutOfMemory
	reasonKilled  = "killed by the gateway"
	reasonDrained = "drained"
)

// Process is one runtime process. Its methods are safe for concurrent use.
type Process struct {
	options     Options
	log         zerolog.Logger
	output      *output
	box         *sandbox.Process
	client      *plugin.Client
	conn        *grpc.ClientConn
	service     runtimev1.RuntimeServiceClient
	description Description
	memory      memory
	labour      labour
	area        *recordArea
	egress      egress
	session     atomic.Pointer[session]
	done        chan struct{}

	mu       sync.Mutex
	phase    phase
	verdict  *verdict
	exit     *ending // announced by the runtime
	draining bool
}

var _ runtime.Handler = (*Process)(nil)

type phase int

const (
	blank   phase = iota // may be loaded
	loading              // Load is under way
	loaded               // has a session
)

// verdict is why a process ends. The first one given stands.
type verdict struct {
	reason    string
	culprit   uint64 // the call whose code did it; 0 when not known
	shared    bool   // no single call can be blamed
	sole      bool   // the only open call must be
	violation bool   // the runtime broke the contract
	planned   bool   // nothing went wrong
}

func (v verdict) blames(id uint64) bool {
	if v.culprit != 0 {
		return v.culprit == id
	}
	return v.sole
}

// Description returns what the runtime said of itself after the start.
func (p *Process) Description() Description { return p.description }

// Handle runs one call. Its error is
//   - a *runtime.Failure: the author's,
//   - the context's, wrapped: its end came before the answer; the runtime is told
//     that nobody waits any more, and killed if its loop is blocked at a deadline,
//   - an *ExitError: the process ended with the call open,
//   - ErrUnavailable or ErrTooLarge: nothing of the call was sent.
func (p *Process) Handle(ctx context.Context, call runtime.Call) (runtime.Result, error) {
	s := p.session.Load()
	if s == nil {
		return runtime.Result{}, ErrUnavailable
	}
	return s.handle(ctx, &call)
}

// OpenCalls counts the calls that were sent and have not been answered.
func (p *Process) OpenCalls() int {
	if s := p.session.Load(); s != nil {
		return s.open()
	}
	return 0
}

// Available says whether the process should be given another call: it is loaded,
// takes calls, and is not silent with calls open.
func (p *Process) Available() bool {
	s := p.session.Load()
	return s != nil && s.available(time.Now())
}

// Done is closed when the process and all that belonged to it have gone.
func (p *Process) Done() <-chan struct{} { return p.done }

// ExitReason says why the process ended; it is empty before Done.
func (p *Process) ExitReason() string {
	select {
	case <-p.done:
		return p.cause().reason
	default:
		return ""
	}
}

// PID is the process id of the runtime.
func (p *Process) PID() int { return p.box.PID() }

// RSSBytes is the resident memory of the process, shared pages included.
func (p *Process) RSSBytes() (int64, error) { return p.memory.resident() }

// PrivateBytes is the memory that the process shares with no other.
func (p *Process) PrivateBytes() (int64, error) { return privateBytes(p.PID()) }

// Kill ends the process and its group now. Open calls end with an *ExitError. It
// does not wait; Done tells.
func (p *Process) Kill() { p.end(verdict{reason: reasonKilled, shared: true, planned: true}) }

// Drain takes no new calls, waits for the open ones, asks the process to shut
// down and kills it if it does not. When ctx ends first, the process is killed
// with its calls and the context's error returned. It returns when the process
// has gone; called again, it waits for the same end.
func (p *Process) Drain(ctx context.Context) error {
	if !p.startDraining() {
		return p.awaitEnd(ctx)
	}
	s := p.session.Load()
	if s != nil {
		s.refuse()
		select {
		case <-s.drained:
		case <-p.done:
			return nil
		case <-ctx.Done():
			p.end(verdict{reason: "calls were open when the time to drain was over", shared: true, planned: true})
			<-p.done
			return fmt.Errorf("drain: %w", ctx.Err())
		}
	}
	p.decide(verdict{reason: reasonDrained, shared: true, planned: true})
	p.shutDown(ctx, s)
	<-p.done
	return nil
}

func (p *Process) startDraining() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := !p.draining
	p.draining = true
	if p.phase == blank {
		p.phase = loading // it cannot be loaded any more
	}
	return first
}

func (p *Process) awaitEnd(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("drain: %w", ctx.Err())
	}
}

// shutDown ends a process that has no calls: the stream first, then the server,
// then, if it is still there, the process.
func (p *Process) shutDown(ctx context.Context, s *session) {
	defer p.box.Kill(context.Background()) //nolint:errcheck // never fails
	ctx, cancel := context.WithTimeout(ctx, shutdownPatience)
	defer cancel()
	if s != nil {
		s.drain()
		select {
		case <-s.ended:
		case <-ctx.Done():
			return
		}
	}
	// In its own goroutine, because a runtime may leave the request unanswered;
	// the kill above ends it.
	go p.client.Kill()
	select {
	case <-p.box.Exited():
	case <-ctx.Done():
	}
}

// end kills the process for that reason, unless it is ending for another.
func (p *Process) end(v verdict) {
	if s := p.session.Load(); s != nil {
		s.refuse()
		v.sole = !v.shared && s.sole(time.Now())
	}
	p.decide(v)
	_ = p.box.Kill(context.Background()) // never fails
}

// decide gives the reason of the end, if there is none yet.
func (p *Process) decide(v verdict) {
	v.reason = p.output.clean(v.reason)
	p.mu.Lock()
	first := p.verdict == nil
	if first {
		p.verdict = &v
	}
	p.mu.Unlock()
	if first && !v.planned {
		p.log.Warn().Str("reason", cut(v.reason, maxReason)).Bool("violation", v.violation).Msg("runtime process is killed")
	}
}

// announceExit is the runtime's word that user code ends the process.
func (p *Process) announceExit(e ending) {
	if e.reason = p.output.clean(cut(e.reason, maxReason)); e.reason == "" {
		e.reason = "user code ended the process"
	}
	p.mu.Lock()
	first := p.exit == nil
	if first {
		p.exit = &e
	}
	p.mu.Unlock()
	if first {
		time.AfterFunc(exitPatience, func() { p.end(verdict{reason: e.reason, culprit: e.id}) })
	}
}

// cause is the verdict, or what can be known of an end that nobody decided.
func (p *Process) cause() verdict {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.verdict == nil {
		v := verdict{reason: p.box.Status()}
		switch {
		case p.exit != nil:
			v.reason, v.culprit = p.exit.reason, p.exit.id
		case p.box.OutOfMemory():
			v.reason = reasonMemory
		case p.output.toldOfMemory() && v.reason != "exit status 0":
			v.reason = reasonMemory // the language noticed before the watch did
		case fromOutside(p.box.Signal()):
			v.shared = true
		}
		if s := p.session.Load(); s != nil && !v.shared {
			v.sole = s.sole(time.Now())
		}
		p.verdict = &v
	}
	return *p.verdict
}

// fromOutside says that a signal is one that people and the kernel send to end a
// process. Faulty code does not cause it, and code that sends it to itself is
// announced before.
func fromOutside(signal syscall.Signal) bool {
	switch signal {
	case syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP:
		return true
	}
	return false
}

// sessionEnded is called by the session's receiver when the stream ends.
func (p *Process) sessionEnded(err error) {
	p.mu.Lock()
	expected := p.draining
	p.mu.Unlock()
	if expected {
		return
	}
	select {
	case <-p.box.Exited(): // the stream ended because the process did
	case <-time.After(settleTime):
		p.end(verdict{reason: fmt.Sprintf("ended its session: %v", err)})
	}
}

// supervise waits for the process's end and clears up after it.
func (p *Process) supervise() {
	<-p.box.Exited()
	select {
	case <-p.box.OutputRead(): // it may say why
	case <-time.After(settleTime):
	}
	s := p.session.Load()
	if s != nil {
		select {
		case <-s.ended:
		case <-time.After(settleTime):
		}
		s.cancel()
		<-s.ended
		s.takeArea(true, time.Now())
		s.fail(p.cause())
	}
	v := p.cause()
	p.forget()
	level := zerolog.WarnLevel
	if v.planned {
		level = zerolog.InfoLevel
	}
	p.log.WithLevel(level).Str("reason", cut(v.reason, maxReason)).Str("status", p.box.Status()).Msg("runtime process ended")
	close(p.done)
}

// awaitExit gives a process whose connection broke a moment to be gone, and ends
// it if it is not.
func (p *Process) awaitExit(during string) verdict {
	select {
	case <-p.box.Exited():
	case <-time.After(settleTime):
		p.end(verdict{reason: "broke its connection during " + during})
	}
	<-p.done
	return p.cause()
}

var errLoadedOnce = errors.New("a process is loaded once")
