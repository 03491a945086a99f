package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// refreshLength is that of a refresh token: the id of its grant, which is the
// same in the whole family, and a secret of its own. So one that was replaced is
// recognised.
const refreshLength = 2 * tokenLength

// tokens is the answer of the token endpoint (contract/oauth2.md §1.2).
type tokens struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	RefreshToken string `json:"refresh_token,omitempty"`
	IDToken      string `json:"id_token"`
	ExpiresIn    int64  `json:"expires_in"` // seconds
}

// HandleToken answers POST …/token: it turns a code, or a refresh token, into
// tokens (RFC 6749 §4.1.3, §6). Parameters may come in body and query, the
// client's id and secret by HTTP Basic, too.
func (s *Service) HandleToken(w http.ResponseWriter, r *http.Request) error {
	issued, err := s.token(w, r)
	if err != nil {
		return respondOAuthError(w, err)
	}
	w.Header().Set("Pragma", "no-cache") // RFC 6749 §5.1
	return respond(w, http.StatusOK, issued)
}

func (s *Service) token(w http.ResponseWriter, r *http.Request) (tokens, error) {
	form, app, err := s.clientRequest(w, r)
	if err != nil {
		return tokens{}, err
	}
	// What was begun for a client is finished, also when it has left: half of it
	// would look like a replay when it comes again.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 4*s.cfg.ReadTimeout)
	defer cancel()
	grant, err := single(form, "grant_type")
	switch {
	case err != nil:
		return tokens{}, err
	case grant == lambda.GrantCode:
		return s.useCode(ctx, app, form)
	case grant == lambda.GrantRefresh:
		return s.useRefresh(ctx, app, form)
	case grant == "":
		return tokens{}, oauthInvalid("invalid_request", "grant_type is missing: send authorization_code or refresh_token")
	default:
		return tokens{}, oauthInvalid("unsupported_grant_type", "grant_type must be authorization_code or refresh_token here; client_credentials is for app/token")
	}
}

// clientRequest reads the form of a request and the app that makes it.
func (s *Service) clientRequest(w http.ResponseWriter, r *http.Request) (url.Values, *lambda.App, error) {
	form, err := readStrictForm(w, r)
	if err != nil {
		return nil, nil, err
	}
	given, err := clientCredentials(form, r.Header.Values("Authorization"))
	if err != nil {
		return nil, nil, err
	}
	if !lambda.ValidAccount(account(r)) {
		return nil, nil, invalidAccount()
	}
	app, err := s.client(r.Context(), account(r), given)
	return form, app, err
}

// fields gives the values of parameters, each given once at most.
func fields(form url.Values, names ...string) ([]string, error) {
	values := make([]string, len(names))
	for i, name := range names {
		var err error
		if values[i], err = single(form, name); err != nil {
			return nil, err
		}
	}
	return values, nil
}

func (s *Service) useCode(ctx context.Context, app *lambda.App, form url.Values) (tokens, error) {
	f, err := fields(form, "code", "redirect_uri", "code_verifier")
	if err != nil {
		return tokens{}, err
	}
	code, redirect, verifier := f[0], f[1], f[2]
	switch {
	case !slices.Contains(app.GrantTypes, lambda.GrantCode):
		return tokens{}, notInstalledFor(lambda.GrantCode)
	case code == "":
		return tokens{}, oauthInvalid("invalid_request", "code is missing")
	case !isToken(code):
		return tokens{}, invalidCode()
	}
	c, err := s.reader.code(ctx, Hash(code))
	switch {
	case err != nil:
		return tokens{}, oauthUnavailable(err)
	case c == nil, c.Account != app.Account, c.ClientID != app.ClientID:
		return tokens{}, invalidCode() // another app's code stays good for that app
	case c.GrantID != "":
		return tokens{}, s.codeReplayed(ctx, app, c.GrantID)
	}
	if err := checkCode(c, redirect, verifier); err != nil {
		return tokens{}, s.spoiled(ctx, app, c, err)
	}
	return s.begun(ctx, app, c)
}

// checkCode compares what the client says with what it said to authorize.
func checkCode(c *lambda.Code, redirect, verifier string) error {
	switch {
	case redirect == "" && c.RedirectNamed:
		return oauthInvalid("invalid_grant", "redirect_uri is missing: it was given to authorize, so give the same here")
	case redirect != "" && redirect != c.RedirectURI:
		return oauthInvalid("invalid_grant", "redirect_uri is not the one that was given to authorize")
	case c.Challenge == "" && verifier != "":
		return oauthInvalid("invalid_grant", "code_verifier is given, but authorize was asked without code_challenge")
	case c.Challenge != "" && verifier == "":
		return oauthInvalid("invalid_grant", "code_verifier is missing: authorize was asked with code_challenge")
	case c.Challenge != "" && (!isVerifier(verifier) || subtle.ConstantTimeCompare([]byte(challengeOf(verifier)), []byte(c.Challenge)) != 1):
		return oauthInvalid("invalid_grant", "code_verifier does not belong to the code_challenge that authorize was asked with")
	}
	return nil
}

