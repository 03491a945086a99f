package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
)

func newSchedule(account, lambdaID string) lambda.Schedule {
	now := time.Now().UTC().Truncate(time.Millisecond)
	return lambda.Schedule{
		Account: account, ID: uuid.NewString(), LambdaID: lambdaID, Cron: "*/5 * * * *", Active: true,
		Payload: json.RawMessage(`{"a":"<b>"}`), From: now, CreatedAt: now, CreatedBy: "dev", UpdatedAt: now, UpdatedBy: "dev",
	}
}

// live gives a lambda that is deployed.
func live(t *testing.T, s *store.Store, p *store.Presence, account, name string) *lambda.Lambda {
	t.Helper()
	l := newLambda(account, name)
	create(t, s, l)
	deploy(t, s, p, l)
	return l
}

func schedule(t *testing.T, s *store.Store, l *lambda.Lambda) lambda.Schedule {
	t.Helper()
	c := newSchedule(l.Account, l.ID)
	require.NoError(t, s.CreateSchedule(t.Context(), c, nil))
	return c
}

func TestSchedules(t *testing.T) {
	s := open(t)
	p := register(t, s)
	t.Run("what was saved is read back, the oldest first, and no other account's", func(t *testing.T) {
		account := newAccount()
		var want []lambda.Schedule
		for i := range 3 {
			c := newSchedule(account, live(t, s, p, account, fmt.Sprint("l", i)).ID)
			c.CreatedAt = c.CreatedAt.Add(time.Duration(i) * time.Second)
			require.NoError(t, s.CreateSchedule(t.Context(), c, nil))
			want = append(want, c)
		}
		schedule(t, s, live(t, s, p, account+"1", "other"))
		got, err := s.Schedules(t.Context(), account)
		require.NoError(t, err)
		require.Len(t, got, 3)
		for i := range want {
			require.Equal(t, &want[i], got[i].Schedule)
			require.Nil(t, got[i].Runs)
		}
		one, err := s.Schedule(t.Context(), account, want[1].ID)
		require.NoError(t, err)
		require.Equal(t, got[1], one)
		_, err = s.Schedule(t.Context(), account+"1", want[1].ID)
		requireKind(t, err, lambda.KindNotFound, lambda.CodeMissingSchedule)
	})
	t.Run("only what is deployed can be scheduled", func(t *testing.T) {
		account := newAccount()
		err := s.CreateSchedule(t.Context(), newSchedule(account, uuid.NewString()), nil)
		requireKind(t, err, lambda.KindNotFound, lambda.CodeMissingLambda)
		requireKind(t, s.CreateSchedule(t.Context(), newSchedule(account, "a/b"), nil), lambda.KindNotFound, lambda.CodeMissingLambda)

		l := newLambda(account, "draft")
		create(t, s, l)
		err = s.CreateSchedule(t.Context(), newSchedule(account, l.ID), nil)
		requireKind(t, err, lambda.KindConflict, lambda.CodeNotDeployed)
		require.ErrorContains(t, err, "lambda draft is not deployed: deploy it first")

		deploy(t, s, p, l)
		_, err = s.StartDeployment(t.Context(), store.Start{Account: account, LambdaID: l.ID, Kind: lambda.Undeploy, By: "dev"})
		require.NoError(t, err)
		err = s.CreateSchedule(t.Context(), newSchedule(account, l.ID), nil)
		requireKind(t, err, lambda.KindConflict, lambda.CodeNotDeployed)
		require.ErrorContains(t, err, "is being undeployed")
	})
	t.Run("a lambda has one, also of those that come at once", func(t *testing.T) {
		l := live(t, s, p, newAccount(), "hello")
		errs := make([]error, 8)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { errs[i] = s.CreateSchedule(t.Context(), newSchedule(l.Account, l.ID), nil) })
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
				continue
			}
			requireKind(t, err, lambda.KindConflict, lambda.CodeScheduleConflict)
		}
		require.Equal(t, 1, won)
	})
	t.Run("an account has so many, also of those that come at once", func(t *testing.T) {
		s := open(t)
		s.Limits.Schedules = 3
		account := newAccount()
		lambdas := make([]*lambda.Lambda, 8)
		for i := range lambdas {
			lambdas[i] = live(t, s, p, account, fmt.Sprint("l", i))
		}
		errs := make([]error, len(lambdas))
		var wg sync.WaitGroup
		for i, l := range lambdas {
			wg.Go(func() { errs[i] = s.CreateSchedule(t.Context(), newSchedule(account, l.ID), nil) })
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
				continue
			}
			requireKind(t, err, lambda.KindConflict, lambda.CodeScheduleLimit)
			require.ErrorContains(t, err, "the limit is 3, delete one first")
		}
		require.Equal(t, 3, won)
	})
	t.Run("a repeated request with one key makes one", func(t *testing.T) {
		l := live(t, s, p, newAccount(), "hello")
		once := &store.Once{Account: l.Account, Key: "k", Fingerprint: "f"}
		c := newSchedule(l.Account, l.ID)
		require.NoError(t, s.CreateSchedule(t.Context(), c, once))
		requireKind(t, s.CreateSchedule(t.Context(), newSchedule(l.Account, l.ID), once), lambda.KindConflict, lambda.CodeScheduleConflict)
		r, err := s.Receipt(t.Context(), once)
		require.NoError(t, err)
		require.Equal(t, c.ID, r.ID)
	})
	t.Run("a change is a change of what is there", func(t *testing.T) {
		c := schedule(t, s, live(t, s, p, newAccount(), "hello"))
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				_, changed, err := s.UpdateSchedule(t.Context(), c.Account, c.ID, func(c *lambda.Schedule) (bool, error) {
					c.Cron += "*"
					return true, nil
				})
				if err != nil || !changed {
					t.Errorf("not changed: %v", err)
				}
			})
		}
		wg.Wait()
		got, err := s.Schedule(t.Context(), c.Account, c.ID)
		require.NoError(t, err)
		require.Equal(t, c.Cron+"********", got.Schedule.Cron)

		_, changed, err := s.UpdateSchedule(t.Context(), c.Account, c.ID, func(c *lambda.Schedule) (bool, error) { c.Cron = "no"; return false, nil })
		require.NoError(t, err)
		require.False(t, changed)
		_, _, err = s.UpdateSchedule(t.Context(), c.Account, c.ID, func(c *lambda.Schedule) (bool, error) { c.Cron = "no"; return true, lambda.Invalid("x", "x") })
		requireKind(t, err, lambda.KindInvalid, lambda.CodeBadInput)
		again, err := s.Schedule(t.Context(), c.Account, c.ID)
		require.NoError(t, err)
		require.Equal(t, got, again)
		_, _, err = s.UpdateSchedule(t.Context(), c.Account, uuid.NewString(), nil)
		requireKind(t, err, lambda.KindNotFound, lambda.CodeMissingSchedule)
	})
	t.Run("what is deleted leaves nothing, and room for another", func(t *testing.T) {
		l := live(t, s, p, newAccount(), "hello")
		c := schedule(t, s, l)
		startRun(t, s, attend(t, s), c)
		_, err := s.DeleteSchedule(t.Context(), c.Account, c.ID, func(*lambda.Schedule) error { return lambda.Invalid("x", "x") })
		requireKind(t, err, lambda.KindInvalid, lambda.CodeBadInput)
		gone, err := s.DeleteSchedule(t.Context(), c.Account, c.ID, func(*lambda.Schedule) error { return nil })
		require.NoError(t, err)
		require.Equal(t, &c, gone)
		require.Empty(t, scheduleKeys(t, l))
		_, err = s.DeleteSchedule(t.Context(), c.Account, c.ID, nil)
		requireKind(t, err, lambda.KindNotFound, lambda.CodeMissingSchedule)
		schedule(t, s, l)
	})
	t.Run("an undeployment deletes it, and says so", func(t *testing.T) {
		s := open(t)
		var told []string
		s.OnScheduleDropped = func(_ context.Context, c *lambda.Schedule, by string) { told = append(told, c.ID+" by "+by) }
		l := live(t, s, p, newAccount(), "hello")
		undeploy(t, s, p, l)
		require.Empty(t, told, "it had none")
		deploy(t, s, p, l)
		c := schedule(t, s, l)
		startRun(t, s, attend(t, s), c)
		deploy(t, s, p, l)
		require.Len(t, scheduleKeys(t, l), 3, "another version leaves it")
		undeploy(t, s, p, l)
		require.Empty(t, scheduleKeys(t, l))
		require.Equal(t, []string{c.ID + " by dev"}, told)
		require.NoError(t, s.DeleteLambda(t.Context(), l.Account, l.ID, 0))
		require.Empty(t, keysWith(t, l.ID))
	})
	t.Run("of an undeployment and a new schedule at once, none is left over", func(t *testing.T) {
		for range 10 {
			l := live(t, s, p, newAccount(), "hello")
			_, err := s.StartDeployment(t.Context(), store.Start{Account: l.Account, LambdaID: l.ID, Kind: lambda.Undeploy, By: "dev"})
			require.NoError(t, err)
			w := claim(t, s, p, l)
			var wg sync.WaitGroup
			wg.Go(func() { _ = s.CreateSchedule(t.Context(), newSchedule(l.Account, l.ID), nil) })
			_, err = s.FinishUndeployment(t.Context(), w)
			require.NoError(t, err)
			wg.Wait()
			require.Empty(t, scheduleKeys(t, l))
		}
	})
}

