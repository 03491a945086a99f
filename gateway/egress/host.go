package egress

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// names maps what people write in other scripts to the form that resolvers take.
// What is ASCII already is not its concern: names with underscores, say, are no host
// names and yet resolve.
var names = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.CheckJoiners(true))

// target is a host and port in the one form in which they are compared: name in
// lower case, in ASCII and without a last dot, or an address.
type target struct {
	name    string // empty for an address
	address netip.Addr
	port    uint16
}

// host is the name, or the address as it is written in text.
func (t target) host() string {
	if t.name == "" {
		return t.address.String()
	}
	return t.name
}

// String is host:port, with an IPv6 address in brackets.
func (t target) String() string {
	if t.name == "" {
		return netip.AddrPortFrom(t.address, t.port).String()
	}
	return t.name + ":" + strconv.Itoa(int(t.port))
}

// parseTarget reads host or host:port; without one it is port. Whatever another program would read as an
// address is one here too. The error says what is wrong, and how to write it.
func parseTarget(authority string, port uint16) (target, error) {
	host := authority
	if len(authority) > 4*lambda.MaxDomainLength {
		return target{}, fmt.Errorf("has %d characters: a host name has %d at most", len(authority), lambda.MaxDomainLength)
	}
	if strings.ContainsRune(authority, '@') {
		return target{}, fmt.Errorf("names a user: give the host alone")
	}
	if i := strings.LastIndexByte(host, ':'); i >= 0 && i > strings.LastIndexByte(host, ']') {
		text := host[i+1:]
		if host = host[:i]; text != "" {
			n, err := strconv.ParseUint(text, 10, 16)
			if err != nil {
				return target{}, fmt.Errorf("has the port %.10q: a port is a number from 1 to 65535", text)
			}
			port = uint16(n)
		}
	}
	t, err := parseHost(host)
	t.port = port
	return t, err
}

func parseHost(host string) (target, error) {
	if bracketed, ok := strings.CutPrefix(host, "["); ok {
		inner, closed := strings.CutSuffix(bracketed, "]")
		a, err := netip.ParseAddr(inner)
		if err != nil || !closed || !a.Is6() || a.Zone() != "" {
			return target{}, fmt.Errorf("is no IPv6 address in brackets, or has a zone")
		}
		return target{address: a.Unmap()}, nil
	}
	if strings.ContainsRune(host, '%') {
		return target{}, fmt.Errorf("has a percent sign: write the characters themselves")
	}
	name := host
	if !isASCII(name) {
		var err error
		if name, err = names.ToASCII(host); err != nil || !utf8.ValidString(host) {
			return target{}, fmt.Errorf("is no host name of any script")
		}
	}
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	labels := strings.Split(name, ".")
	if last := labels[len(labels)-1]; isNumber(last) {
		a, err := parseIPv4(labels)
		return target{address: a}, err
	}
	if len(name) > lambda.MaxDomainLength {
		return target{}, fmt.Errorf("has %d characters: a host name has %d at most", len(name), lambda.MaxDomainLength)
	}
	for _, l := range labels {
		if err := checkLabel(l); err != nil {
			return target{}, err
		}
	}
	return target{name: name}, nil
}

const maxLabel = 63 // RFC 1035 §2.3.4

func checkLabel(l string) error {
	if l == "" || len(l) > maxLabel {
		return fmt.Errorf("has a part of %d characters between its dots: give 1 to %d", len(l), maxLabel)
	}
	for _, r := range []byte(l) {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' {
			return fmt.Errorf("may hold letters, digits, hyphens and dots")
		}
	}
	return nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// isNumber tells whether a name that ends in that label is read as an address
// (WHATWG URL §3.5, ends in a number).
func isNumber(label string) bool {
	if label == "" {
		return false
	}
	digits, hex := strings.CutPrefix(label, "0x")
	if hex {
		return strings.Trim(digits, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

// parseIPv4 reads an address of one to four numbers, each decimal, octal or
// hexadecimal, the last of which fills what is left (WHATWG URL §3.5, IPv4 parser).
func parseIPv4(labels []string) (netip.Addr, error) {
	fault := fmt.Errorf("ends in a number and is no address")
	if len(labels) > 4 {
		return netip.Addr{}, fault
	}
	var value uint64
	for i, l := range labels {
		n, ok := parseNumber(l)
		rest := 4 - i // bytes that are not filled yet
		last := i == len(labels)-1
		switch {
		case !ok, !last && n > 0xff, last && n >= 1<<(8*rest):
			return netip.Addr{}, fault
		case last:
			value |= n
		default:
			value |= n << (8 * (rest - 1))
		}
	}
	return netip.AddrFrom4([4]byte{byte(value >> 24), byte(value >> 16), byte(value >> 8), byte(value)}), nil
}

func parseNumber(s string) (uint64, bool) {
	base := 10
	switch {
	case s == "":
		return 0, false
	case strings.HasPrefix(s, "0x"):
		if s, base = s[2:], 16; s == "" {
			return 0, true
		}
	case len(s) > 1 && s[0] == '0':
		s, base = s[1:], 8
	}
	if s[0] == '+' || s[0] == '-' || strings.ContainsRune(s, '_') {
		return 0, false
	}
	n, err := strconv.ParseUint(s, base, 64)
	return n, err == nil
}
