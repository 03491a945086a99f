package invoke

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/plugins"
	"github.com/sluice-faas/sluice/plugins/host"
	"github.com/sluice-faas/sluice/plugins/pool"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

// retryAfter is told to callers who were refused before their call ran, when
// nothing better is known.
const retryAfter = time.Second

// ownTime is the part of RunTimeout that a lambda must have had for the time
// limit to be its own fault and not that of the queue before it.
const ownTime = 0.9

// outcome is a call with what came of it.
type outcome struct {
	inv  *lambda.Invocation
	live *lambda.Live // that it was given to last
	at   time.Time    // when it came

	// Its log goes to one of these, or to neither.
	logs   *collector // of a manual call
	stored *stored    // of any other, when there is a journal

	queue, start time.Duration // of all turns
	cold         bool          // in any turn
	info         pool.Info     // of the last turn
	dropped      int           // log records that the runtime kept back
	err          error         // that the pool returned last
	reported     bool          // the runtime has logged the failure itself
}

// turned notes a turn at the pool.
func (o *outcome) turned(info pool.Info, dropped int, err error) {
	o.queue += info.Queue
	o.start += info.Start
	o.cold = o.cold || info.Cold
	o.info, o.dropped, o.err = info, dropped, err
}

// mask hides what the process that ran the call has read of its account's secrets.
func (o *outcome) mask() *masker { return maskOf(o.info.Secrets) }

// failure says whose fault it was (contract/invocation.md §6).
func (d *Dispatcher) failure(caller context.Context, o *outcome) *lambda.Error {
	e, reported := d.classify(caller, o)
	o.reported = reported
	if e.Kind == lambda.KindFunction && !reported {
		// The runtime could not say it any more; developers read it in the log.
		o.logs.add(runtime.LogRecord{Level: runtime.LevelError, Message: "Received Error - " + e.Message, Extras: d.hint(e), Time: time.Now()})
	}
	e.Logs = o.logs.takeFailed()
	if e.Kind == lambda.KindInternal || e.Kind == lambda.KindCrashed || e.Kind == lambda.KindUnavailable {
		d.log.Warn().Str(zerolog.ErrorFieldName, o.mask().text(o.err.Error())).Str("requestId", o.inv.RequestID).Str("accountId", o.inv.Account).Str("lambdaId", o.inv.LambdaID).
			Int("version", o.live.Version).Str("phase", string(e.Phase)).Msg("the platform failed a call")
	}
	return e
}

// hint is what the log says about a failure whose message is the contract's, for
// the extras of its record.
func (d *Dispatcher) hint(e *lambda.Error) []byte {
	if e.Code != lambda.CodeExecutionTime {
		return nil
	}
	return fmt.Appendf(nil, `["the limit is %v for one call, the wait for a process included: call back sooner, and set shorter limits for what the lambda waits for"]`, d.timeout)
}

// classify maps the pool's and the host's errors; reported is true if the
// runtime has logged the failure itself.
func (d *Dispatcher) classify(caller context.Context, o *outcome) (e *lambda.Error, reported bool) {
	var (
		failure *runtime.Failure
		exit    *host.ExitError
		start   *pool.StartError
	)
	switch {
	case errors.As(o.err, &failure):
		return failed(failure), true
	case errors.As(o.err, &exit):
		return d.exited(exit), false
	case errors.As(o.err, &start):
		return notStarted(start), false
	case errors.Is(o.err, pool.ErrBusy):
		return refused(lambda.PhaseQueue, "The lambda or its account has too many calls waiting. Try again.", o.err), false
	case errors.Is(o.err, pool.ErrClosed):
		return refused(lambda.PhaseQueue, "This gateway is going out of service. Try again.", o.err), false
	case errors.Is(o.err, pool.ErrRetired):
		return refused(lambda.PhaseRoute, "The lambda is being redeployed. Try again.", o.err), false
	case errors.Is(o.err, host.ErrUnavailable):
		return refused(lambda.PhaseStart, "No process of the lambda takes calls. Try again.", o.err), false
	case errors.Is(o.err, host.ErrTooLarge):
		return &lambda.Error{
			Kind: lambda.KindTooLarge, Code: lambda.CodeBadInput, Phase: lambda.PhaseRequest, Field: "payload",
			Message: fmt.Sprintf("headers and payload together are larger than a lambda takes: the limit is %d bytes", plugins.MaxPayload), Err: o.err,
		}, false
	case errors.Is(o.err, context.DeadlineExceeded), errors.Is(o.err, context.Canceled):
		return d.tooLate(caller, o), false
	}
	return &lambda.Error{
		Kind: lambda.KindInternal, Code: lambda.CodeRuntimeGeneral, Phase: lambda.PhaseRuntime,
		Message: "The runtime failed.", Err: o.err,
	}, false
}

