// Package app makes a gateway of all the other packages: it opens them in order,
// serves until it is told to stop, and closes them in reverse. It is the one
// package that knows all others. main starts it as a program; tests start the
// same in their own process, on port 0.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/auth"
	"github.com/sluice-faas/sluice/gateway/certs"
	"github.com/sluice-faas/sluice/gateway/config"
	"github.com/sluice-faas/sluice/gateway/deployment"
	"github.com/sluice-faas/sluice/gateway/directory"
	"github.com/sluice-faas/sluice/gateway/egress"
	"github.com/sluice-faas/sluice/gateway/invoke"
	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/secret"
	"github.com/sluice-faas/sluice/gateway/store"
	"github.com/sluice-faas/sluice/gateway/store/embedded"
	"github.com/sluice-faas/sluice/gateway/store/remote"
	"github.com/sluice-faas/sluice/plugins/catalog"
	"github.com/sluice-faas/sluice/plugins/host"
	"github.com/sluice-faas/sluice/plugins/pool"
	"github.com/sluice-faas/sluice/plugins/sandbox"
)

// DrainTimeout is how long a stopping gateway lets requests under way finish: a
// little more than a lambda may run.
const DrainTimeout = 35 * time.Second

// closeTimeout is what is left, after the drain, for everything else to end.
const closeTimeout = 10 * time.Second

// adminDrain is enough for whoever asks for health or metrics; a profile that is
// being taken is not waited for.
const adminDrain = sendLimit + time.Second

// Options are what a gateway is made of.
type Options struct {
	Config  config.Config
	Version string
	// Log takes the JSON log, one object a line.
	Log io.Writer
	// People takes what is for a person at a terminal: the progress of the start
	// and the banner with addresses and credentials.
	People io.Writer
}

// App is a gateway at work.
type App struct {
	config   config.Config
	version  string
	log      zerolog.Logger
	progress *progress
	closers  closers
	failed   chan error // what ends the gateway of itself

	data      *dataDir
	demo      *demo
	ca        *certs.Local
	catalog   *catalog.Catalog
	sandbox   *sandbox.Sandbox
	runDir    string
	store     *store.Store
	views     *store.Views
	keeper    *auth.Keeper
	auth      *auth.Service
	pool      *pool.Pool
	journal   *journal.Journal
	secrets   *secret.Service
	directory *directory.Directory
	egress    *egress.Proxy
	specs     *invoke.Specs
	warming   sync.Mutex // held while the pool is told what to keep ready
	invoker   *invoke.Dispatcher
	scheduled chan struct{} // closed when no run of a schedule is under way
	listeners listeners
	ready     *readiness
	metrics   *prometheus.Registry
	warnings  []string // for the banner

	limits       lambda.Limits
	info         Info
	sampleMade   bool // at some time; it may have been deleted since
	sampleIsOurs bool // nobody has changed what is live of the sample
}

// listeners are bound before any state is made, so that a port in use costs
// nothing.
type listeners struct{ https, http, admin net.Listener }

// Open starts everything and returns when all of it answers and dev.json is
// written. On an error, and when ctx ends first, all that was opened is closed
// again. The caller must Close what Open returned.
func Open(ctx context.Context, o Options) (*App, error) {
	a := &App{
		config: o.Config, limits: o.Config.Limits(), version: o.Version, progress: newProgress(o.People),
		failed: make(chan error, 8), ready: &readiness{}, metrics: prometheus.NewRegistry(),
	}
	a.ready.hold("starting")
	out := newLogWriter(o.Log, isTerminal(o.Log))
	a.log = newLogger(out, o.Config.Level())
	a.closers.push("the log", func(ctx context.Context) error {
		// Even who is in a hurry may want to read what happened.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		return out.close(ctx)
	})
	a.registerMetrics(out)
	err := a.start(ctx)
	out.release()
	if err != nil {
		a.log.Error().Err(err).Msg("the gateway did not start")
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if cerr := a.closers.closeAll(closing); cerr != nil && ctx.Err() == nil {
			err = errors.Join(err, cerr)
		}
		return nil, err
	}
	return a, nil
}

