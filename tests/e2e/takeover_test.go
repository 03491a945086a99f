package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
	"github.com/sluice-faas/sluice/gateway/store/embedded"
	"github.com/sluice-faas/sluice/gateway/store/etcdtest"
	"github.com/sluice-faas/sluice/sdk/client"
	"github.com/sluice-faas/sluice/tests/dev"
)

const (
	// settleLimit is how long a deployment may take after its gateway was killed:
	// until it counts as dead, twice when the one that a second gateway waits for
	// is killed too, and the time that gateways have to get ready.
	settleLimit = 2*store.DefaultGatewayTTL + 30*time.Second
	mostRounds  = 24
)

// generation is the source of a lambda that answers with its number. It is long,
// so that building it takes a while.
func generation(n int) string {
	var b strings.Builder
	for i := range 700 {
		fmt.Fprintf(&b, "const part%d = (list) => list.map((x) => ({ ...x, n: x.n + %d })).filter(({ n }) => n > %d)\n", i, i, i)
	}
	fmt.Fprintf(&b, "function lambda(input, callback) { callback(null, %d) }", n)
	return b.String()
}

// subject is a lambda that is deployed again and again.
type subject struct {
	lambda    *client.Lambda
	wanted    atomic.Int64 // newest generation that was asked for
	confirmed atomic.Int64 // newest that was seen to be live
}

// subjects are deployed through author.
type subjects struct {
	author *client.Client
	app    *client.Client // calls them
	all    []*subject
	calls  atomic.Int64
}

func newSubjects(t *testing.T, author, app *client.Client, n int) *subjects {
	t.Helper()
	s := &subjects{author: author, app: app}
	for range n {
		x := &subject{lambda: deployed(t, author, "subject", generation(1))}
		x.wanted.Store(1)
		x.confirmed.Store(1)
		s.all = append(s.all, x)
	}
	return s
}

// call calls every one without a pause of its own, until ctx ends. No call may
// fail, none may be answered by what was not asked for, and none by an older
// generation than the call before.
func (s *subjects) call(ctx context.Context, t *testing.T) (wait func()) {
	var wg sync.WaitGroup
	for _, x := range s.all {
		wg.Go(func() {
			last := x.confirmed.Load()
			for ctx.Err() == nil {
				least := max(last, x.confirmed.Load())
				got, err := s.generationOf(x)
				most := x.wanted.Load()
				s.calls.Add(1)
				if err != nil || got < least || got > most {
					t.Errorf("a call was answered with %d, %v: not in %d…%d", got, err, least, most)
					return
				}
				last = got
				time.Sleep(40 * time.Millisecond)
			}
		})
	}
	return wg.Wait
}

func (s *subjects) generationOf(x *subject) (int64, error) {
	answer, err := s.app.Invoke(context.Background(), x.lambda.ID, nil)
	if err != nil {
		return 0, err
	}
	var n int64
	return n, json.Unmarshal(answer, &n)
}

// save stores the next generation of x.
func (s *subjects) save(t *testing.T, x *subject) {
	t.Helper()
	x.lambda.Source.Code = generation(int(x.wanted.Add(1)))
	l, changed, err := s.author.UpdateLambda(t.Context(), x.lambda)
	require.NoError(t, err)
	require.True(t, changed)
	x.lambda = l
}

func (s *subjects) settle(t *testing.T, group []*subject) {
	t.Helper()
	for _, x := range group {
		s.settled(t, x)
	}
}

// settled waits for the end of x's last deployment, which must be one that an
// author can understand, and finds the new generation live if it succeeded.
func (s *subjects) settled(t *testing.T, x *subject) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), settleLimit)
	defer cancel()
	l, err := s.author.WaitDeployed(ctx, x.lambda.ID)
	var failure *client.DeployError
	if errors.As(err, &failure) {
		require.Contains(t, []string{client.BuildFailed, client.DeployFailed}, failure.State)
		require.NotEmpty(t, failure.Message)
		require.NotEmpty(t, failure.Code)
		t.Logf("a deployment ended without success: %v", failure)
		return
	}
	require.NoError(t, err, "a deployment is stuck")
	require.Equal(t, x.lambda.Version, l.Deployment.Version)
	require.Eventually(t, func() bool {
		n, err := s.generationOf(x)
		return err == nil && n == x.wanted.Load()
	}, 2*time.Second, 10*time.Millisecond, "what was deployed does not answer")
	x.confirmed.Store(x.wanted.Load())
}

