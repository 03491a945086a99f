package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

const (
	maxAuthorizeQuery = 8 << 10 // bytes
	maxNonceLength    = 1024
	// loginAnswers is how long a login counts for the request that asked for it: the
	// browser goes straight back.
	loginAnswers = time.Minute

	textScope = "scope is malformed: separate scopes by single spaces"
)

// The parameters of authorize (RFC 6749 §4.1.1, RFC 7636 §4.3, OpenID Connect
// Core §3.1.2.1). Others are ignored.
var authorizeParameters = []string{
	"v", "response_type", "response_mode", "client_id", "redirect_uri", "state", "scope", "nonce", "prompt", "max_age",
	"login_hint", "code_challenge", "code_challenge_method", "request", "request_uri", "registration",
}

// authorization is a request to authorize whose account, app and redirect URI are
// known to be valid, so that everything else is answered there.
type authorization struct {
	account string
	app     *lambda.App
	// query holds the known parameters that are not empty.
	query       url.Values
	redirectURI string
	challenge   string // S256
	quiet       bool   // prompt=none
	freshLogin  bool   // prompt=login, or an age of nothing
	maxAge      time.Duration
	agedLogin   bool // max_age was given
}

func (a *authorization) param(name string) string { return a.query.Get(name) }

// hash names the request, for a login that is made for it.
func (a *authorization) hash() string { return Hash(a.account + "?" + a.query.Encode()) }

// refusal is an error that the app is told, by way of the browser (RFC 6749
// §4.1.2.1).
type refusal struct {
	to          *authorization
	code        string
	description string
	err         error
}

func (r *refusal) Error() string {
	if r.err != nil {
		return r.code + ": " + r.description + ": " + r.err.Error()
	}
	return r.code + ": " + r.description
}

func (r *refusal) Unwrap() error { return r.err }

// HandleAuthorize answers GET …/authorize: with a code for the app if the browser
// has a session, else by way of the login page. Nobody is asked for consent: an
// app is installed for an account by its owner.
func (s *Service) HandleAuthorize(w http.ResponseWriter, r *http.Request) error {
	location, err := s.authorize(r)
	if err != nil {
		return refuse(w, r, err)
	}
	redirect(w, http.StatusFound, location)
	return nil
}

// authorize says where the browser goes.
func (s *Service) authorize(r *http.Request) (string, error) {
	a, err := s.authorization(r)
	if err != nil {
		return "", err
	}
	location, err := s.authorizeBrowser(r, a)
	var unavailable *OAuthError
	if a.quiet && errors.As(err, &unavailable) { // nobody sees a page
		err = &refusal{a, unavailable.Code, unavailable.Description, unavailable.Err}
	}
	return location, err
}

func (s *Service) authorizeBrowser(r *http.Request, a *authorization) (string, error) {
	session, err := s.browserSession(r, a.account)
	if err != nil {
		return "", err
	}
	must := false
	if session != nil {
		must = a.refuses(session, s.cfg.Now())
		if must && !s.madeFor(session, a) {
			session = nil
		}
	}
	if session == nil {
		return a.login()
	}
	if err := s.pace.takeOAuth(session.Account, session.UserID); err != nil {
		return "", err
	}
	code, err := s.createCode(r.Context(), a, session, must)
	switch {
	case lambda.Is(err, lambda.KindNotFound), lambda.Is(err, lambda.KindConflict): // ended, or spent on the same request
		return a.login()
	case err != nil:
		return "", oauthUnavailable(err)
	}
	return a.answer("code", code), nil
}

// login sends the browser to the login page, if it may see one.
func (a *authorization) login() (string, error) {
	if a.quiet {
		return "", &refusal{a, "login_required", "prompt is none, and the user has to log in", nil}
	}
	return loginPath(a.account) + "?" + a.query.Encode(), nil
}

