package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// LogRecord is one line that a lambda logged.
type LogRecord struct {
	Level     string          `json:"level"` // Debug, Info, Warn, Error
	Message   string          `json:"message"`
	Extras    json.RawMessage `json:"extras"`    // a JSON array
	Timestamp int64           `json:"timestamp"` // epoch milliseconds
}

// ManualResult is the answer of a manual invocation.
type ManualResult struct {
	Result json.RawMessage `json:"result"`
	Logs   []LogRecord     `json:"logs"`
}

// InvokeOption changes one invocation.
type InvokeOption func(*invocation)

type invocation struct {
	requestID string
	userID    string
	skillID   string
	headers   []Pair
}

// WithRequestID sends id as X-Request-ID. The gateway runs calls with the same
// id, lambda, token and body once in ten minutes and gives all the same answer,
// so a call that was cut off can be repeated safely.
func WithRequestID(id string) InvokeOption { return func(i *invocation) { i.requestID = id } }

// WithUserID names the user in the query, for the gateway's log.
func WithUserID(id string) InvokeOption { return func(i *invocation) { i.userID = id } }

// WithSkill has InvokeEvent and IsImplemented ask only lambdas that are bound to
// the skill, or to none.
func WithSkill(id string) InvokeOption { return func(i *invocation) { i.skillID = id } }

// WithHeaders gives the lambda its input.headers.
func WithHeaders(headers ...Pair) InvokeOption { return func(i *invocation) { i.headers = headers } }

// Invoke runs the live version of a lambda and returns its result, whatever
// kind of token c has. A payload of nil is sent as absent, which the lambda sees
// as {}. A failure inside the lambda is an *Error of which Function is true.
func (c *Client) Invoke(ctx context.Context, lambdaID string, payload any, options ...InvokeOption) (json.RawMessage, error) {
	a, err := c.invoke(ctx, c.accountPath("lambdas", lambdaID, "invoke"), payload, c.system, options)
	if err != nil {
		return nil, fmt.Errorf("invoke: %w", err)
	}
	var result json.RawMessage
	return result, a.decode("invoke", &result)
}

// InvokeManual runs the live version of a lambda as a developer's test: the
// answer, or the *Error, carries the log records, Debug included. It needs the
// token of a Session.
func (c *Client) InvokeManual(ctx context.Context, lambdaID string, payload any, options ...InvokeOption) (*ManualResult, error) {
	a, err := c.invoke(ctx, c.accountPath("lambdas", lambdaID, "invoke"), payload, "", options)
	if err != nil {
		return nil, fmt.Errorf("invoke: %w", err)
	}
	r := new(ManualResult)
	return r, a.decode("invoke", r)
}

func (c *Client) invoke(ctx context.Context, path string, payload any, system string, options []InvokeOption) (answer, error) {
	i := invocationOf(options)
	k := call{method: http.MethodPost, base: c.endpoints.Invocation, path: path, query: i.query(system), header: http.Header{}}
	body := struct {
		Timestamp int64  `json:"timestamp"`
		Headers   []Pair `json:"headers"`
		Payload   any    `json:"payload,omitempty"`
	}{time.Now().UnixMilli(), orNone(i.headers), payload}
	if i.requestID != "" {
		k.header.Set("X-Request-ID", i.requestID)
		body.Timestamp = 0 // or no repetition would have the same body
	}
	k.body = body
	return c.do(ctx, k)
}

func invocationOf(options []InvokeOption) (i invocation) {
	for _, option := range options {
		option(&i)
	}
	return i
}

func (i invocation) query(system string) url.Values {
	q := url.Values{"v": {"1"}}
	for name, value := range map[string]string{"externalSystem": system, "userId": i.userID, "skillId": i.skillID} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}
