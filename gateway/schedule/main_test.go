package schedule_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/schedule"
	"github.com/sluice-faas/sluice/gateway/store"
	"github.com/sluice-faas/sluice/gateway/store/etcdtest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Of the etcd that tests run; it ends with the process.
		goleak.IgnoreTopFunction("go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc.monitorLeader.func1"))
}

// soon bounds every wait for something that must happen.
const soon = 30 * time.Second

const account = "12345678"

// clock can be set.
type clock struct {
	mu     sync.Mutex
	now    time.Time
	timers map[chan time.Time]struct{}
}

func newClock(text string) *clock {
	return &clock{now: at(text), timers: map[chan time.Time]struct{}{}}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Timer ends whenever the clock is set: whoever waits has to look at it anyway.
func (c *clock) Timer(d time.Duration) (<-chan time.Time, func()) {
	ends := make(chan time.Time, 1)
	if d <= 0 {
		ends <- c.Now()
		return ends, func() {}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timers[ends] = struct{}{}
	return ends, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.timers, ends)
	}
}

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
	for ends := range c.timers {
		select {
		case ends <- t:
		default:
		}
	}
}

func (c *clock) forward(d time.Duration) { c.set(c.Now().Add(d)) }

// world is an etcd, a clock, and what lambdas were called.
type world struct {
	t      *testing.T
	etcd   *etcdtest.Server
	client *clientv3.Client
	clock  *clock
	store  *store.Store

	mu     sync.Mutex
	calls  []lambda.Invocation
	open   int
	most   int
	answer func(ctx context.Context, inv lambda.Invocation) error
	notes  []journal.Activity
}

func newWorld(t *testing.T, now string) *world {
	t.Helper()
	w := &world{t: t, etcd: etcdtest.Start(t), clock: newClock(now)}
	w.client = w.etcd.Client(t)
	w.store = store.New(w.client, zerolog.Nop())
	w.store.Limits.Schedules = 0
	require.NoError(t, w.store.Open(t.Context()))
	return w
}

// in makes w belong to a part of the test while that runs.
func (w *world) in(t *testing.T) {
	whole := w.t
	w.t = t
	t.Cleanup(func() { w.t = whole })
}

// Invoke notes the call and answers as the test wants.
func (w *world) Invoke(ctx context.Context, inv lambda.Invocation) (lambda.Result, error) {
	w.mu.Lock()
	w.calls = append(w.calls, inv)
	w.open++
	w.most = max(w.most, w.open)
	answer := w.answer
	w.mu.Unlock()
	defer func() { w.mu.Lock(); w.open--; w.mu.Unlock() }()
	if answer != nil {
		return lambda.Result{}, answer(ctx, inv)
	}
	return lambda.Result{Payload: json.RawMessage(`null`)}, nil
}

// Live knows every lambda, as one of the same name.
func (w *world) Live(account, lambdaID string) (*lambda.Live, bool) {
	return &lambda.Live{Account: account, LambdaID: lambdaID, Name: "l"}, true
}

// Note is the journal's.
func (w *world) Note(_ context.Context, a journal.Activity) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notes = append(w.notes, a)
	return nil
}

func (w *world) answers(f func(ctx context.Context, inv lambda.Invocation) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = f
}

// called gives how often each lambda was called.
func (w *world) called() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := map[string]int{}
	for _, c := range w.calls {
		n[c.LambdaID]++
	}
	return n
}

func (w *world) noted() []journal.Activity {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]journal.Activity(nil), w.notes...)
}

// deployed puts a lambda that is live into etcd.
func (w *world) deployed() (id string) {
	w.t.Helper()
	id = uuid.NewString()
	w.put("/sluice/lambdas/"+account+"/"+id, lambda.Lambda{Account: account, ID: id, Name: "l", Version: 1})
	w.put("/sluice/view/live/"+account+"/"+id, lambda.Live{Account: account, LambdaID: id, Name: "l", Version: 1})
	return id
}

func (w *world) put(key string, v any) {
	w.t.Helper()
	value, err := json.Marshal(v)
	require.NoError(w.t, err)
	_, err = w.client.Put(w.t.Context(), key, string(value))
	require.NoError(w.t, err)
}

