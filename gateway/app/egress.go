package app

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-faas/sluice/gateway/directory"
	"github.com/sluice-faas/sluice/gateway/egress"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/plugins/host"
)

// openEgress makes the way of lambdas to other hosts, and the directory, whose hosts
// they may all reach. It is opened before the processes, and so closed after them.
func (a *App) openEgress(context.Context) (err error) {
	var warnings []string
	a.directory, warnings, err = directory.New(directory.Config{Base: reachable(a.listeners.https), Domains: a.config.Domains()})
	if err != nil {
		return err
	}
	for _, w := range warnings {
		a.log.Warn().Msg(w)
		a.warnings = append(a.warnings, w)
	}
	denied, deniedHosts := a.operatorsOnly()
	a.egress, err = egress.New(egress.Config{
		Whitelist: a.views, Services: a.services(), Denied: denied, DeniedHosts: deniedHosts, PrivateNetworks: a.config.Networks(), Rate: a.limits.EgressRequests, Report: a.journal.Attempt, Log: a.log,
	})
	if err != nil {
		return fmt.Errorf("the way to other hosts: %w", err)
	}
	a.closers.push("the way to other hosts", a.egress.Close)
	a.metrics.MustRegister(egressCollector(a.egress.Stats))
	return nil
}

// services are host[:port] of all that the directory names, and of the plain
// listener, which serves the same.
func (a *App) services() []string {
	all := []string{reachable(a.listeners.http)}
	for _, e := range a.directory.List("") {
		all = append(all, e.BaseURI)
	}
	return all
}

// platformVariables are those that lambdas of all accounts have: in DOMAIN, where
// the toolbelt finds the Domain API.
func (a *App) platformVariables() map[string]string {
	host, err := a.directory.BaseURI("", "csds")
	if err != nil { // it always has that one
		return nil
	}
	return map[string]string{"DOMAIN": host}
}

// operatorsOnly are listeners that no lambda reaches: the admin listener, and what
// the gateway itself works with, by address or by name.
func (a *App) operatorsOnly() (addresses []netip.AddrPort, hosts []string) {
	add := func(hostPort string) {
		if address, err := netip.ParseAddrPort(hostPort); err == nil {
			addresses = append(addresses, address)
		} else {
			hosts = append(hosts, hostPort)
		}
	}
	add(a.listeners.admin.Addr().String())
	endpoints := slices.Clone(a.config.EtcdEndpoints)
	if vault := os.Getenv(vaultAddr); vault != "" {
		endpoints = append(endpoints, vault)
	}
	for _, endpoint := range endpoints {
		if !strings.Contains(endpoint, "://") {
			endpoint = "http://" + endpoint
		}
		u, err := url.Parse(endpoint)
		if err != nil || u.Hostname() == "" {
			continue // nor can it be used
		}
		port := u.Port()
		if port == "" {
			port = map[string]string{"http": "80"}[u.Scheme]
		}
		add(net.JoinHostPort(u.Hostname(), cmp.Or(port, "443")))
	}
	return addresses, hosts
}

func egressCollector(stats func() egress.Stats) prometheus.Collector {
	type S = egress.Stats
	c := &collector[S]{snapshot: stats}
	for _, rule := range lambda.EgressRules {
		c.counter("sluice_egress_attempts_total", "Requests and tunnels of lambdas to other hosts, by verdict and the rule that led to it.",
			prometheus.Labels{"verdict": string(rule.Verdict()), "rule": string(rule)}, func(s *S) float64 { return float64(s.Attempts[rule]) })
	}
	c.counter("sluice_egress_sent_bytes_total", "Bytes that lambdas sent on their way to other hosts.", nil, func(s *S) float64 { return float64(s.Sent) })
	c.counter("sluice_egress_received_bytes_total", "Bytes that came back to them.", nil, func(s *S) float64 { return float64(s.Received) })
	c.gauge("sluice_egress_connections", "Connections of processes to the egress proxy.", func(s *S) float64 { return float64(s.Connections) })
	return c
}

// wayOf is the way of one lambda to other hosts.
func (a *App) wayOf(account, lambdaID string) host.Egress { return a.egress.For(account, lambdaID) }