// tally counts the states in which killed gateways left what they had claimed.
type tally map[lambda.DeploymentState]int

// add reads what is under way in etcd, but for what survivor moves.
func (c tally) add(t *testing.T, etcd *clientv3.Client, survivor string) {
	t.Helper()
	r, err := store.New(etcd, zerolog.Nop()).OpenRollouts(t.Context())
	require.NoError(t, err)
	defer r.Close()
	r.Each(func(w store.Work) bool {
		if w.Claimant != "" && w.Claimant != survivor {
			c[w.Deployment.State]++
		}
		return true
	})
}

// least is that of the states which was met least.
func (c tally) least(states []lambda.DeploymentState) lambda.DeploymentState {
	least := states[0]
	for _, state := range states {
		if c[state] < c[least] {
			least = state
		}
	}
	return least
}

// all tells whether each of the states was met.
func (c tally) all(states []lambda.DeploymentState) bool { return c[c.least(states)] > 0 }

// reached waits until a gateway other than survivor has work of its own in the
// state.
func reached(ctx context.Context, r *store.Rollouts, survivor string, state lambda.DeploymentState) bool {
	for {
		changed := r.Changed()
		found := false
		r.Each(func(w store.Work) bool {
			found = w.Claimant != "" && w.Claimant != survivor && w.Deployment.State == state
			return !found
		})
		if found {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// TestAGatewayKilledAtAnyStateOfADeploymentLeavesItToTheOthers has two gateways
// on one etcd. One serves calls all the time. The other is killed in every state
// that a deployment of its can be in.
func TestAGatewayKilledAtAnyStateOfADeploymentLeavesItToTheOthers(t *testing.T) {
	const groups, size, leastRounds = 4, 4, 4
	states := []lambda.DeploymentState{lambda.BuildStart, lambda.BuildFinish, lambda.DeployStart}
	etcd := etcdtest.Start(t)
	flags := []string{"--etcd-endpoints", etcd.Endpoint, "--no-sample", "--limit", dev.NoLimits, "--prestart", "2"}
	survivor := ownGateway(t, t.TempDir(), flags...)
	session := as(t, survivor, "FaaS-Developer")
	all := newSubjects(t, session, brand(t, survivor), groups*size)

	rollouts, err := store.New(etcd.Client(t), zerolog.Nop()).OpenRollouts(t.Context())
	require.NoError(t, err)
	defer rollouts.Close()
	require.Len(t, rollouts.Gateways(), 1)
	self := rollouts.Gateways()[0]

	calling, stop := context.WithCancel(t.Context())
	defer stop()
	wait := all.call(calling, t)
	met, folder := tally{}, copyDemo(t, survivor)
	for round := 0; round < leastRounds || !met.all(states); round++ {
		require.Less(t, round, mostRounds, "no gateway was killed in one of the states: %v", met)
		group := all.all[round%groups*size:][:size]
		if round >= groups {
			all.settle(t, group)
		}
		victim, err := dev.Start(t.Context(), dev.Options{DataDir: folder, Args: flags})
		require.NoError(t, err)
		owned(t, victim)
		for _, x := range group {
			all.save(t, x)
		}
		state := met.least(states)
		ended := killAt(t, victim, func(ctx context.Context) { reached(ctx, rollouts, self, state) })
		through := reconnect(t, victim, session)
		for i, x := range group {
			request(t, []*client.Client{session, through}[i%2], session, x)
		}
		<-ended
		met.add(t, etcd.Client(t), self)
		t.Logf("round %d waited for %s; met so far: %v", round, state, met)
		if t.Failed() {
			return
		}
	}
	all.settle(t, all.all)
	stop()
	wait()
	t.Logf("%d calls", all.calls.Load())
	require.Greater(t, all.calls.Load(), int64(1000), "too few calls to mean anything")

	// The last one is killed, too: the next to come goes on.
	for _, x := range all.all {
		all.save(t, x)
		require.NoError(t, session.Deploy(t.Context(), x.lambda.ID), "further deployments are taken")
	}
	survivor.Kill()
	again, err := survivor.Restart(t.Context())
	require.NoError(t, err)
	owned(t, again)
	all.author, all.app = reconnect(t, again, session), brand(t, again)
	all.settle(t, all.all)
}

// copyDemo gives a folder for a gateway that is to know the credentials of g, and
// the key of the secrets in the etcd that they share.
func copyDemo(t *testing.T, g *dev.Gateway) string {
	t.Helper()
	dir := t.TempDir()
	for _, file := range []string{"demo.json", "secrets.key"} {
		text, err := os.ReadFile(filepath.Join(g.DataDir(), file))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), text, 0o600))
	}
	return dir
}

