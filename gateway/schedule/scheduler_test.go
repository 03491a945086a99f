package schedule_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/schedule"
	"github.com/sluice-faas/sluice/gateway/store"
)

func TestARunIsMadeWhenItIsDue(t *testing.T) {
	w := newWorld(t, "2026-11-24 10:00:20")
	c := w.schedule("*/5 * * * *", func(c *lambda.Schedule) { c.Payload = json.RawMessage(`{"n":1}`) })
	bare := w.schedule("* * * * *")
	idle := w.schedule("* * * * *", func(c *lambda.Schedule) { c.Active = false })
	g := w.run(w.store)
	w.clock.set(at("2026-11-24 10:01:00"))
	w.ended(bare, "2026-11-24 10:01:00")
	require.Equal(t, map[string]int{bare.LambdaID: 1}, w.called())
	w.clock.set(at("2026-11-24 10:05:00").Add(3 * time.Millisecond))
	last := w.ended(c, "2026-11-24 10:05:00")
	w.ended(bare, "2026-11-24 10:05:00")
	require.Equal(t, map[string]int{bare.LambdaID: 2, c.LambdaID: 1}, w.called())
	require.Nil(t, w.runs(idle))

	calls := map[string]lambda.Invocation{}
	for _, inv := range w.calls {
		calls[inv.LambdaID] = inv
	}
	require.Equal(t, lambda.Invocation{
		Account: account, LambdaID: c.LambdaID, RequestID: last.RequestID, Payload: json.RawMessage(`{"n":1}`),
		Trigger: lambda.TriggerSchedule, Caller: "schedule:" + c.ID,
	}, calls[c.LambdaID])
	require.JSONEq(t, `{}`, string(calls[bare.LambdaID].Payload), "there is no payload")
	require.Equal(t, lambda.Execution{
		Due: at("2026-11-24 10:05:00"), RequestID: last.RequestID, Gateway: g.id, StartedAt: w.clock.Now(), EndedAt: w.clock.Now(),
	}, *last)
	require.Equal(t, 3.0, g.metric(t, "sluice_schedules"))
	require.Equal(t, 3.0, g.metric(t, "sluice_schedule_runs_fired_total"))
	require.Contains(t, g.log.String(), `"scheduleId":"`+c.ID+`","requestId":"`+last.RequestID+`","due":"2026-11-24T10:05:00Z","lag":3`)
	require.Equal(t, 3, w.runs(bare).Missed, "the clock went over them")
}

func TestOfManyGatewaysOneMakesEachRun(t *testing.T) {
	const gateways, schedules, minutes = 3, 8, 20
	w := newWorld(t, "2026-11-24 10:00:00")
	for range gateways {
		w.run(store.New(w.etcd.Client(t), zerolog.Nop()))
	}
	all := make([]lambda.Schedule, schedules)
	for i := range all {
		all[i] = w.schedule("* * * * *")
	}
	for minute := 1; minute <= minutes; minute++ {
		due := at("2026-11-24 10:00:00").Add(time.Duration(minute) * time.Minute)
		w.clock.set(due)
		for _, c := range all {
			w.ended(c, due.Format(time.DateTime))
		}
	}
	makers := map[string]bool{}
	for _, c := range all {
		require.Equal(t, minutes, w.called()[c.LambdaID])
		require.Zero(t, w.runs(c).Missed)
		makers[w.runs(c).Last.Gateway] = true
	}
	require.Greater(t, len(makers), 1, "they share the schedules")
}

