package invoke

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// maxRuns is how many lambdas of one call by event run at once; the others wait.
const maxRuns = 32

// Invoker runs a lambda.
type Invoker interface {
	Invoke(ctx context.Context, inv lambda.Invocation) (lambda.Result, error)
}

// FanOut runs one call for each of several lambdas. The zero value of a field is
// no bound.
type FanOut struct {
	Invoker Invoker
	// Timeout is for all of them together.
	Timeout time.Duration
	// ResultBytes bounds their results together. Those that come when there is no
	// room for them any more are left out, and an error says so.
	ResultBytes int
}

// Run is what came of one lambda of a call by event.
type Run struct {
	LambdaID string
	At       time.Time // of the answer
	Result   lambda.Result
	Err      error // of Invoke; with one that is no *lambda.Error nothing is known
}

// Invoke runs lambdas at once, each with inv's request id, headers and payload,
// and gives what came of each in their order. A lambda that was undeployed
// meanwhile is left out.
func (f FanOut) Invoke(ctx context.Context, inv lambda.Invocation, lambdas []*lambda.Live) []Run {
	if f.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.Timeout)
		defer cancel()
	}
	inv.Trigger = lambda.TriggerEvent
	runs := make([]Run, len(lambdas))
	var held atomic.Int64
	var group errgroup.Group
	group.SetLimit(maxRuns)
	for i, l := range lambdas {
		inv.LambdaID = l.LambdaID
		one := inv
		group.Go(func() error {
			runs[i] = f.run(ctx, one, &held)
			return nil
		})
	}
	_ = group.Wait() // no run ends it
	there := runs[:0]
	for _, r := range runs {
		if !lambda.Is(r.Err, lambda.KindNotFound) {
			there = append(there, r)
		}
	}
	return there
}

// run runs one lambda. A panic is its error: it must not end the gateway.
func (f FanOut) run(ctx context.Context, inv lambda.Invocation, held *atomic.Int64) (r Run) {
	r.LambdaID = inv.LambdaID
	defer func() {
		if p := recover(); p != nil {
			r.Err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
		r.At = time.Now()
	}()
	r.Result, r.Err = f.Invoker.Invoke(ctx, inv)
	size := int64(len(r.Result.Payload))
	if held.Add(size) > int64(f.ResultBytes) && f.ResultBytes > 0 && size > 0 {
		held.Add(-size)
		r.Result, r.Err = lambda.Result{}, &lambda.Error{
			Kind: lambda.KindTooLarge, Code: lambda.CodeGeneral, Phase: lambda.PhaseRun,
			Message: fmt.Sprintf("The lambda ran, but its result is left out: the results of the event's lambdas together are larger than the limit of %d bytes.", f.ResultBytes),
		}
	}
	return r
}

// Refusal is the error of a call by event that no lambda has seen, if a
// repetition may find them better disposed: one of theirs that callers answer by
// repeating the call. It is nil as soon as one lambda may have run, because a
// repetition would run that one twice.
func Refusal(runs []Run) error {
	var refusal error
	for _, r := range runs {
		if Ran(r.Err) {
			return nil
		}
		repeatable := lambda.Is(r.Err, lambda.KindUnavailable) || lambda.Is(r.Err, lambda.KindTimeout)
		if repeatable && refusal == nil {
			refusal = r.Err
		}
	}
	return refusal
}
