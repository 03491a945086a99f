package deployment_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/sluice-faas/sluice/gateway/deployment"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
	"github.com/sluice-faas/sluice/gateway/store/embedded"
	"github.com/sluice-faas/sluice/plugins/host"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// soon bounds every wait for something that must happen.
const soon = 20 * time.Second

// world is one etcd with a store over it.
type world struct {
	client *clientv3.Client
	store  *store.Store
}

func newWorld(t testing.TB) *world {
	t.Helper()
	server, err := embedded.Start(t.Context(), embedded.Config{Dir: t.TempDir(), Log: zerolog.Nop()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	s := store.New(server.Client(), zerolog.Nop())
	s.Limits.Lambdas, s.Limits.DeployedLambdas = 0, 0
	require.NoError(t, s.Open(t.Context()))
	return &world{client: server.Client(), store: s}
}

const account = "12345678"

// create saves a lambda with that name.
func (w *world) create(t testing.TB, name string) *lambda.Lambda {
	t.Helper()
	now := time.Now().UTC()
	l := &lambda.Lambda{Account: account, ID: uuid.NewString(), Name: name, Description: "d", Runtime: "javascript",
		Version: 1, Code: "code of " + name, Dependencies: []lambda.Pair{{Key: "dep", Value: "1.2.3"}}, CreatedAt: now, UpdatedAt: now}
	_, err := w.store.CreateLambda(t.Context(), l, nil)
	require.NoError(t, err)
	return l
}

func (w *world) start(t testing.TB, l *lambda.Lambda, kind lambda.DeploymentKind) *lambda.Deployment {
	t.Helper()
	d, err := w.store.StartDeployment(t.Context(), store.Start{Account: account, LambdaID: l.ID, Kind: kind, By: "dev"})
	require.NoError(t, err)
	return d
}

func (w *world) record(t testing.TB, l *lambda.Lambda) store.Record {
	t.Helper()
	r, err := w.store.Record(t.Context(), account, l.ID)
	require.NoError(t, err)
	return r
}

// ended waits until deployment d is over.
func (w *world) ended(t testing.TB, l *lambda.Lambda, d *lambda.Deployment) store.Record {
	t.Helper()
	var r store.Record
	require.Eventually(t, func() bool {
		r = w.record(t, l)
		return r.Last.ID == d.ID && r.Last.State.Final()
	}, soon, 5*time.Millisecond, "deployment does not end")
	return r
}

// deploy takes l to its end in any state.
func (w *world) deploy(t testing.TB, l *lambda.Lambda) store.Record {
	t.Helper()
	return w.ended(t, l, w.start(t, l, lambda.Deploy))
}

// leftOver lists what is left of rollouts, gateways aside.
func (w *world) leftOver(t testing.TB) []string {
	t.Helper()
	r, err := w.client.Get(context.Background(), "/sluice/rollout/", clientv3.WithPrefix())
	require.NoError(t, err)
	var left []string
	for _, kv := range r.Kvs {
		if !strings.HasPrefix(string(kv.Key), "/sluice/rollout/gateways/") {
			left = append(left, string(kv.Key))
		}
	}
	return left
}

// gateway is a controller with a runtime whose answers a test sets.
type gateway struct {
	id     string
	build  func(ctx context.Context, source string) (host.BuildResult, error)
	onLoad func(ctx context.Context, d *lambda.Deployment) error

	mu        sync.Mutex
	builds    int
	building  int
	most      int // builds at once
	prepared  []string
	discarded []string

	stop func() // as if by a signal; waits for Run to return
}

func (g *gateway) Build(ctx context.Context, runtime, source string, deps []host.Dependency) (host.BuildResult, error) {
	g.mu.Lock()
	g.builds++
	g.building++
	g.most = max(g.most, g.building)
	g.mu.Unlock()
	defer func() { g.mu.Lock(); g.building--; g.mu.Unlock() }()
	if runtime != "javascript" || len(deps) != 1 || deps[0] != (host.Dependency{Name: "dep", Version: "1.2.3"}) {
		return host.BuildResult{}, context.Canceled
	}
	if g.build != nil {
		return g.build(ctx, source)
	}
	return host.BuildResult{Artifact: []byte("built " + source)}, nil
}

func (g *gateway) prepare(ctx context.Context, d *lambda.Deployment) error {
	g.mu.Lock()
	g.prepared = append(g.prepared, d.ID)
	g.mu.Unlock()
	if g.onLoad != nil {
		return g.onLoad(ctx, d)
	}
	return nil
}

func (g *gateway) discard(d *lambda.Deployment) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.discarded = append(g.discarded, d.ID)
}

// told gives what happened so far.
func (g *gateway) told() (builds int, prepared, discarded []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.builds, append([]string(nil), g.prepared...), append([]string(nil), g.discarded...)
}

// run starts a gateway on s and waits until the others know it.
func run(t testing.TB, s *store.Store, g *gateway, change ...func(*deployment.Config)) *gateway {
	t.Helper()
	if g.id == "" {
		g.id = uuid.NewString()
	}
	c := deployment.Config{
		GatewayID: g.id, Store: s, Builder: g, Prepare: g.prepare, Discard: g.discard, Log: zerolog.Nop(),
		GatewayTTL: time.Second, RetryAfter: time.Millisecond,
	}
	for _, f := range change {
		f(&c)
	}
	controller, err := deployment.New(c)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); controller.Run(ctx) }()
	g.stop = func() {
		cancel()
		select {
		case <-done:
		case <-time.After(soon):
			t.Error("a controller does not stop")
		}
	}
	t.Cleanup(g.stop)
	select {
	case <-controller.Ready():
	case <-time.After(soon):
		require.Fail(t, "a controller does not become ready")
	}
	return g
}