func TestAFailureIsRecorded(t *testing.T) {
	w := newWorld(t, "2026-11-24 10:00:00")
	c := w.schedule("* * * * *")
	g := w.run(w.store)
	w.answers(func(context.Context, lambda.Invocation) error {
		return fmt.Errorf("invoke: %w", &lambda.Error{Kind: lambda.KindFunction, Code: lambda.CodeRuntimeException, Message: strings.Repeat("é", 400)})
	})
	w.clock.forward(time.Minute)
	last := w.ended(c, "2026-11-24 10:01:00")
	require.True(t, last.Failed)
	require.Equal(t, lambda.CodeRuntimeException, last.Code)
	require.Equal(t, strings.Repeat("é", 250)+"…", last.Message, "it is cut")
	require.Equal(t, 1.0, g.metric(t, "sluice_schedule_runs_failed_total"))

	w.answers(func(context.Context, lambda.Invocation) error { return errors.New("anything") })
	w.clock.forward(time.Minute)
	last = w.ended(c, "2026-11-24 10:02:00")
	require.Equal(t, lambda.CodeGeneral, last.Code)
	require.Equal(t, "anything", last.Message)

	w.answers(nil)
	w.clock.forward(time.Minute)
	last = w.ended(c, "2026-11-24 10:03:00")
	require.False(t, last.Failed)
	require.Empty(t, last.Code+last.Message)
}

func TestARunThatPanicsFailsAndEndsNoGateway(t *testing.T) {
	w := newWorld(t, "2026-11-24 10:00:00")
	c := w.schedule("* * * * *")
	g := w.run(w.store)
	w.answers(func(context.Context, lambda.Invocation) error { panic("a payload with s3cr3t") })
	w.clock.forward(time.Minute)
	last := w.ended(c, "2026-11-24 10:01:00")
	require.True(t, last.Failed)
	require.Equal(t, lambda.CodeGeneral, last.Code)
	require.Equal(t, "The gateway failed while it made this run. It is not repeated, because the lambda may have run.", last.Message)
	require.Contains(t, g.log.String(), "scheduler_test.go", "the stack is in the log")
	require.NotContains(t, g.log.String(), "s3cr3t")
	require.Equal(t, 1.0, g.metric(t, "sluice_schedule_runs_failed_total"))

	w.answers(nil)
	w.clock.forward(time.Minute)
	require.False(t, w.ended(c, "2026-11-24 10:02:00").Failed, "the next is made")
}

// broken is a journal with a defect.
type broken struct{}

func (broken) Note(context.Context, journal.Activity) error { panic("a defect") }

func TestAPanicBesideARunEndsNoGateway(t *testing.T) {
	w := newWorld(t, "2026-11-24 10:00:00")
	c := w.schedule("0 * * * *")
	g := w.run(w.store, func(c *schedule.Config) { c.Notes = broken{} })
	w.clock.set(at("2026-11-24 11:30:00"))
	w.eventually(func() bool { return strings.Contains(g.log.String(), "the work for a schedule panicked") }, "nothing is said")
	require.Equal(t, 1, w.runs(c).Missed)
	g.stop()
}

func TestRunsThatNoGatewayMadeAreMissedAndSaid(t *testing.T) {
	w := newWorld(t, "2026-11-24 10:00:00")
	often, hourly := w.schedule("* * * * *"), w.schedule("0 * * * *")
	w.clock.set(at("2026-11-24 12:30:30"))
	gateways := []*gateway{w.run(w.store), w.run(store.New(w.etcd.Client(t), zerolog.Nop()))}

	last := w.ended(often, "2026-11-24 12:30:00")
	require.Equal(t, at("2026-11-24 12:30:30"), last.StartedAt, "that of the last minute is late, but made")
	w.eventually(func() bool { return len(w.noted()) == 2 }, "the journal is told")
	r := w.runs(often)
	require.Equal(t, 149, r.Missed)
	require.Equal(t, at("2026-11-24 10:01:00"), r.MissedSince)
	require.Equal(t, at("2026-11-24 12:29:00"), r.MissedUntil)
	r = w.runs(hourly)
	require.Equal(t, 2, r.Missed)
	require.Nil(t, r.Last)
	require.Equal(t, map[string]int{often.LambdaID: 1}, w.called())

	missed, said := 0.0, 0
	for _, g := range gateways {
		missed += g.metric(t, "sluice_schedule_runs_missed_total")
		said += strings.Count(g.log.String(), "runs of a schedule were missed")
	}
	require.Equal(t, 151.0, missed)
	require.Equal(t, 2, said)
	for _, a := range w.noted() {
		if a.ID == hourly.ID {
			require.Equal(t, journal.Activity{
				Account: account, At: w.clock.Now(), By: "schedule", Action: journal.Miss, Noun: journal.Schedule, ID: hourly.ID, Name: "l",
				Changes: []journal.Change{{Field: "cronExpression", After: "0 * * * *"}, {Field: "missed", After: "2"}, {Field: "since", After: "2026-11-24T11:00:00Z"}, {Field: "until", After: "2026-11-24T12:00:00Z"}},
			}, a)
		}
	}

	w.clock.set(at("2026-11-24 13:00:00"))
	w.ended(hourly, "2026-11-24 13:00:00")
	require.Equal(t, 2, w.runs(hourly).Missed)
}

