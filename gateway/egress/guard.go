package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"code.dny.dev/ssrf"
)

// reach is who can be behind an address.
type reach int

const (
	anyone  reach = iota // somebody in the public network
	private              // this machine and its networks: an entry can permit it
	nobody               // never
)

// privatePrefixes are what an entry with PrivateAddresses permits: loopback, the
// networks of organisations, and those that providers share.
var privatePrefixes = prefixes(
	"127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10",
	"::1/128", "fc00::/7",
)

// metadataPrefixes are addresses, within ranges that are otherwise private or
// public, at which clouds give a machine its credentials to whoever asks. Link-local
// ones are among the special ones.
var metadataPrefixes = prefixes(
	"fd00:ec2::/32",      // Amazon
	"fd20:ce::/32",       // Google
	"168.63.129.16/32",   // Azure
	"100.100.100.200/32", // Alibaba
	"192.0.0.192/32",     // Oracle
)

func prefixes(texts ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		all[i] = netip.MustParsePrefix(text)
	}
	return all
}

func within(all []netip.Prefix, a netip.Addr) bool {
	for _, p := range all {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// public knows every address of special purpose by IANA's registries; of IPv6 it
// takes nothing but global unicast, so neither NAT64 (64:ff9b::/96, 64:ff9b:1::/48)
// nor IPv4-compatible addresses, and of that neither 6to4 nor Teredo: there an
// address of the one protocol has one of the other inside, which would be reached.
var public = ssrf.New(ssrf.WithAnyPort(), ssrf.WithAnyNetwork())

// classify tells who can be behind a.
func classify(a netip.Addr) reach {
	if a.Zone() != "" {
		return nobody
	}
	a = a.Unmap()
	switch {
	case !a.IsValid(), a.IsUnspecified(), a.IsMulticast(), a.IsLinkLocalUnicast(), within(metadataPrefixes, a):
		return nobody
	case within(privatePrefixes, a):
		return private
	case public.SafeAddr(a) != nil:
		return nobody
	}
	return anyone
}

// guard decides which addresses are dialled.
type guard struct{ denied []netip.AddrPort }

// permit is which private addresses may be reached.
type permit struct {
	private  bool           // any at all
	networks []netip.Prefix // within these alone; nil: wherever
}

// check refuses an address that may not be reached. The error says why, for people.
func (g guard) check(to netip.AddrPort, permitted permit) error {
	a := to.Addr().Unmap()
	switch classify(to.Addr()) {
	case nobody:
		return fmt.Errorf("%s has a special purpose, and no entry permits it", a)
	case private:
		if !permitted.private {
			return fmt.Errorf("%s is a private address", a)
		}
		if permitted.networks != nil && !within(permitted.networks, a) {
			return fmt.Errorf("%s is in none of the private networks that the operator of the gateway opens to lambdas", a)
		}
	}
	if g.denies(netip.AddrPortFrom(a, to.Port())) {
		return fmt.Errorf("%s is the operator's alone, and no entry permits it", to)
	}
	return nil
}

// denies tells whether a denied listener answers at that address.
func (g guard) denies(to netip.AddrPort) bool {
	for _, d := range g.denied {
		own := d.Addr().Unmap()
		switch {
		case d.Port() != to.Port():
		case own == to.Addr(), own.IsLoopback() && to.Addr().IsLoopback(), own.IsUnspecified() && isOwn(to.Addr()):
			return true
		}
	}
	return false
}

// isOwn tells whether an address is one of this machine. When it cannot be known, it
// may be.
func isOwn(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	for _, i := range all {
		if p, err := netip.ParsePrefix(i.String()); err == nil && p.Addr().Unmap() == a {
			return true
		}
	}
	return false
}

// permittedKey is the key under which a context has its permit.
type permittedKey struct{}

var errNoAddress = errors.New("what was to be dialled is no address")

// dial connects to an address. It is checked once more where the system is about to
// connect: whatever went wrong before, no other one is reached.
func (g guard) dial(ctx context.Context, network, address string) (net.Conn, error) {
	permitted, _ := ctx.Value(permittedKey{}).(permit)
	d := net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return errNoAddress
		}
		return g.check(to, permitted)
	}}
	return d.DialContext(ctx, network, address)
}
