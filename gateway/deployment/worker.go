package deployment

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
	"github.com/sluice-faas/sluice/plugins/host"
)

// Field names of the log.
const (
	fieldAccount    = "accountId"
	fieldLambda     = "lambdaId"
	fieldDeployment = "deploymentId"
	fieldState      = "state"
)

func (c *Controller) logOf(d *lambda.Deployment) zerolog.Logger {
	return c.Log.With().Str(fieldAccount, d.Account).Str(fieldLambda, d.LambdaID).Str(fieldDeployment, d.ID).Logger()
}

// move claims work and takes it to its end, or leaves it where it is when the
// claim is lost, ctx ends or etcd is away.
func (m *membership) move(ctx context.Context, w store.Work) {
	log := m.logOf(&w.Deployment)
	began := time.Now()
	w, err := m.Store.Claim(ctx, m.presence, w)
	if store.Lost(err) {
		// Look again only when this gateway sees who was faster.
		err = errors.Join(err, m.rollouts.WaitFor(ctx, w.Revision))
	}
	for err == nil && !w.Deployment.State.Final() {
		w, err = m.advance(ctx, w)
	}
	switch {
	case err == nil:
		log.Info().Str("kind", string(w.Deployment.Kind)).Str(fieldState, string(w.Deployment.State)).
			Dur("took", time.Since(began)).Msg("deployment ended")
	case ctx.Err() != nil || store.Lost(err):
		log.Debug().Err(err).Msg("deployment left to another gateway")
	default:
		log.Warn().Err(err).Str(fieldState, string(w.Deployment.State)).Msg("deployment waits: try again")
		sleep(ctx, m.patience(err))
	}
}

// patience is the wait before work that met err is tried again: short when etcd
// was away, long when nobody knows why trying again should help.
func (m *membership) patience(err error) time.Duration {
	if lambda.Is(err, lambda.KindUnavailable) {
		return m.RetryAfter
	}
	return maxWait
}

// advance does the work of the state that w is in, and moves it to the next.
func (m *membership) advance(ctx context.Context, w store.Work) (store.Work, error) {
	switch d := &w.Deployment; {
	case d.Kind == lambda.Undeploy:
		revision, err := m.Store.FinishUndeployment(ctx, w)
		return m.finished(ctx, w, lambda.DeployFinish, revision, err)
	case d.State == lambda.BuildStart:
		return m.build(ctx, w)
	case d.State == lambda.BuildFinish:
		return m.Store.RolledOut(ctx, w)
	default:
		return m.rollOut(ctx, w)
	}
}

// build has the runtime check and translate the source.
func (m *membership) build(ctx context.Context, w store.Work) (store.Work, error) {
	d := &w.Deployment
	v, err := m.Store.Version(ctx, d.Account, d.LambdaID, d.Version)
	if err != nil {
		return m.failOn(ctx, w, err, lambda.KindNotFound)
	}
	result, err := m.tryBuild(ctx, v)
	if ctx.Err() != nil {
		return w, ctx.Err()
	}
	if err != nil {
		return m.fail(ctx, w, &lambda.Failure{Code: lambda.CodeDeploymentFailed,
			Message: fmt.Sprintf("the %s runtime could not build the lambda: %v", v.Runtime, err)})
	}
	if failure := failureOf(result); failure != nil {
		return m.fail(ctx, w, failure)
	}
	next, err := m.Store.Built(ctx, w, result.Artifact)
	if err != nil {
		return m.failOn(ctx, w, err, lambda.KindTooLarge)
	}
	return next, nil
}

// tryBuild builds, again after a while when no builder could run.
func (m *membership) tryBuild(ctx context.Context, v *lambda.Version) (host.BuildResult, error) {
	select {
	case m.buildSlots <- struct{}{}:
		defer func() { <-m.buildSlots }()
	case <-ctx.Done():
		return host.BuildResult{}, ctx.Err()
	}
	dependencies := make([]host.Dependency, len(v.Dependencies))
	for i, p := range v.Dependencies {
		dependencies[i] = host.Dependency{Name: p.Key, Version: p.Value}
	}
	var result host.BuildResult
	err := m.retry(ctx, func(error) bool { return true }, func() (err error) {
		ctx, cancel := context.WithTimeout(ctx, m.BuildTimeout)
		defer cancel()
		result, err = m.Builder.Build(ctx, v.Runtime, v.Code, dependencies)
		return err
	})
	return result, err
}