func TestAClockThatIsSetBackMakesNoRunTwice(t *testing.T) {
	w := newWorld(t, "2026-11-24 10:00:00")
	c := w.schedule("* * * * *")
	w.run(w.store)
	w.clock.set(at("2026-11-24 10:05:00"))
	w.ended(c, "2026-11-24 10:05:00")
	for _, back := range []string{"2026-11-24 09:00:00", "2026-11-24 10:04:00", "2026-11-24 10:05:00", "2026-11-24 10:05:59"} {
		w.clock.set(at(back))
	}
	w.run(store.New(w.etcd.Client(t), zerolog.Nop()))
	other := w.schedule("* * * * *", func(c *lambda.Schedule) { c.From = at("2026-11-24 10:04:30") })
	w.ended(other, "2026-11-24 10:05:00")
	require.Equal(t, 1, w.called()[c.LambdaID])
	w.clock.set(at("2026-11-24 10:06:00"))
	w.ended(c, "2026-11-24 10:06:00")
	require.Equal(t, 2, w.called()[c.LambdaID])
}

func TestAChangeHolds(t *testing.T) {
	w := newWorld(t, "2026-11-24 10:00:00")
	c := w.schedule("0 12 * * *")
	w.run(w.store)
	change := func(f func(*lambda.Schedule)) {
		t.Helper()
		_, _, err := w.store.UpdateSchedule(t.Context(), account, c.ID, func(c *lambda.Schedule) (bool, error) {
			f(c)
			c.From = w.clock.Now()
			return true, nil
		})
		require.NoError(t, err)
	}
	change(func(c *lambda.Schedule) { c.Cron = "* * * * *" })
	w.clock.set(at("2026-11-24 10:01:00"))
	w.ended(c, "2026-11-24 10:01:00")

	t.Run("what is not active is not due, and not missed", func(t *testing.T) {
		w.in(t)
		change(func(c *lambda.Schedule) { c.Active = false })
		w.clock.set(at("2026-11-24 11:00:10"))
		change(func(c *lambda.Schedule) { c.Active = true })
		w.clock.set(at("2026-11-24 11:01:00"))
		w.ended(c, "2026-11-24 11:01:00")
		require.Equal(t, 2, w.called()[c.LambdaID])
		require.Zero(t, w.runs(c).Missed)
	})
	t.Run("a line that cannot be read is never due", func(t *testing.T) {
		w.in(t)
		change(func(c *lambda.Schedule) { c.Cron = "* * *" })
		w.clock.set(at("2026-11-24 11:02:00"))
		change(func(c *lambda.Schedule) { c.Cron = "*/2 * * * *" })
		w.clock.set(at("2026-11-24 11:04:00"))
		w.ended(c, "2026-11-24 11:04:00")
		require.Equal(t, 3, w.called()[c.LambdaID])
	})
	t.Run("what is deleted is not due", func(t *testing.T) {
		w.in(t)
		_, err := w.store.DeleteSchedule(t.Context(), account, c.ID, func(*lambda.Schedule) error { return nil })
		require.NoError(t, err)
		other := w.schedule("* * * * *")
		w.clock.set(at("2026-11-24 11:06:00"))
		w.ended(other, "2026-11-24 11:06:00")
		require.Equal(t, 3, w.called()[c.LambdaID])
	})
}

