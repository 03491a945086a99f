package store

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// Scheduled is a schedule with what became of its runs.
type Scheduled struct {
	Schedule *lambda.Schedule
	Runs     *lambda.Runs // nil before the first was due
}

// CreateSchedule saves a new schedule as it is given. Its lambda must be deployed:
// one that is not, or not for much longer, is a Conflict with CodeNotDeployed, one
// that is not there NotFound. A lambda that has a schedule is a Conflict with
// CodeScheduleConflict, more than Limits.Schedules one with CodeScheduleLimit.
func (s *Store) CreateSchedule(ctx context.Context, c lambda.Schedule, once *Once) error {
	k, err := keysOf(c.Account, c.LambdaID)
	if err != nil {
		return noLambda(c.Account, c.LambdaID)
	}
	value, err := encode(c)
	if err != nil {
		return err
	}
	lines := linesRoot + c.Account + "/"
	for range maxAttempts {
		seen, err := s.read(ctx, clientv3.OpGet(k.lambda), keyOf(k.live), clientv3.OpGet(k.work), keyOf(k.schedule), countOf(lines))
		if err != nil {
			return fmt.Errorf("create schedule: %w", err)
		}
		if err := s.maySchedule(seen, c); err != nil {
			return err
		}
		when := []clientv3.Cmp{exists(k.lambda), exists(k.live), absent(k.schedule)}
		if s.Limits.Schedules > 0 {
			when = append(when, noneNewer(lines, seen.Header.Revision))
		}
		r, err := s.commitOnce(ctx, once, c.ID, when, []clientv3.Op{clientv3.OpPut(k.schedule, value)})
		if err != nil {
			return fmt.Errorf("create schedule: %w", err)
		}
		if r.Succeeded {
			return nil
		}
	}
	return overtaken("create schedule of " + c.LambdaID)
}

func (s *Store) maySchedule(seen *clientv3.TxnResponse, c lambda.Schedule) error {
	l, err := decodeNew[struct {
		Name string `json:"name"`
	}](first(seen, 0))
	if err != nil {
		return err
	}
	work, err := decodeNew[struct {
		Kind lambda.DeploymentKind `json:"kind"`
	}](first(seen, 2))
	if err != nil {
		return err
	}
	const field = "lambdaUUID"
	switch n := count(seen, 4); {
	case l == nil:
		return noLambda(c.Account, c.LambdaID)
	case first(seen, 1) == nil:
		return conflict(lambda.CodeNotDeployed, field, "lambda %s is not deployed: deploy it first, only what is deployed can be scheduled", l.Name)
	case work != nil && work.Kind == lambda.Undeploy:
		return conflict(lambda.CodeNotDeployed, field, "lambda %s is being undeployed: deploy it again first, only what is deployed can be scheduled", l.Name)
	case first(seen, 3) != nil:
		return conflict(lambda.CodeScheduleConflict, field, "lambda %s has a schedule already: change that one, or delete it first", l.Name)
	case s.Limits.Schedules > 0 && n >= int64(s.Limits.Schedules):
		return lambda.Conflict(lambda.CodeScheduleLimit, "the account has %d schedules: the limit is %d, delete one first", n, s.Limits.Schedules)
	}
	return nil
}

