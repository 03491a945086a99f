package client

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Deployment is the last attempt to make a lambda live, or to take it away.
type Deployment struct {
	ID         string             `json:"uuid"`
	Name       string             `json:"name"`
	LambdaID   string             `json:"lambdaUUID"`
	Version    int                `json:"lambdaVersion"`
	State      string             `json:"deploymentState"`
	Failure    *DeploymentFailure `json:"deploymentError,omitempty"`
	CreatedAt  time.Time          `json:"createdAt,omitzero"`
	UpdatedAt  time.Time          `json:"updatedAt,omitzero"`
	DeployedAt time.Time          `json:"deployedAt,omitzero"` // zero until it succeeded
	CreatedBy  string             `json:"createdBy"`
}

// DeploymentFailure is why a deployment failed.
type DeploymentFailure struct {
	Code    string      `json:"errorCode"`
	Message string      `json:"errorMsg"`
	Logs    []LogRecord `json:"errorLogs,omitempty"`
}

// The states of a deployment.
const (
	BuildStart   = "Build Start"
	BuildFinish  = "Build Finish"
	DeployStart  = "Deploy Start"
	DeployFinish = "Deploy Finish"
	BuildFailed  = "Build Error"
	DeployFailed = "Deploy Error"
)

// Final reports whether nothing further happens to the deployment.
func (d *Deployment) Final() bool {
	return d.State == DeployFinish || d.State == BuildFailed || d.State == DeployFailed
}

// Deploy asks for the saved version to be made live and returns when the wish
// is stored; WaitDeployed waits for the outcome. While another deployment of
// the lambda is under way it is refused with CodeDeploymentConflict.
func (c *Client) Deploy(ctx context.Context, lambdaID string) error {
	if _, err := c.do(ctx, c.management(http.MethodPost, "deployments", lambdaID)); err != nil {
		return fmt.Errorf("deploy: %w", err)
	}
	return nil
}

// Rollback asks for a version of the History to be made live again and returns
// when the wish is stored; WaitDeployed waits for the outcome.
func (c *Client) Rollback(ctx context.Context, lambdaID string, version int) error {
	k := c.management(http.MethodPost, "deployments", lambdaID)
	k.query.Set("version", strconv.Itoa(version))
	if _, err := c.do(ctx, k); err != nil {
		return fmt.Errorf("roll back: %w", err)
	}
	return nil
}

// PastDeployment is a deployment that has ended, with what it deployed.
type PastDeployment struct {
	Deployment
	Digest  string  `json:"digest"` // SHA-256 of the immutable version
	Live    bool    `json:"live"`   // it answers calls now
	Runtime Runtime `json:"runtime"`
	Source  Source  `json:"implementation"`
}

// History reads the last deployments of a lambda, newest first.
func (c *Client) History(ctx context.Context, lambdaID string) ([]PastDeployment, error) {
	a, err := c.do(ctx, c.management(http.MethodGet, "deployments", lambdaID, "history"))
	if err != nil {
		return nil, fmt.Errorf("read deployment history: %w", err)
	}
	var list []PastDeployment
	return list, a.decode("read deployment history", &list)
}

// Undeploy asks for the live version to be taken away and returns when the wish
// is stored; WaitUndeployed waits for the outcome.
func (c *Client) Undeploy(ctx context.Context, lambdaID string) error {
	if _, err := c.do(ctx, c.management(http.MethodDelete, "deployments", lambdaID)); err != nil {
		return fmt.Errorf("undeploy: %w", err)
	}
	return nil
}

// The pauses between two looks at a deployment: short at first, as most end
// soon.
const (
	firstPause = 10 * time.Millisecond
	mostPause  = 250 * time.Millisecond
)

// WaitDeployed waits until the last deployment of a lambda has ended. An end
// without success is a *DeployError.
func (c *Client) WaitDeployed(ctx context.Context, lambdaID string) (*Lambda, error) {
	l, err := c.wait(ctx, lambdaID)
	if err != nil {
		return nil, fmt.Errorf("wait for deployment: %w", err)
	}
	if d := l.Deployment; d.State != DeployFinish {
		e := &DeployError{LambdaID: lambdaID, State: d.State}
		if d.Failure != nil {
			e.Code, e.Message, e.Logs = d.Failure.Code, d.Failure.Message, d.Failure.Logs
		}
		return l, e
	}
	return l, nil
}

// WaitUndeployed waits until nothing of a lambda is live.
func (c *Client) WaitUndeployed(ctx context.Context, lambdaID string) (*Lambda, error) {
	l, err := c.wait(ctx, lambdaID)
	if err != nil {
		return nil, fmt.Errorf("wait for undeployment: %w", err)
	}
	if l.State != Draft {
		return l, &DeployError{LambdaID: lambdaID, State: l.Deployment.State, Message: "the lambda is still " + l.State}
	}
	return l, nil
}

// DeployAndWait is Deploy and WaitDeployed.
func (c *Client) DeployAndWait(ctx context.Context, lambdaID string) (*Lambda, error) {
	if err := c.Deploy(ctx, lambdaID); err != nil {
		return nil, err
	}
	return c.WaitDeployed(ctx, lambdaID)
}

// UndeployAndWait is Undeploy and WaitUndeployed.
func (c *Client) UndeployAndWait(ctx context.Context, lambdaID string) (*Lambda, error) {
	if err := c.Undeploy(ctx, lambdaID); err != nil {
		return nil, err
	}
	return c.WaitUndeployed(ctx, lambdaID)
}

// wait polls until the lambda's last deployment is in a final state.
func (c *Client) wait(ctx context.Context, lambdaID string) (*Lambda, error) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for next := firstPause; ; next = min(2*next, mostPause) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-pause.C:
		}
		l, err := c.Lambda(ctx, lambdaID)
		if err != nil {
			return nil, err
		}
		if l.Deployment == nil || l.Deployment.State == "" {
			return nil, fmt.Errorf("lambda %s was never deployed", lambdaID)
		}
		if l.Deployment.Final() {
			return l, nil
		}
		pause.Reset(next)
	}
}
