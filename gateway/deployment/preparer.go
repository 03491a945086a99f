package deployment

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
	"github.com/sluice-faas/sluice/plugins/host"
)

// preparation is what this gateway does for one deployment that is rolled out.
type preparation struct {
	deployment lambda.Deployment
	settled    bool               // it runs, or was acknowledged in this membership
	cancel     context.CancelFunc // of the running one
	done       chan struct{}      // closed when that has ended
}

// prepare starts preparations for what is rolled out, and ends those of
// deployments that are over, while there is room.
func (m *membership) prepare(ctx context.Context) {
	for id, p := range m.prepared {
		if w, ok := m.rollouts.Of(p.deployment.Account, p.deployment.LambdaID); ok && w.Deployment.ID == id {
			continue
		}
		p.cancel() // nobody waits for it any more
		if m.background(func() { <-p.done; m.settle(ctx, &p.deployment) }) {
			delete(m.prepared, id)
		}
	}
	m.rollouts.Each(func(w store.Work) bool {
		d := w.Deployment
		if d.Kind != lambda.Deploy || d.State != lambda.DeployStart {
			return true
		}
		if p := m.prepared[d.ID]; p != nil && p.settled {
			return true
		}
		running, cancel := context.WithCancel(ctx)
		p := &preparation{deployment: d, settled: true, cancel: cancel, done: make(chan struct{})}
		if !m.background(func() { defer close(p.done); m.getReady(running, w) }) {
			cancel()
			return false
		}
		m.prepared[d.ID] = p
		return true
	})
}

// background runs f in a goroutine of which there are Preparations at most, and
// wakes serve when it has ended.
func (m *membership) background(f func()) bool {
	return m.preparers.TryGo(func() error {
		defer func() {
			select {
			case m.wake <- struct{}{}:
			default: // serve has been told and has not looked yet
			}
		}()
		f()
		return nil
	})
}

// getReady gets this gateway ready for the work and tells the others how it went.
func (m *membership) getReady(ctx context.Context, w store.Work) {
	failure := m.try(ctx, &w.Deployment)
	log := m.logOf(&w.Deployment)
	for wait := m.RetryAfter; ctx.Err() == nil; wait = min(2*wait, maxWait) {
		err := m.Store.Acknowledge(ctx, m.presence, w, failure)
		if err == nil || store.Lost(err) {
			return
		}
		log.Warn().Err(err).Msg("cannot acknowledge a deployment: try again")
		sleep(ctx, wait)
	}
}

// try prepares, again after a while unless the author is at fault.
func (m *membership) try(ctx context.Context, d *lambda.Deployment) *lambda.Failure {
	ctx, cancel := context.WithTimeout(ctx, m.PrepareTimeout)
	defer cancel()
	var fault *host.LoadError
	err := m.retry(ctx, func(err error) bool { return !errors.As(err, &fault) }, func() error { return m.Prepare(ctx, d) })
	switch {
	case err == nil:
		return nil
	case errors.As(err, &fault):
		return loadFailure(fault, m.Store.Now().UnixMilli())
	default:
		return &lambda.Failure{Code: lambda.CodeDeploymentFailed,
			Message: fmt.Sprintf("gateway %s could not start the lambda: %v", m.presence.ID, err)}
	}
}

// loadFailure shows the author's fault with the author's stack.
func loadFailure(e *host.LoadError, at int64) *lambda.Failure {
	f := &lambda.Failure{Code: lambda.CodeDeploymentFailed, Message: e.Message}
	if e.Stack != "" {
		f.Logs = []lambda.LogRecord{{Level: "Error", Message: e.Stack, Extras: []byte("[]"), Timestamp: at}}
	}
	return f
}

// settle tells Discard of a deployment that ended without becoming live.
func (m *membership) settle(ctx context.Context, d *lambda.Deployment) {
	var live *lambda.Live
	err := m.retry(ctx, func(error) bool { return true }, func() (err error) {
		live, err = m.Store.Live(ctx, d.Account, d.LambdaID)
		return err
	})
	if err != nil {
		log := m.logOf(d)
		log.Warn().Err(err).Msg("cannot tell whether a deployment became live: its process ends when it is idle")
		return
	}
	if live == nil || live.DeploymentID != d.ID {
		m.Discard(d)
	}
}