// refuses tells whether the app wants a login that is newer than the session,
// were it not made for this very request.
func (a *authorization) refuses(session *lambda.Session, now time.Time) bool {
	return a.freshLogin || a.agedLogin && now.Sub(session.CreatedAt) > a.maxAge
}

// madeFor tells whether the session was begun for this request, just now. That
// answers it whatever it wants, so nobody is sent to the login page in circles.
func (s *Service) madeFor(session *lambda.Session, a *authorization) bool {
	return session.Request == a.hash() && s.cfg.Now().Sub(session.CreatedAt) < loginAnswers
}

func (s *Service) createCode(ctx context.Context, a *authorization, session *lambda.Session, must bool) (string, error) {
	code := NewToken()
	c := &lambda.Code{
		Hash: Hash(code), Account: a.account, ClientID: a.app.ClientID, UserID: session.UserID, SessionID: session.ID,
		RedirectURI: a.redirectURI, RedirectNamed: a.param("redirect_uri") != "", Challenge: a.challenge, Nonce: a.param("nonce"),
		ExpiresAt: s.cfg.Now().Add(s.cfg.CodeLifetime).UTC(),
	}
	if a.agedLogin {
		c.AuthTime = session.CreatedAt
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.ReadTimeout)
	defer cancel()
	return code, s.store.CreateCode(ctx, c, a.hash(), must)
}

// browserCookie names the cookie of the login page. There is one for each
// account, so that a person may be logged in to several.
func browserCookie(account string) string { return "__Host-sluice-" + account }

// browserSession gives the live session that the browser has at the login page of
// account, nil if there is none.
func (s *Service) browserSession(r *http.Request, account string) (*lambda.Session, error) {
	id := browserSessionID(r, account)
	if id == "" {
		return nil, nil
	}
	session, err := s.reader.session(r.Context(), Hash(id))
	switch {
	case err != nil:
		return nil, oauthUnavailable(err)
	case session == nil, session.Kind != lambda.SessionBrowser, session.Account != account, !s.cfg.Now().Before(session.ExpiresAt):
		return nil, nil
	}
	user, err := s.reader.user(r.Context(), account, session.UserID)
	switch {
	case err != nil:
		return nil, oauthUnavailable(err)
	case user == nil:
		return nil, nil
	}
	return session, nil
}

func browserSessionID(r *http.Request, account string) string {
	for _, c := range r.CookiesNamed(browserCookie(account)) {
		if isToken(c.Value) {
			return c.Value
		}
	}
	return ""
}

