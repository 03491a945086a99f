package auth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

const (
	// issuer is the iss of every JWT of ours.
	issuer = "Sentinel"
	// maxBearerLength is far above what this package signs.
	maxBearerLength = 4096
	// strangers is how many unknown tokens are remembered, so that a client that
	// repeats one does not make etcd work for it each time.
	strangers   = 4096
	strangerFor = 2 * time.Second
)

// Authenticator finds out whose token a request carries. Safe for concurrent use.
type Authenticator struct {
	cfg      Config
	reader   *reader
	keys     *Keeper
	verified *lru.Cache[digest, *verified]
	unknown  *lru.Cache[digest, time.Time]
}

// digest is the SHA-256 of a token.
type digest = [sha256.Size]byte

// sumOf hashes a token without the copy that a conversion to bytes makes.
func sumOf(token string) digest {
	return sha256.Sum256(unsafe.Slice(unsafe.StringData(token), len(token))) // hashing only reads
}

// verified is what a JWT said when its signature was checked, and what that
// makes its bearer as long as the app has this scope.
type verified struct {
	account   string
	clientID  string
	kid       string
	scope     string
	expires   time.Time
	appScope  string
	principal *Principal
}

// appClaims are all claims of an app's JWT (contract/oauth2.md §1.4).
type appClaims struct {
	Issuer   string `json:"iss"`
	Audience string `json:"aud"` // account id
	ClientID string `json:"azp"`
	Scope    string `json:"scope"`
	IssuedAt int64  `json:"iat"`
	Expiry   int64  `json:"exp"`
}

// NewAuthenticator makes an Authenticator that accepts the JWTs that a Keeper's
// keys signed.
func NewAuthenticator(cfg Config, store Store, views Views, keys *Keeper) (*Authenticator, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	a := &Authenticator{cfg: cfg, reader: newReader(cfg, store, views), keys: keys}
	if a.verified, err = lru.New[digest, *verified](cfg.VerifiedTokens); err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	if a.unknown, err = lru.New[digest, time.Time](strangers); err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	return a, nil
}

// Authenticate gives the caller that an Authorization header names, for a path
// of account. A header that names none is a lambda.Error of kind Unauthorized;
// kind Unavailable means that etcd had to be asked and did not answer.
func (a *Authenticator) Authenticate(ctx context.Context, authorization, account string) (*Principal, error) {
	token, err := bearer(authorization)
	if err != nil {
		return nil, err
	}
	if isToken(token) {
		return a.opaque(ctx, token, account)
	}
	return a.signed(ctx, token, account)
}

// bearer takes the token out of an Authorization header.
func bearer(header string) (string, error) {
	if header == "" {
		return "", unauthorized("there is no token: send the header Authorization: Bearer <token>")
	}
	scheme, token, _ := strings.Cut(header, " ")
	token = strings.TrimLeft(token, " ")
	switch {
	case !strings.EqualFold(scheme, "Bearer"):
		return "", unauthorized("the Authorization header does not begin with Bearer: send Authorization: Bearer <token>")
	case token == "":
		return "", unauthorized("there is no token after Bearer: log in, or ask Sentinel for one")
	case len(token) > maxBearerLength:
		return "", unauthorized("the token has %d characters: the limit is %d", len(token), maxBearerLength)
	}
	return token, nil
}

// opaque authenticates a token that stands for a user.
func (a *Authenticator) opaque(ctx context.Context, token, account string) (*Principal, error) {
	sum := sumOf(token)
	var text [tokenLength]byte
	hex.Encode(text[:], sum[:])
	hash := string(text[:])
	t, ok := a.reader.views.Token(hash)
	if !ok {
		var err error
		if t, err = stranger(a, sum, func() (*lambda.Token, error) { return a.reader.token(ctx, hash) }); err != nil {
			return nil, err
		}
	}
	switch {
	case t == nil:
		return nil, unauthorized("the token is unknown or has expired: log in again")
	case t.Account != account:
		return nil, foreign()
	case !a.cfg.Now().Before(t.ExpiresAt):
		return nil, unauthorized("the token has expired: log in again")
	}
	u, ok := a.reader.views.User(account, t.UserID)
	if !ok {
		var err error
		id := t.UserID
		if u, err = stranger(a, sum, func() (*lambda.User, error) { return a.reader.user(ctx, account, id) }); err != nil {
			return nil, err
		}
	}
	if u == nil {
		return nil, unauthorized("the user of this token no longer exists: log in as another")
	}
	roles, err := a.reader.roles(ctx, u)
	if err != nil {
		return nil, err
	}
	p := &Principal{Account: account, UserID: u.ID, LoginName: u.LoginName, Kind: Login, Permissions: Permissions(roles)}
	if t.Kind != lambda.TokenLogin {
		app, err := a.app(ctx, sum, account, t.ClientID)
		if err != nil {
			return nil, err
		}
		if app == nil || !slices.Contains(app.GrantTypes, lambda.GrantCode) {
			return nil, unauthorized("the app of this token is no longer installed for users of account %s", account)
		}
		p.Kind, p.ClientID = Access, t.ClientID
	}
	return p, nil
}

