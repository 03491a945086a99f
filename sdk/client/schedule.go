package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Error codes of schedules.
const (
	CodeScheduleConflict = "com.liveperson.faas.schedule.conflict" // the lambda has one, or it has changed since it was read
	CodeScheduleLimit    = "com.liveperson.faas.schedule.limit"
	CodeMissingSchedule  = "com.liveperson.faas.schedule.missing"
)

// Schedule has a deployed lambda called again and again.
type Schedule struct {
	ID       string `json:"uuid"`
	LambdaID string `json:"lambdaUUID"`
	// Cron has five fields in UTC: minute, hour, day of month, month, day of week.
	Cron    string          `json:"cronExpression"`
	Active  bool            `json:"isActive"`
	Payload json.RawMessage `json:"invocationBody"` // nil is an empty object

	Next      *time.Time `json:"nextExecution"` // nil when it is not active
	Last      *time.Time `json:"lastExecution"` // when the last run began; nil before the first
	Running   bool       `json:"isRunning"`
	Failed    bool       `json:"didLastExecutionFail"`
	LastError *struct {
		Code    string `json:"errorCode"`
		Message string `json:"errorMsg"`
	} `json:"lastExecutionError"`
	// Missed counts the runs that no gateway could make at their time.
	Missed      int        `json:"missedExecutions"`
	FirstMissed *time.Time `json:"firstMissedExecution"`
	LastMissed  *time.Time `json:"lastMissedExecution"`

	CreatedAt time.Time `json:"createdAt"`
	CreatedBy string    `json:"createdBy"`
	UpdatedAt time.Time `json:"updatedAt"`
	UpdatedBy string    `json:"updatedBy"`
	Revision  string    `json:"revision"`
}

// scheduleBody is the request of create and update. A payload of null takes it
// away.
type scheduleBody struct {
	Timestamp int64           `json:"timestamp"`
	ID        string          `json:"uuid"`
	LambdaID  string          `json:"lambdaUUID"`
	Cron      string          `json:"cronExpression"`
	Active    bool            `json:"isActive"`
	Payload   json.RawMessage `json:"invocationBody"`
}

// Schedules reads all schedules of the account, the oldest first.
func (c *Client) Schedules(ctx context.Context) ([]Schedule, error) {
	a, err := c.do(ctx, c.management(http.MethodGet, "schedules"))
	if err != nil {
		return nil, fmt.Errorf("list schedules: %w", err)
	}
	var list []Schedule
	return list, a.decode("list schedules", &list)
}

// CreateSchedule has a deployed lambda called from now on, with a payload that may
// be nil. A lambda that is not deployed is refused with CodeNotDeployed, one that
// has a schedule with CodeScheduleConflict.
func (c *Client) CreateSchedule(ctx context.Context, lambdaID, cron string, payload json.RawMessage) (*Schedule, error) {
	k := c.management(http.MethodPost, "schedules")
	k.body = scheduleBody{LambdaID: lambdaID, Cron: cron, Active: true, Payload: payload}
	return c.oneSchedule(ctx, "create schedule", k)
}

// UpdateSchedule stores s's Cron, Active and Payload if the gateway still has
// s.Revision; else it fails with status 412. Without a difference nothing is stored
// and changed is false.
func (c *Client) UpdateSchedule(ctx context.Context, s *Schedule) (stored *Schedule, changed bool, err error) {
	k := c.management(http.MethodPut, "schedules", s.ID)
	k.body = scheduleBody{ID: s.ID, LambdaID: s.LambdaID, Cron: s.Cron, Active: s.Active, Payload: s.Payload}
	if s.Revision != "" {
		k.header = http.Header{"If-Match": {`"` + s.Revision + `"`}}
	}
	a, err := c.do(ctx, k)
	if err != nil {
		return nil, false, fmt.Errorf("update schedule: %w", err)
	}
	if a.status == http.StatusNotModified {
		return s, false, nil
	}
	stored = new(Schedule)
	if err := a.decode("update schedule", stored); err != nil {
		return nil, false, err
	}
	return stored, true, nil
}

// DeleteSchedule has its lambda called no more. A run that goes on is not ended.
func (c *Client) DeleteSchedule(ctx context.Context, id string) error {
	if _, err := c.do(ctx, c.management(http.MethodDelete, "schedules", id)); err != nil {
		return fmt.Errorf("delete schedule: %w", err)
	}
	return nil
}

func (c *Client) oneSchedule(ctx context.Context, what string, k call) (*Schedule, error) {
	a, err := c.do(ctx, k)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	s := new(Schedule)
	return s, a.decode(what, s)
}