// authorization reads and checks a request to authorize, which the login page has
// in its query as well. Its errors are *OAuthError, for the person at the
// browser, until the redirect URI is known to be the app's, then *refusal.
func (s *Service) authorization(r *http.Request) (*authorization, error) {
	query, repeated, err := parseAuthorize(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	a := &authorization{account: account(r), query: query}
	if a.app, err = s.authorizedApp(r, a.account, query.Get("client_id")); err != nil {
		return nil, err
	}
	if a.redirectURI, err = redirectOf(a.app, query.Get("redirect_uri")); err != nil {
		return nil, err
	}
	if repeated != "" {
		return nil, &refusal{a, "invalid_request", repeated + " is given more than once", nil}
	}
	if err := a.check(); err != nil {
		return nil, err
	}
	return a, nil
}

// parseAuthorize gives the known parameters of a query, and the name of one that
// is repeated and does not decide where the answer goes. Empty values count as
// absent (RFC 6749 §3.1).
func parseAuthorize(raw string) (known url.Values, repeated string, err error) {
	if len(raw) > maxAuthorizeQuery {
		return nil, "", oauthInvalid("invalid_request", fmt.Sprintf("the query has %d bytes: the limit is %d", len(raw), maxAuthorizeQuery))
	}
	all, err := url.ParseQuery(raw)
	if err != nil {
		return nil, "", oauthInvalid("invalid_request", "the query is not well-formed")
	}
	known = url.Values{}
	for _, name := range authorizeParameters {
		values := all[name]
		switch {
		case len(values) > 1 && (name == "client_id" || name == "redirect_uri"):
			return nil, "", oauthInvalid("invalid_request", name+" is given more than once")
		case len(values) > 1: // which one is meant, nobody can tell
			repeated = name
		case len(values) == 1 && values[0] != "":
			known.Set(name, values[0])
		}
	}
	return known, repeated, nil
}

func (s *Service) authorizedApp(r *http.Request, account, clientID string) (*lambda.App, error) {
	unknown := &OAuthError{
		Status: http.StatusUnauthorized, Code: "invalid_client",
		Description: "there is no app with this client_id on this account",
	}
	switch {
	case clientID == "":
		return nil, oauthInvalid("invalid_request", "client_id is missing")
	case !lambda.ValidAccount(account), !validClientID(clientID):
		return nil, unknown
	case clientID == webClient:
		return s.webApp(account, r.Host), nil
	}
	app, err := s.reader.app(r.Context(), account, clientID)
	switch {
	case err != nil:
		return nil, oauthUnavailable(err)
	case app == nil:
		return nil, unknown
	}
	return app, nil
}

// redirectOf gives the redirect URI of a request: the one that it names, if the
// app has exactly that one, or the only one that the app has.
func redirectOf(app *lambda.App, named string) (string, error) {
	uri := named
	switch {
	case named != "" && !slices.Contains(app.RedirectURIs, named):
		return "", oauthInvalid("invalid_request", "redirect_uri is none of those that this app is installed with: it must be the same, character by character")
	case named == "" && len(app.RedirectURIs) != 1:
		return "", oauthInvalid("invalid_request", fmt.Sprintf("redirect_uri is missing: this app is installed with %d of them", len(app.RedirectURIs)))
	case named == "":
		uri = app.RedirectURIs[0]
	}
	if err := lambda.CheckRedirectURI(uri); err != nil {
		return "", oauthInvalid("invalid_request", "this app is installed with a redirect URI that cannot be used: "+err.Error())
	}
	return uri, nil
}

// check reads what the app is told of when it is wrong.
func (a *authorization) check() error {
	for _, check := range []func() (code, description string){
		a.checkType, a.checkRequestObjects, a.checkScope, a.checkPrompt, a.checkMaxAge, a.checkNonce, a.checkChallenge,
	} {
		if code, description := check(); code != "" {
			return &refusal{a, code, description, nil}
		}
	}
	return nil
}

func (a *authorization) checkType() (code, description string) {
	types := a.app.ResponseTypes
	switch kind := a.param("response_type"); {
	case kind == "":
		return "invalid_request", "response_type is missing: send code"
	case kind != lambda.ResponseCode:
		return "unsupported_response_type", "response_type must be code"
	case !slices.Contains(a.app.GrantTypes, lambda.GrantCode):
		return "unauthorized_client", "this app is not installed for authorization_code"
	case len(types) > 0 && !slices.Contains(types, lambda.ResponseCode):
		return "unauthorized_client", "this app is not installed for the response type code"
	}
	if mode := a.param("response_mode"); mode != "" && mode != "query" {
		return "invalid_request", "response_mode must be query"
	}
	return "", ""
}

// checkRequestObjects refuses the parameters of OpenID Connect Core §6 and §7.2.1
// in the way it has for that.
func (a *authorization) checkRequestObjects() (code, description string) {
	for _, name := range []string{"request", "request_uri", "registration"} {
		if a.param(name) != "" {
			return name + "_not_supported", name + " is not supported: send each parameter by itself"
		}
	}
	return "", ""
}

func (a *authorization) checkScope() (code, description string) {
	if !isScope(a.param("scope")) {
		return "invalid_scope", textScope
	}
	return "", ""
}

// isScope reports whether s has the form of a scope (RFC 6749 §3.3), or is empty.
// What scopes it names does not matter: a token carries what its user may do.
func isScope(s string) bool {
	return s == "" || !slices.ContainsFunc(strings.Split(s, " "), func(token string) bool { return !lambda.IsScopeToken(token) })
}

// checkPrompt reads prompt. There is no consent to ask for, so that is ignored,
// as values are that nobody knows.
func (a *authorization) checkPrompt() (code, description string) {
	values := strings.Fields(a.param("prompt"))
	a.quiet = slices.Contains(values, "none")
	a.freshLogin = slices.Contains(values, "login") || slices.Contains(values, "select_account")
	if a.quiet && len(values) > 1 {
		return "invalid_request", "prompt says none and something else"
	}
	return "", ""
}

func (a *authorization) checkMaxAge() (code, description string) {
	text := a.param("max_age")
	if text == "" {
		return "", ""
	}
	seconds, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return "invalid_request", "max_age must be a whole number of seconds"
	}
	a.agedLogin, a.maxAge = true, time.Duration(seconds)*time.Second
	a.freshLogin = a.freshLogin || seconds == 0 // no login is younger than that
	return "", ""
}

func (a *authorization) checkNonce() (code, description string) {
	switch nonce := a.param("nonce"); {
	case len(nonce) > maxNonceLength:
		return "invalid_request", fmt.Sprintf("nonce has %d bytes: the limit is %d", len(nonce), maxNonceLength)
	case !utf8.ValidString(nonce):
		return "invalid_request", "nonce is not valid UTF-8"
	}
	return "", ""
}

// checkChallenge reads what RFC 7636 adds. A plain challenge is kept as S256, so
// that nothing that is kept is a secret, and there is one way to verify.
func (a *authorization) checkChallenge() (code, description string) {
	challenge, method := a.param("code_challenge"), a.param("code_challenge_method")
	switch {
	case challenge == "" && method != "":
		return "invalid_request", "code_challenge_method is given without code_challenge"
	case challenge == "" && a.app.ClientID == webClient:
		return "invalid_request", "code_challenge is missing: this app has no secret (RFC 7636)"
	case challenge == "":
	case a.app.ClientID == webClient && method != "S256":
		return "invalid_request", "code_challenge_method must be S256 for this app"
	case method == "" || method == "plain":
		if !isVerifier(challenge) {
			return "invalid_request", "code_challenge must have 43 to 128 characters out of A-Z a-z 0-9 - . _ ~"
		}
		a.challenge = challengeOf(challenge)
	case method == "S256":
		if len(challenge) != len(challengeOf("")) || !isVerifier(challenge) || strings.ContainsAny(challenge, ".~") {
			return "invalid_request", "code_challenge must be a SHA-256 in base64url, 43 characters"
		}
		a.challenge = challenge
	default:
		return "invalid_request", "code_challenge_method must be S256 or plain: this transformation is not supported"
	}
	return "", ""
}

// answer gives the redirect URI with what the app is told, and its state. The
// query that the URI may have already stays (RFC 6749 §3.1.2).
func (a *authorization) answer(pairs ...string) string {
	var b strings.Builder
	b.WriteString(a.redirectURI)
	separator := "?"
	if strings.Contains(a.redirectURI, "?") {
		separator = "&"
	}
	if state := a.param("state"); state != "" {
		pairs = append(pairs, "state", state)
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		b.WriteString(separator + url.QueryEscape(pairs[i]) + "=" + url.QueryEscape(pairs[i+1]))
		separator = "&"
	}
	return b.String()
}

// refuse tells an error to the app if it is a refusal, else to the person at the
// browser, and returns it for the log.
func refuse(w http.ResponseWriter, r *http.Request, err error) error {
	var told *refusal
	if errors.As(err, &told) {
		redirect(w, http.StatusFound, told.to.answer("error", told.code, "error_description", told.description))
		return err
	}
	return respondPageError(w, r, err)
}

// redirect sends the browser to another place, which does not learn from where.
func redirect(w http.ResponseWriter, status int, location string) {
	h := w.Header()
	h.Set("Location", location)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(status)
}
