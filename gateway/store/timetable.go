package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// LambdaRef names the lambda of an account.
type LambdaRef struct{ Account, LambdaID string }

// Planned is a schedule as it was at one revision.
type Planned struct {
	Schedule lambda.Schedule
	Runs     *lambda.Runs // nil before the first was due
	// Runner is the gateway that makes a run; empty when none does, or when it has
	// died meanwhile.
	Runner string
	// Revision is of the latest change of the schedule or of what became of its
	// runs.
	Revision int64

	revision, runsRevision, runnerRevision int64
}

// Timetable is what every gateway knows in memory of all schedules. Safe for
// concurrent use; what it returns is shared and must not be changed.
type Timetable struct {
	followed
	log zerolog.Logger

	mu      sync.Mutex
	lines   map[LambdaRef]*line
	runs    map[LambdaRef]*runs
	runners map[LambdaRef]*claim
	present []string               // never changed in place
	changed map[LambdaRef]struct{} // since the last Take
}

type line struct {
	lambda.Schedule
	revision int64
}

type runs struct {
	lambda.Runs
	revision int64
}

// OpenTimetable reads everything and follows it from there until Close.
func (s *Store) OpenTimetable(ctx context.Context) (*Timetable, error) {
	t := &Timetable{log: s.log, changed: map[LambdaRef]struct{}{}}
	t.clear()
	f, err := s.follow(ctx, timesRoot, t)
	if err != nil {
		return nil, err
	}
	t.follower = f
	return t, nil
}

// Gateways tells the ids of the gateways that attend to the schedules, sorted.
func (t *Timetable) Gateways() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.present
}

// Take tells the lambdas whose schedules, or runs, have changed since it was
// called before; all that have a schedule when it is called first, and when a
// gateway came or went.
func (t *Timetable) Take() []LambdaRef {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.changed) == 0 {
		return nil
	}
	taken := slices.Collect(maps.Keys(t.changed))
	t.changed = map[LambdaRef]struct{}{}
	return taken
}

// Of tells the schedule of a lambda.
func (t *Timetable) Of(ref LambdaRef) (Planned, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.lines[ref]
	if l == nil {
		return Planned{}, false
	}
	p := Planned{Schedule: l.Schedule, revision: l.revision}
	if r := t.runs[ref]; r != nil {
		p.runsRevision = r.revision
		if r.ScheduleID == l.ID {
			p.Runs = &r.Runs
		}
	}
	p.Revision = max(p.revision, p.runsRevision)
	if c := t.runners[ref]; c != nil {
		p.Runner, p.runnerRevision = c.gateway, c.created
	}
	return p, true
}

func (t *Timetable) clear() {
	t.lines, t.runs, t.runners, t.present = map[LambdaRef]*line{}, map[LambdaRef]*runs{}, map[LambdaRef]*claim{}, nil
}

// touch notes that all have changed.
func (t *Timetable) touch() {
	for ref := range t.lines {
		t.changed[ref] = struct{}{}
	}
}

func (t *Timetable) reset(kvs []*mvccpb.KeyValue) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.touch() // what is not listed is gone
	t.clear()
	for _, kv := range kvs {
		t.set(string(kv.Key), kv)
	}
}

func (t *Timetable) change(events []*clientv3.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range events {
		kv := e.Kv
		if e.Type == mvccpb.DELETE {
			kv = nil
		}
		t.set(string(e.Kv.Key), kv)
	}
}

// set takes the value of a key, or nil for none.
func (t *Timetable) set(k string, kv *mvccpb.KeyValue) {
	var ref LambdaRef
	if p, ok := parts(k, linesRoot, 2); ok {
		ref = LambdaRef{p[0], p[1]}
		if _, now := put(t.log, t.lines, ref, kv); now != nil {
			now.revision = kv.ModRevision
		}
	} else if p, ok := parts(k, runsRoot, 2); ok {
		ref = LambdaRef{p[0], p[1]}
		if _, now := put(t.log, t.runs, ref, kv); now != nil {
			now.revision = kv.ModRevision
		}
	} else if p, ok := parts(k, runnersRoot, 2); ok {
		ref = LambdaRef{p[0], p[1]}
		if kv == nil {
			delete(t.runners, ref)
		} else {
			t.runners[ref] = &claim{string(kv.Value), kv.CreateRevision}
		}
	} else if p, ok := parts(k, attendRoot, 1); ok {
		t.setPresent(p[0], kv != nil)
		return
	} else {
		return
	}
	t.changed[ref] = struct{}{}
}

func (t *Timetable) setPresent(id string, here bool) {
	present := slices.DeleteFunc(slices.Clone(t.present), func(p string) bool { return p == id })
	if here {
		present = append(present, id)
		slices.Sort(present)
	}
	t.present = present
	t.touch()
}

// Attend makes this gateway known to those that make runs of schedules, as
// Register does to those that move deployments: what is under its lease goes when
// it dies. ttl is rounded up to seconds; 0 means DefaultGatewayTTL.
func (s *Store) Attend(ctx context.Context, id string, ttl time.Duration) (*Presence, error) {
	if ttl <= 0 {
		ttl = DefaultGatewayTTL
	}
	k, err := key(attendRoot, id)
	if err != nil {
		return nil, err
	}
	lease, err := s.newLease(ctx, ttl)
	if err != nil {
		return nil, fmt.Errorf("attend: %w", err)
	}
	r, err := s.commit(ctx, nil, []clientv3.Op{clientv3.OpPut(k, "", clientv3.WithLease(lease))}, nil)
	if err != nil {
		s.revoke(ctx, lease)
		return nil, fmt.Errorf("attend: %w", err)
	}
	p := &Presence{ID: id, Revision: r.Header.Revision, store: s, lease: lease, lost: make(chan struct{})}
	if err := p.keep(context.WithoutCancel(ctx)); err != nil {
		s.revoke(ctx, lease)
		return nil, fmt.Errorf("attend: %w", err)
	}
	return p, nil
}

