package egress

import (
	"context"
	"net"
	"net/netip"
)

// Parsed is a host as the rules see it.
type Parsed struct {
	Name    string
	Address netip.Addr
	Port    uint16
}

// Parse reads host[:port].
func Parse(authority string, port uint16) (p Parsed, text string, err error) {
	t, err := parseTarget(authority, port)
	return Parsed{t.name, t.address, t.port}, t.String(), err
}

// Reach is who can be behind an address.
func Reach(a netip.Addr) string { return [...]string{"anyone", "private", "nobody"}[classify(a)] }

// GuardedDial dials as a proxy does that denies those addresses.
func GuardedDial(ctx context.Context, denied []netip.AddrPort, permitted bool, address string) (net.Conn, error) {
	return guard{denied}.dial(context.WithValue(ctx, permittedKey{}, permit{private: permitted}), "tcp", address)
}

// Busy is how many requests and tunnels are let out now.
func (p *Proxy) Busy() (n int) {
	for _, s := range p.sessions.all("") {
		if s.exchange() != nil {
			n++
		}
	}
	return n
}