// Schedules reads all schedules of an account, the oldest first.
func (s *Store) Schedules(ctx context.Context, account string) ([]Scheduled, error) {
	lines, err := folder(linesRoot, account)
	if err != nil {
		return nil, nil // such an account has none
	}
	var all []Scheduled
	at := map[string]int{}
	_, err = s.list(ctx, lines, 0, func(id string, kv *mvccpb.KeyValue) error {
		c, err := decodeNew[lambda.Schedule](kv)
		at[id] = len(all)
		all = append(all, Scheduled{Schedule: c})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list schedules: %w", err)
	}
	_, err = s.list(ctx, runsRoot+account+"/", 0, func(id string, kv *mvccpb.KeyValue) error {
		i, ok := at[id]
		if !ok {
			return nil // its schedule has been made since
		}
		runs, err := decodeNew[lambda.Runs](kv)
		if err == nil && runs.ScheduleID == all[i].Schedule.ID {
			all[i].Runs = runs
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the runs of schedules: %w", err)
	}
	slices.SortFunc(all, func(a, b Scheduled) int {
		if c := a.Schedule.CreatedAt.Compare(b.Schedule.CreatedAt); c != 0 {
			return c
		}
		return strings.Compare(a.Schedule.ID, b.Schedule.ID)
	})
	return all, nil
}

// Schedule reads the schedule with that id.
func (s *Store) Schedule(ctx context.Context, account, id string) (Scheduled, error) {
	all, err := s.Schedules(ctx, account)
	if err != nil {
		return Scheduled{}, err
	}
	for _, c := range all {
		if c.Schedule.ID == id {
			return c, nil
		}
	}
	return Scheduled{}, noSchedule(account, id)
}

// UpdateSchedule changes a schedule. change gets a copy to write into and tells
// whether it differs; if not, nothing is stored and false is returned. It may be
// called more than once.
func (s *Store) UpdateSchedule(ctx context.Context, account, id string, change func(*lambda.Schedule) (bool, error)) (Scheduled, bool, error) {
	found, err := s.Schedule(ctx, account, id)
	if err != nil {
		return Scheduled{}, false, err
	}
	changed := false
	err = update(ctx, s, "update schedule "+id, linesRoot+account+"/"+found.Schedule.LambdaID, func(c *lambda.Schedule, w *write) error {
		if c == nil || c.ID != id {
			return noSchedule(account, id)
		}
		found.Schedule = c
		var err error
		if changed, err = change(c); err != nil || !changed {
			return err
		}
		return w.put(w.key, c)
	})
	return found, changed, err
}

// DeleteSchedule removes a schedule, if may has nothing against it, and returns
// what it was. A run of it that goes on is not ended.
func (s *Store) DeleteSchedule(ctx context.Context, account, id string, may func(*lambda.Schedule) error) (*lambda.Schedule, error) {
	found, err := s.Schedule(ctx, account, id)
	if err != nil {
		return nil, err
	}
	k, err := keysOf(account, found.Schedule.LambdaID)
	if err != nil {
		return nil, err
	}
	err = update(ctx, s, "delete schedule "+id, k.schedule, func(c *lambda.Schedule, w *write) error {
		if c == nil || c.ID != id {
			return noSchedule(account, id)
		}
		found.Schedule = c
		if err := may(c); err != nil {
			return err
		}
		w.delete(k.schedule)
		w.delete(k.runs)
		w.delete(k.runner)
		return nil
	})
	return found.Schedule, err
}

func noSchedule(account, id string) error {
	return lambda.NotFound(lambda.CodeMissingSchedule, "There is no schedule %.100s on %s", id, account)
}

// dropSchedule deletes the schedule of a lambda that goes, if it has one;
// tellDropped tells of it.
func dropSchedule(k lambdaKeys) []clientv3.Op {
	return []clientv3.Op{clientv3.OpDelete(k.schedule, clientv3.WithPrevKV()), clientv3.OpDelete(k.runs), clientv3.OpDelete(k.runner)}
}

// tellDropped says that a transaction with dropSchedule has deleted a schedule.
func (s *Store) tellDropped(ctx context.Context, r *clientv3.TxnResponse, by string) {
	for _, answer := range r.Responses {
		for _, kv := range answer.GetResponseDeleteRange().GetPrevKvs() {
			if !strings.HasPrefix(string(kv.Key), linesRoot) {
				continue
			}
			c, err := decodeNew[lambda.Schedule](kv)
			if err != nil {
				s.log.Error().Err(err).Msg("a schedule that cannot be read was deleted: its lambda is not deployed any more")
				continue
			}
			s.log.Info().Str("accountId", c.Account).Str("lambdaId", c.LambdaID).Str("scheduleId", c.ID).Str("by", by).
				Msg("a schedule was deleted: its lambda is not deployed any more")
			if s.OnScheduleDropped != nil {
				s.OnScheduleDropped(ctx, c, by)
			}
		}
	}
}