// killAt kills g when wait returns, or soon after it has not; ended is closed
// then.
func killAt(t *testing.T, g *dev.Gateway, wait func(context.Context)) (ended <-chan struct{}) {
	t.Helper()
	done := make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	go func() {
		defer close(done)
		defer cancel()
		wait(ctx)
		g.Kill()
	}()
	return done
}

// request asks for a deployment, at a gateway that may end meanwhile. Then it is
// asked for again where that is sure to be answered, unless it was stored.
func request(t *testing.T, at, sure *client.Client, x *subject) {
	t.Helper()
	err := at.Deploy(t.Context(), x.lambda.ID)
	if err == nil {
		return
	}
	require.NotSame(t, at, sure, "refused: %v", err)
	var answered *client.Error
	require.False(t, errors.As(err, &answered), "refused: %v", err)
	if err = sure.Deploy(t.Context(), x.lambda.ID); err != nil {
		require.True(t, client.IsCode(err, client.CodeDeploymentConflict), "%v", err)
	}
}

// TestAGatewayKilledDuringDeploymentsGoesOnAtItsNextStart is the same for one
// gateway with an etcd of its own, which is killed at some moment of a
// deployment. Build Finish lasts from one write of etcd to the next, too short to
// be met by chance; the tests of package deployment die at each write in turn.
func TestAGatewayKilledDuringDeploymentsGoesOnAtItsNextStart(t *testing.T) {
	const size, leastRounds = 5, 6
	states := []lambda.DeploymentState{lambda.BuildStart, lambda.DeployStart}
	g := ownGateway(t, t.TempDir(), "--no-sample", "--limit", dev.NoLimits, "--prestart", "2")
	session := as(t, g, "FaaS-Developer")
	all := newSubjects(t, session, brand(t, g), size)
	met := tally{}
	for round := 0; round < leastRounds || !met.all(states); round++ {
		require.Less(t, round, mostRounds, "the gateway was never killed in one of the states: %v", met)
		for _, x := range all.all {
			all.save(t, x)
		}
		ended := killAt(t, g, func(ctx context.Context) {
			if round%2 == 0 {
				time.Sleep(rand.N(500 * time.Millisecond))
			} else {
				all.await(ctx, met.least(states))
			}
		})
		for _, x := range all.all {
			_ = all.author.Deploy(t.Context(), x.lambda.ID) // it is stored or not
		}
		<-ended
		member, err := embedded.Start(t.Context(), embedded.Config{Dir: filepath.Join(g.DataDir(), "etcd"), Log: zerolog.Nop()})
		require.NoError(t, err)
		met.add(t, member.Client(), "")
		require.NoError(t, member.Close())
		t.Logf("round %d; met so far: %v", round, met)

		g, err = g.Restart(t.Context())
		require.NoError(t, err)
		owned(t, g)
		all.author, all.app = reconnect(t, g, session), brand(t, g)
		for _, x := range all.all {
			all.resume(t, x)
		}
	}
}

// await waits until one is seen in the state.
func (s *subjects) await(ctx context.Context, state lambda.DeploymentState) {
	for ctx.Err() == nil {
		for _, x := range s.all {
			l, err := s.author.Lambda(ctx, x.lambda.ID)
			if err != nil || l.Deployment.State == string(state) {
				return
			}
		}
	}
}

// resume asks for the deployment of x if that was not stored, and sees it
// through.
func (s *subjects) resume(t *testing.T, x *subject) {
	t.Helper()
	l, err := s.author.Lambda(t.Context(), x.lambda.ID)
	require.NoError(t, err)
	if l.Deployment.Version != x.lambda.Version {
		require.NoError(t, s.author.Deploy(t.Context(), x.lambda.ID))
	}
	s.settled(t, x)
}