// blocked lets calls wait until free is called.
func (w *world) blocked() (begun <-chan lambda.Invocation, free func()) {
	started, release := make(chan lambda.Invocation, 1000), make(chan struct{})
	w.answers(func(ctx context.Context, inv lambda.Invocation) error {
		started <- inv
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return &lambda.Error{Kind: lambda.KindTimeout, Code: lambda.CodeGeneral, Message: "The caller left before the lambda answered.", Err: ctx.Err()}
		}
	})
	return started, func() { w.answers(nil); close(release) }
}

func TestALambdaNeverRunsTwiceAtOnceForItsSchedule(t *testing.T) {
	w := newWorld(t, "2026-11-24 10:00:00")
	c := w.schedule("* * * * *")
	w.run(w.store)
	w.run(store.New(w.etcd.Client(t), zerolog.Nop()))
	begun, free := w.blocked()
	w.clock.set(at("2026-11-24 10:01:00"))
	<-begun
	w.clock.set(at("2026-11-24 10:02:40"))
	other := w.schedule("40-50 10 * * *", func(c *lambda.Schedule) { c.From = at("2026-11-24 10:00:00") })
	require.Nil(t, w.runs(other))
	require.Len(t, begun, 0)
	free()
	last := w.ended(c, "2026-11-24 10:02:00")
	require.Equal(t, at("2026-11-24 10:02:40"), last.StartedAt, "it waited for the end of the first")
	require.Zero(t, w.runs(c).Missed)
	require.Equal(t, 1, w.most)

	begun, free = w.blocked()
	w.clock.set(at("2026-11-24 10:03:00"))
	<-begun
	w.clock.set(at("2026-11-24 10:05:30"))
	free()
	w.ended(c, "2026-11-24 10:05:00")
	require.Equal(t, 1, w.runs(c).Missed, "that of 10:04 came too late")
	require.Equal(t, 1, w.most)
}

func TestAThousandRunsThatAreDueAtOnce(t *testing.T) {
	const schedules, atOnce = 1000, 100
	w := newWorld(t, "2026-11-24 10:00:00")
	all := w.schedules(schedules)
	w.answers(func(context.Context, lambda.Invocation) error { time.Sleep(20 * time.Millisecond); return nil })
	limit := func(c *schedule.Config) { c.Runs = atOnce }
	gateways := []*gateway{w.run(w.store, limit), w.run(store.New(w.etcd.Client(t), zerolog.Nop()), limit)}
	for _, g := range gateways {
		w.eventually(func() bool { return g.metric(t, "sluice_schedules") == schedules }, "all are known")
	}
	began := time.Now()
	w.clock.set(at("2026-11-24 10:01:00"))
	w.eventually(func() bool { return len(w.called()) == schedules }, "all are made", func() any { return len(w.called()) })
	t.Logf("%d runs in %s", schedules, time.Since(began))
	for _, g := range gateways {
		w.eventually(func() bool { return g.metric(t, "sluice_schedule_runs_open") == 0 }, "all end")
	}
	for id, n := range w.called() {
		require.Equal(t, 1, n, "%v", all[id])
	}
	require.LessOrEqual(t, w.most, len(gateways)*atOnce)
	list, err := w.store.Schedules(t.Context(), account)
	require.NoError(t, err)
	for _, c := range list {
		require.False(t, c.Runs.Running() || c.Runs.Last.Failed)
		require.Zero(t, c.Runs.Missed)
	}
}

func TestStopping(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "2026-11-24 10:00:00")
	c := w.schedule("* * * * *")
	t.Run("waits for the run under way, records its end and begins no other", func(t *testing.T) {
		w.in(t)
		begun, free := w.blocked()
		g := w.run(w.store)
		w.clock.set(at("2026-11-24 10:01:00"))
		<-begun
		g.leave()
		w.clock.set(at("2026-11-24 10:02:00"))
		select {
		case <-g.done:
			require.Fail(t, "it did not wait")
		case <-time.After(100 * time.Millisecond):
		}
		free()
		g.stop()
		last := w.ended(c, "2026-11-24 10:01:00")
		require.False(t, last.Failed)
		require.Equal(t, 1, w.called()[c.LambdaID])
		left, err := w.etcd.Client(t).Get(t.Context(), "/sluice/schedule/runners/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		require.NoError(t, err)
		require.Zero(t, left.Count)
	})
	t.Run("does not wait for ever", func(t *testing.T) {
		w.in(t)
		begun, free := w.blocked()
		defer free()
		g := w.run(w.store, func(c *schedule.Config) { c.Drain = 50 * time.Millisecond })
		w.clock.set(at("2026-11-24 10:03:00"))
		<-begun
		g.stop()
		require.True(t, w.runs(c).Running(), "nobody can record it any more")
		w.run(w.store)
		last := w.ended(c, "2026-11-24 10:03:00")
		require.True(t, last.Failed, "but the next who comes")
	})
}

