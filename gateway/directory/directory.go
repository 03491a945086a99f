// Package directory is the Domain API: it tells clients on which host they find
// each service of an account (contract/invocation.md §1).
//
// The answer is the same for every account of all digits, whether it exists or
// not: nobody is authenticated here, so nobody shall learn from it which
// accounts there are.
package directory

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// own are the services that a gateway itself serves; their spelling is the
// contract's, and case matters.
var own = []string{"agentVep", "csds", "faasGW", "faasUI", "sentinel"}

// Entry says where a service of an account is. It has these keys only: some
// clients refuse others (contract/README.md, trap 4).
type Entry struct {
	Service string `json:"service"`
	Account string `json:"account"`
	BaseURI string `json:"baseURI"` // host or host:port
}

// Config says where the services are.
type Config struct {
	// Base is the gateway's own host[:port]; its services are there unless
	// Domains says otherwise. Required.
	Base string
	// Domains maps a service to its host[:port], for services of the gateway and
	// for others that lambdas may look up.
	Domains map[string]string
	// Strict refuses, in Serves, host names that Domains does not have, unless it
	// has none at all.
	Strict bool
}

// Directory answers look-ups from memory. Safe for concurrent use.
type Directory struct {
	services []string // sorted
	hosts    map[string]string
	served   map[string][]string // host name without port → own services there
	strict   bool
}

// New checks a Config and makes the Directory of it. Warnings are for the
// operator: the domains work, but not with every public client.
func New(c Config) (d *Directory, warnings []string, err error) {
	if err := checkHost(c.Base); err != nil {
		return nil, nil, fmt.Errorf("the gateway's own address %q: %w", c.Base, err)
	}
	d = &Directory{hosts: make(map[string]string), served: make(map[string][]string), strict: c.Strict}
	for _, service := range own {
		d.hosts[service] = c.Base
	}
	for _, service := range slices.Sorted(maps.Keys(c.Domains)) {
		host := c.Domains[service]
		if err := checkDomain(service, host); err != nil {
			return nil, nil, err
		}
		warnings = append(warnings, warn(service, host)...)
		d.hosts[service] = host
		if name := hostName(host); slices.Contains(own, service) && !everywhere(name, c.Base) {
			d.served[name] = append(d.served[name], service)
		}
	}
	d.services = slices.Sorted(maps.Keys(d.hosts))
	return d, warnings, nil
}

// everywhere reports whether a name serves every service although a setting
// names it: the gateway's own address, and addresses that say nothing about a
// service, where the services that no setting moves are still looked for.
func everywhere(name, base string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil || name == "localhost" || name == hostName(base)
}

// ParseDomains reads settings of the form service=host[:port]. The last one of
// a service counts.
func ParseDomains(settings []string) (map[string]string, error) {
	domains := make(map[string]string, len(settings))
	for _, setting := range settings {
		service, host, ok := strings.Cut(setting, "=")
		if !ok {
			return nil, fmt.Errorf("domain %q: write service=host or service=host:port", setting)
		}
		if err := checkDomain(service, host); err != nil {
			return nil, err
		}
		domains[service] = host
	}
	return domains, nil
}

// List gives every service, sorted by name.
func (d *Directory) List(account string) []Entry {
	entries := make([]Entry, len(d.services))
	for i, service := range d.services {
		entries[i] = Entry{Service: service, Account: account, BaseURI: d.hosts[service]}
	}
	return entries
}

// Lookup gives one service, or a lambda.Error of kind NotFound. Case matters.
func (d *Directory) Lookup(account, service string) (Entry, error) {
	host, ok := d.hosts[service]
	if !ok {
		return Entry{}, lambda.NotFound(codeNotFound, "There is no service %.100q: known are %s", service, strings.Join(d.services, ", "))
	}
	return Entry{Service: service, Account: account, BaseURI: host}, nil
}

// BaseURI gives host or host:port of one service, or a lambda.Error of kind
// NotFound.
func (d *Directory) BaseURI(account, service string) (string, error) {
	e, err := d.Lookup(account, service)
	return e.BaseURI, err
}

