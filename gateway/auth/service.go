package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/rs/zerolog"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

const (
	maxClientIDLength     = 128
	maxClientSecretLength = 256
)

// Service hands out tokens. Safe for concurrent use.
type Service struct {
	cfg       Config
	store     Store
	reader    *reader
	keys      *Keeper
	passwords *passwords
	guard     *guard
	pace      *pace
	// sameOrigin keeps forms of other sites from logging a browser in.
	sameOrigin *http.CrossOriginProtection
	log        zerolog.Logger
}

// NewService makes a Service that signs with a Keeper's keys.
func NewService(cfg Config, store Store, views Views, keys *Keeper, log zerolog.Logger) (*Service, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	s := &Service{
		cfg: cfg, store: store, reader: newReader(cfg, store, views), keys: keys,
		passwords: newPasswords(cfg.Hashes), sameOrigin: http.NewCrossOriginProtection(), log: log,
	}
	if s.guard, err = newGuard(cfg.Now); err != nil {
		return nil, err
	}
	if s.pace, err = newPace(cfg.Now); err != nil {
		return nil, err
	}
	return s, nil
}

// OAuthError is an error answer of Sentinel (RFC 6749 §5.2).
type OAuthError struct {
	Status      int
	Code        string
	Description string
	RetryAfter  time.Duration
	Err         error // the cause, for the log only
}

func (e *OAuthError) Error() string {
	text := e.Code + ": " + e.Description
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *OAuthError) Unwrap() error { return e.Err }

func oauthInvalid(code, description string) *OAuthError {
	return &OAuthError{Status: http.StatusBadRequest, Code: code, Description: description}
}

func invalidClient() *OAuthError {
	return &OAuthError{
		Status: http.StatusUnauthorized, Code: "invalid_client",
		Description: "client_id or client_secret is missing, or wrong for this account",
	}
}

func oauthUnavailable(err error) *OAuthError {
	return &OAuthError{
		Status: http.StatusServiceUnavailable, Code: "temporarily_unavailable",
		Description: "no token can be issued at the moment: repeat the request", RetryAfter: time.Second, Err: err,
	}
}

// AppToken issues a JWT to an app that proves who it is with its secret (RFC 6749
// §4.4). The secret may come in several readings; one of them must be right. Its
// errors are *OAuthError.
func (s *Service) AppToken(ctx context.Context, account, grant, clientID string, secret ...string) (string, error) {
	switch {
	case !lambda.ValidAccount(account):
		return "", invalidAccount()
	case grant == "":
		return "", oauthInvalid("invalid_request", "grant_type is missing: send client_credentials")
	case grant != lambda.GrantCredentials:
		return "", oauthInvalid("unsupported_grant_type", "grant_type must be client_credentials here")
	}
	app, err := s.client(ctx, account, credentials{id: clientID, secrets: secret})
	if err != nil {
		return "", err
	}
	if !slices.Contains(app.GrantTypes, lambda.GrantCredentials) {
		return "", notInstalledFor(lambda.GrantCredentials)
	}
	token, err := s.signAppToken(ctx, app)
	if err != nil {
		return "", oauthUnavailable(err)
	}
	return token, nil
}

// client gives the app that proves with its secret who it is.
func (s *Service) client(ctx context.Context, account string, c credentials) (*lambda.App, error) {
	if !validClientID(c.id) {
		return nil, invalidClient()
	}
	app, err := s.reader.app(ctx, account, c.id)
	if err != nil {
		return nil, oauthUnavailable(err)
	}
	if app == nil || app.SecretHash == "" || !slices.ContainsFunc(c.secrets, func(one string) bool { return matches(one, app.SecretHash) }) {
		return nil, invalidClient()
	}
	return app, nil
}

func invalidAccount() *OAuthError {
	return oauthInvalid("invalid_request", "the account in the path must be all digits")
}

func notInstalledFor(grant string) *OAuthError {
	return oauthInvalid("unauthorized_client", "this app is not installed for "+grant)
}