func failed(f *runtime.Failure) *lambda.Error {
	code := lambda.CodeCustomFailure
	if f.Kind == runtime.RuntimeException {
		code = lambda.CodeRuntimeException
	}
	return &lambda.Error{Kind: lambda.KindFunction, Code: code, Message: f.Message, Phase: lambda.PhaseRun}
}

func (d *Dispatcher) exited(x *host.ExitError) *lambda.Error {
	own, other := "The lambda ended its process: "+x.Reason, x.Reason
	if x.Reason == host.OutOfMemory {
		limit := d.specs.memory()
		own = "The lambda is out of memory: the limit is " + limit + ". Keep less in memory at once."
		other += ", the limit is " + limit
	}
	if x.Own {
		return &lambda.Error{Kind: lambda.KindFunction, Code: lambda.CodeCustomFailure, Phase: lambda.PhaseRun, Message: own, Err: x}
	}
	return &lambda.Error{
		Kind: lambda.KindCrashed, Code: lambda.CodeRuntimeGeneral, Phase: lambda.PhaseRuntime,
		Message: "The process that ran this call ended, not by this call's doing: " + other, Err: x,
	}
}

func notStarted(s *pool.StartError) *lambda.Error {
	var fault *host.LoadError
	atFault := errors.As(s, &fault)
	if atFault && !s.BackingOff {
		return &lambda.Error{
			Kind: lambda.KindFunction, Code: lambda.CodeCustomFailure, Phase: lambda.PhaseStart,
			Message: fault.Message, Err: s,
		}
	}
	e := refused(lambda.PhaseStart, "No process of the lambda could be started. Try again.", s)
	e.RetryAfter = max(retryAfter, s.RetryAfter)
	var crash *pool.CrashError
	switch {
	case atFault:
		e.Message = "The lambda could not be loaded a moment ago: " + fault.Message
	case errors.As(s, &crash):
		e.Message = fmt.Sprintf("The process of the lambda ended %d times soon after it was started, the last time because of: %s. The next start is tried in %s.",
			s.Failures, crash.Reason, e.RetryAfter.Round(time.Second))
	case errors.Is(s, pool.ErrFull):
		e.Message = "This gateway runs as many processes as it may, and all are busy. Try again."
	}
	return e
}

// refused is for calls that user code has not seen.
func refused(phase lambda.Phase, message string, err error) *lambda.Error {
	return &lambda.Error{
		Kind: lambda.KindUnavailable, Code: lambda.CodeRuntimeUnavailable, Phase: phase,
		Message: message, RetryAfter: retryAfter, Err: err,
	}
}

// tooLate tells the lambda's own time limit from ours, and both from a caller
// who has left.
func (d *Dispatcher) tooLate(caller context.Context, o *outcome) *lambda.Error {
	phase := lambda.PhaseRun
	if !o.info.Ran {
		phase = lambda.PhaseQueue
		if o.info.Cold && o.info.Queue == 0 {
			phase = lambda.PhaseStart
		}
	}
	own := o.info.Ran && o.info.Run >= time.Duration(ownTime*float64(d.timeout))
	if own && !errors.Is(o.err, context.Canceled) {
		return &lambda.Error{
			Kind: lambda.KindFunction, Code: lambda.CodeExecutionTime, Phase: lambda.PhaseRun,
			Message: lambda.TextExecutionTime, Err: o.err,
		}
	}
	return ended(caller, phase, o.err)
}

// ended is for calls that nobody waits for any more, or that came too late
// through no fault of the lambda.
func ended(caller context.Context, phase lambda.Phase, err error) *lambda.Error {
	message := "The platform took too long to answer."
	if errors.Is(caller.Err(), context.Canceled) {
		message = "The caller left before the lambda answered."
	}
	return &lambda.Error{Kind: lambda.KindTimeout, Code: lambda.CodeGeneral, Phase: phase, Message: message, Err: err}
}

// Ran tells whether user code may have seen a call that ended so. What it may
// have seen must not be made again unasked.
func Ran(err error) bool {
	if err == nil {
		return true
	}
	e := lambda.As(err)
	return e == nil || e.Phase == lambda.PhaseRun || e.Phase == lambda.PhaseRuntime
}
