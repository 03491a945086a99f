package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// alwaysOpen are the hosts that every lambda may reach
// (contract/javascript-runtime.md §7), in the public network.
var alwaysOpen = openNames(
	"adminlogin", "ams-a", "api", "*.ac", "*.acr", "*.agentvep", "*.data-mng", "*.enghist", "*.lp-msgewt",
	"*.msghist", "*.push", "*.v", "*.msg", "*.objectstorage",
)

func openNames(names ...string) map[string]bool {
	open := map[string]bool{}
	for _, n := range names {
		open[n+".liveperson.net"] = true
	}
	return open
}

// smtp is a port that nobody asks over HTTP: only mail that its receivers did not
// want goes there.
const smtp = 25

// service is a host and port of this gateway's.
type service struct {
	host string
	port uint16
}

func parseServices(texts []string) (map[service]bool, error) {
	all := map[service]bool{}
	for _, text := range texts {
		t, err := parseTarget(text, 443)
		if err != nil {
			return nil, fmt.Errorf("the service at %.100q %w", text, err)
		}
		all[service{t.host(), t.port}] = true
	}
	return all, nil
}

// decision is what the rules say about a host, before its name is looked up.
type decision struct {
	target
	rule      lambda.EgressRule
	entry     string // of the whitelist, or of alwaysOpen
	permitted bool   // private addresses
	message   string // for people, when it is refused
}

func (d *decision) allowed() bool { return d.rule.Verdict() == lambda.Allowed }

// decide asks the rules whether an account's lambdas may reach a target.
func (p *Proxy) decide(account string, t target) decision {
	d := decision{target: t}
	switch {
	case p.services[service{t.host(), t.port}]:
		d.rule, d.permitted = lambda.RuleService, true
		return d
	case t.port == 0 || t.port == smtp:
		d.rule = lambda.RulePort
		d.message = fmt.Sprintf("port %d of %s may not be reached (rule %s): use the port of an HTTP server", t.port, t.host(), d.rule)
		return d
	case t.name == "":
		d.rule = lambda.RuleNotListed
		d.message = fmt.Sprintf("%s is an address, and the whitelist has names only (rule %s): put the host's name on it, and call it by that", t.host(), d.rule)
		return d
	}
	if entry, ok := p.whitelist.DomainOf(account, t.name); ok {
		d.rule, d.entry, d.permitted = lambda.RuleListed, entry.Name, entry.PrivateAddresses
		return d
	}
	for name := range lambda.DomainsOf(t.name) {
		if alwaysOpen[name] {
			d.rule, d.entry = lambda.RuleOpen, name
			return d
		}
	}
	d.rule = lambda.RuleNotListed
	d.message = fmt.Sprintf("%s is not on the domain whitelist of account %s (rule %s): an administrator of the account can add it", t.name, account, d.rule)
	return d
}

// permitOf is what a decision permits: a service of this gateway is where it is,
// whatever networks are open to entries.
func (p *Proxy) permitOf(d *decision) permit {
	if d.rule == lambda.RuleService {
		return permit{private: true}
	}
	return permit{private: d.permitted, networks: p.networks}
}

// failure is why a host that the rules allow was not reached.
type failure struct {
	rule    lambda.EgressRule
	message string
	address netip.Addr // that was refused, or tried last
	err     error
}

func (f *failure) Error() string { return f.message }

func (f *failure) Unwrap() error { return f.err }

// resolve gives the addresses of a decision's host that may be dialled, and all that
// it has.
func (p *Proxy) resolve(ctx context.Context, d *decision) (open, all []netip.Addr, err error) {
	if d.name == "" {
		all = []netip.Addr{d.address}
	} else {
		all, err = p.lookUp(ctx, d)
		if err != nil {
			return nil, nil, err
		}
	}
	guard, err := p.guardOf(ctx, d)
	if err != nil {
		return nil, all, err
	}
	var refused error
	var address netip.Addr
	for _, a := range all {
		if err := guard.check(netip.AddrPortFrom(a, d.port), p.permitOf(d)); err == nil {
			open = append(open, a)
		} else if refused == nil {
			refused, address = err, a
		}
	}
	if len(open) == 0 {
		return nil, all, refusedAddress(d, address, refused)
	}
	return open, all, nil
}

