// Package invoke runs lambdas: it finds what is live, lets the pool run the
// call, and says whose fault it was when that fails. Replays, beside it, makes
// repetitions of one call run once.
package invoke

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
	"github.com/sluice-faas/sluice/plugins/pool"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

// Live tells from memory what is live of a lambda. What it returns is shared and
// not changed.
type Live interface {
	Live(account, lambdaID string) (*lambda.Live, bool)
}

// Records reads a lambda from the store: only for calls of what Live does not
// have, to tell what is missing from what is not deployed.
type Records interface {
	Record(ctx context.Context, account, id string) (store.Record, error)
}

// Pool runs calls on processes.
type Pool interface {
	Handle(ctx context.Context, spec pool.Spec, call runtime.Call) (runtime.Result, pool.Info, error)
}

var (
	_ Pool    = (*pool.Pool)(nil)
	_ Live    = (*store.Views)(nil)
	_ Records = (*store.Store)(nil)
)

// DefaultRunTimeout is what a lambda may take (contract/invocation.md §8).
const DefaultRunTimeout = 30 * time.Second

const (
	// lookupTimeout and maxLookups bound the reads of Records.
	lookupTimeout = 2 * time.Second
	maxLookups    = 32
)

// Config is what a Dispatcher is made of. Live, Records, Pool and Specs are
// required.
type Config struct {
	Live    Live
	Records Records
	Pool    Pool
	Specs   *Specs
	// RunTimeout is a call's time in all, waiting included; default
	// DefaultRunTimeout. An earlier deadline of the caller's context holds.
	RunTimeout time.Duration
	// Journal gets an entry for every call of what is live, before Invoke returns;
	// nil keeps none. LogRecords and LogCharacters are what it gets of a call's log
	// at most; default those of lambda.DefaultLimits.
	Journal                   Journal
	LogRecords, LogCharacters int
	Log                       zerolog.Logger
}

// Dispatcher runs invocations. Safe for concurrent use.
type Dispatcher struct {
	live    Live
	records Records
	pool    Pool
	specs   *Specs
	timeout time.Duration
	journal Journal
	stores  *sync.Pool // of *stored
	log     zerolog.Logger
	lookups chan struct{} // a slot per read of records
}

// New makes a Dispatcher.
func New(c Config) *Dispatcher {
	if c.RunTimeout <= 0 {
		c.RunTimeout = DefaultRunTimeout
	}
	if c.LogRecords <= 0 || c.LogCharacters <= 0 {
		l := lambda.DefaultLimits()
		c.LogRecords, c.LogCharacters = l.LogRecords, l.LogCharacters
	}
	return &Dispatcher{
		live: c.Live, records: c.Records, pool: c.Pool, specs: c.Specs, timeout: c.RunTimeout, log: c.Log,
		journal: c.Journal, stores: storing(logLimits{c.LogRecords, c.LogCharacters}),
		lookups: make(chan struct{}, maxLookups),
	}
}

// Invoke runs the live version of a lambda once. Its error is always a
// *lambda.Error, as contract/invocation.md §6 has it, with the phase that
// failed; Ran tells whether user code may have seen the call. When the caller
// left first, context.Canceled is in its chain. A manual call's log records are
// in the result, or in the error, as the author wrote them; those of any other are
// in the journal. There, and in the messages of errors, stand no values of secrets
// that the process has read (masker), but in those of a manual call's error.
func (d *Dispatcher) Invoke(ctx context.Context, inv lambda.Invocation) (lambda.Result, error) {
	live, err := d.route(ctx, &inv)
	if err != nil {
		return lambda.Result{}, err
	}
	o := outcome{inv: &inv, live: live, at: time.Now()}
	switch {
	case inv.Manual:
		o.logs = new(collector)
	case d.journal != nil:
		o.stored = d.stores.Get().(*stored) // write gives it back
	}
	result, failure := d.run(ctx, &o)
	d.write(ctx, &o, failure)
	if failure != nil {
		if !inv.Manual {
			failure.Message = o.mask().text(failure.Message)
		}
		return lambda.Result{}, failure
	}
	return lambda.Result{
		Payload: result.Payload, Logs: o.logs.take(result.DroppedLogs), Version: o.live.Version,
		Cold: o.cold, Queue: o.queue, Start: o.start, Run: o.info.Run,
	}, nil
}