// challengeOf is the S256 challenge of a verifier (RFC 7636 §4.2).
func challengeOf(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// isVerifier reports whether s has the form of a code_verifier, which a plain
// code_challenge has as well (RFC 7636 §4.1).
func isVerifier(s string) bool {
	return len(s) >= 43 && len(s) <= 128 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~", r)
	})
}

// spoiled ends a code that its own app used wrongly: whoever stole it shall not
// guess on.
func (s *Service) spoiled(ctx context.Context, app *lambda.App, c *lambda.Code, fault error) error {
	err := s.store.DeleteCode(ctx, c.Hash)
	switch {
	case err == nil, lambda.Is(err, lambda.KindNotFound):
		return fault
	case lambda.Is(err, lambda.KindConflict):
		return s.codeUsedMeanwhile(ctx, app, c.Hash)
	default:
		return oauthUnavailable(err)
	}
}

// codeUsedMeanwhile is for the one of two users of a code who came second.
func (s *Service) codeUsedMeanwhile(ctx context.Context, app *lambda.App, hash string) error {
	c, err := s.reader.code(ctx, hash)
	switch {
	case err != nil:
		return oauthUnavailable(err)
	case c == nil || c.GrantID == "":
		return invalidCode()
	}
	return s.codeReplayed(ctx, app, c.GrantID)
}

func (s *Service) codeReplayed(ctx context.Context, app *lambda.App, grantID string) error {
	s.log.Warn().Str("accountId", app.Account).Str("clientId", app.ClientID).Msg("an authorization code was used twice: its tokens end")
	return s.replayed(ctx, grantID, invalidCode())
}

// replayed ends a grant of which something was used twice.
func (s *Service) replayed(ctx context.Context, grantID string, fault error) error {
	if err := s.store.EndGrant(ctx, grantID); err != nil {
		return oauthUnavailable(err)
	}
	s.refuseFromNow(ctx)
	return fault
}

// refuseFromNow returns when this gateway knows of every end that it wrote;
// others learn it from their watch. The end counts even if this one's is slow.
func (s *Service) refuseFromNow(ctx context.Context) {
	if err := s.reader.views.WaitFor(ctx, s.store.Written()); err != nil {
		s.log.Warn().Err(err).Msg("views lag behind the end of tokens")
	}
}

// begun makes a grant of a code that was checked.
func (s *Service) begun(ctx context.Context, app *lambda.App, c *lambda.Code) (tokens, error) {
	user, err := s.reader.user(ctx, c.Account, c.UserID)
	switch {
	case err != nil:
		return tokens{}, oauthUnavailable(err)
	case user == nil:
		return tokens{}, invalidCode()
	}
	now := s.cfg.Now()
	grantID, access := NewToken(), NewToken()
	grant := &lambda.Grant{
		ID: Hash(grantID), Account: c.Account, ClientID: c.ClientID, UserID: c.UserID, SessionID: c.SessionID, CodeHash: c.Hash,
		AuthTime: c.AuthTime, CreatedAt: now.UTC(), ExpiresAt: now.Add(s.cfg.AccessLifetime).UTC(),
	}
	issued := s.issue(access)
	if slices.Contains(app.GrantTypes, lambda.GrantRefresh) {
		issued.RefreshToken = grantID + NewToken()
		grant.RefreshHash, grant.ExpiresAt = Hash(issued.RefreshToken), now.Add(s.cfg.GrantLifetime).UTC()
	}
	if issued.IDToken, err = s.signIDToken(ctx, user, grant, c.Nonce); err != nil {
		return tokens{}, oauthUnavailable(err)
	}
	err = s.store.UseCode(ctx, grant, s.accessToken(grant, access))
	switch {
	case err == nil:
		return issued, nil
	case lambda.Is(err, lambda.KindConflict):
		return tokens{}, s.codeUsedMeanwhile(ctx, app, c.Hash)
	case lambda.Is(err, lambda.KindNotFound):
		return tokens{}, invalidCode()
	default:
		return tokens{}, oauthUnavailable(err)
	}
}

func (s *Service) issue(access string) tokens {
	return tokens{AccessToken: access, TokenType: "Bearer", ExpiresIn: int64(s.cfg.AccessLifetime / time.Second)}
}

func (s *Service) accessToken(grant *lambda.Grant, access string) *lambda.Token {
	return &lambda.Token{
		Hash: Hash(access), Kind: lambda.TokenAccess, Account: grant.Account, UserID: grant.UserID, ClientID: grant.ClientID,
		GrantID: grant.ID, ExpiresAt: s.cfg.Now().Add(s.cfg.AccessLifetime).UTC(),
	}
}

func (s *Service) useRefresh(ctx context.Context, app *lambda.App, form url.Values) (tokens, error) {
	f, err := fields(form, "refresh_token", "scope")
	if err != nil {
		return tokens{}, err
	}
	refresh, scope := f[0], f[1]
	switch {
	case !slices.Contains(app.GrantTypes, lambda.GrantRefresh):
		return tokens{}, notInstalledFor(lambda.GrantRefresh)
	case refresh == "":
		return tokens{}, oauthInvalid("invalid_request", "refresh_token is missing")
	case !isScope(scope):
		return tokens{}, oauthInvalid("invalid_scope", textScope)
	}
	grant, err := s.grantOf(ctx, app, refresh)
	if err != nil {
		return tokens{}, err
	}
	if grant == nil {
		return tokens{}, invalidRefresh()
	}
	if !matches(refresh, grant.RefreshHash) {
		return tokens{}, s.refreshReplayed(ctx, grant)
	}
	if err := s.pace.takeOAuth(grant.Account, grant.UserID); err != nil {
		return tokens{}, err
	}
	return s.rotate(ctx, grant, refresh)
}