// start opens each part in turn. What it opened is on the list of closers.
func (a *App) start(ctx context.Context) error {
	a.progress.print("Sluice %s starts, with its data in %s\n", a.version, a.config.DataDir)
	for _, step := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"data folder", a.openData},
		{"listeners", a.bind},
		{"certificate authority", a.openCA},
		{"journal", a.openJournal},
		{"etcd", a.openStore},
		{"secrets", a.openSecrets},
		{"way to other hosts", a.openEgress},
		{"sandbox", a.openSandbox},
		{"language runtimes", a.openRuntimes},
		{"signing keys", a.openAuth},
		{"deployments", a.openDeployments},
		{"runs of schedules", a.awaitSchedules},
		{"services", a.openServices},
		{"schedules", a.openSchedules},
		{"demo account", a.seed},
		{"check of every service", a.probe},
	} {
		if err := a.progress.step(step.name, func() error { return step.run(ctx) }); err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("stopped while it started (%s)", step.name)
			}
			return err
		}
	}
	debug.FreeOSMemory() // hashing the first passwords alone leaves 80 MB behind
	return a.announce()
}

// Info is what dev.json holds.
func (a *App) Info() Info { return a.info }

// Run serves until ctx ends, which is no error, or until a part fails of itself.
func (a *App) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-a.failed:
		return err
	}
}

// Close stops the gateway: it is not ready any more, takes no new requests, lets
// those under way finish for DrainTimeout or until ctx ends, and ends every
// process and goroutine it started.
func (a *App) Close(ctx context.Context) error {
	a.ready.hold("stopping")
	a.log.Info().Msg("the gateway stops")
	ctx, cancel := context.WithTimeout(ctx, DrainTimeout+closeTimeout)
	defer cancel()
	return a.closers.closeAll(ctx)
}

// background runs f in a goroutine until the gateway closes, at this place of
// the order.
func (a *App) background(name string, f func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(ctx)
	}()
	a.closers.push(name, func(ctx context.Context) error {
		cancel()
		select {
		case <-done:
			return nil
		case <-ctx.Done():
		}
		select { // out of time, but most need no more than a moment
		case <-done:
			return nil
		case <-time.After(time.Second):
			return ctx.Err()
		}
	})
}

// fail ends the gateway for a reason that came up while it runs.
func (a *App) fail(err error) {
	select {
	case a.failed <- err:
	default: // others failed before
	}
}

func (a *App) openData(context.Context) (err error) {
	if a.data, err = openDataDir(a.config.DataDir); err != nil {
		return err
	}
	a.closers.push("the data folder", a.data.close)
	if w := a.data.warning(); w != "" {
		a.warnings = append(a.warnings, w)
	}
	if err := a.data.remove(infoFile); err != nil {
		return err
	}
	a.demo, err = readDemo(a.data)
	return err
}

func (a *App) openCA(context.Context) (err error) {
	a.ca, err = certs.OpenLocal(a.config.DataDir, nil)
	return err
}

func (a *App) bind(ctx context.Context) error {
	for _, l := range []struct {
		at         *net.Listener
		flag, addr string
	}{
		{&a.listeners.https, "https-addr", a.config.HTTPSAddr},
		{&a.listeners.http, "http-addr", a.config.HTTPAddr},
		{&a.listeners.admin, "admin-addr", a.config.AdminAddr},
	} {
		listener, err := listen(ctx, l.flag, l.addr)
		if err != nil {
			return err
		}
		*l.at = listener
		a.closers.push(l.flag, func(context.Context) error {
			if err := listener.Close(); !errors.Is(err, net.ErrClosed) {
				return err
			}
			return nil // its server closed it
		})
	}
	// Health is told from the beginning, so that whoever waits sees why.
	server := newServer(adminHandler(a.ready, a.metrics, a.config.Pprof), a.log)
	admin := serve("admin", server, a.listeners.admin, adminDrain, a.failed)
	a.closers.push("the admin listener", admin.stop)
	return nil
}