// line is a connection to etcd that can be cut for ever, as kill -9 does, and
// that can lose the answers to writes.
type line struct {
	clientv3.KV
	lose atomic.Int32 // answers to transactions that take place and are not told
}

var errLost = errors.New("the answer is lost")

func (l *line) Txn(ctx context.Context) clientv3.Txn { return &lineTxn{Txn: l.KV.Txn(ctx), line: l} }

type lineTxn struct {
	clientv3.Txn
	line  *line
	write bool
}

func (x *lineTxn) If(cs ...clientv3.Cmp) clientv3.Txn { x.Txn = x.Txn.If(cs...); return x }

func (x *lineTxn) Then(ops ...clientv3.Op) clientv3.Txn {
	for _, op := range ops {
		x.write = x.write || op.IsPut() || op.IsDelete()
	}
	x.Txn = x.Txn.Then(ops...)
	return x
}

func (x *lineTxn) Else(ops ...clientv3.Op) clientv3.Txn { x.Txn = x.Txn.Else(ops...); return x }

func (x *lineTxn) Commit() (*clientv3.TxnResponse, error) {
	r, err := x.Txn.Commit()
	if x.write && err == nil && x.line.lose.Add(-1) >= 0 {
		return nil, errLost
	}
	return r, err
}

func TestAnAnswerThatIsLostMakesNoSecondRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "2026-11-24 10:00:00")
	client := w.etcd.Client(t)
	l := &line{KV: client.KV}
	client.KV = l
	c := w.schedule("* * * * *")
	g := w.run(store.New(client, zerolog.Nop()))
	w.eventually(func() bool { return g.metric(t, "sluice_schedules") == 1 }, "it is known")
	l.lose.Store(4) // two of the begin, two of the end
	w.clock.forward(time.Minute)
	last := w.ended(c, "2026-11-24 10:01:00")
	require.False(t, last.Failed)
	require.Equal(t, 1, w.called()[c.LambdaID])
	w.eventually(func() bool { return l.lose.Load() <= 0 && g.metric(t, "sluice_schedule_runs_open") == 0 }, "it settles")
	w.clock.forward(time.Minute)
	w.ended(c, "2026-11-24 10:02:00")
	require.Equal(t, 2, w.called()[c.LambdaID])
}

func TestAGatewayThatWasTakenForDeadGoesOn(t *testing.T) {
	t.Parallel()
	w, c, g := running(t)
	client := w.etcd.Client(t)
	leases, err := client.Leases(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, leases.Leases)
	for _, l := range leases.Leases {
		_, err := client.Revoke(t.Context(), l.ID)
		require.NoError(t, err)
	}
	w.clock.set(at("2026-11-24 10:02:00"))
	require.False(t, w.ended(c, "2026-11-24 10:02:00").Failed)
	require.Equal(t, 2, w.called()[c.LambdaID])
	require.Contains(t, g.log.String(), "taken for dead")
}

