// Package schedule has lambdas called at the times that cron lines name.
//
// Every gateway runs a Scheduler over the same etcd. When a run is due, each of
// them tries to record that it makes it, by compare-and-swap on what is known of
// the schedule's runs; one succeeds, and calls the lambda. So a run is made once,
// and a gateway that dies before it has recorded that leaves the run to the others
// at once. After that nobody repeats it, because the author's code may have run:
// the record is followed by a key under the lease of the gateway, and when that
// goes before the run's end is recorded, the others record that it failed.
//
// Gateways share the runs: for each schedule one of them is the first, and the
// others leave a run to it for a second.
//
// A run is made late, by Grace at most, when its time found no gateway that could.
// Later it is missed: it is not made up for, but counted in the schedule, and told
// to the log and the journal. A lambda does not run twice at once for its schedule,
// as long as its gateway reaches etcd: a run that is due while the last one goes on
// waits for its end, within Grace. That is rare, as a run takes half a minute at
// most and is due a whole minute after another: it takes one that was late.
//
// What was due last is in etcd, so a clock that is set back makes no run a second
// time. One that is set forward makes runs missed.
package schedule

import (
	"container/heap"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
)

// Invoker runs a lambda.
type Invoker interface {
	Invoke(ctx context.Context, inv lambda.Invocation) (lambda.Result, error)
}

// Notes takes what is to be known of runs that did not take place.
type Notes interface {
	Note(ctx context.Context, a journal.Activity) error
}

// Live tells from memory what is live of a lambda.
type Live interface {
	Live(account, lambdaID string) (*lambda.Live, bool)
}

// Config is what a Scheduler is made of. The first five fields are required.
type Config struct {
	// GatewayID is this process among the gateways: a new one for every start.
	GatewayID string
	Store     *store.Store
	Invoker   Invoker
	Live      Live
	Metrics   prometheus.Registerer
	Notes     Notes // may be nil
	Log       zerolog.Logger

	Clock Clock         // default: the system's
	Grace time.Duration // in which a run may be late; default a minute
	TTL   time.Duration // after which a dead gateway's runs are known to have failed; default store.DefaultGatewayTTL
	Runs  int           // at once; default 512
	Drain time.Duration // for runs under way when the gateway stops; default 35 s
}

func (c *Config) setDefaults() {
	set(&c.Grace, time.Minute)
	set(&c.TTL, store.DefaultGatewayTTL)
	set(&c.Runs, 512)
	set(&c.Drain, 35*time.Second)
	if c.Clock == nil {
		c.Clock = systemClock{}
	}
}

