package lambda

import (
	"net/netip"
	"time"
)

// Verdict is whether a lambda could reach a host.
type Verdict string

// The verdicts.
const (
	Allowed Verdict = "allowed"
	Refused Verdict = "refused" // by a rule of this gateway
	Failed  Verdict = "failed"  // the rules allow it, but the host did not answer
)

// Verdicts is every Verdict.
var Verdicts = []Verdict{Allowed, Refused, Failed}

// EgressRule is what decided about an attempt to reach a host.
type EgressRule string

// The rules: the first three allow, the next ones refuse, and the last two say why
// an allowed host was not reached.
const (
	RuleListed  EgressRule = "listed"      // an entry of the account's whitelist
	RuleOpen    EgressRule = "always-open" // a host that every lambda may reach
	RuleService EgressRule = "service"     // a service of this gateway

	RuleNotListed EgressRule = "not-listed"      // no entry has the host, or it is an address
	RulePrivate   EgressRule = "private-address" // it resolves to none but addresses that may not be reached
	RuleRate      EgressRule = "rate"            // the lambda did so too often within a second
	RuleMethod    EgressRule = "method"          // a way of asking that the proxy does not serve
	RulePort      EgressRule = "port"            // of mail servers, and what is no port
	RuleBusy      EgressRule = "busy"            // too many connections are open

	RuleUnresolved  EgressRule = "unresolved"  // its name has no address
	RuleUnreachable EgressRule = "unreachable" // none of its addresses answers
)

// EgressRules is every EgressRule.
var EgressRules = []EgressRule{
	RuleListed, RuleOpen, RuleService,
	RuleNotListed, RulePrivate, RuleRate, RuleMethod, RulePort, RuleBusy,
	RuleUnresolved, RuleUnreachable,
}

// Verdict is what a rule leads to.
func (r EgressRule) Verdict() Verdict {
	switch r {
	case RuleListed, RuleOpen, RuleService:
		return Allowed
	case RuleUnresolved, RuleUnreachable:
		return Failed
	}
	return Refused
}

// Attempt is one request of a lambda to a host, or one tunnel.
type Attempt struct {
	Account  string
	LambdaID string
	At       time.Time
	Host     string // in the form in which entries are kept; what is no host name as it was written, in part
	Port     int    // 0 if it could not be read
	Method   string // CONNECT for a tunnel
	Rule     EgressRule
	Entry    string     // of the whitelist that matched; empty when none did
	Address  netip.Addr // that was connected to, or that the rule refused; may be none
	// Duration ends with the answer, when a tunnel is open, or with the refusal.
	Duration time.Duration
	// Count is how many alike this one stands for, itself included: those over the
	// rate are told once a second.
	Count int
}
