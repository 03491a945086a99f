package invoke

import (
	"context"
	"errors"
	"strings"

	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

// Journal keeps what came of every call. Add never waits; the entry, and what it
// points to, are the journal's from then on.
type Journal interface {
	Add(journal.Entry)
}

// maxStoredMessage bounds what is kept of a failure's message, in bytes.
const maxStoredMessage = 2000

// write enters a call in the journal; failure is nil after a success. A lambda
// that was taken away before the call reached it is not there, as one that never
// was, and neither has an entry.
func (d *Dispatcher) write(caller context.Context, o *outcome, failure *lambda.Error) {
	logs, dropped := o.stored.take(o.dropped, failure, o.reported, o.mask, d.hint)
	if o.stored != nil {
		d.stores.Put(o.stored)
	}
	if d.journal == nil || failure != nil && failure.Kind == lambda.KindNotFound {
		return
	}
	e := journal.Entry{
		Account: o.live.Account, LambdaID: o.live.LambdaID, LambdaName: o.live.Name, Version: o.live.Version,
		RequestID: o.inv.RequestID, Caller: o.inv.Caller, Trigger: o.inv.Trigger, EventID: o.inv.EventID,
		At: o.at, Queue: o.queue, Start: o.start, Run: o.info.Run, Cold: o.cold, State: journal.Succeeded,
		Logs: logs, Dropped: dropped,
	}
	if failure != nil {
		e.State, e.Phase, e.Code, e.Message = stateOf(caller, failure), failure.Phase, failure.Code, bounded(o.mask().text(failure.Message))
	}
	d.journal.Add(e)
}

// stateOf is the contract's mapping (contract/management.md §9).
func stateOf(caller context.Context, e *lambda.Error) journal.State {
	switch {
	case e.Kind == lambda.KindFunction && e.Code == lambda.CodeExecutionTime:
		return journal.Timeout
	case e.Kind == lambda.KindFunction:
		return journal.CodingFailure
	case e.Kind == lambda.KindTimeout && errors.Is(caller.Err(), context.Canceled):
		return journal.Unknown
	}
	return journal.PlatformFailure
}

// bounded cuts a message to maxStoredMessage.
func bounded(s string) string {
	if len(s) <= maxStoredMessage {
		return s
	}
	return strings.ToValidUTF8(s[:maxStoredMessage], "") + "…"
}