// StartRun records that p's gateway makes the run next.Last, which has not begun.
// Of all that try, for what they saw of the schedule, one succeeds and gets the
// Revision that the schedule then has; for the others it is Lost, and it has another
// than they saw. Trying again after an error that may have hidden a success is the
// same success. When p has ended it fails, and p.Lost is closed.
func (s *Store) StartRun(ctx context.Context, p *Presence, seen Planned, next lambda.Runs) (revision int64, err error) {
	k, err := keysOf(seen.Schedule.Account, seen.Schedule.LambdaID)
	if err != nil {
		return 0, err
	}
	value, err := encode(next)
	if err != nil {
		return 0, err
	}
	r, err := s.commit(ctx,
		[]clientv3.Cmp{unchanged(k.schedule, seen.revision), unchanged(k.runs, seen.runsRevision), absent(k.runner)},
		[]clientv3.Op{clientv3.OpPut(k.runs, value), clientv3.OpPut(k.runner, p.ID, clientv3.WithLease(p.lease))},
		[]clientv3.Op{clientv3.OpGet(k.runs), clientv3.OpGet(k.runner)})
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		p.cancel() // etcd took this gateway for dead before it knew itself
	}
	if err != nil {
		return 0, fmt.Errorf("start a run of schedule %s: %w", seen.Schedule.ID, err)
	}
	if r.Succeeded {
		return r.Header.Revision, nil
	}
	now, err := decodeNew[lambda.Runs](first(r, 0))
	if err != nil {
		return 0, err
	}
	runner := first(r, 1)
	if now.Running() && now.Last.RequestID == next.Last.RequestID && runner != nil && runner.Lease == int64(p.lease) {
		return modRevision(first(r, 0)), nil
	}
	return 0, errNotPlanned(seen)
}

// MissRuns records runs that were missed, under the same conditions.
func (s *Store) MissRuns(ctx context.Context, seen Planned, next lambda.Runs) (revision int64, err error) {
	return s.putRuns(ctx, seen, next, "miss runs of schedule", func(k lambdaKeys) []clientv3.Cmp {
		return []clientv3.Cmp{unchanged(k.schedule, seen.revision), absent(k.runner)}
	})
}

// AbandonRun records the end of a run whose gateway has died, or is the caller's
// and does not make it any more.
func (s *Store) AbandonRun(ctx context.Context, seen Planned, next lambda.Runs) (revision int64, err error) {
	return s.putRuns(ctx, seen, next, "abandon a run of schedule", func(k lambdaKeys) []clientv3.Cmp {
		if seen.Runner == "" {
			return []clientv3.Cmp{exists(k.schedule), absent(k.runner)}
		}
		return []clientv3.Cmp{exists(k.schedule), clientv3.Compare(clientv3.CreateRevision(k.runner), "=", seen.runnerRevision)}
	})
}

// putRuns writes what became of runs, as long as what was seen still holds.
func (s *Store) putRuns(ctx context.Context, seen Planned, next lambda.Runs, what string, when func(lambdaKeys) []clientv3.Cmp) (int64, error) {
	k, err := keysOf(seen.Schedule.Account, seen.Schedule.LambdaID)
	if err != nil {
		return 0, err
	}
	value, err := encode(next)
	if err != nil {
		return 0, err
	}
	r, err := s.commit(ctx, append(when(k), unchanged(k.runs, seen.runsRevision)),
		[]clientv3.Op{clientv3.OpPut(k.runs, value), clientv3.OpDelete(k.runner)}, nil)
	if err != nil {
		return 0, fmt.Errorf("%s %s: %w", what, seen.Schedule.ID, err)
	}
	if !r.Succeeded {
		return 0, errNotPlanned(seen)
	}
	return r.Header.Revision, nil
}

// EndRun records how the run ended that was started with end's RequestID. A
// schedule that has been deleted meanwhile, or whose run was abandoned and followed
// by another, is left as it is, and the revision is 0.
func (s *Store) EndRun(ctx context.Context, ref LambdaRef, end lambda.Execution) (revision int64, err error) {
	k, err := keysOf(ref.Account, ref.LambdaID)
	if err != nil {
		return 0, err
	}
	for range maxAttempts {
		seen, err := s.read(ctx, clientv3.OpGet(k.runs))
		if err != nil {
			return 0, fmt.Errorf("end a run of lambda %s: %w", ref.LambdaID, err)
		}
		r, err := decodeNew[lambda.Runs](first(seen, 0))
		if err != nil || r == nil || r.Last == nil || r.Last.RequestID != end.RequestID {
			return 0, err
		}
		r.Last = &end
		value, err := encode(r)
		if err != nil {
			return 0, err
		}
		done, err := s.commit(ctx, []clientv3.Cmp{unchanged(k.runs, modRevision(first(seen, 0)))},
			[]clientv3.Op{clientv3.OpPut(k.runs, value), clientv3.OpDelete(k.runner)}, nil)
		if err != nil {
			return 0, fmt.Errorf("end a run of lambda %s: %w", ref.LambdaID, err)
		}
		if done.Succeeded {
			return done.Header.Revision, nil
		}
	}
	return 0, overtaken("end a run of lambda " + ref.LambdaID)
}

func errNotPlanned(seen Planned) error {
	e := lambda.Conflict(lambda.CodeScheduleConflict, "schedule %s has changed, or another gateway makes its run", seen.Schedule.ID)
	e.Err = errGone
	return e
}