func set[T int | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

const (
	// stepIn is how long others leave a run to the gateway that is first.
	stepIn = time.Second
	// maxNap is how long a clock that was set is not noticed.
	maxNap = 5 * time.Second
	// minWait and maxWait bound the wait between attempts while etcd is away.
	minWait = 200 * time.Millisecond
	maxWait = 5 * time.Second
	// maxWrites bounds the writes to etcd at once, so that a thousand runs that are
	// due in one moment do not keep everything else from it.
	maxWrites = 32
)

// Scheduler makes runs. Make one with New, and Run it once.
type Scheduler struct {
	Config
	metrics *metrics
	table   *store.Timetable
	writes  chan struct{} // a slot per write

	// Of the goroutine in Run:
	entries map[store.LambdaRef]*entry
	queue   queue
	running int // workers
	ended   chan *job
}

// New checks the configuration and makes a Scheduler.
func New(c Config) (*Scheduler, error) {
	if c.GatewayID == "" || c.Store == nil || c.Invoker == nil || c.Live == nil || c.Metrics == nil {
		return nil, errors.New("scheduler: GatewayID, Store, Invoker, Live and Metrics are required")
	}
	c.setDefaults()
	return &Scheduler{
		Config: c, metrics: newMetrics(c.Metrics), writes: make(chan struct{}, maxWrites),
		entries: map[store.LambdaRef]*entry{}, ended: make(chan *job, c.Runs),
	}, nil
}

// Run makes runs until ctx ends, and returns when those under way have ended and
// their ends are recorded, or Drain is over. While etcd is away it waits.
func (s *Scheduler) Run(ctx context.Context) {
	if s.table = s.open(ctx); s.table == nil {
		return
	}
	defer s.table.Close()
	life, end := context.WithCancel(context.WithoutCancel(ctx)) // of runs, which go on when ctx has ended
	defer end()
	var presence *store.Presence
	for ctx.Err() == nil {
		if presence = s.attend(ctx); presence == nil {
			break
		}
		s.serve(worker{Scheduler: s, presence: presence, stopped: ctx, life: life})
		if ctx.Err() == nil {
			s.Log.Warn().Msg("this gateway was taken for dead by the schedules: go on")
		}
	}
	timer := time.AfterFunc(s.Drain, end)
	defer timer.Stop()
	for s.running > 0 {
		<-s.ended
		s.running--
	}
	if presence != nil {
		presence.Close(life)
	}
}

// open follows the schedules, however long etcd takes; nil when ctx ends first.
func (s *Scheduler) open(ctx context.Context) *store.Timetable {
	for wait := minWait; ctx.Err() == nil; wait = min(2*wait, maxWait) {
		table, err := s.Store.OpenTimetable(ctx)
		if err == nil {
			return table
		}
		s.Log.Warn().Err(err).Msg("cannot read the schedules: try again")
		sleep(ctx, wait)
	}
	return nil
}

// attend gets a lease, however long etcd takes; nil when ctx ends first.
func (s *Scheduler) attend(ctx context.Context) *store.Presence {
	for wait := minWait; ctx.Err() == nil; wait = min(2*wait, maxWait) {
		presence, err := s.Store.Attend(ctx, s.GatewayID, s.TTL)
		if err == nil {
			return presence
		}
		s.Log.Warn().Err(err).Msg("cannot attend to the schedules: try again")
		sleep(ctx, wait)
	}
	return nil
}

// serve makes runs until w is stopped or its presence lost. Runs that go on then
// are left to end.
func (s *Scheduler) serve(w worker) {
	for ref := range s.entries { // what was this gateway's own is not any more
		s.look(ref)
	}
	for {
		changed := s.table.Changed()
		for _, ref := range s.table.Take() {
			s.look(ref)
		}
		now := s.Clock.Now()
		s.startDue(now, w)
		s.metrics.schedules.Set(float64(len(s.entries)))
		s.metrics.running.Set(float64(s.running))
		timer, stop := s.Clock.Timer(s.nap(now))
		select {
		case <-changed:
		case <-timer:
		case j := <-s.ended:
			s.leave(j)
		case <-w.presence.Lost():
			stop()
			return
		case <-w.stopped.Done():
			stop()
			return
		}
		stop()
	}
}

// leave notes that a job has ended.
func (s *Scheduler) leave(j *job) {
	s.running--
	if e := s.entries[j.ref]; e != nil {
		e.busy, e.least = false, j.least
	}
	s.look(j.ref)
}

// look learns what a schedule has become, and when it is next to be attended to.
// A schedule that has a worker is looked at when that has ended.
func (s *Scheduler) look(ref store.LambdaRef) {
	e := s.entries[ref]
	if e != nil && e.busy {
		return
	}
	seen, ok := s.table.Of(ref)
	if !ok {
		if e != nil {
			s.queue.drop(e)
			delete(s.entries, ref)
		}
		return
	}
	if e == nil {
		e = &entry{ref: ref, at: -1}
		s.entries[ref] = e
	}
	e.seen = seen
	if seen.Revision < e.least {
		s.queue.drop(e)
		return
	}
	due, waits := s.dueOf(e)
	if !waits {
		s.queue.drop(e)
		return
	}
	s.queue.put(e, due)
}

// dueOf tells when a schedule is to be attended to, and false for never: until
// then nothing happens to it, but by a change.
func (s *Scheduler) dueOf(e *entry) (time.Time, bool) {
	if e.seen.Runs.Running() {
		return time.Time{}, s.abandoned(e.seen)
	}
	if !e.seen.Schedule.Active {
		return time.Time{}, false
	}
	if e.times == nil || e.cron != e.seen.Schedule.Cron {
		l, err := Parse(e.seen.Schedule.Cron)
		if err != nil {
			s.logOf(e.seen).Error().Err(err).Msg("a schedule cannot be read and is never due: save it again")
			return time.Time{}, false
		}
		e.times, e.cron = l, e.seen.Schedule.Cron
	}
	due := e.times.Next(e.seen.Schedule.After(e.seen.Runs))
	if due.IsZero() {
		return due, false
	}
	if !s.first(e.ref) {
		due = due.Add(stepIn)
	}
	return due, true
}

// first tells whether the runs of a schedule are this gateway's before they are
// others': all agree on who that is, and each is for its part of the schedules.
func (s *Scheduler) first(ref store.LambdaRef) bool {
	own := weight(s.GatewayID, ref)
	return !slices.ContainsFunc(s.table.Gateways(), func(id string) bool { return id != s.GatewayID && weight(id, ref) > own })
}

func weight(gateway string, ref store.LambdaRef) uint64 {
	sum := sha256.Sum256([]byte(gateway + "/" + ref.Account + "/" + ref.LambdaID))
	return binary.BigEndian.Uint64(sum[:])
}

// abandoned tells whether nobody makes a run that has begun: its gateway has died,
// or it is this one, which does not know whether the record of its begin was
// written and has given up.
func (s *Scheduler) abandoned(seen store.Planned) bool {
	return seen.Runner == "" || seen.Runner == s.GatewayID
}

// startDue gives what is due to workers, while there is room.
func (s *Scheduler) startDue(now time.Time, w worker) {
	for s.running < s.Runs && len(s.queue) > 0 && !s.queue[0].due.After(now) {
		e := heap.Pop(&s.queue).(*entry)
		e.busy = true
		s.running++
		j := &job{worker: w, ref: e.ref, seen: e.seen, times: e.times}
		go func() {
			defer func() { s.ended <- j }()
			j.do()
		}()
	}
}

// nap is how long nothing is due.
func (s *Scheduler) nap(now time.Time) time.Duration {
	if len(s.queue) == 0 || s.running >= s.Runs {
		return maxNap
	}
	return max(0, min(maxNap, s.queue[0].due.Sub(now)))
}

func (s *Scheduler) logOf(seen store.Planned) *zerolog.Logger {
	c := &seen.Schedule
	log := s.Log.With().Str("accountId", c.Account).Str("lambdaId", c.LambdaID).Str("scheduleId", c.ID).Logger()
	return &log
}

// sleep waits for about d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(jitter(d))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// jitter spreads the waits of gateways that failed together.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }
