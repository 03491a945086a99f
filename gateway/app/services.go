package app

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"

	"golang.org/x/sync/errgroup"

	"github.com/sluice-faas/sluice/gateway/api"
	"github.com/sluice-faas/sluice/gateway/auth"
	"github.com/sluice-faas/sluice/gateway/directory"
	"github.com/sluice-faas/sluice/gateway/invoke"
)

// openServices begins to answer on the public listeners.
func (a *App) openServices(context.Context) error {
	handler, err := a.newAPI()
	if err != nil {
		return err
	}
	tlsConfig, err := a.ca.TLSConfig(a.certificateHosts()...)
	if err != nil {
		return err
	}
	https, plain := a.newHTTPS(handler, tlsConfig), newServer(handler, a.log)
	plain.Protocols = new(http.Protocols)
	plain.Protocols.SetHTTP1(true)
	public := []*serving{
		serve("HTTPS", https, a.listeners.https, a.failed),
		serve("HTTP", plain, a.listeners.http, a.failed),
	}
	a.closers.push("the public listeners", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, DrainTimeout)
		defer cancel()
		var both errgroup.Group
		for _, s := range public {
			both.Go(func() error { return s.stop(ctx) })
		}
		return both.Wait()
	})
	a.ready.open()
	return nil
}

func (a *App) newHTTPS(handler http.Handler, config *tls.Config) *http.Server {
	server := newServer(handler, a.log)
	server.TLSConfig = config
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(true)
	return server
}

// certificateHosts are the names and addresses, beyond loopback, under which
// clients may call.
func (a *App) certificateHosts() []string {
	hosts := a.config.DomainHosts()
	if host, _, err := net.SplitHostPort(a.config.HTTPSAddr); err == nil && host != "" {
		hosts = append(hosts, host)
	}
	return hosts
}

func (a *App) newAPI() (*api.Server, error) {
	d, warnings, err := directory.New(directory.Config{Base: reachable(a.listeners.https), Domains: a.config.Domains()})
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		a.log.Warn().Msg(w)
		a.warnings = append(a.warnings, w)
	}
	authenticator, err := auth.NewAuthenticator(auth.Config{}, a.store, a.views, a.keeper)
	if err != nil {
		return nil, err
	}
	dispatcher := invoke.New(invoke.Config{
		Live: a.views, Records: a.store, Pool: a.pool, Specs: a.specs, RunTimeout: a.config.RunTimeout, Log: a.log,
	})
	return api.New(api.Config{
		Log: a.log, Lambdas: a.store, Events: a.views, Authenticate: authenticator, Auth: a.auth, Directory: d,
		Invoker: dispatcher, Replays: invoke.NewReplays(invoke.ReplaysConfig{}), Runtimes: a.pool,
		RuntimeNames: a.runtimeNames(), Metrics: a.metrics,
	}), nil
}