func TestAGatewayThatDies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "2026-11-24 10:00:00")
	c := w.schedule("* * * * *")
	doomed := w.etcd.Client(t)
	begun, free := w.blocked()
	g := w.run(store.New(doomed, zerolog.Nop()), func(c *schedule.Config) { c.Drain, c.TTL = time.Millisecond, time.Second })
	w.clock.set(at("2026-11-24 10:01:00"))
	inv := <-begun
	require.NoError(t, doomed.Close())
	w.answers(nil)
	survivor := w.run(w.store)

	last := w.ended(c, "2026-11-24 10:01:00")
	require.True(t, last.Failed)
	require.Equal(t, lambda.CodeUnavailable, last.Code)
	require.Equal(t, inv.RequestID, last.RequestID)
	require.Equal(t, g.id, last.Gateway)
	require.Contains(t, last.Message, "ended before it could tell how the run ended. It is not repeated")
	require.Equal(t, 1, w.called()[c.LambdaID], "nobody repeats it")
	w.eventually(func() bool { return survivor.metric(t, "sluice_schedule_runs_abandoned_total") == 1 }, "it is counted")

	w.clock.set(at("2026-11-24 10:02:00"))
	last = w.ended(c, "2026-11-24 10:02:00")
	require.Equal(t, survivor.id, last.Gateway, "what it had not begun is made by another")
	require.Equal(t, 2, w.called()[c.LambdaID])
	free()
}

// running is a gateway that has made the run of 10:01.
func running(t *testing.T) (*world, lambda.Schedule, *gateway) {
	t.Helper()
	w := newWorld(t, "2026-11-24 10:00:00")
	c := w.schedule("* * * * *")
	g := w.run(w.store)
	w.clock.set(at("2026-11-24 10:01:00"))
	w.ended(c, "2026-11-24 10:01:00")
	return w, c, g
}

func TestWhileEtcdIsAwayForLessThanTheGraceARunIsLate(t *testing.T) {
	t.Parallel()
	w, c, g := running(t)
	w.etcd.Stop()
	w.clock.set(at("2026-11-24 10:02:00"))
	w.eventually(func() bool { return strings.Contains(g.log.String(), "a run waits for the state store") }, "it tries")
	w.clock.set(at("2026-11-24 10:02:30"))
	require.Equal(t, 1, w.called()[c.LambdaID])
	w.etcd.Restart(t)
	last := w.ended(c, "2026-11-24 10:02:00")
	require.Equal(t, 2, w.called()[c.LambdaID])
	require.False(t, last.Failed, "%+v", last)
	require.Zero(t, w.runs(c).Missed)
}

func TestWhileEtcdIsAwayForLongerRunsAreMissed(t *testing.T) {
	t.Parallel()
	w, c, g := running(t)
	w.etcd.Stop()
	w.clock.set(at("2026-11-24 10:02:00"))
	w.eventually(func() bool { return strings.Contains(g.log.String(), "a run waits for the state store") }, "it tries")
	w.clock.set(at("2026-11-24 10:05:10"))
	w.etcd.Restart(t)
	w.ended(c, "2026-11-24 10:05:00")
	require.Equal(t, 2, w.called()[c.LambdaID])
	require.Equal(t, 3, w.runs(c).Missed)
}

func TestTheEndOfARunIsToldWhenEtcdIsBack(t *testing.T) {
	t.Parallel()
	w, c, g := running(t)
	begun, free := w.blocked()
	w.clock.set(at("2026-11-24 10:02:00"))
	<-begun
	w.etcd.Stop()
	free()
	w.eventually(func() bool { return strings.Contains(g.log.String(), "the end of a run waits for the state store") }, "it tries")
	w.etcd.Restart(t)
	w.eventually(func() bool { return !w.ended(c, "2026-11-24 10:02:00").Failed }, "its end is recorded")
	require.Equal(t, 2, w.called()[c.LambdaID])
}

func TestAGatewayThatStartsOrStopsWhileEtcdIsAway(t *testing.T) {
	t.Parallel()
	w, c, g := running(t)
	g.stop()
	w.etcd.Stop()
	later := w.run(w.store)
	w.eventually(func() bool { return strings.Contains(later.log.String(), "cannot read the schedules") }, "it tries")
	w.clock.set(at("2026-11-24 10:02:00"))
	w.etcd.Restart(t)
	w.ended(c, "2026-11-24 10:02:00")
	w.etcd.Stop()
	later.stop()
	w.etcd.Restart(t)
}

func TestAConfigurationThatLacksSomethingIsRefused(t *testing.T) {
	_, err := schedule.New(schedule.Config{})
	require.ErrorContains(t, err, "GatewayID, Store, Invoker, Live and Metrics are required")
}