func (s *Service) signAppToken(ctx context.Context, app *lambda.App) (string, error) {
	k, err := s.keys.signer(ctx)
	if err != nil {
		return "", err
	}
	now := s.cfg.Now()
	token, err := jwt.Signed(k.signer).Claims(appClaims{
		Issuer: issuer, Audience: app.Account, ClientID: app.ClientID, Scope: app.Scope,
		IssuedAt: now.Unix(), Expiry: now.Add(s.cfg.TokenLifetime).Unix(),
	}).Serialize()
	if err != nil {
		return "", fmt.Errorf("sign app token: %w", err)
	}
	return token, nil
}

// JWKS gives the public keys that verify the tokens issued here and those that
// will, as a JSON Web Key Set.
func (s *Service) JWKS() []byte { return s.keys.jwks() }

// validClientID keeps what is no client id away from etcd.
func validClientID(id string) bool {
	return id != "" && len(id) <= maxClientIDLength && !strings.ContainsFunc(id, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~", r)
	})
}

// LoginResult is a session that has begun. Its three secrets are known to the
// caller only.
type LoginResult struct {
	Bearer    string
	CSRF      string
	SessionID string
	User      *lambda.User
	Roles     []lambda.Role // the user's, at the login
	ExpiresAt time.Time
}

// Login begins a session for a user of account who calls from an unknown address.
// Its errors are *lambda.Error: Unauthorized for an unknown user as for a wrong
// password, after the same time; RateLimited after several failures; Invalid;
// Unavailable.
func (s *Service) Login(ctx context.Context, account, username, password string) (LoginResult, error) {
	return s.loginFrom(ctx, "", account, username, password)
}

func (s *Service) loginFrom(ctx context.Context, source, account, username, password string) (LoginResult, error) {
	user, err := s.verify(ctx, source, account, username, password)
	if err != nil {
		return LoginResult{}, err
	}
	roles, err := s.reader.roles(ctx, user)
	if err != nil {
		return LoginResult{}, err
	}
	return s.begin(ctx, user, roles)
}

// Forgive lets a user who failed to log in too often try at once, on this
// gateway: for whoever has just been given a new password.
func (s *Service) Forgive(account, username string) { s.guard.forgive(userKey(account, username)) }

// verify gives the user of that name, if the password is theirs. Its errors are
// those of Login.
func (s *Service) verify(ctx context.Context, source, account, username, password string) (*lambda.User, error) {
	if err := checkCredentials(account, username, password); err != nil {
		return nil, err
	}
	a := attempt{userKey(account, username), source}
	if err := s.guard.check(a); err != nil {
		return nil, err
	}
	user, err := s.reader.userByLogin(ctx, account, username)
	if err == nil && user == nil { // the second read that a known name costs
		_, err = s.reader.user(ctx, account, "nobody")
	}
	if err != nil {
		return nil, err
	}
	return user, s.checkPassword(ctx, a, user, password)
}

func checkCredentials(account, username, password string) error {
	switch {
	case !lambda.ValidAccount(account):
		return lambda.Invalid("account", "the account in the path must be all digits")
	case username == "" || password == "":
		return lambda.Invalid("username", "username and password are needed")
	case len(username) > lambda.MaxLoginName:
		return lambda.Invalid("username", "username has %d bytes: the limit is %d", len(username), lambda.MaxLoginName)
	case !utf8.ValidString(username) || strings.ContainsFunc(username, unicode.IsControl):
		return lambda.Invalid("username", "username holds a control character")
	case len(password) > MaxPasswordLength:
		return lambda.Invalid("password", "password has %d bytes: the limit is %d", len(password), MaxPasswordLength)
	}
	return nil
}

// checkPassword verifies the password of user, who may be nil for nobody.
func (s *Service) checkPassword(ctx context.Context, a attempt, user *lambda.User, password string) error {
	if err := s.passwords.acquire(ctx, a.source); err != nil {
		return err
	}
	defer s.passwords.release()
	// Again, now that those who came first have failed: guesses made at once
	// count like guesses made in turn.
	if err := s.guard.check(a); err != nil {
		return err
	}
	hash := nobody
	if user != nil {
		hash = user.PasswordHash
	}
	ok, err := verifyPassword(hash, password)
	if err != nil {
		return fmt.Errorf("user %s: %w", user.ID, err)
	}
	ok = ok && user != nil
	s.guard.note(a, ok)
	if !ok {
		return wrongPassword()
	}
	return nil
}

func wrongPassword() *lambda.Error { return unauthorized("username or password is wrong") }

