// Package deployment carries out what was asked for with store.StartDeployment.
//
// Every gateway runs a Controller. It does two things. As a worker it claims
// deployments and moves each along the state table of package lambda: the
// runtime builds the source, every live gateway prepares the version, and one
// transaction makes it live. As a preparer it gets this gateway ready for the
// versions that any worker rolls out, and acknowledges.
//
// All state is in etcd. A worker that dies loses its claim with its lease, and
// another goes on from the state recorded last; every step may be done twice,
// and a step of a worker that lost its claim without knowing is refused.
package deployment

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
	"github.com/sluice-faas/sluice/plugins/host"
)

// Builder turns source into an artifact. Faults of the source are diagnostics;
// an error means that no builder could run.
type Builder interface {
	Build(ctx context.Context, runtime, source string, dependencies []host.Dependency) (host.BuildResult, error)
}

// Config is what a Controller is made of. The first four fields are required.
type Config struct {
	// GatewayID is this process among the gateways: a new one for every start.
	GatewayID string
	Store     *store.Store
	Builder   Builder
	// Prepare gets this gateway ready to run a deployment: it starts a process
	// and loads the version. A *host.LoadError is the author's fault. It may be
	// called again for a deployment that is ready, and by several goroutines.
	Prepare func(ctx context.Context, d *lambda.Deployment) error
	// Discard is told, when it is not nil, that a deployment for which Prepare was
	// called did not become live.
	Discard func(d *lambda.Deployment)
	Log     zerolog.Logger

	GatewayTTL     time.Duration // after which a dead gateway's work is taken over; default store.DefaultGatewayTTL
	BuildTimeout   time.Duration // of one attempt to build; default 30 s
	PrepareTimeout time.Duration // of all attempts to prepare; default 25 s
	AckTimeout     time.Duration // for all gateways to be ready; default 30 s
	RetryAfter     time.Duration // first wait after a temporary fault, doubled each time; default 200 ms
	Attempts       int           // at a build or a preparation that fails for no fault of the source; default 3
	Builds         int           // at once; default 4
	Claims         int           // deployments that this gateway moves at once; default 16
	Preparations   int           // at once; default 8
}

func (c *Config) setDefaults() {
	set(&c.GatewayTTL, store.DefaultGatewayTTL)
	set(&c.BuildTimeout, 30*time.Second)
	set(&c.PrepareTimeout, 25*time.Second)
	set(&c.AckTimeout, 30*time.Second)
	set(&c.RetryAfter, 200*time.Millisecond)
	set(&c.Attempts, 3)
	set(&c.Builds, 4)
	set(&c.Claims, 16)
	set(&c.Preparations, 8)
	if c.Discard == nil {
		c.Discard = func(*lambda.Deployment) {}
	}
}

func set[T int | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

// maxWait bounds the wait between attempts.
const maxWait = 5 * time.Second

// Controller moves deployments. Make one with New, and Run it once.
type Controller struct {
	Config
	prepared map[string]*preparation // by deployment; of the goroutine in Run
	joined   chan struct{}
}

// New checks the configuration and makes a Controller.
func New(c Config) (*Controller, error) {
	if c.GatewayID == "" || c.Store == nil || c.Builder == nil || c.Prepare == nil {
		return nil, errors.New("deployment controller: GatewayID, Store, Builder and Prepare are required")
	}
	c.setDefaults()
	return &Controller{Config: c, prepared: map[string]*preparation{}, joined: make(chan struct{})}, nil
}

// Ready is closed when the gateway is known to the others for the first time.
func (c *Controller) Ready() <-chan struct{} { return c.joined }

// Run works until ctx ends, and returns when everything that it started has
// ended and the other gateways may take over. While etcd is away it waits.
func (c *Controller) Run(ctx context.Context) {
	rollouts := c.open(ctx)
	if rollouts == nil {
		return
	}
	defer rollouts.Close()
	for wait := c.RetryAfter; ctx.Err() == nil; wait = min(2*wait, maxWait) {
		presence, err := c.Store.Register(ctx, c.GatewayID, c.GatewayTTL)
		if err != nil {
			c.Log.Warn().Err(err).Msg("cannot join the gateways: try again")
			sleep(ctx, wait)
			continue
		}
		wait = c.RetryAfter
		c.serve(ctx, rollouts, presence)
		presence.Close(ctx)
		if ctx.Err() == nil {
			c.Log.Warn().Msg("this gateway was taken for dead: join again")
		}
	}
}

// open follows the rollouts, however long etcd takes; nil when ctx ends first.
func (c *Controller) open(ctx context.Context) *store.Rollouts {
	for wait := c.RetryAfter; ctx.Err() == nil; wait = min(2*wait, maxWait) {
		rollouts, err := c.Store.OpenRollouts(ctx)
		if err == nil {
			return rollouts
		}
		c.Log.Warn().Err(err).Msg("cannot read the deployments under way: try again")
		sleep(ctx, wait)
	}
	return nil
}

// membership is one time among the gateways, from Register to its loss.
type membership struct {
	*Controller
	rollouts *store.Rollouts
	presence *store.Presence

	moving     map[string]bool // deployments that have a worker; of the goroutine in serve
	ended      chan string     // workers tell which deployment they leave
	wake       chan struct{}   // preparations tell that one has ended
	workers    errgroup.Group
	preparers  errgroup.Group
	buildSlots chan struct{}
}

// serve works until ctx ends or the presence is lost, then stops everything.
func (c *Controller) serve(ctx context.Context, rollouts *store.Rollouts, presence *store.Presence) {
	ctx, cancel := context.WithCancel(ctx)
	m := &membership{
		Controller: c, rollouts: rollouts, presence: presence,
		moving: map[string]bool{}, ended: make(chan string, c.Claims), wake: make(chan struct{}, 1),
		buildSlots: make(chan struct{}, c.Builds),
	}
	m.workers.SetLimit(c.Claims)
	m.preparers.SetLimit(c.Preparations)
	for _, p := range c.prepared {
		p.settled = false // what was acknowledged went with the old lease
	}
	defer func() {
		cancel()
		_ = m.workers.Wait() // workers and preparers return no errors
		_ = m.preparers.Wait()
	}()
	// Claims of an earlier membership went with its lease: know that first.
	if err := rollouts.WaitFor(ctx, presence.Revision); err != nil {
		return
	}
	c.announce()
	for {
		changed := rollouts.Changed()
		m.claim(ctx)
		m.prepare(ctx)
		select {
		case <-changed:
		case id := <-m.ended:
			delete(m.moving, id)
		case <-m.wake:
		case <-presence.Lost():
			return
		case <-ctx.Done():
			return
		}
	}
}

func (c *Controller) announce() {
	select {
	case <-c.joined:
	default:
		close(c.joined)
	}
}

// claim starts workers for work that nobody moves, while there is room.
func (m *membership) claim(ctx context.Context) {
	m.rollouts.Each(func(w store.Work) bool {
		if m.moving[w.Deployment.ID] || w.Claimant != "" && w.Claimant != m.presence.ID {
			return true
		}
		return m.start(ctx, w)
	})
}

// start gives the work to a worker, or tells that all are busy.
func (m *membership) start(ctx context.Context, w store.Work) bool {
	started := m.workers.TryGo(func() error {
		defer func() {
			select {
			case m.ended <- w.Deployment.ID:
			case <-ctx.Done(): // serve listens no more
			}
		}()
		m.move(ctx, w)
		return nil
	})
	if started {
		m.moving[w.Deployment.ID] = true
	}
	return started
}

// jitter spreads the waits of gateways that failed at the same time.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }

// sleep waits for about d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(jitter(d))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
