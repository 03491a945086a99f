package client

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// Processes is how the processes of a lambda's live version are, on the gateway
// that answered.
type Processes struct {
	LambdaID  string         `json:"lambdaUUID"`
	MinWarm   int            `json:"minWarm"` // that each gateway keeps ready though nobody calls
	State     string         `json:"state"`
	Processes int            `json:"processes"`
	OpenCalls int            `json:"openCalls"`
	Waiting   int            `json:"waitingCalls"`
	Failures  int            `json:"failures"` // starts that failed in a row
	RetryAt   time.Time      `json:"retryAt,omitzero"`
	LastError *ProcessFailed `json:"lastError,omitempty"` // nil: nothing went wrong, or it is forgotten
}

// ProcessFailed is what went wrong last.
type ProcessFailed struct {
	Message string    `json:"message"`
	Printed string    `json:"printed,omitempty"` // the end of what the process wrote outside any call
	At      time.Time `json:"at"`
}

// The states of Processes.
const (
	ProcessesIdle         = "idle" // there is none, and the next call starts one
	ProcessesStarting     = "starting"
	ProcessesReady        = "ready"
	ProcessesCrashLooping = "crash-looping" // start after start fails, or process after process ends of itself
)

// Processes tells how the processes of a lambda are.
func (c *Client) Processes(ctx context.Context, lambdaID string) (*Processes, error) {
	return c.processes(ctx, "read processes", c.management(http.MethodGet, "lambdas", lambdaID, "processes"))
}

// SetMinWarm has n processes of a lambda kept ready on each gateway though nobody
// calls. More than the account may have in all are refused with CodeLambdaLimit.
func (c *Client) SetMinWarm(ctx context.Context, lambdaID string, n int) (*Processes, error) {
	k := c.management(http.MethodPut, "lambdas", lambdaID, "processes")
	k.body = map[string]int{"minWarm": n}
	return c.processes(ctx, "set minWarm", k)
}

func (c *Client) processes(ctx context.Context, what string, k call) (*Processes, error) {
	a, err := c.do(ctx, k)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	p := new(Processes)
	return p, a.decode(what, p)
}