func (s *Service) begin(ctx context.Context, user *lambda.User, roles []lambda.Role) (LoginResult, error) {
	r := LoginResult{
		Bearer: NewToken(), CSRF: NewToken(), SessionID: NewToken(),
		User: user, Roles: roles, ExpiresAt: s.cfg.Now().Add(s.cfg.SessionLifetime),
	}
	session := &lambda.Session{
		ID: Hash(r.SessionID), Kind: lambda.SessionLogin, Account: user.Account, UserID: user.ID, LoginName: user.LoginName,
		BearerHash: Hash(r.Bearer), CSRFHash: Hash(r.CSRF), CreatedAt: s.cfg.Now().UTC(), ExpiresAt: r.ExpiresAt.UTC(),
	}
	token := &lambda.Token{
		Hash: session.BearerHash, Kind: lambda.TokenLogin, Account: user.Account, UserID: user.ID,
		SessionID: session.ID, ExpiresAt: session.ExpiresAt,
	}
	if err := s.createSession(ctx, user, session, token); err != nil {
		return LoginResult{}, err
	}
	return r, nil
}

// createSession writes a session of a user whose password was right a moment ago.
func (s *Service) createSession(ctx context.Context, user *lambda.User, session *lambda.Session, token *lambda.Token) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.ReadTimeout)
	defer cancel()
	err := s.store.CreateSession(ctx, user, session, token)
	switch {
	case lambda.Is(err, lambda.KindNotFound), lambda.Is(err, lambda.KindConflict): // gone, or another password meanwhile
		return wrongPassword()
	case err != nil:
		return unavailable(err)
	}
	return nil
}

// errSession is every way in which a session id and its CSRF token can fail to
// name a live session.
var errSession = errors.New("unknown session or wrong CSRF token")

// Refresh lets a session and its bearer token live for another SessionLifetime.
// It returns a lambda.Error of kind Unauthorized unless sessionID is that of a
// live session of account and csrf is its token, and RateLimited to a user who
// does so too often.
func (s *Service) Refresh(ctx context.Context, account, sessionID, csrf string) error {
	session, err := s.session(ctx, account, sessionID, csrf)
	if err != nil {
		return err
	}
	user, err := s.reader.user(ctx, session.Account, session.UserID)
	switch {
	case err != nil:
		return err
	case user == nil:
		return invalidSession()
	}
	if e := s.pace.take(session.Account, session.UserID); e != nil {
		return e
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.ReadTimeout)
	defer cancel()
	return ended(s.store.ExtendSession(ctx, session.ID, s.cfg.Now().Add(s.cfg.SessionLifetime).UTC()))
}

// Logout ends a session and its bearer token, under the same conditions as
// Refresh.
func (s *Service) Logout(ctx context.Context, account, sessionID, csrf string) error {
	session, err := s.session(ctx, account, sessionID, csrf)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.ReadTimeout)
	defer cancel()
	if err := s.store.DeleteSession(ctx, session.ID); err != nil {
		return ended(err)
	}
	// After the answer this gateway refuses the token; others learn it from their
	// watch. The session has ended even if this one's is slow.
	if err := s.reader.views.WaitFor(ctx, s.store.Written()); err != nil {
		s.log.Warn().Err(err).Msg("views lag behind a logout")
	}
	return nil
}

// session finds a live session by its secrets.
func (s *Service) session(ctx context.Context, account, sessionID, csrf string) (*lambda.Session, error) {
	if !isToken(sessionID) || !isToken(csrf) {
		return nil, invalidSession() // the text "undefined", for one
	}
	session, err := s.reader.session(ctx, Hash(sessionID))
	switch {
	case err != nil:
		return nil, err
	case session == nil, session.Account != account, !s.cfg.Now().Before(session.ExpiresAt), !matches(csrf, session.CSRFHash):
		return nil, invalidSession()
	}
	return session, nil
}

// ended words the error of a write to a session that was live a moment ago.
func ended(err error) error {
	switch {
	case err == nil:
		return nil
	case lambda.Is(err, lambda.KindNotFound):
		return invalidSession()
	default:
		return unavailable(err)
	}
}

func invalidSession() *lambda.Error {
	e := unauthorized(textCSRF)
	e.Err = errSession
	return e
}