func (a *App) openStore(ctx context.Context) error {
	client, err := a.openEtcd(ctx)
	if err != nil {
		return err
	}
	a.store = store.New(client, a.log)
	a.store.Limits = a.limits
	a.store.OnScheduleDropped = a.noteDropped
	if err := a.store.Open(ctx); err != nil {
		return err
	}
	if !a.sharesEtcd() {
		if err := a.store.ForgetGateways(ctx); err != nil {
			return err
		}
	}
	if a.views, err = a.store.OpenViews(ctx); err != nil {
		return err
	}
	a.closers.push("the views of etcd", func(context.Context) error { a.views.Close(); return nil })
	a.ready.checks = append(a.ready.checks, check{name: "etcd", probe: a.store.Check}, diskCheck(a.config.DataDir, !a.sharesEtcd()))
	return nil
}

// sharesEtcd tells whether other gateways may use the etcd that this one uses.
func (a *App) sharesEtcd() bool { return len(a.config.EtcdEndpoints) > 0 }

// openEtcd connects to the cluster that is set, or starts a member for this
// gateway alone.
func (a *App) openEtcd(ctx context.Context) (*clientv3.Client, error) {
	if a.sharesEtcd() {
		client, err := remote.Dial(ctx, a.config.EtcdEndpoints, a.log)
		if err != nil {
			return nil, fmt.Errorf("--etcd-endpoints: %w", err)
		}
		a.closers.push("the connection to etcd", func(context.Context) error { return client.Close() })
		return client, nil
	}
	member, err := embedded.Start(ctx, embedded.Config{Dir: a.data.file("etcd"), Log: a.log})
	if err != nil {
		return nil, err
	}
	a.closers.push("etcd", func(context.Context) error { return member.Close() })
	a.background("the watch over etcd", func(ctx context.Context) {
		select {
		case <-member.Done():
			a.fail(errors.New("etcd stopped"))
		case <-ctx.Done():
		}
	})
	return member.Client(), nil
}

func (a *App) openAuth(ctx context.Context) (err error) {
	if a.keeper, err = auth.NewKeeper(a.authConfig(), a.store, a.log); err != nil {
		return err
	}
	if err := a.keeper.Check(ctx); err != nil {
		return err
	}
	if a.auth, err = auth.NewService(a.authConfig(), a.store, a.views, a.keeper, a.log); err != nil {
		return err
	}
	a.background("the keeper of the signing keys", a.keeper.Run)
	return nil
}

// authConfig is the same for everything that issues or accepts tokens.
func (a *App) authConfig() auth.Config {
	l := a.limits
	return auth.Config{
		TokenLifetime: l.AppToken, SessionLifetime: l.LoginSession, AccessLifetime: l.AccessToken,
		GrantLifetime: l.RefreshToken, CodeLifetime: l.AuthorizationCode, IDTokenLifetime: l.IDToken, Hosts: a.directory,
	}
}

func (a *App) openDeployments(ctx context.Context) error {
	a.specs = invoke.NewSpecs(a.store, a.platformVariables(), host.Limits{ResultBytes: a.limits.Result, MemoryMiB: a.limits.Memory, Connections: a.limits.EgressConnections}, a.secrets, a.wayOf)
	a.views.OnLive(a.retire)
	a.views.OnMinWarm(a.keepWarm)
	controller, err := deployment.New(deployment.Config{
		GatewayID: newID(), Store: a.store, Builder: a.pool, Prepare: a.prepare, Discard: a.discard, Log: a.log,
	})
	if err != nil {
		return err
	}
	a.background("the deployment controller", controller.Run)
	select {
	case <-controller.Ready():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