// schedule makes a schedule of a lambda of its own.
func (w *world) schedule(cron string, change ...func(*lambda.Schedule)) lambda.Schedule {
	w.t.Helper()
	now := w.clock.Now()
	c := lambda.Schedule{Account: account, ID: uuid.NewString(), LambdaID: w.deployed(), Cron: cron, Active: true, From: now, CreatedAt: now, CreatedBy: "dev"}
	for _, f := range change {
		f(&c)
	}
	require.NoError(w.t, w.store.CreateSchedule(w.t.Context(), c, nil))
	return c
}

// schedules makes so many that are due every minute, few writes for all.
func (w *world) schedules(n int) map[string]lambda.Schedule {
	w.t.Helper()
	all, now := map[string]lambda.Schedule{}, w.clock.Now()
	var ops []clientv3.Op
	for i := range n {
		c := lambda.Schedule{Account: account, ID: uuid.NewString(), LambdaID: uuid.NewString(), Cron: "* * * * *", Active: true, From: now}
		all[c.LambdaID] = c
		value, err := json.Marshal(c)
		require.NoError(w.t, err)
		ops = append(ops, clientv3.OpPut("/sluice/schedule/lines/"+account+"/"+c.LambdaID, string(value)))
		if len(ops) == 100 || i == n-1 {
			_, err := w.client.Txn(w.t.Context()).Then(ops...).Commit()
			require.NoError(w.t, err)
			ops = nil
		}
	}
	return all
}

// runs reads what became of the runs of c.
func (w *world) runs(c lambda.Schedule) *lambda.Runs {
	w.t.Helper()
	got, err := w.store.Schedule(w.t.Context(), account, c.ID)
	require.NoError(w.t, err)
	return got.Runs
}

// ended waits until the run of c that was due then has ended.
func (w *world) ended(c lambda.Schedule, due string) *lambda.Execution {
	w.t.Helper()
	var r *lambda.Runs
	w.eventually(func() bool {
		got, err := w.store.Schedule(w.t.Context(), account, c.ID)
		if err != nil {
			return false // etcd has just come back
		}
		r = got.Runs
		return r != nil && r.Last != nil && r.Last.Due.Equal(at(due)) && !r.Running()
	}, "the run of "+due+" does not end", func() any { return r })
	return r.Last
}

// eventually waits for f; show tells how things are when that takes too long.
func (w *world) eventually(f func() bool, what string, show ...func() any) {
	w.t.Helper()
	for deadline := time.Now().Add(soon); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().Before(deadline) {
			continue
		}
		for _, s := range show {
			what += fmt.Sprintf(": %+v", s())
		}
		require.FailNow(w.t, what)
	}
}

// gateway is a scheduler at work.
type gateway struct {
	id      string
	metrics *prometheus.Registry
	log     *lines
	stop    func() // as if by a signal; waits for Run to return
	leave   func() // does not wait
	done    chan struct{}
}

type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// run starts a gateway on s.
func (w *world) run(s *store.Store, change ...func(*schedule.Config)) *gateway {
	w.t.Helper()
	g := &gateway{id: uuid.NewString(), metrics: prometheus.NewRegistry(), log: &lines{}, done: make(chan struct{})}
	c := schedule.Config{
		GatewayID: g.id, Store: s, Invoker: w, Live: w, Notes: w, Metrics: g.metrics, Log: zerolog.New(g.log),
		Clock: w.clock, Drain: soon,
	}
	for _, f := range change {
		f(&c)
	}
	scheduler, err := schedule.New(c)
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { defer close(g.done); scheduler.Run(ctx) }()
	g.leave = cancel
	g.stop = func() {
		cancel()
		select {
		case <-g.done:
		case <-time.After(soon):
			w.t.Error("a scheduler does not stop")
		}
	}
	w.t.Cleanup(func() {
		g.stop()
		if w.t.Failed() {
			w.t.Log(g.log.String())
		}
	})
	return g
}

// metric reads a counter or gauge.
func (g *gateway) metric(t *testing.T, name string) float64 {
	t.Helper()
	families, err := g.metrics.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	require.Fail(t, "there is no metric "+name)
	return 0
}