// retry calls f until it succeeds, fails for good, or has failed Attempts times.
func (c *Controller) retry(ctx context.Context, temporary func(error) bool, f func() error) error {
	wait := c.RetryAfter
	for attempt := 1; ; attempt++ {
		err := f()
		if err == nil || ctx.Err() != nil || attempt >= c.Attempts || !temporary(err) {
			return err
		}
		c.Log.Warn().Err(err).Int("attempt", attempt).Msg("deployment step failed: try again")
		sleep(ctx, wait)
		wait = min(2*wait, maxWait)
	}
}

// failureOf tells what is wrong with the source, as a compiler would, or nil.
func failureOf(r host.BuildResult) *lambda.Failure {
	if fault := r.Fault(); fault != "" {
		return &lambda.Failure{Code: lambda.CodeLambdaContract, Message: fault}
	}
	if len(r.Artifact) == 0 {
		return &lambda.Failure{Code: lambda.CodeDeploymentFailed, Message: "the runtime built nothing and did not say why"}
	}
	return nil
}

// rollOut waits for the gateways and makes the version live.
func (m *membership) rollOut(ctx context.Context, w store.Work) (store.Work, error) {
	failure, err := m.acknowledged(ctx, w)
	if err != nil {
		return w, err
	}
	if failure != nil {
		return m.fail(ctx, w, failure)
	}
	revision, err := m.Store.FinishDeployment(ctx, w)
	if lambda.Is(err, lambda.KindNotFound) {
		return m.failOn(ctx, w, err, lambda.KindNotFound)
	}
	return m.finished(ctx, w, lambda.DeployFinish, revision, err)
}

// acknowledged waits until every gateway that was alive when the work was
// rolled out is ready or dead. A failure is the first that one reports, or the
// names of those that did not answer in time.
func (m *membership) acknowledged(ctx context.Context, w store.Work) (*lambda.Failure, error) {
	if err := m.rollouts.WaitFor(ctx, w.Revision); err != nil {
		return nil, err
	}
	asked := m.rollouts.Gateways()
	timer := time.NewTimer(m.AckTimeout)
	defer timer.Stop()
	for {
		changed := m.rollouts.Changed()
		silent, failure := m.silent(w.Deployment.ID, asked)
		if failure != nil || len(silent) == 0 {
			return failure, nil
		}
		select {
		case <-changed:
		case <-timer.C:
			return &lambda.Failure{Code: lambda.CodeDeploymentFailed, Message: fmt.Sprintf(
				"gateway %s did not get ready within %s", strings.Join(silent, ", "), m.AckTimeout)}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// silent tells which of the asked gateways have to answer still. This one has
// to, whatever the others think of it: nothing goes live that nobody tried.
func (m *membership) silent(deploymentID string, asked []string) ([]string, *lambda.Failure) {
	alive := map[string]bool{}
	for _, g := range m.rollouts.Gateways() {
		alive[g] = true
	}
	var silent []string
	own := false
	for _, g := range asked {
		own = own || g == m.presence.ID
		ack, ok := m.rollouts.Ack(deploymentID, g)
		switch {
		case ok && ack.Failure != nil:
			return nil, ack.Failure
		case !ok && (alive[g] || g == m.presence.ID):
			silent = append(silent, g)
		}
	}
	if _, ok := m.rollouts.Ack(deploymentID, m.presence.ID); !ok && !own {
		silent = append(silent, m.presence.ID)
	}
	return silent, nil
}

// fail ends the work with a failure for its author to read.
func (m *membership) fail(ctx context.Context, w store.Work, failure *lambda.Failure) (store.Work, error) {
	state := lambda.DeployError
	if w.Deployment.State == lambda.BuildStart {
		state = lambda.BuildError
	}
	revision, err := m.Store.FailDeployment(ctx, w, failure)
	return m.finished(ctx, w, state, revision, err)
}

// failOn ends the work when err is of a kind that trying again cannot mend.
func (m *membership) failOn(ctx context.Context, w store.Work, err error, kind lambda.Kind) (store.Work, error) {
	if !lambda.Is(err, kind) {
		return w, err
	}
	return m.fail(ctx, w, &lambda.Failure{Code: lambda.CodeDeploymentFailed, Message: lambda.As(err).Message})
}

// finished waits until this gateway knows what it has just written, so that it
// does not take the work for new.
func (m *membership) finished(ctx context.Context, w store.Work, state lambda.DeploymentState, revision int64, err error) (store.Work, error) {
	if err != nil {
		return w, err
	}
	w.Deployment.State = state
	return w, m.rollouts.WaitFor(ctx, revision)
}