// guardOf is the guard with the addresses that denied hosts have at this moment,
// whatever other name of theirs is asked for. While one cannot be looked up, nothing
// that is permitted at its port is reached: it could be that. Where private addresses
// are not permitted, such a host is refused by its own name alone, and no lookup is
// spent on it: at a public address anybody comes to it.
func (p *Proxy) guardOf(ctx context.Context, d *decision) (guard, error) {
	g := guard{denied: slices.Clip(p.guard.denied)}
	for s := range p.denied {
		if s.port != d.port || s.host != d.name && !d.permitted {
			continue
		}
		var all []netip.Addr
		var err error
		if s.host != d.name {
			all, err = p.lookUp(ctx, &decision{target: target{name: s.host, port: s.port}, permitted: true})
		}
		if err != nil || s.host == d.name {
			return g, &failure{rule: lambda.RulePrivate, err: err, message: fmt.Sprintf(
				"%s may not be reached (rule %s): a service that is the operator's alone has this port, call another", d.target, lambda.RulePrivate)}
		}
		for _, a := range all {
			g.denied = append(g.denied, netip.AddrPortFrom(a.Unmap(), s.port))
		}
	}
	return g, nil
}

func refusedAddress(d *decision, address netip.Addr, why error) *failure {
	remedy := "call a host with a public address"
	if classify(address) == private && !d.permitted {
		remedy = "an administrator can add an entry of the whitelist for it that permits private addresses"
	}
	return &failure{
		rule: lambda.RulePrivate, address: address.Unmap(), err: why,
		message: fmt.Sprintf("%s may not be reached, as %s (rule %s): %s", d.host(), why, lambda.RulePrivate, remedy),
	}
}

func (p *Proxy) lookUp(ctx context.Context, d *decision) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	name := d.name
	if !d.permitted && strings.Contains(name, ".") {
		// This name and no other: the system would try it below its own domains too.
		name += "."
	}
	all, err := p.resolver.LookupNetIP(ctx, "ip", name)
	if err == nil && len(all) == 0 {
		err = errors.New("it has no address")
	}
	if err != nil {
		return nil, &failure{
			rule: lambda.RuleUnresolved, err: err,
			message: fmt.Sprintf("%s could not be looked up (rule %s): %s", d.name, lambda.RuleUnresolved, lookUpFault(err)),
		}
	}
	return all[:min(len(all), maxAddresses)], nil
}

// lookUpFault is why a name has no address, without the names of servers.
func lookUpFault(err error) string {
	var dns *net.DNSError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &dns) && dns.IsTimeout:
		return "no name server answered in time, try again"
	case errors.As(err, &dns) && dns.IsNotFound:
		return "there is no such name, check its spelling"
	}
	return "check its spelling, or try again"
}

// stagger is how long an address has before the next one is tried beside it.
const stagger = 300 * time.Millisecond

// dial connects to the host of a decision: to the first of its addresses that
// answers.
func (p *Proxy) dial(ctx context.Context, d *decision) (net.Conn, error) {
	open, _, err := p.resolve(ctx, d)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, permittedKey{}, p.permitOf(d)), p.connect)
	defer cancel()
	type result struct {
		conn net.Conn
		err  error
	}
	results := make(chan result, len(open))
	begin := func(a netip.Addr) {
		conn, err := p.dialer(ctx, "tcp", netip.AddrPortFrom(a.Unmap(), d.port).String())
		results <- result{conn, err}
	}
	started, ended := 0, 0
	next := time.NewTimer(0)
	defer next.Stop()
	defer func() { // whoever comes second is not wanted
		cancel()
		for range started - ended {
			if r := <-results; r.conn != nil {
				_ = r.conn.Close()
			}
		}
	}()
	var last error
	for ended < len(open) {
		select {
		case <-next.C:
			if started < len(open) {
				go begin(open[started])
				started++
				next.Reset(stagger)
			}
		case r := <-results:
			ended++
			if r.err == nil {
				bound(r.conn)
				return r.conn, nil
			}
			last = r.err
			next.Reset(0)
		}
	}
	return nil, &failure{
		rule: lambda.RuleUnreachable, address: open[0].Unmap(), err: last,
		message: fmt.Sprintf("%s does not accept connections (rule %s): %s", d.target, lambda.RuleUnreachable, dialFault(last)),
	}
}