// run gives a call to the pool, and says in o what came of it.
func (d *Dispatcher) run(ctx context.Context, o *outcome) (runtime.Result, *lambda.Error) {
	limited, cancel := d.limit(ctx)
	defer cancel()
	call := callOf(o)
	for {
		result, info, err := d.pool.Handle(limited, d.specs.spec(o.live), call)
		o.turned(info, result.DroppedLogs, err)
		if err == nil {
			return result, nil
		}
		if errors.Is(err, pool.ErrRetired) {
			// Another deployment went live between the look and the call. Each turn
			// takes another one, and the deadline ends the longest row of them.
			next, gone := d.reroute(limited, o.inv, o.live)
			if gone != nil {
				return runtime.Result{}, lambda.As(gone)
			}
			if next.DeploymentID != o.live.DeploymentID {
				o.live = next
				continue
			}
		}
		return runtime.Result{}, d.failure(ctx, o)
	}
}

// limit gives the call its deadline, unless it has an earlier one.
func (d *Dispatcher) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d.timeout {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d.timeout)
}

// route finds what is live.
func (d *Dispatcher) route(ctx context.Context, inv *lambda.Invocation) (*lambda.Live, error) {
	if live, ok := d.live.Live(inv.Account, inv.LambdaID); ok {
		return live, nil
	}
	return d.lookUp(ctx, inv)
}

// reroute finds what is live now that another deployment than seen must be.
func (d *Dispatcher) reroute(ctx context.Context, inv *lambda.Invocation, seen *lambda.Live) (*lambda.Live, error) {
	if live, ok := d.live.Live(inv.Account, inv.LambdaID); ok && live.DeploymentID != seen.DeploymentID {
		return live, nil
	}
	return d.lookUp(ctx, inv)
}

// lookUp asks the store itself: the view may lag behind a deployment that this
// caller has just seen succeed, and only the store knows lambdas that are not live.
func (d *Dispatcher) lookUp(ctx context.Context, inv *lambda.Invocation) (*lambda.Live, error) {
	limited, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	record, err := d.record(limited, inv)
	switch {
	case err == nil && record.Live != nil:
		return record.Live, nil
	case err == nil:
		return nil, notThere(lambda.CodeNotDeployed, inv)
	case lambda.Is(err, lambda.KindNotFound):
		return nil, notThere(lambda.CodeMissingLambda, inv)
	case ctx.Err() != nil:
		return nil, ended(ctx, lambda.PhaseRoute, ctx.Err())
	}
	d.log.Warn().Err(err).Str("accountId", inv.Account).Str("lambdaId", inv.LambdaID).Msg("a lambda could not be looked up")
	return nil, &lambda.Error{
		Kind: lambda.KindUnavailable, Code: lambda.CodeUnavailable, Phase: lambda.PhaseRoute, RetryAfter: time.Second,
		Message: "The lambda could not be looked up. Try again.", Err: err,
	}
}

func (d *Dispatcher) record(ctx context.Context, inv *lambda.Invocation) (store.Record, error) {
	select {
	case d.lookups <- struct{}{}:
		defer func() { <-d.lookups }()
	case <-ctx.Done():
		return store.Record{}, ctx.Err()
	}
	return d.records.Record(ctx, inv.Account, inv.LambdaID)
}

func notThere(code string, inv *lambda.Invocation) *lambda.Error {
	return lambda.NotFound(code, "There is no %.100s deployed on %s", inv.LambdaID, inv.Account)
}

func callOf(o *outcome) runtime.Call {
	inv := o.inv
	call := runtime.Call{RequestID: inv.RequestID, Payload: inv.Payload, Debug: inv.Manual}
	if len(inv.Headers) > 0 {
		call.Headers = make([]runtime.Header, len(inv.Headers))
		for i, h := range inv.Headers {
			call.Headers[i] = runtime.Header{Key: h.Key, Value: h.Value}
		}
	}
	switch {
	case o.logs != nil:
		call.Log = o.logs.add
	case o.stored != nil:
		call.Log = o.stored.log
	}
	return call
}
