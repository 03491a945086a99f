package auth

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

const (
	// webClient is the web UI among the apps of an account: each has it, without an
	// installation, and no installation can have this id.
	webClient = "sluice-ui"
	// WebCookie is the cookie of somebody who is signed in to the web UI. It holds
	// the bearer token of a session of the login service.
	WebCookie = "__Host-sluice-ui"
	// WebCallback is where Sentinel sends the browser back to.
	WebCallback = "/ui/callback"
)

// webApp is the web UI as an app of account. It has no secret, so whoever asks in
// its name proves with a code verifier that the answer is theirs (RFC 7636), and
// only the gateway itself turns its codes into sessions. The browser is sent back to
// the web UI's host of the Domain API, or to the host that it is at now, if the web
// UI is there as well; to no other.
func (s *Service) webApp(account, host string) *lambda.App {
	app := &lambda.App{
		Account: account, ClientID: webClient, ClientName: webClient, DisplayName: "Sluice",
		GrantTypes: []string{lambda.GrantCode}, ResponseTypes: []string{lambda.ResponseCode},
	}
	if s.cfg.Hosts == nil {
		return app
	}
	hosts := make([]string, 0, 2)
	if base, err := s.cfg.Hosts.BaseURI(account, "faasUI"); err == nil {
		hosts = append(hosts, base)
	}
	if s.cfg.Hosts.Serves(host, "faasUI") && !slices.Contains(hosts, host) {
		hosts = append(hosts, host)
	}
	for _, h := range hosts {
		app.RedirectURIs = append(app.RedirectURIs, webRedirect(h))
	}
	return app
}

func webRedirect(host string) string { return "https://" + host + WebCallback }

// WebLogin is one way through Sentinel, from the web UI on a host and back.
type WebLogin struct {
	Account  string `json:"account"`
	Host     string `json:"host"`     // host[:port] of the web UI that the browser is at
	State    string `json:"state"`    // comes back with the code (RFC 6749 §10.12)
	Verifier string `json:"verifier"` // RFC 7636
}

// NewWebLogin begins one. Its two secrets are for the browser that begins it alone.
func NewWebLogin(account, host string) WebLogin {
	return WebLogin{Account: account, Host: host, State: NewToken(), Verifier: NewToken()}
}

// URL is where the browser goes to log in, at Sentinel on a host. With fresh set it
// has to log in even if it is logged in there.
func (l *WebLogin) URL(sentinel string, fresh bool) string {
	q := url.Values{
		"response_type": {lambda.ResponseCode}, "client_id": {webClient}, "redirect_uri": {webRedirect(l.Host)}, "state": {l.State},
		"code_challenge": {challengeOf(l.Verifier)}, "code_challenge_method": {"S256"},
	}
	if fresh {
		q.Set("prompt", "login")
	}
	return "https://" + sentinel + authorizePath(l.Account) + "?" + q.Encode()
}

// RedeemWeb turns the code of a WebLogin into a session of the login service: what
// its holder calls is called by hand. A code is good once. Its errors are
// *OAuthError, or *lambda.Error of kind Unauthorized or Unavailable.
func (s *Service) RedeemWeb(ctx context.Context, l WebLogin, code string) (LoginResult, error) {
	if !isToken(code) {
		return LoginResult{}, invalidCode()
	}
	c, err := s.reader.code(ctx, Hash(code))
	switch {
	case err != nil:
		return LoginResult{}, err
	case c == nil, c.Account != l.Account, c.ClientID != webClient:
		return LoginResult{}, invalidCode()
	}
	// First it ends: of two who have it, one gets a session.
	if err := s.store.DeleteCode(ctx, c.Hash); err != nil {
		if lambda.Is(err, lambda.KindNotFound) || lambda.Is(err, lambda.KindConflict) {
			return LoginResult{}, invalidCode()
		}
		return LoginResult{}, unavailable(err)
	}
	if err := checkCode(c, webRedirect(l.Host), l.Verifier); err != nil {
		return LoginResult{}, err
	}
	user, err := s.reader.user(ctx, c.Account, c.UserID)
	switch {
	case err != nil:
		return LoginResult{}, err
	case user == nil:
		return LoginResult{}, invalidCode()
	}
	roles, err := s.reader.roles(ctx, user)
	if err != nil {
		return LoginResult{}, err
	}
	return s.begin(ctx, user, roles)
}

// WebSession is who a cookie stands for.
type WebSession struct {
	Account   string
	User      *lambda.User
	Roles     []lambda.Role
	ExpiresAt time.Time

	session string // its key
}

// webSession finds the live session of a bearer token, nil if there is none.
func (s *Service) webSession(ctx context.Context, bearer string) (*WebSession, error) {
	if !isToken(bearer) {
		return nil, nil
	}
	t, err := s.reader.token(ctx, Hash(bearer))
	switch {
	case err != nil:
		return nil, err
	case t == nil, t.Kind != lambda.TokenLogin, !s.cfg.Now().Before(t.ExpiresAt):
		return nil, nil
	}
	user, err := s.reader.user(ctx, t.Account, t.UserID)
	if err != nil || user == nil {
		return nil, err
	}
	roles, err := s.reader.roles(ctx, user)
	if err != nil {
		return nil, err
	}
	return &WebSession{Account: t.Account, User: user, Roles: roles, ExpiresAt: t.ExpiresAt, session: t.SessionID}, nil
}

// WebSession gives the session of a cookie's value, nil if there is none, and has it
// live for another SessionLifetime once a quarter of that is over. Its errors are
// *lambda.Error of kind Unavailable.
func (s *Service) WebSession(ctx context.Context, bearer string) (*WebSession, error) {
	w, err := s.webSession(ctx, bearer)
	if err != nil || w == nil {
		return nil, err
	}
	now := s.cfg.Now()
	if w.ExpiresAt.Sub(now) > s.cfg.SessionLifetime*3/4 || s.pace.take(w.Account, w.User.ID) != nil {
		return w, nil
	}
	until := now.Add(s.cfg.SessionLifetime).UTC()
	ctx, cancel := context.WithTimeout(ctx, s.cfg.ReadTimeout)
	defer cancel()
	switch err := s.store.ExtendSession(ctx, w.session, until); {
	case err == nil:
		w.ExpiresAt = until
	case lambda.Is(err, lambda.KindNotFound):
		return nil, nil
	default: // it lives on as it was
		s.log.Warn().Err(err).Msg("a session of the web UI is not prolonged")
	}
	return w, nil
}

// EndWeb ends the session of a cookie's value, and the one that the browser has at
// the login page on this host. What has ended already is no error.
func (s *Service) EndWeb(r *http.Request, bearer string) error {
	w, err := s.webSession(r.Context(), bearer)
	if err != nil || w == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.ReadTimeout)
	defer cancel()
	ids := []string{w.session}
	if id := browserSessionID(r, w.Account); id != "" {
		ids = append(ids, Hash(id))
	}
	for _, id := range ids {
		if err := s.store.DeleteSession(ctx, id); err != nil && !lambda.Is(err, lambda.KindNotFound) {
			return unavailable(err)
		}
	}
	s.refuseFromNow(ctx)
	return nil
}
