package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Lambda is a lambda as the management API shows it.
type Lambda struct {
	ID          string      `json:"uuid"`
	Version     int         `json:"version"`
	Name        string      `json:"name"`
	Description string      `json:"description"`
	EventID     string      `json:"eventId,omitempty"`
	Skills      []string    `json:"skills,omitempty"` // that it is bound to
	Sample      Input       `json:"samplePayload"`    // an example of what it is called with
	State       string      `json:"state"`
	Runtime     Runtime     `json:"runtime"`
	CreatedAt   time.Time   `json:"createdAt"`
	CreatedBy   string      `json:"createdBy"`
	UpdatedAt   time.Time   `json:"updatedAt"`
	UpdatedBy   string      `json:"updatedBy"`
	Deployment  *Deployment `json:"lastDeployment"` // all fields empty before the first
	Source      Source      `json:"implementation"`
}

// The states of a lambda.
const (
	Draft            = "Draft"
	Productive       = "Productive"
	Modified         = "Modified"
	MarkedUndeployed = "Marked Undeployed"
)

// Runtime is a language that lambdas can be written in.
type Runtime struct {
	ID        string `json:"uuid"`
	Name      string `json:"name"`
	BaseImage string `json:"baseImageName"`
}

// Source is what an author writes.
type Source struct {
	Code         string `json:"code"`
	Dependencies []Pair `json:"dependencies"`
	Environment  []Pair `json:"environmentVariables"`
}

// Pair is a name with a value.
type Pair struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// LambdaSpec is what a new lambda is made of. Name, Description and Code are
// required.
type LambdaSpec struct {
	Name        string
	Description string
	EventID     string
	Skills      []string // of the event, that it is bound to
	Runtime     *Runtime // nil: the gateway's default
	Code        string
	Environment []Pair
}

// lambdaBody is the request of create and update.
type lambdaBody struct {
	Timestamp   int64    `json:"timestamp"`
	ID          string   `json:"uuid"`
	Version     int      `json:"version"`
	Name        string   `json:"name"`
	Description string   `json:"description"`
	EventID     string   `json:"eventId,omitempty"`
	Skills      []string `json:"skills"`
	State       string   `json:"state"`
	Runtime     *Runtime `json:"runtime,omitempty"`
	Source      Source   `json:"implementation"`
}

func (c *Client) management(method string, parts ...string) call {
	return call{method: method, base: c.endpoints.Management, path: c.accountPath(parts...), query: url.Values{"v": {"1"}}}
}

// CreateLambda stores a new lambda. Code that is no lambda is refused with
// CodeLambdaContract, a name that is taken with CodeLambdaConflict, an event that
// has all the lambdas it takes with CodeEventLimit.
func (c *Client) CreateLambda(ctx context.Context, spec LambdaSpec) (*Lambda, error) {
	k := c.management(http.MethodPost, "lambdas")
	k.body = lambdaBody{
		Version: -1, Name: spec.Name, Description: spec.Description, EventID: spec.EventID, Skills: orNone(spec.Skills), State: Draft, Runtime: spec.Runtime,
		Source: Source{Code: spec.Code, Dependencies: []Pair{}, Environment: orNone(spec.Environment)},
	}
	return c.oneLambda(ctx, "create lambda", k)
}

// UpdateLambda stores l's Description, Skills and Source if the gateway still has
// l.Version; else it fails with status 409. Without a difference nothing is
// stored and changed is false.
func (c *Client) UpdateLambda(ctx context.Context, l *Lambda) (stored *Lambda, changed bool, err error) {
	k := c.management(http.MethodPut, "lambdas", l.ID)
	k.body = lambdaBody{
		ID: l.ID, Version: l.Version, Name: l.Name, Description: l.Description, EventID: l.EventID, Skills: orNone(l.Skills), State: l.State,
		Source: Source{Code: l.Source.Code, Dependencies: orNone(l.Source.Dependencies), Environment: orNone(l.Source.Environment)},
	}
	a, err := c.do(ctx, k)
	if err != nil {
		return nil, false, fmt.Errorf("update lambda: %w", err)
	}
	if a.status == http.StatusNotModified {
		return l, false, nil
	}
	stored = new(Lambda)
	if err := a.decode("update lambda", stored); err != nil {
		return nil, false, err
	}
	return stored, true, nil
}

// Lambda reads one lambda.
func (c *Client) Lambda(ctx context.Context, id string) (*Lambda, error) {
	a, err := c.do(ctx, c.management(http.MethodGet, "lambdas", id))
	if err != nil {
		return nil, fmt.Errorf("read lambda: %w", err)
	}
	var list []*Lambda // the contract's form: an array of one
	if err := a.decode("read lambda", &list); err != nil {
		return nil, err
	}
	if len(list) != 1 || list[0] == nil {
		return nil, errors.New("read lambda: the answer is no array of one")
	}
	return list[0], nil
}

// Lambdas reads all lambdas of the account.
func (c *Client) Lambdas(ctx context.Context) ([]*Lambda, error) {
	a, err := c.do(ctx, c.management(http.MethodGet, "lambdas"))
	if err != nil {
		return nil, fmt.Errorf("list lambdas: %w", err)
	}
	var list []*Lambda
	return list, a.decode("list lambdas", &list)
}

// DeleteLambda removes a lambda that is not deployed; a deployed one is refused
// with status 409.
func (c *Client) DeleteLambda(ctx context.Context, id string) error {
	if _, err := c.do(ctx, c.management(http.MethodDelete, "lambdas", id)); err != nil {
		return fmt.Errorf("delete lambda: %w", err)
	}
	return nil
}

// Runtimes lists the installed languages, the default first.
func (c *Client) Runtimes(ctx context.Context) ([]Runtime, error) {
	a, err := c.do(ctx, c.management(http.MethodGet, "runtimes"))
	if err != nil {
		return nil, fmt.Errorf("list runtimes: %w", err)
	}
	var list []Runtime
	return list, a.decode("list runtimes", &list)
}

func (c *Client) oneLambda(ctx context.Context, what string, k call) (*Lambda, error) {
	a, err := c.do(ctx, k)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	l := new(Lambda)
	if err := a.decode(what, l); err != nil {
		return nil, err
	}
	return l, nil
}

func orNone[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
