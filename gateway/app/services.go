package app

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"

	"github.com/sluice-faas/sluice/gateway/api"
	"github.com/sluice-faas/sluice/gateway/auth"
	"github.com/sluice-faas/sluice/gateway/config"
	"github.com/sluice-faas/sluice/gateway/control"
	"github.com/sluice-faas/sluice/gateway/invoke"
	"github.com/sluice-faas/sluice/gateway/web"
	"github.com/sluice-faas/sluice/ui"
)

// openServices begins to answer on the public listeners.
func (a *App) openServices(context.Context) error {
	handler, err := a.newAPI()
	if err != nil {
		return err
	}
	a.background("the count of gateways", func(ctx context.Context) { a.countGateways(ctx, handler) })
	tlsConfig, err := a.ca.TLSConfig(certificateHosts(a.config, a.listeners.https)...)
	if err != nil {
		return err
	}
	https, plain := a.newHTTPS(handler, tlsConfig), newServer(handler, a.log)
	plain.Protocols = new(http.Protocols)
	plain.Protocols.SetHTTP1(true)
	public := []*serving{
		serve("HTTPS", https, a.listeners.https, DrainTimeout, a.failed),
		serve("HTTP", plain, a.listeners.http, DrainTimeout, a.failed),
	}
	a.closers.push("the public listeners", func(ctx context.Context) error {
		var both errgroup.Group
		for _, s := range public {
			both.Go(func() error { return s.stop(ctx) })
		}
		return both.Wait()
	})
	if err := a.openControl(handler.Control()); err != nil {
		return err
	}
	a.closers.push("the live tails", func(context.Context) error { handler.EndTails(); return nil }) // before their listeners
	a.ready.open()
	return nil
}

// operators bounds the connections of the operator's commands.
const operators = 64

// openControl begins to answer the operator, on a socket in the data folder.
// Nothing else ever serves handler.
func (a *App) openControl(handler http.Handler) error {
	l, err := control.Listen(a.config.DataDir, func(p control.Peer) {
		a.log.Warn().Uint32("uid", p.UID).Int32("pid", p.PID).Msg("another user was refused at the control socket")
	})
	if err != nil {
		return unusable(a.config.DataDir, err)
	}
	s := serve("control", newServer(handler, a.log), netutil.LimitListener(l, operators), adminDrain, a.failed)
	a.closers.push("the control socket", s.stop)
	return nil
}

// countInterval is how often the gateways that are alive are counted.
const countInterval = 5 * time.Second

// countGateways tells how many gateways share the calls of an account, and the
// requests of a lambda to other hosts.
// While etcd is away the last count holds.
func (a *App) countGateways(ctx context.Context, server *api.Server) {
	tick := time.NewTicker(countInterval)
	defer tick.Stop()
	for {
		alive, err := a.store.Gateways(ctx)
		switch {
		case err == nil:
			server.SetGateways(len(alive))
			a.egress.SetGateways(len(alive))
		case ctx.Err() == nil:
			a.log.Debug().Err(err).Msg("the gateways could not be counted: the last count holds")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (a *App) newHTTPS(handler http.Handler, config *tls.Config) server {
	server := newServer(handler, a.log)
	server.TLSConfig = config
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(true)
	return server
}

// certificateHosts are the names and addresses, beyond loopback, under which
// clients may call: those that are set, and the listener's own, which the URLs
// of dev.json have.
func certificateHosts(c config.Config, l net.Listener) []string {
	hosts := c.DomainHosts()
	for _, address := range []string{c.HTTPSAddr, reachable(l)} {
		host, _, err := net.SplitHostPort(address)
		if err == nil && host != "" && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

func (a *App) newAPI() (*api.Server, error) {
	authenticator, err := auth.NewAuthenticator(a.authConfig(), a.store, a.views, a.keeper)
	if err != nil {
		return nil, err
	}
	a.invoker = invoke.New(invoke.Config{
		Live: a.views, Records: a.store, Pool: a.pool, Specs: a.specs, RunTimeout: a.limits.RunTime,
		Journal: a.journal, LogRecords: a.limits.LogRecords, LogCharacters: a.limits.LogCharacters, Log: a.log,
	})
	pages, err := web.New(ui.Files())
	if err != nil {
		return nil, err
	}
	return api.New(api.Config{
		Log: a.log, Lambdas: a.store, Domains: a.store, Schedules: a.store, Secrets: a.secrets, Receipts: a.store, Identity: a.store, Views: a.views, Live: a.views,
		Journal: a.journal, Authenticate: authenticator, Auth: a.auth, Directory: a.directory, Egress: a.egress,
		Invoker: a.invoker, Replays: invoke.NewReplays(invoke.ReplaysConfig{}), Runtimes: a.pool, Condition: a.condition,
		RuntimeNames: a.runtimeNames(), Templates: a.templates(), Metrics: a.metrics, Limits: a.limits,
		UI: pages, Version: a.version,
	}), nil
}