// Serves reports whether a request for that Host may reach service: a name that
// is configured serves only what it is configured for, others serve everything
// unless the Directory is strict.
func (d *Directory) Serves(host, service string) bool {
	if len(d.served) == 0 {
		return true
	}
	services, configured := d.served[host]
	if !configured {
		services, configured = d.served[hostName(host)]
	}
	if !configured {
		return !d.strict
	}
	return slices.Contains(services, service)
}

// hostName gives the host of host[:port] in the one form that served has.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

func checkDomain(service, host string) error {
	if err := checkService(service); err != nil {
		return fmt.Errorf("domain %q: %w", service+"="+host, err)
	}
	if err := checkHost(host); err != nil {
		return fmt.Errorf("domain %q: %w", service+"="+host, err)
	}
	return nil
}

const maxService = 64

func checkService(service string) error {
	if service == "" {
		return fmt.Errorf("the service is missing: write service=host, for instance faasGW=gw.example.com")
	}
	if len(service) > maxService || strings.ContainsFunc(service, func(r rune) bool { return !letterOrDigit(r) && r != '-' && r != '_' }) {
		return fmt.Errorf("a service is named by up to %d letters, digits, - and _", maxService)
	}
	for _, known := range own {
		if service != known && strings.EqualFold(service, known) {
			return fmt.Errorf("service names are case-sensitive: write %s", known)
		}
	}
	return nil
}

// checkHost accepts host or host:port, where host is a name of ASCII letters, an
// IPv4 address, or an IPv6 address in brackets.
func checkHost(host string) error {
	switch {
	case host == "":
		return fmt.Errorf("the host is missing: write host or host:port")
	case strings.Contains(host, "://"):
		return fmt.Errorf("write the host without a scheme: %s", host[strings.Index(host, "://")+len("://"):])
	case strings.ContainsAny(host, "/?#"):
		return fmt.Errorf("write the host without a path")
	case strings.Contains(host, "@"):
		return fmt.Errorf("write the host without a user")
	}
	name, port, hasPort := cutPort(host)
	if hasPort {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || port[0] < '0' || port[0] > '9' {
			return fmt.Errorf("port %q is not a number from 1 to 65535", port)
		}
	}
	if bracketed, ok := strings.CutPrefix(name, "["); ok {
		address, err := netip.ParseAddr(strings.TrimSuffix(bracketed, "]"))
		if err != nil || !address.Is6() || address.Zone() != "" || !strings.HasSuffix(bracketed, "]") {
			return fmt.Errorf("%q is not an IPv6 address in brackets", name)
		}
		return nil
	}
	return checkName(name)
}

// cutPort splits at the last colon that is outside of brackets.
func cutPort(host string) (name, port string, ok bool) {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || i < strings.LastIndexByte(host, ']') {
		return host, "", false
	}
	return host[:i], host[i+1:], true
}

func checkName(name string) error {
	if strings.Contains(name, ":") {
		return fmt.Errorf("write an IPv6 address in brackets: [%s]", name)
	}
	if len(name) > 253 {
		return fmt.Errorf("the host has %d characters: the limit is 253", len(name))
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.ContainsFunc(label, func(r rune) bool { return !letterOrDigit(r) && r != '-' }) {
			return fmt.Errorf("%q is not a host name: it is made of letters, digits, - and dots, in ASCII", name)
		}
	}
	return nil
}

func letterOrDigit(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// warn names what will break public clients (contract/README.md, traps 1 and 2).
func warn(service, host string) (warnings []string) {
	if service != "faasGW" && service != "faasUI" {
		return nil
	}
	for _, word := range []string{"functions", "fninvocations"} {
		if strings.Contains(strings.ToLower(host), word) {
			warnings = append(warnings, fmt.Sprintf("domain %s=%s: a host with %q in its name makes the Node.js client speak V2; choose another name", service, host, word))
		}
	}
	if _, port, ok := cutPort(host); ok {
		warnings = append(warnings, fmt.Sprintf("domain %s=%s: the Node.js client ignores port %s and calls 443; serve it there and leave the port out", service, host, port))
	}
	return warnings
}
