package lambda

import (
	"iter"
	"strings"
	"time"
)

// MaxDomainLength is the largest length of a host name, RFC 1035 §2.3.4 less the
// root's dot and length byte.
const MaxDomainLength = 253

// maxLabel is the largest length of a part of a host name, RFC 1035 §2.3.4.
const maxLabel = 63

// Domain is an entry of an account's whitelist: hosts that its lambdas may reach
// (contract/management.md §7).
type Domain struct {
	ID        int       `json:"id"` // positive, never given twice in an account
	Account   string    `json:"account"`
	Name      string    `json:"name"` // lower case; a host name, or *. before one
	CreatedAt time.Time `json:"createdAt"`
	CreatedBy string    `json:"createdBy"`
	// PrivateAddresses lets lambdas reach the entry's hosts also where they resolve
	// to loopback, private and shared addresses. Others that have a special purpose,
	// such as those of the metadata of clouds, stay out of reach.
	PrivateAddresses bool `json:"privateAddresses,omitempty"`
}

// Matches tells whether a host, in lower case and without a last dot, is one of the
// entry: the one it names, or with a wildcard all below it, at any depth
// (contract/javascript-runtime.md §7).
func (d *Domain) Matches(host string) bool { return MatchesDomain(d.Name, host) }

// MatchesDomain is Matches of an entry of that name.
func MatchesDomain(name, host string) bool {
	parent, wildcard := strings.CutPrefix(name, "*")
	if !wildcard {
		return name == host
	}
	return len(host) > len(parent) && strings.HasSuffix(host, parent)
}

// DomainsOf gives the names of all entries that a host could be of, the closest
// first: the host itself, and then the wildcards of what it is below of.
func DomainsOf(host string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if !yield(host) {
			return
		}
		for rest := host; ; {
			dot := strings.IndexByte(rest, '.')
			if dot < 0 || !yield("*"+rest[dot:]) {
				return
			}
			rest = rest[dot+1:]
		}
	}
}

// ParseDomain gives the form in which an entry is kept: lower case, without a
// last dot. What is no host name after RFC 1035 with at most one wildcard as its
// first label is Invalid, and so are addresses: they are no names.
func ParseDomain(text string) (string, error) {
	const field = "domain"
	name := strings.ToLower(strings.TrimSuffix(text, "."))
	rest, wildcard := strings.CutPrefix(name, "*.")
	switch {
	case text == "":
		return "", Invalid(field, "domain is missing: give a host name such as api.example.com or *.example.com")
	case strings.Contains(text, "://"):
		return "", Invalid(field, "domain %.100q has a scheme: give the host name alone", text)
	case strings.ContainsAny(text, "/?#"):
		return "", Invalid(field, "domain %.100q has a path: give the host name alone", text)
	case strings.Contains(text, ":"):
		return "", Invalid(field, "domain %.100q has a port or is an address: give the host name alone", text)
	case len(name) > MaxDomainLength:
		return "", Invalid(field, "domain has %d characters: the limit is %d", len(name), MaxDomainLength)
	case strings.Contains(rest, "*"):
		return "", Invalid(field, "domain %.100q has a wildcard in the wrong place: only the first label may be *", text)
	case wildcard && !strings.Contains(rest, "."):
		return "", Invalid(field, "domain %.100q opens a whole top-level domain: name a domain below it, such as *.example.%s", text, clipLabel(rest))
	}
	labels := strings.Split(rest, ".")
	for _, label := range labels {
		if err := checkLabel(text, label); err != nil {
			return "", err
		}
	}
	if isNumber(labels[len(labels)-1]) {
		return "", Invalid(field, "domain %.100q is an address or no name: give a host name", text)
	}
	return name, nil
}

func checkLabel(text, label string) error {
	const field = "domain"
	switch {
	case label == "":
		return Invalid(field, "domain %.100q has an empty label: remove a dot", text)
	case len(label) > maxLabel:
		return Invalid(field, "domain %.100q has a label of %d characters: the limit is %d", text, len(label), maxLabel)
	case label[0] == '-' || label[len(label)-1] == '-':
		return Invalid(field, "domain %.100q has a label that begins or ends with a hyphen", text)
	}
	for _, r := range label {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' {
			return Invalid(field, "domain %.100q may hold letters, digits, hyphens and dots: write other scripts in their xn-- form", text)
		}
	}
	return nil
}

// isNumber reports whether a name that ends in that label is read as an address
// (WHATWG URL §3.5, ends in a number).
func isNumber(label string) bool {
	hex, ok := strings.CutPrefix(label, "0x")
	return ok && strings.Trim(hex, "0123456789abcdef") == "" || strings.Trim(label, "0123456789") == ""
}

func clipLabel(s string) string { return s[:min(len(s), 20)] }
