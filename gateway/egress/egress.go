// Package egress is the one way out of a runtime process: an HTTP proxy that knows
// which lambda asks, and lets it reach the hosts on its account's whitelist and no
// others (contract/javascript-runtime.md §7).
//
// A connection of a process comes as a net.Conn that can be of nobody else, so
// nothing that is sent over it says whose it is. On it the proxy takes HTTP/1.1
// requests in absolute form, upgrades among them, and CONNECT for everything else.
// It never looks into a tunnel: there is no certificate of ours, and what is
// encrypted stays so.
//
// Each request is decided on anew. The whitelist has names; what a name resolves to
// is checked too, and the address that was checked is the one that is dialled. What
// is open when the whitelist changes is decided on again, and closed if it would be
// refused.
//
// The proxy stands on net/http and httputil.ReverseProxy: net/http parses requests,
// so two readers of one request never disagree, and ReverseProxy knows hop-by-hop
// fields, trailers and upgrades.
package egress

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// Headers of an answer that the proxy itself gives. Nothing that comes from a host
// has them.
const (
	RuleHeader    = "X-Sluice-Egress"         // a lambda.EgressRule
	MessageHeader = "X-Sluice-Egress-Message" // one line for people
)

// refusedText is the body of a refused request (contract/javascript-runtime.md §4).
const refusedText = "You do not have access to the page or resource you are trying to reach\n"

// What a Config that does not say it means.
const (
	DefaultIdle        = 2 * time.Minute
	DefaultTotal       = time.Hour
	DefaultConnections = 4096
	DefaultConnect     = 10 * time.Second
)

const (
	headerTime     = 10 * time.Second // for the head of a request
	resolveTime    = 5 * time.Second
	maxRequestHead = 32 << 10
	maxAnswerHead  = 64 << 10
	bufferSize     = 32 << 10
	maxAddresses   = 8 // of a name that are tried
)

// Whitelist tells from memory which entry of an account's whitelist a host is of.
type Whitelist interface {
	DomainOf(account, host string) (*lambda.Domain, bool)
	// OnDomain has f called after every change of an account's whitelist.
	OnDomain(f func(account string))
}

// Resolver looks names up. A net.Resolver does.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Config is what a Proxy is made of. Whitelist is required.
type Config struct {
	Whitelist Whitelist
	// Services are host[:port] of the services of this gateway, as its directory
	// names them: every lambda may reach exactly these, wherever they are. Without a
	// port it is 443.
	Services []string
	// Denied are addresses that no lambda reaches, whatever permits it: listeners
	// that are the operator's alone.
	Denied []netip.AddrPort
	// DeniedHosts are such listeners by name, as host[:port], wherever the name leads
	// when a lambda asks for something at that port. Without a port it is 443.
	DeniedHosts []string
	// PrivateNetworks are those of which entries can permit the addresses; nil: all
	// private networks, and loopback.
	PrivateNetworks []netip.Prefix
	// Rate is how often a lambda may ask in a second, in all of the region; 0: as
	// often as it likes.
	Rate int
	// Report takes every attempt, and must not wait. Default: nobody is told.
	Report func(lambda.Attempt)
	Log    zerolog.Logger

	// Connections are those of all processes at once, of which an account has no
	// more than a quarter. Default DefaultConnections.
	Connections int
	// Idle ends what moves no byte for so long. Default DefaultIdle.
	Idle time.Duration
	// Total ends what is open for so long. Default DefaultTotal.
	Total time.Duration
	// Connect is how long a host may take to accept a connection. Default
	// DefaultConnect.
	Connect time.Duration
	// Resolver looks names up. Default net.DefaultResolver.
	Resolver Resolver
	// Dial connects to an address that was checked. Default: a net.Dialer, which
	// checks it once more.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	Now  func() time.Time // default time.Now
}

// Proxy serves the connections of all processes of a gateway. Its methods are safe
// for concurrent use.
type Proxy struct {
	whitelist Whitelist
	services  map[service]bool
	denied    map[service]bool
	guard     guard
	networks  []netip.Prefix
	report    func(lambda.Attempt)
	log       zerolog.Logger
	idle      time.Duration
	total     time.Duration
	connect   time.Duration
	resolver  Resolver
	dialer    func(ctx context.Context, network, address string) (net.Conn, error)
	now       func() time.Time

	server   *http.Server
	accepted chan net.Conn
	rates    *rates
	floods   *floods
	sessions *sessions
	counts   counts

	ctx  context.Context // ends when the proxy closes
	end  context.CancelFunc
	work sync.WaitGroup
}

// New begins to serve; Close ends it.
func New(c Config) (*Proxy, error) {
	if c.Whitelist == nil {
		return nil, fmt.Errorf("egress: a proxy needs a whitelist")
	}
	p := &Proxy{
		whitelist: c.Whitelist, guard: guard{denied: c.Denied}, networks: c.PrivateNetworks, report: c.Report, log: c.Log,
		idle: or(c.Idle, DefaultIdle), total: or(c.Total, DefaultTotal), connect: or(c.Connect, DefaultConnect),
		resolver: c.Resolver, dialer: c.Dial, now: c.Now,
		accepted: make(chan net.Conn), rates: newRates(c.Rate), sessions: newSessions(or(c.Connections, DefaultConnections)),
	}
	if p.report == nil {
		p.report = func(lambda.Attempt) {}
	}
	if p.resolver == nil {
		p.resolver = net.DefaultResolver
	}
	if p.dialer == nil {
		p.dialer = p.guard.dial
	}
	if p.now == nil {
		p.now = time.Now
	}
	p.floods = newFloods()
	var err error
	if p.services, err = parseServices(c.Services); err != nil {
		return nil, fmt.Errorf("egress: %w", err)
	}
	if p.denied, err = parseServices(c.DeniedHosts); err != nil {
		return nil, fmt.Errorf("egress: %w", err)
	}
	p.ctx, p.end = context.WithCancel(context.Background())
	p.server = p.newServer()
	p.whitelist.OnDomain(p.relisted)
	p.work.Go(func() { _ = p.server.Serve(arrivals{p}) }) // its listener's end is all that it reports
	p.work.Go(p.watch)
	return p, nil
}

func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Close ends every connection and waits, until ctx ends, for all that they ran.
func (p *Proxy) Close(ctx context.Context) error {
	p.end()
	done := make(chan struct{})
	go func() {
		_ = p.server.Close() // it has no listener that could fail
		p.work.Wait()
		p.sessions.wait()
		p.flush()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close the egress proxy: %w", ctx.Err())
	}
}

// For gives the way out of the processes of one lambda.
func (p *Proxy) For(account, lambdaID string) *Way {
	return &Way{proxy: p, caller: caller{account, lambdaID}}
}

// SetGateways tells how many gateways are alive, this one included: each allows its
// share of a lambda's requests in a second.
func (p *Proxy) SetGateways(n int) { p.rates.gateways.Store(int64(max(n, 1))) }

// caller is the lambda that asks.
type caller struct{ account, lambdaID string }

// Way is the proxy as one lambda meets it. Safe for concurrent use.
type Way struct {
	proxy  *Proxy
	caller caller
}
