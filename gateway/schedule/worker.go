package schedule

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
)

// maxMessage bounds what is kept of a failure, in bytes: every gateway has it in
// memory. The journal has all of it.
const maxMessage = 500

// Texts of runs that failed without an answer of the lambda.
const (
	textGatewayLost = "The gateway that made this run ended before it could tell how the run ended. It is not repeated, because the lambda may have run."
	textPanicked    = "The gateway failed while it made this run. It is not repeated, because the lambda may have run."
	textNotBegun    = "The state store did not answer when this run was to begin. The lambda was not called."
)

// emptyPayload is that of a schedule that has none.
var emptyPayload = json.RawMessage(`{}`)

// worker is what jobs have in common, for as long as a presence lasts.
type worker struct {
	*Scheduler
	presence *store.Presence
	stopped  context.Context // ends when no more runs are to be made
	life     context.Context // ends when those under way are not waited for any more
}

// job is what is due of one schedule.
type job struct {
	worker
	ref   store.LambdaRef
	seen  store.Planned
	times Times
	least int64 // Revision of the schedule that its outcome has
}

// do makes a run, tells of missed ones, or ends what a dead gateway has left. A
// panic must not end the gateway: the schedule is looked at again, after a while.
func (j *job) do() {
	defer func() {
		if p := recover(); p != nil {
			j.log().Error().Err(lambda.Panicked(p)).Msg("the work for a schedule panicked: try again")
			sleep(j.stopped, maxWait)
		}
	}()
	if j.seen.Runs.Running() {
		j.abandon()
	} else {
		j.keepTime()
	}
}

func (j *job) keepTime() {
	p := planAt(j.times, j.seen.Schedule.After(j.seen.Runs), j.Clock.Now(), j.Grace)
	switch {
	case !p.due.IsZero():
		j.makeRun(p)
	case p.missed > 0:
		j.miss(p)
	}
}

// write makes one write to the store, when there is room.
func (j *job) write(f func(context.Context) (int64, error)) error {
	select {
	case j.writes <- struct{}{}:
	case <-j.life.Done():
		return j.life.Err()
	}
	defer func() { <-j.writes }()
	revision, err := f(j.life)
	j.least = max(j.least, revision)
	return err
}

// log is for lines about the schedule.
func (j *job) log() *zerolog.Logger { return j.logOf(j.seen) }

// pause tells of a write that failed, and waits before its schedule is looked
// at again.
func (j *job) pause(err error) {
	switch {
	case err == nil || j.stopped.Err() != nil:
		return
	case store.Lost(err):
		if j.least == 0 {
			sleep(j.stopped, minWait) // the watch will tell why
		}
		return
	}
	j.log().Warn().Err(err).Msg("a schedule waits for the state store: try again")
	sleep(j.stopped, maxWait)
}

// makeRun makes the run of the plan, unless another gateway does.
func (j *job) makeRun(p plan) {
	j.metrics.due.Inc()
	next := p.runs(&j.seen.Schedule, j.seen.Runs)
	run := lambda.Execution{Due: p.due, RequestID: uuid.NewString(), Gateway: j.GatewayID, StartedAt: j.Clock.Now().UTC()}
	next.Last = &run
	if !j.begin(next) {
		return
	}
	j.tellMissed(p)
	lag := j.Clock.Now().Sub(p.due)
	j.metrics.fired.Inc()
	j.metrics.lag.Observe(lag.Seconds())
	began := time.Now()
	err := j.call(run.RequestID)
	run.EndedAt = j.Clock.Now().UTC()
	if err != nil {
		j.metrics.failed.Inc()
		run.Failed, run.Code, run.Message = true, lambda.CodeGeneral, clip(err.Error())
		if e := lambda.As(err); e != nil {
			run.Code, run.Message = e.Code, clip(e.Message)
		}
	}
	j.log().Info().Str("requestId", run.RequestID).Time("due", run.Due).Dur("lag", lag).Dur("ms", time.Since(began)).
		Bool("failed", run.Failed).Func(func(e *zerolog.Event) {
		if run.Failed {
			e.Str("errorCode", run.Code)
		}
	}).Msg("run of a schedule")
	j.end(run)
}

// begin records that this gateway makes the run, and tells whether it is to. While
// etcd is away it tries again for as long as the run would not be too late: that is
// safe also when it was an answer that was lost.
func (j *job) begin(next lambda.Runs) bool {
	for wait := minWait; j.stopped.Err() == nil; wait = min(2*wait, maxWait) {
		if j.Clock.Now().Sub(next.Last.Due) >= j.Grace {
			return false
		}
		err := j.write(func(ctx context.Context) (int64, error) { return j.Store.StartRun(ctx, j.presence, j.seen, next) })
		switch {
		case err == nil:
			return true
		case store.Lost(err):
			j.least = j.seen.Revision + 1
			return false
		}
		j.log().Warn().Err(err).Msg("a run waits for the state store: try again")
		if !j.outlived(wait) {
			return false // and what may have been written went with the presence
		}
	}
	return false
}

