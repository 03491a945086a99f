package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/schedule"
	"github.com/sluice-faas/sluice/gateway/store"
)

// Schedules is what the API needs of the schedules in the store.
type Schedules interface {
	CreateSchedule(ctx context.Context, c lambda.Schedule, once *store.Once) error
	Schedule(ctx context.Context, account, id string) (store.Scheduled, error)
	Schedules(ctx context.Context, account string) ([]store.Scheduled, error)
	UpdateSchedule(ctx context.Context, account, id string, change func(*lambda.Schedule) (bool, error)) (store.Scheduled, bool, error)
	DeleteSchedule(ctx context.Context, account, id string, may func(*lambda.Schedule) error) (*lambda.Schedule, error)
}

// scheduleBody is what clients send to create or update a schedule. A key that is
// absent changes nothing; an invocationBody of null takes the payload away.
type scheduleBody struct {
	LambdaUUID     *string         `json:"lambdaUUID"`
	CronExpression *string         `json:"cronExpression"`
	IsActive       *bool           `json:"isActive"`
	InvocationBody json.RawMessage `json:"invocationBody"`
}

// scheduleView is ISchedule (contract/management.md §6), with keys of ours after
// those of the contract.
type scheduleView struct {
	UUID                 string  `json:"uuid"`
	LambdaUUID           string  `json:"lambdaUUID"`
	CronExpression       string  `json:"cronExpression"`
	IsActive             bool    `json:"isActive"`
	NextExecution        *string `json:"nextExecution"` // null when it is not active
	LastExecution        *string `json:"lastExecution"` // null before the first
	DidLastExecutionFail bool    `json:"didLastExecutionFail"`
	CreatedBy            string  `json:"createdBy"`

	InvocationBody       json.RawMessage `json:"invocationBody,omitempty"`
	IsRunning            bool            `json:"isRunning"`
	LastExecutionError   *errorBody      `json:"lastExecutionError,omitempty"`
	MissedExecutions     int             `json:"missedExecutions"`
	FirstMissedExecution *string         `json:"firstMissedExecution,omitempty"`
	LastMissedExecution  *string         `json:"lastMissedExecution,omitempty"`
	CreatedAt            string          `json:"createdAt"`
	UpdatedAt            string          `json:"updatedAt"`
	UpdatedBy            string          `json:"updatedBy"`
	Revision             string          `json:"revision"`
}

func (s *Server) viewSchedule(got store.Scheduled) scheduleView {
	c, runs := got.Schedule, got.Runs
	v := scheduleView{
		UUID: c.ID, LambdaUUID: c.LambdaID, CronExpression: c.Cron, IsActive: c.Active, CreatedBy: c.CreatedBy,
		InvocationBody: c.Payload, CreatedAt: wireTime(c.CreatedAt), UpdatedAt: wireTime(c.UpdatedAt), UpdatedBy: c.UpdatedBy,
		IsRunning: runs.Running(), NextExecution: s.nextExecution(c, runs), Revision: revisionOf(c),
	}
	if runs == nil {
		return v
	}
	v.MissedExecutions = runs.Missed
	v.FirstMissedExecution, v.LastMissedExecution = orNull(runs.MissedSince), orNull(runs.MissedUntil)
	if last := runs.Last; last != nil {
		v.LastExecution, v.DidLastExecutionFail = orNull(last.StartedAt), last.Failed
		if last.Failed {
			v.LastExecutionError = &errorBody{Code: last.Code, Message: last.Message}
		}
	}
	return v
}

// orNull gives a time that may not have come.
func orNull(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	text := wireTime(t)
	return &text
}

// nextExecution is the time of the next run that is not due yet.
func (s *Server) nextExecution(c *lambda.Schedule, runs *lambda.Runs) *string {
	if !c.Active {
		return nil
	}
	line, err := schedule.Parse(c.Cron)
	if err != nil {
		return nil // written by a gateway of another version: the scheduler says so
	}
	after := c.After(runs)
	if now := s.now(); now.After(after) {
		after = now
	}
	return orNull(line.Next(after))
}

// listSchedules answers the schedules of the account.
func (s *Server) listSchedules(w http.ResponseWriter, r *http.Request) error {
	all, err := s.schedules.Schedules(r.Context(), of(r).account())
	if err != nil {
		return fmt.Errorf("list schedules: %w", err)
	}
	views := make([]scheduleView, len(all))
	for i := range all {
		views[i] = s.viewSchedule(all[i])
	}
	return respond(w, http.StatusOK, views)
}

// createSchedule has a deployed lambda called from now on.
func (s *Server) createSchedule(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	var body scheduleBody
	if err := s.decode(w, r, &body); err != nil {
		return err
	}
	if body.LambdaUUID == nil || *body.LambdaUUID == "" {
		return lambda.Invalid("lambdaUUID", "lambdaUUID is missing: give the uuid of a deployed lambda")
	}
	if body.CronExpression == nil {
		body.CronExpression = new(string) // which Parse refuses as missing
	}
	now, by := s.now().UTC(), author(q.principal)
	q.lambdaID = *body.LambdaUUID
	c := lambda.Schedule{
		Account: q.account(), ID: uuid.NewString(), LambdaID: *body.LambdaUUID, Active: true,
		CreatedAt: now, CreatedBy: by, UpdatedAt: now, UpdatedBy: by,
	}
	if _, err := s.applySchedule(&c, body); err != nil {
		return err
	}
	c.From = now
	if err := s.spend(q, c); err != nil {
		return err
	}
	once, err := s.once(q, r)
	if err != nil {
		return err
	}
	id, replayed, err := s.writeOnce(q, once, func() (string, error) { return c.ID, s.schedules.CreateSchedule(q, c, once) })
	if err != nil {
		return fmt.Errorf("create schedule: %w", err)
	}
	markReplay(w, replayed)
	got := store.Scheduled{Schedule: &c}
	if replayed {
		if got, err = s.schedules.Schedule(q, q.account(), id); err != nil {
			return fmt.Errorf("read schedule: %w", err)
		}
	} else {
		s.noteSchedule(q, journal.Create, &lambda.Schedule{}, &c)
	}
	return s.respondSchedule(w, http.StatusCreated, got)
}

