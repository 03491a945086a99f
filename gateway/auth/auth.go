// Package auth says who calls and what they may do.
//
// An Authenticator turns the Authorization header of a request into a Principal,
// from memory when it is warm: opaque tokens and users come from views that etcd
// keeps fresh, a JWT is verified once and remembered under its SHA-256. A
// Principal carries Permissions, which follow from the roles of a user or from
// the scope of an app.
//
// A Service hands tokens out: Sentinel's client credentials (sentinel.go), the
// authorization code flow with its login page (authorize.go, page.go, grant.go),
// and the login service (login.go). A Keeper keeps the RSA keys that sign JWTs;
// any gateway may create the next one, all of them use the same.
//
// What one login lets one app do is a grant: the family of all tokens that follow
// from one authorization code. A code that is used twice, and a refresh token
// that is used after it was replaced, end the whole family, without any grace: a
// thief and the owner cannot both go on, and who of the two came second cannot be
// told. An app that must not lose a login refreshes one request at a time and
// keeps the new refresh token before it does anything else.
//
// Nothing here keeps a token, password or secret in clear: etcd holds their
// SHA-256 (of random tokens) or argon2id (of passwords).
package auth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// Store is what auth reads and writes in etcd. What is not there is a
// lambda.Error of kind NotFound.
type Store interface {
	KeyStore
	Token(ctx context.Context, hash string) (*lambda.Token, error)
	User(ctx context.Context, account, userID string) (*lambda.User, error)
	UserByLogin(ctx context.Context, account, loginName string) (*lambda.User, error)
	App(ctx context.Context, account, clientID string) (*lambda.App, error)
	Profile(ctx context.Context, account, name string) (*lambda.Profile, error)

	// CreateSession writes both under one lease that ends at session.ExpiresAt; a
	// browser session has no token. A user who is gone is NotFound, one whose
	// password is no longer the one in user is a Conflict.
	CreateSession(ctx context.Context, user *lambda.User, session *lambda.Session, token *lambda.Token) error
	Session(ctx context.Context, idHash string) (*lambda.Session, error)
	// ExtendSession moves the end of a session and of its token.
	ExtendSession(ctx context.Context, idHash string, until time.Time) error
	// DeleteSession ends a session and its token.
	DeleteSession(ctx context.Context, idHash string) error
	// EndBrowserSessions ends the sessions that a user has at the login page, and
	// their codes that nobody has used.
	EndBrowserSessions(ctx context.Context, account, userID string) error

	// CreateCode writes a code that ends at code.ExpiresAt. A session of it that has
	// ended is NotFound. If the session was begun for request, that counts as
	// answered; with must set it is a Conflict if it was not, or has answered it.
	CreateCode(ctx context.Context, code *lambda.Code, request string, must bool) error
	// Code gives a code that can be used, or one that was, as long as its grant lives.
	Code(ctx context.Context, hash string) (*lambda.Code, error)
	// DeleteCode ends a code; one that was used is a Conflict.
	DeleteCode(ctx context.Context, hash string) error
	// UseCode turns the code of grant.CodeHash into grant, with its first token. A
	// code that was used is a Conflict.
	UseCode(ctx context.Context, grant *lambda.Grant, token *lambda.Token) error
	Grant(ctx context.Context, idHash string) (*lambda.Grant, error)
	// RotateGrant replaces the refresh token and adds a token. If the refresh token
	// is not old any more, that is a Conflict.
	RotateGrant(ctx context.Context, idHash, old, refresh string, until time.Time, token *lambda.Token) error
	// EndGrant ends a grant and everything issued from it.
	EndGrant(ctx context.Context, idHash string) error
	// Written is the revision of this gateway's newest write, for Views.WaitFor.
	Written() int64
}

// KeyStore is what a Keeper reads and writes in etcd.
type KeyStore interface {
	// SigningKeys gives every key with the revision of the whole set.
	SigningKeys(ctx context.Context) (keys []lambda.SigningKey, revision int64, err error)
	// PutSigningKey adds a key if the set is still the one of revision; else it
	// returns a lambda.Error of kind Conflict and stores nothing.
	PutSigningKey(ctx context.Context, key lambda.SigningKey, revision int64) error
	DeleteSigningKey(ctx context.Context, id string) error
}

// Views is what auth reads from memory. What it returns must not be changed.
type Views interface {
	Token(hash string) (*lambda.Token, bool)
	User(account, userID string) (*lambda.User, bool)
	App(account, clientID string) (*lambda.App, bool)
	Profile(account, name string) (*lambda.Profile, bool)
	// WaitFor returns when everything up to that revision is in the views.
	WaitFor(ctx context.Context, revision int64) error
}

// Config says how long things live and how much may happen at once. The zero
// value works.
type Config struct {
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// TokenLifetime is that of an app's JWT; default 1 h. Clients fetch a new one
	// 30 minutes before its end, so it must be longer than that.
	TokenLifetime time.Duration
	// SessionLifetime is that of a login and its bearer token, and of a session at
	// the login page; default 8 h.
	SessionLifetime time.Duration
	// AccessLifetime is that of an access token of a user; default 8 h.
	AccessLifetime time.Duration
	// GrantLifetime is how long an app may go without refreshing; default 30 days.
	GrantLifetime time.Duration
	// CodeLifetime is that of an authorization code; default 1 min.
	CodeLifetime time.Duration
	// IDTokenLifetime is that of an id_token; default 10 min, at most TokenLifetime,
	// which is how long a key stays published after it signed.
	IDTokenLifetime time.Duration
	// KeyRotation is how long one key signs; default 24 h.
	KeyRotation time.Duration
	// KeyLead is how long a key is published before it signs; default 10 min.
	KeyLead time.Duration
	// VerifiedTokens bounds how many JWTs are remembered as verified; default 10 000.
	VerifiedTokens int
	// Hashes bounds how many passwords are hashed at once, 19 MiB each; default 2.
	Hashes int
	// ReadTimeout bounds one read of etcd on behalf of a caller; default 2 s.
	ReadTimeout time.Duration
	// Hosts tells on which hosts the web UI and Sentinel are; nil means that nobody
	// signs in to a web UI here.
	Hosts Hosts
}

// Hosts is the Domain API, as signing in to the web UI asks it.
type Hosts interface {
	// Serves reports whether requests for host may reach a service.
	Serves(host, service string) bool
	// BaseURI is the host[:port] that clients of account are sent to.
	BaseURI(account, service string) (string, error)
}

// minTokenLifetime is what public clients leave of a token before they fetch
// another (contract/oauth2.md §1.4).
const minTokenLifetime = 30 * time.Minute

// clockSkew is how far the clocks of two gateways may be apart.
const clockSkew = time.Minute

// complete fills in the defaults and checks the rest, all faults at once.
func (c Config) complete() (Config, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	var faults []error
	duration := func(name string, d *time.Duration, byDefault, least time.Duration) {
		switch {
		case *d == 0:
			*d = byDefault
		case *d < least:
			faults = append(faults, fmt.Errorf("%s is %s: give %s or more", name, *d, least))
		}
	}
	number := func(name string, n *int, byDefault int) {
		switch {
		case *n == 0:
			*n = byDefault
		case *n < 0:
			faults = append(faults, fmt.Errorf("%s is %d: give 1 or more", name, *n))
		}
	}
	duration("TokenLifetime", &c.TokenLifetime, time.Hour, minTokenLifetime+time.Minute)
	duration("SessionLifetime", &c.SessionLifetime, 8*time.Hour, time.Minute)
	duration("AccessLifetime", &c.AccessLifetime, 8*time.Hour, time.Minute)
	duration("GrantLifetime", &c.GrantLifetime, 30*24*time.Hour, c.AccessLifetime)
	duration("CodeLifetime", &c.CodeLifetime, time.Minute, time.Second)
	duration("IDTokenLifetime", &c.IDTokenLifetime, 10*time.Minute, time.Second)
	if c.IDTokenLifetime > c.TokenLifetime {
		faults = append(faults, fmt.Errorf("IDTokenLifetime is %s: give TokenLifetime (%s) or less", c.IDTokenLifetime, c.TokenLifetime))
	}
	duration("KeyLead", &c.KeyLead, 10*time.Minute, time.Minute)
	duration("KeyRotation", &c.KeyRotation, 24*time.Hour, 4*c.KeyLead)
	duration("ReadTimeout", &c.ReadTimeout, 2*time.Second, time.Millisecond)
	number("VerifiedTokens", &c.VerifiedTokens, 10_000)
	number("Hashes", &c.Hashes, 2)
	return c, errors.Join(faults...)
}