// scheduleKeys lists what there is of the schedule of a lambda.
func scheduleKeys(t *testing.T, l *lambda.Lambda) []string {
	t.Helper()
	var found []string
	for _, k := range keysWith(t, l.ID) {
		if len(k) > len("/sluice/schedule/") && k[:len("/sluice/schedule/")] == "/sluice/schedule/" {
			found = append(found, k)
		}
	}
	return found
}

func attend(t *testing.T, s *store.Store) *store.Presence {
	t.Helper()
	p, err := s.Attend(t.Context(), uuid.NewString(), time.Second)
	require.NoError(t, err)
	t.Cleanup(func() { p.Close(context.Background()) })
	return p
}

// timetable is one that knows all that is written so far.
func timetable(t *testing.T, s *store.Store) *store.Timetable {
	t.Helper()
	table, err := s.OpenTimetable(t.Context())
	require.NoError(t, err)
	t.Cleanup(table.Close)
	return table
}

func refOf(c lambda.Schedule) store.LambdaRef {
	return store.LambdaRef{Account: c.Account, LambdaID: c.LambdaID}
}

// planned is a schedule as a fresh reader sees it.
func planned(t *testing.T, s *store.Store, c lambda.Schedule) store.Planned {
	t.Helper()
	table, err := s.OpenTimetable(t.Context())
	require.NoError(t, err)
	defer table.Close()
	seen, ok := table.Of(refOf(c))
	require.True(t, ok)
	return seen
}

