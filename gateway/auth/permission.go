package auth

import (
	"strings"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// Permission is a set of things that a caller may do.
type Permission uint32

// Anyone is what a route needs that is open to all, without a token.
const Anyone Permission = 0

// The permissions. A route needs one of them; a Principal carries a set.
const (
	ReadLambdas Permission = 1 << iota
	WriteLambdas
	Deploy
	Invoke
	ReadDomains
	WriteDomains
	ReadSecrets      // keys and obfuscated values
	ReadSecretsPlain // the values
	WriteSecrets
	ReadSchedules
	WriteSchedules
	ReadLogs
	ReadReports
	ReadMailReport
	WriteMailRecipients
	WriteMailSettings
	ManageUsers // users and profiles
	ManageApps
	Operate // what the operator alone may do, and no token can carry

	lastPermission = ManageApps // of those that a role can have
)

// Everything is what platform staff may do.
const Everything = lastPermission<<1 - 1

// Reads are the permissions to look at something: with these alone nothing is changed.
const Reads = ReadLambdas | ReadDomains | ReadSecrets | ReadSecretsPlain | ReadSchedules | ReadLogs | ReadReports | ReadMailReport

// ScopeInvoke is the scope that lets an app invoke lambdas.
const ScopeInvoke = "faas.lambda.invoke"

// seen is what every FaaS role may look at.
const seen = ReadSchedules | ReadLogs | ReadReports | ReadMailReport

// grants is the table of contract/oauth2.md §3.
var grants = map[lambda.Role]Permission{
	lambda.RoleLPA: Everything,
	lambda.RoleAdmin: seen | ReadLambdas | ReadDomains | WriteDomains |
		ReadSecrets | ReadSecretsPlain | WriteSecrets |
		WriteSchedules | WriteMailRecipients | WriteMailSettings,
	lambda.RoleDeveloper: seen | ReadLambdas | WriteLambdas | Deploy | Invoke | ReadDomains |
		ReadSecrets | WriteSchedules | WriteMailRecipients,
	lambda.RoleInvocation: seen | Invoke,
}

// Permissions gives what the holder of all these roles may do.
func Permissions(roles []lambda.Role) Permission {
	var p Permission
	for _, role := range roles {
		p |= grants[role]
	}
	return p
}

// Holders names the roles that have all of p, the least powerful first, for
// messages that say whom to ask for.
func Holders(p Permission) string {
	var holders []string
	for _, role := range []lambda.Role{lambda.RoleInvocation, lambda.RoleDeveloper, lambda.RoleAdmin, lambda.RoleLPA} {
		if grants[role]&p == p {
			holders = append(holders, string(role))
		}
	}
	return strings.Join(holders, " or ")
}

// scopePermissions gives what an app of that scope may do.
func scopePermissions(scopes []string) Permission {
	for _, scope := range scopes {
		if scope == ScopeInvoke {
			return Invoke
		}
	}
	return Anyone
}

// names are in the order of the bits.
var names = [...]string{
	"ReadLambdas", "WriteLambdas", "Deploy", "Invoke", "ReadDomains", "WriteDomains",
	"ReadSecrets", "ReadSecretsPlain", "WriteSecrets", "ReadSchedules", "WriteSchedules",
	"ReadLogs", "ReadReports", "ReadMailReport", "WriteMailRecipients", "WriteMailSettings",
	"ManageUsers", "ManageApps", "Operate",
}

// String names the permissions of the set, for messages.
func (p Permission) String() string {
	if p == Anyone {
		return "Anyone"
	}
	return strings.Join(p.Names(), "|")
}

// Names are those of the permissions in the set, in their order.
func (p Permission) Names() []string {
	set := []string{}
	for i, name := range names {
		if p&(1<<i) != 0 {
			set = append(set, name)
		}
	}
	return set
}
