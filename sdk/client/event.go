package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Event is something that lambdas can be bound to.
type Event struct {
	ID          string `json:"eventId"`
	Name        string `json:"eventName"`
	Description string `json:"description"`
	Limit       int    `json:"lambdaLimit"` // saved lambdas of an account that it takes
}

// Input is what a lambda is called with.
type Input struct {
	Headers []Pair          `json:"headers"`
	Payload json.RawMessage `json:"payload"`
}

// Template is a lambda to start from.
type Template struct {
	ID          string   `json:"uuid"`
	Name        string   `json:"name"`
	EventID     string   `json:"eventId,omitempty"`
	Description string   `json:"description"`
	Code        string   `json:"code"`
	Environment []Pair   `json:"environmentVariables"`
	Sample      Input    `json:"payload"`           // an example of what it is called with
	Runtime     *Runtime `json:"runtime,omitempty"` // nil: the default
}

// EventResult is what one lambda answered to an event.
type EventResult struct {
	LambdaID string          `json:"uuid"`
	At       time.Time       `json:"timestamp"`
	Result   json.RawMessage `json:"result"` // of one that failed {"errorCode", "errorMsg"}
}

// Events lists what lambdas can be bound to.
func (c *Client) Events(ctx context.Context) ([]Event, error) {
	a, err := c.do(ctx, c.management(http.MethodGet, "events"))
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	var list []Event
	return list, a.decode("list events", &list)
}

// Templates lists lambdas to start from.
func (c *Client) Templates(ctx context.Context) ([]Template, error) {
	a, err := c.do(ctx, c.management(http.MethodGet, "templates"))
	if err != nil {
		return nil, fmt.Errorf("list templates: %w", err)
	}
	var list []Template
	return list, a.decode("list templates", &list)
}

// InvokeEvent runs every deployed lambda of an event and returns what each
// answered; none is no error. Among several, one that failed says so in its
// result; the failure of a single one is the *Error.
func (c *Client) InvokeEvent(ctx context.Context, eventID string, payload any, options ...InvokeOption) ([]EventResult, error) {
	a, err := c.invoke(ctx, c.accountPath("events", eventID, "invoke"), payload, c.system, options)
	if err != nil {
		return nil, fmt.Errorf("invoke event: %w", err)
	}
	var results []EventResult
	return results, a.decode("invoke event", &results)
}

// IsImplemented reports whether a deployed lambda waits for the event. Of the
// options only WithSkill and WithUserID mean anything here.
func (c *Client) IsImplemented(ctx context.Context, eventID string, options ...InvokeOption) (bool, error) {
	a, err := c.do(ctx, call{
		method: http.MethodGet, base: c.endpoints.Invocation, path: c.accountPath("events", eventID, "isImplemented"),
		query: invocationOf(options).query(c.system),
	})
	if err != nil {
		return false, fmt.Errorf("isImplemented: %w", err)
	}
	var v struct {
		Implemented bool `json:"implemented"`
	}
	return v.Implemented, a.decode("isImplemented", &v)
}