func runAt(c lambda.Schedule, due time.Time) lambda.Runs {
	return lambda.Runs{ScheduleID: c.ID, From: c.From, Due: due, Last: &lambda.Execution{Due: due, RequestID: uuid.NewString(), StartedAt: due}}
}

func startRun(t *testing.T, s *store.Store, p *store.Presence, c lambda.Schedule) lambda.Runs {
	t.Helper()
	r := runAt(c, c.From.Add(time.Minute))
	_, err := s.StartRun(t.Context(), p, planned(t, s, c), r)
	require.NoError(t, err)
	return r
}

func TestRuns(t *testing.T) {
	s := open(t)
	p, q := attend(t, s), attend(t, s)
	scheduled := func(t *testing.T) lambda.Schedule {
		t.Helper()
		return schedule(t, s, live(t, s, register(t, s), newAccount(), "hello"))
	}
	lost := func(t *testing.T, err error) {
		t.Helper()
		require.True(t, store.Lost(err), "%v", err)
	}
	t.Run("of those that start one run, one does", func(t *testing.T) {
		c := scheduled(t)
		seen, due := planned(t, s, c), c.From.Add(time.Minute)
		errs := make([]error, 8)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				_, errs[i] = s.StartRun(t.Context(), []*store.Presence{p, q}[i%2], seen, runAt(c, due))
			})
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
				continue
			}
			lost(t, err)
		}
		require.Equal(t, 1, won)
	})
	t.Run("a start that is repeated because its answer was lost is the same start", func(t *testing.T) {
		c := scheduled(t)
		seen, r := planned(t, s, c), runAt(c, c.From.Add(time.Minute))
		for range 3 {
			_, err := s.StartRun(t.Context(), p, seen, r)
			require.NoError(t, err)
		}
		_, err := s.StartRun(t.Context(), q, seen, r)
		lost(t, err)
		got := planned(t, s, c)
		require.Equal(t, p.ID, got.Runner)
		require.True(t, got.Runs.Running())
	})
	t.Run("a schedule that was changed or deleted is not run as it was", func(t *testing.T) {
		c := scheduled(t)
		seen := planned(t, s, c)
		_, _, err := s.UpdateSchedule(t.Context(), c.Account, c.ID, func(c *lambda.Schedule) (bool, error) { c.Active = false; return true, nil })
		require.NoError(t, err)
		_, err = s.StartRun(t.Context(), p, seen, runAt(c, c.From))
		lost(t, err)
		_, err = s.MissRuns(t.Context(), seen, runAt(c, c.From))
		lost(t, err)
		seen = planned(t, s, c)
		_, err = s.DeleteSchedule(t.Context(), c.Account, c.ID, func(*lambda.Schedule) error { return nil })
		require.NoError(t, err)
		_, err = s.StartRun(t.Context(), p, seen, runAt(c, c.From))
		lost(t, err)
		require.Empty(t, keysWith(t, "runs/"+c.Account))
	})
	t.Run("the end of a run makes room for the next", func(t *testing.T) {
		c := scheduled(t)
		r := startRun(t, s, p, c)
		seen := planned(t, s, c)
		_, err := s.StartRun(t.Context(), q, seen, runAt(c, r.Due.Add(time.Minute)))
		lost(t, err)
		end := *r.Last
		end.EndedAt, end.Failed, end.Code, end.Message = r.Due.Add(time.Second), true, "code", "why"
		_, err = s.EndRun(t.Context(), refOf(c), end)
		require.NoError(t, err)
		seen = planned(t, s, c)
		require.Empty(t, seen.Runner)
		require.Equal(t, &end, seen.Runs.Last)
		got, err := s.Schedule(t.Context(), c.Account, c.ID)
		require.NoError(t, err)
		require.Equal(t, seen.Runs, got.Runs)
		next := runAt(c, r.Due.Add(time.Minute))
		_, err = s.StartRun(t.Context(), q, seen, next)
		require.NoError(t, err)

		_, err = s.EndRun(t.Context(), refOf(c), end)
		require.NoError(t, err, "of a run that another has followed")
		seen = planned(t, s, c)
		require.Equal(t, next.Last, seen.Runs.Last)
		require.Equal(t, q.ID, seen.Runner)
	})
	t.Run("the end of a run of a schedule that is gone leaves nothing", func(t *testing.T) {
		c := scheduled(t)
		r := startRun(t, s, p, c)
		_, err := s.DeleteSchedule(t.Context(), c.Account, c.ID, func(*lambda.Schedule) error { return nil })
		require.NoError(t, err)
		_, err = s.EndRun(t.Context(), refOf(c), *r.Last)
		require.NoError(t, err)
		require.Empty(t, keysWith(t, "runs/"+c.Account))
	})
	t.Run("a run is abandoned when its gateway has died, not before", func(t *testing.T) {
		c := scheduled(t)
		mortal, err := s.Attend(t.Context(), uuid.NewString(), time.Second)
		require.NoError(t, err)
		r := startRun(t, s, mortal, c)
		end := *r.Last
		end.EndedAt, end.Failed = r.Due.Add(time.Second), true
		abandoned := r
		abandoned.Last = &end

		alive := planned(t, s, c)
		require.Equal(t, mortal.ID, alive.Runner)
		table := timetable(t, s)
		mortal.Close(t.Context())
		require.Eventually(t, func() bool { seen, _ := table.Of(refOf(c)); return seen.Runner == "" }, 10*time.Second, 5*time.Millisecond)
		_, err = s.AbandonRun(t.Context(), alive, abandoned)
		lost(t, err)
		seen := planned(t, s, c)
		require.True(t, seen.Runs.Running())
		_, err = s.AbandonRun(t.Context(), seen, abandoned)
		require.NoError(t, err)
		_, err = s.AbandonRun(t.Context(), seen, abandoned)
		lost(t, err)
		require.Equal(t, &end, planned(t, s, c).Runs.Last)

		after := end
		after.Failed = false
		_, err = s.EndRun(t.Context(), refOf(c), after)
		require.NoError(t, err, "it lived, and knows better")
		require.False(t, planned(t, s, c).Runs.Last.Failed)
	})
	t.Run("a timetable tells which gateways attend", func(t *testing.T) {
		table := timetable(t, s)
		c := scheduled(t)
		require.Eventually(t, func() bool { _, ok := table.Of(refOf(c)); return ok }, 10*time.Second, time.Millisecond)
		table.Take()
		r := attend(t, s)
		require.Eventually(t, func() bool { return slices.Contains(table.Gateways(), r.ID) }, 10*time.Second, time.Millisecond)
		require.Subset(t, table.Gateways(), []string{p.ID, q.ID})
		require.True(t, slices.IsSorted(table.Gateways()))
		require.Contains(t, table.Take(), refOf(c), "whose it is may have changed")
		r.Close(t.Context())
		require.Eventually(t, func() bool { return !slices.Contains(table.Gateways(), r.ID) }, 10*time.Second, time.Millisecond)
	})
	t.Run("a timetable tells what has changed, and only that", func(t *testing.T) {
		table := timetable(t, s)
		table.Take()
		require.Empty(t, table.Take())
		c := scheduled(t)
		require.Eventually(t, func() bool { _, ok := table.Of(refOf(c)); return ok }, 10*time.Second, time.Millisecond)
		require.Equal(t, []store.LambdaRef{refOf(c)}, table.Take())
		changed := table.Changed()
		revision, err := s.MissRuns(t.Context(), planned(t, s, c), lambda.Runs{ScheduleID: c.ID, Due: c.From, Missed: 1})
		require.NoError(t, err)
		<-changed
		require.Equal(t, []store.LambdaRef{refOf(c)}, table.Take())
		seen, ok := table.Of(refOf(c))
		require.True(t, ok)
		require.Equal(t, 1, seen.Runs.Missed)
		require.Equal(t, revision, seen.Revision)
	})
}