// updateSchedule changes when a lambda is called, with what, and whether. Another
// line, and a schedule that becomes active, count from now on: runs that would
// have been due before are none.
func (s *Server) updateSchedule(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	var body scheduleBody
	if err := s.decode(w, r, &body); err != nil {
		return err
	}
	wanted, err := demanded(r)
	if err != nil {
		return err
	}
	var before lambda.Schedule
	got, changed, err := s.schedules.UpdateSchedule(q, q.account(), q.params.ByName("id"), func(c *lambda.Schedule) (bool, error) {
		before = *c
		q.lambdaID = c.LambdaID
		if err := metSchedule(wanted, c); err != nil {
			return false, err
		}
		if body.LambdaUUID != nil && *body.LambdaUUID != "" && *body.LambdaUUID != c.LambdaID {
			return false, lambda.Invalid("lambdaUUID", "lambdaUUID cannot change: it is %s, delete this schedule and create one of the other lambda", c.LambdaID)
		}
		changed, err := s.applySchedule(c, body)
		if err != nil || !changed {
			return false, err
		}
		c.UpdatedAt, c.UpdatedBy = s.now().UTC(), author(q.principal)
		return true, s.spend(q, c)
	})
	switch {
	case err != nil:
		return fmt.Errorf("update schedule: %w", err)
	case !changed:
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	s.noteSchedule(q, journal.Update, &before, got.Schedule)
	return s.respondSchedule(w, http.StatusOK, got)
}

// deleteSchedule has a lambda called no more. A run under way ends as it would.
func (s *Server) deleteSchedule(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	wanted, err := demanded(r)
	if err != nil {
		return err
	}
	gone, err := s.schedules.DeleteSchedule(q, q.account(), q.params.ByName("id"), func(c *lambda.Schedule) error {
		q.lambdaID = c.LambdaID
		return metSchedule(wanted, c)
	})
	if err != nil {
		return fmt.Errorf("delete schedule: %w", err)
	}
	s.noteSchedule(q, journal.Delete, gone, &lambda.Schedule{})
	return respond(w, http.StatusOK, message{"Successfully deleted schedule"})
}

func (s *Server) respondSchedule(w http.ResponseWriter, status int, got store.Scheduled) error {
	v := s.viewSchedule(got)
	setRevision(w, v.Revision)
	return respond(w, status, v)
}

// applySchedule copies what a caller may change into c and says whether anything
// did.
func (s *Server) applySchedule(c *lambda.Schedule, body scheduleBody) (changed bool, err error) {
	if body.CronExpression != nil {
		line, err := schedule.Parse(*body.CronExpression)
		if err != nil {
			return false, err
		}
		if text := line.String(); text != c.Cron {
			c.Cron, c.From, changed = text, s.now().UTC(), true
		}
	}
	if body.IsActive != nil && *body.IsActive != c.Active {
		c.Active, c.From, changed = *body.IsActive, s.now().UTC(), true
	}
	if len(body.InvocationBody) == 0 {
		return changed, nil
	}
	var payload []byte
	if !isNull(body.InvocationBody) {
		var compact bytes.Buffer
		if err := json.Compact(&compact, body.InvocationBody); err != nil {
			return false, jsonFault(err) // which decode has refused already
		}
		payload = compact.Bytes()
	}
	if sameJSON(payload, c.Payload) {
		return changed, nil
	}
	c.Payload = payload
	return true, c.ValidatePayload(s.limits)
}

// sameJSON tells whether two compact values differ in nothing but whether <, >, &
// and the line ends of Unicode are escaped, as they are in our answers.
func sameJSON(a, b []byte) bool {
	var x, y bytes.Buffer
	json.HTMLEscape(&x, a)
	json.HTMLEscape(&y, b)
	return bytes.Equal(x.Bytes(), y.Bytes())
}

// metSchedule says whether a schedule is as a write wants it.
func metSchedule(wanted demand, c *lambda.Schedule) error {
	if wanted.revision == "" || wanted.revision == revisionOf(c) {
		return nil
	}
	return &lambda.Error{
		Kind: lambda.KindPrecondition, Code: lambda.CodeScheduleConflict, Field: "If-Match", Phase: lambda.PhaseRequest,
		Message: "the schedule has changed since it was read: read it again",
	}
}

// noteSchedule keeps what the caller of q has done to a schedule, under the name of
// its lambda.
func (s *Server) noteSchedule(q *request, action journal.Action, before, after *lambda.Schedule) {
	c := after
	if action == journal.Delete {
		c = before
	}
	a := journal.Activity{Action: action, Noun: journal.Schedule, ID: c.ID, Changes: scheduleChanges(before, after)}
	if live, ok := s.live.Live(c.Account, c.LambdaID); ok {
		a.Name = live.Name
	}
	s.note(q, a)
}

func scheduleChanges(before, after *lambda.Schedule) changes {
	var c changes
	c.value("lambdaUUID", before.LambdaID, after.LambdaID)
	c.value("cronExpression", before.Cron, after.Cron)
	c.value("isActive", boolText(before.Active), boolText(after.Active))
	c.value("invocationBody", string(before.Payload), string(after.Payload))
	return c
}