// grantOf gives the live grant of a refresh token, the present one or an earlier,
// that was issued to the app; nil if there is none.
func (s *Service) grantOf(ctx context.Context, app *lambda.App, refresh string) (*lambda.Grant, error) {
	if !isRefresh(refresh) {
		return nil, nil
	}
	grant, err := s.reader.grant(ctx, Hash(refresh[:tokenLength]))
	switch {
	case err != nil:
		return nil, oauthUnavailable(err)
	case grant == nil || grant.Account != app.Account || grant.ClientID != app.ClientID:
		return nil, nil
	}
	return grant, nil
}

func isRefresh(s string) bool {
	return len(s) == refreshLength && isToken(s[:tokenLength]) && isToken(s[tokenLength:])
}

func (s *Service) refreshReplayed(ctx context.Context, grant *lambda.Grant) error {
	s.log.Warn().Str("accountId", grant.Account).Str("clientId", grant.ClientID).Str("userId", grant.UserID).
		Msg("a refresh token was used after it was replaced: its family ends")
	return s.replayed(ctx, grant.ID, invalidRefresh())
}

// rotate issues the next tokens of a grant.
func (s *Service) rotate(ctx context.Context, grant *lambda.Grant, refresh string) (tokens, error) {
	user, err := s.reader.user(ctx, grant.Account, grant.UserID)
	switch {
	case err != nil:
		return tokens{}, oauthUnavailable(err)
	case user == nil:
		return tokens{}, s.replayed(ctx, grant.ID, invalidRefresh())
	}
	access := NewToken()
	issued := s.issue(access)
	issued.RefreshToken = refresh[:tokenLength] + NewToken()
	if issued.IDToken, err = s.signIDToken(ctx, user, grant, ""); err != nil {
		return tokens{}, oauthUnavailable(err)
	}
	until := s.cfg.Now().Add(s.cfg.GrantLifetime).UTC()
	err = s.store.RotateGrant(ctx, grant.ID, Hash(refresh), Hash(issued.RefreshToken), until, s.accessToken(grant, access))
	switch {
	case lambda.Is(err, lambda.KindConflict): // another with the same refresh token was first
		return tokens{}, s.refreshReplayed(ctx, grant)
	case lambda.Is(err, lambda.KindNotFound):
		return tokens{}, invalidRefresh()
	case err != nil:
		return tokens{}, oauthUnavailable(err)
	}
	// The browser session lives on as well, if it still does (contract/oauth2.md
	// §1.2). The tokens are good without it.
	err = s.store.ExtendSession(ctx, grant.SessionID, s.cfg.Now().Add(s.cfg.SessionLifetime).UTC())
	if err != nil && !lambda.Is(err, lambda.KindNotFound) {
		s.log.Warn().Err(err).Msg("a browser session was not prolonged")
	}
	return issued, nil
}

// idClaims are all claims of an id_token (contract/oauth2.md §1.2; OpenID Connect
// Core §2).
type idClaims struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"` // client id
	IssuedAt int64  `json:"iat"`
	Expiry   int64  `json:"exp"`
	AuthTime int64  `json:"auth_time,omitempty"`
	Nonce    string `json:"nonce,omitempty"`
	IsAdmin  bool   `json:"is_admin"`
	IsLPA    bool   `json:"is_lpa"`
}

func (s *Service) signIDToken(ctx context.Context, user *lambda.User, grant *lambda.Grant, nonce string) (string, error) {
	k, err := s.keys.signer(ctx)
	if err != nil {
		return "", err
	}
	roles, err := s.reader.roles(ctx, user)
	if err != nil {
		return "", err
	}
	now := s.cfg.Now()
	claims := idClaims{
		Issuer: issuer, Subject: user.ID, Audience: grant.ClientID,
		IssuedAt: now.Unix(), Expiry: now.Add(s.cfg.IDTokenLifetime).Unix(), Nonce: nonce,
	}
	claims.IsAdmin, claims.IsLPA = standing(roles)
	if !grant.AuthTime.IsZero() {
		claims.AuthTime = grant.AuthTime.Unix()
	}
	token, err := jwt.Signed(k.signer).Claims(claims).Serialize()
	if err != nil {
		return "", fmt.Errorf("sign id token: %w", err)
	}
	return token, nil
}

func invalidCode() *OAuthError {
	return oauthInvalid("invalid_grant", "the code is unknown, has expired, was used already, or is another app's: log in again")
}

func invalidRefresh() *OAuthError {
	return oauthInvalid("invalid_grant", "the refresh token is unknown, has expired, was replaced already, or is another app's: log in again")
}