func dialFault(err error) string {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return "it did not answer in time"
	}
	return "nothing answers there, check host and port"
}

// Check is what would become of a request.
type Check struct {
	Rule    lambda.EgressRule
	Message string // for people
	Scheme  string
	Host    string // in the form in which entries are kept
	Port    int
	Entry   string // of the whitelist, or an always open host, that matched
	// Addresses are all that the host has; none when it was not looked up.
	Addresses []netip.Addr
}

// Check tells what would become of a request to an URL, without making it: nothing
// but the name is looked up, and that of an allowed host only. An URL that no request
// can have is Invalid.
func (p *Proxy) Check(ctx context.Context, account, text string) (Check, error) {
	t, scheme, err := parseURL(text)
	if err != nil {
		return Check{}, err
	}
	d := p.decide(account, t)
	c := Check{Rule: d.rule, Message: d.message, Scheme: scheme, Host: t.host(), Port: int(t.port), Entry: d.entry}
	if !d.allowed() {
		return c, nil
	}
	open, all, err := p.resolve(ctx, &d)
	c.Addresses = unmapped(all)
	var why *failure
	switch {
	case errors.As(err, &why):
		c.Rule, c.Message = why.rule, why.message
	case err != nil:
		return Check{}, err
	default:
		c.Message = fmt.Sprintf("%s may be reached (rule %s)", t, d.rule)
		if n := len(all) - len(open); n > 0 {
			c.Message += fmt.Sprintf(", but for %d of its %d addresses, which are private or special", n, len(all))
		}
	}
	return c, nil
}

func unmapped(all []netip.Addr) []netip.Addr {
	all = slices.Clone(all)
	for i, a := range all {
		all[i] = a.Unmap()
	}
	return all
}

// defaultPorts are those of the schemes that lambdas can use.
var defaultPorts = map[string]uint16{"http": 80, "ws": 80, "https": 443, "wss": 443}

const maxURL = 8 << 10

func parseURL(text string) (t target, scheme string, err error) {
	const field = "url"
	if text == "" {
		return target{}, "", lambda.Invalid(field, "url is missing: give one such as https://api.example.com/path")
	}
	if len(text) > maxURL {
		return target{}, "", lambda.Invalid(field, "url has %d bytes: the limit is %d", len(text), maxURL)
	}
	u, err := url.Parse(text)
	if err != nil {
		return target{}, "", lambda.Invalid(field, "url %.100q cannot be read: give one such as https://api.example.com/path", text)
	}
	scheme = strings.ToLower(u.Scheme)
	port, ok := defaultPorts[scheme]
	switch {
	case !ok:
		return target{}, "", lambda.Invalid(field, "url begins with %.20q: a lambda can reach http, https, ws and wss", u.Scheme)
	case u.Host == "":
		return target{}, "", lambda.Invalid(field, "url %.100q names no host: give one such as https://api.example.com/path", text)
	}
	if t, err = parseTarget(u.Host, port); err != nil {
		return target{}, "", lambda.Invalid(field, "the host %.100q %v", u.Host, err)
	}
	return t, scheme, nil
}

// shown is a host as it was written, as far as a log can take it.
func shown(authority string) string {
	if len(authority) > 100 {
		authority = authority[:100]
	}
	quoted := strconv.QuoteToASCII(strings.ToValidUTF8(authority, "?"))
	return quoted[1 : len(quoted)-1]
}
