package app

import (
	"context"
	"time"

	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/schedule"
)

// awaitSchedules is done before services open, so that a gateway that stops waits
// here for runs of schedules after its callers are answered, with what time is
// left, and before it ends what runs them.
func (a *App) awaitSchedules(context.Context) error {
	a.scheduled = make(chan struct{})
	close(a.scheduled) // nothing runs yet
	a.closers.push("the runs of schedules", func(ctx context.Context) error {
		select {
		case <-a.scheduled:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return nil
}

// openSchedules begins to make runs of schedules. Stopping begins no more of them,
// at once.
func (a *App) openSchedules(context.Context) error {
	scheduler, err := schedule.New(schedule.Config{
		GatewayID: newID(), Store: a.store, Invoker: a.invoker, Live: a.views, Metrics: a.metrics, Notes: a.journal, Log: a.log, Drain: DrainTimeout,
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		scheduler.Run(ctx)
	}()
	a.scheduled = done
	a.closers.push("the schedules", func(context.Context) error { stop(); return nil })
	return nil
}

// noteDropped tells the journal of a schedule that went with its lambda's
// deployment.
func (a *App) noteDropped(ctx context.Context, c *lambda.Schedule, by string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteLimit)
	defer cancel()
	var name string
	if rec, err := a.store.Record(ctx, c.Account, c.LambdaID); err == nil { // else the id has to do
		name = rec.Lambda.Name
	}
	err := a.journal.Note(ctx, journal.Activity{
		Account: c.Account, At: a.store.Now().UTC(), By: by, Action: journal.Delete, Noun: journal.Schedule, ID: c.ID, Name: name,
		Changes: []journal.Change{{Field: "lambdaUUID", Before: c.LambdaID}, {Field: "cronExpression", Before: c.Cron}},
	})
	if err != nil {
		a.log.Error().Err(err).Str("accountId", c.Account).Str("scheduleId", c.ID).Msg("a schedule was deleted and that is not among the activities")
	}
}

// noteLimit bounds the wait for the disk.
const noteLimit = 5 * time.Second