// outlived waits for about d, and tells whether the presence lasts and runs are
// still to be made.
func (j *job) outlived(d time.Duration) bool {
	t := time.NewTimer(jitter(d))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-j.presence.Lost():
	case <-j.stopped.Done():
	}
	return false
}

// call runs the lambda. A panic is a failure of the run: it must not end the
// gateway.
func (j *job) call(requestID string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			j.log().Error().Err(lambda.Panicked(p)).Str("requestId", requestID).Msg("a run of a schedule panicked")
			err = &lambda.Error{Kind: lambda.KindInternal, Code: lambda.CodeGeneral, Message: textPanicked}
		}
	}()
	c := &j.seen.Schedule
	payload := c.Payload
	if len(payload) == 0 {
		payload = emptyPayload
	}
	_, err = j.Invoker.Invoke(j.life, lambda.Invocation{
		Account: c.Account, LambdaID: c.LambdaID, RequestID: requestID, Payload: payload,
		Trigger: lambda.TriggerSchedule, Caller: "schedule:" + c.ID,
	})
	return err
}

// end records how the run ended, however long etcd takes.
func (j *job) end(run lambda.Execution) {
	for wait := minWait; ; wait = min(2*wait, maxWait) {
		err := j.write(func(ctx context.Context) (int64, error) { return j.Store.EndRun(ctx, j.ref, run) })
		if err == nil {
			return
		}
		log := j.log().With().Err(err).Str("requestId", run.RequestID).Logger()
		if j.life.Err() != nil || !lambda.Is(err, lambda.KindUnavailable) {
			j.metrics.unrecorded.Inc()
			log.Error().Msg("the end of a run could not be recorded")
			return
		}
		log.Warn().Msg("the end of a run waits for the state store: try again")
		sleep(j.life, wait)
	}
}

// miss records runs that were missed.
func (j *job) miss(p plan) {
	next := p.runs(&j.seen.Schedule, j.seen.Runs)
	err := j.write(func(ctx context.Context) (int64, error) { return j.Store.MissRuns(ctx, j.seen, next) })
	switch {
	case err == nil:
		j.tellMissed(p)
	case store.Lost(err):
		j.least = j.seen.Revision + 1
	}
	j.pause(err)
}

// tellMissed says that runs were missed, as the one gateway that recorded it.
func (j *job) tellMissed(p plan) {
	if p.missed == 0 {
		return
	}
	j.metrics.missed.Add(float64(p.missed))
	j.log().Warn().Int("missed", p.missed).Time("since", p.since).Time("until", p.until).
		Msg("runs of a schedule were missed: no gateway could make them at their time, and they are not made up for")
	if j.Notes == nil {
		return
	}
	c := &j.seen.Schedule
	var name string
	if live, ok := j.Live.Live(c.Account, c.LambdaID); ok { // else it is being undeployed
		name = live.Name
	}
	err := j.Notes.Note(j.life, journal.Activity{
		Account: c.Account, At: j.Clock.Now().UTC(), By: "schedule", Action: journal.Miss, Noun: journal.Schedule, ID: c.ID, Name: name,
		Changes: []journal.Change{
			{Field: "cronExpression", After: c.Cron},
			{Field: "missed", After: strconv.Itoa(p.missed)},
			{Field: "since", After: p.since.Format(time.RFC3339)},
			{Field: "until", After: p.until.Format(time.RFC3339)},
		},
	})
	if err != nil {
		j.log().Warn().Err(err).Msg("the journal did not take that runs were missed")
	}
}

// abandon records that nobody knows how a run ended.
func (j *job) abandon() {
	next := *j.seen.Runs
	run := *next.Last
	run.EndedAt, run.Failed, run.Code, run.Message = j.Clock.Now().UTC(), true, lambda.CodeUnavailable, textGatewayLost
	if j.seen.Runner == j.GatewayID {
		run.Message = textNotBegun
	}
	next.Last = &run
	err := j.write(func(ctx context.Context) (int64, error) { return j.Store.AbandonRun(ctx, j.seen, next) })
	if err == nil {
		j.metrics.abandoned.Inc()
		j.log().Warn().Str("requestId", run.RequestID).Time("due", run.Due).Str("gateway", run.Gateway).Msg(run.Message)
	}
	j.pause(err)
}

// clip cuts a text to what is kept of it.
func clip(s string) string {
	if len(s) > maxMessage {
		s = s[:maxMessage] + "…"
	}
	return strings.ToValidUTF8(s, "")
}