// app finds the app of a token.
func (a *Authenticator) app(ctx context.Context, sum digest, account, clientID string) (*lambda.App, error) {
	if app, ok := a.reader.views.App(account, clientID); ok {
		return app, nil
	}
	return stranger(a, sum, func() (*lambda.App, error) { return a.reader.app(ctx, account, clientID) })
}

// signed authenticates a JWT that stands for an app.
func (a *Authenticator) signed(ctx context.Context, token, account string) (*Principal, error) {
	sum := sumOf(token)
	v, ok := a.verified.Get(sum)
	if !ok {
		var err error
		if v, err = a.verify(ctx, token); err != nil {
			return nil, err
		}
		a.verified.Add(sum, v)
	}
	switch {
	case v.account != account:
		return nil, foreign()
	case !a.cfg.Now().Before(v.expires):
		a.verified.Remove(sum)
		return nil, unauthorized("the token has expired: ask Sentinel for a new one")
	case !a.keys.knows(v.kid):
		a.verified.Remove(sum)
		return nil, unauthorized("the key that signed the token is no longer valid: ask Sentinel for a new token")
	}
	app, err := a.app(ctx, sum, account, v.clientID)
	if err != nil {
		return nil, err
	}
	if app == nil || !slices.Contains(app.GrantTypes, lambda.GrantCredentials) {
		return nil, unauthorized("the app of this token is no longer installed for client credentials on account %s", account)
	}
	if v.principal == nil || v.appScope != app.Scope {
		v = v.under(app.Scope)
		a.verified.Add(sum, v)
	}
	return v.principal, nil
}

// under gives v for an app whose installation has that scope now: a token is
// worth what both its own scope and the installation's allow.
func (v *verified) under(appScope string) *verified {
	installed := strings.Fields(appScope)
	scopes := slices.DeleteFunc(strings.Fields(v.scope), func(s string) bool { return !slices.Contains(installed, s) })
	now := *v
	now.appScope = appScope
	now.principal = &Principal{Account: v.account, ClientID: v.clientID, Kind: App, Permissions: scopePermissions(scopes), Scopes: scopes}
	return &now
}

// verify checks the signature and the claims of a JWT, but not whom it is for.
func (a *Authenticator) verify(ctx context.Context, token string) (*verified, error) {
	malformed := func(err error) error {
		e := unauthorized("the token is neither a login token nor a JWT of this Sentinel")
		e.Err = err
		return e
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return nil, malformed(err)
	}
	kid := parsed.Headers[0].KeyID // compact form has one signature
	k, err := a.keys.key(ctx, kid)
	if err != nil {
		return nil, unavailable(err)
	}
	if k == nil {
		return nil, unauthorized("the token was signed with a key that this Sentinel does not have: ask it for a new token")
	}
	var c appClaims
	if err := parsed.Claims(&k.private.PublicKey, &c); err != nil {
		return nil, malformed(err)
	}
	now := a.cfg.Now()
	switch {
	case c.Issuer != issuer || c.Audience == "" || c.ClientID == "" || c.Expiry <= 0:
		return nil, malformed(nil)
	case !now.Before(time.Unix(c.Expiry, 0)):
		return nil, unauthorized("the token has expired: ask Sentinel for a new one")
	case now.Add(clockSkew).Before(time.Unix(c.IssuedAt, 0)):
		return nil, unauthorized("the token was issued in the future: compare the clocks of the gateways")
	}
	return &verified{account: c.Audience, clientID: c.ClientID, kid: kid, scope: c.Scope, expires: time.Unix(c.Expiry, 0)}, nil
}

// stranger makes a lookup for a token that memory does not know, unless the same
// lookup found nothing a moment ago.
func stranger[T any](a *Authenticator, sum digest, lookup func() (*T, error)) (*T, error) {
	now := a.cfg.Now()
	if until, ok := a.unknown.Get(sum); ok && now.Before(until) {
		return nil, nil
	}
	found, err := lookup()
	if err == nil && found == nil {
		a.unknown.Add(sum, now.Add(strangerFor))
	}
	return found, err
}

func foreign() *lambda.Error {
	return unauthorized("the token belongs to another account than the one in the path")
}

func unauthorized(format string, args ...any) *lambda.Error {
	return &lambda.Error{
		Kind: lambda.KindUnauthorized, Code: lambda.CodeUnauthorized, Phase: lambda.PhaseAuthenticate,
		Message: fmt.Sprintf(format, args...),
	}
}
