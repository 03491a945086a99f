package auth

import (
	"context"
	"net/http"
	"strings"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// HandleRevoke answers POST …/token/revoke (RFC 7009). A token of either kind
// ends its whole grant, and the sessions that its user has at the login page, with
// the codes that they gave. One that is unknown has ended already.
func (s *Service) HandleRevoke(w http.ResponseWriter, r *http.Request) error {
	if err := s.revoke(w, r); err != nil {
		return respondOAuthError(w, err)
	}
	w.Header().Set("Content-Type", "application/json") // of nothing: some clients take no other answer
	return respondEmpty(w)
}

func (s *Service) revoke(w http.ResponseWriter, r *http.Request) error {
	form, app, err := s.clientRequest(w, r)
	if err != nil {
		return err
	}
	token, err := single(form, "token")
	switch {
	case err != nil:
		return err
	case token == "":
		return oauthInvalid("invalid_request", "token is missing")
	case strings.Count(token, ".") == 2:
		return oauthInvalid("unsupported_token_type", "a JWT cannot be revoked: it ends by itself")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 4*s.cfg.ReadTimeout)
	defer cancel()
	grant, err := s.revocable(ctx, app, token)
	if err != nil || grant == nil {
		return err
	}
	// The grant last: if this is cut short, the caller's next try still finds it.
	if err := s.store.EndBrowserSessions(ctx, grant.Account, grant.UserID); err != nil {
		return oauthUnavailable(err)
	}
	if err := s.store.EndGrant(ctx, grant.ID); err != nil {
		return oauthUnavailable(err)
	}
	s.refuseFromNow(ctx)
	return nil
}

// revocable finds the grant of a refresh token, also an earlier one, or of an
// access token; nil if there is none. One that is not the app's is an error.
func (s *Service) revocable(ctx context.Context, app *lambda.App, token string) (*lambda.Grant, error) {
	var id string
	switch {
	case isRefresh(token):
		id = Hash(token[:tokenLength])
	case isToken(token):
		t, err := s.reader.token(ctx, Hash(token))
		if err != nil {
			return nil, oauthUnavailable(err)
		}
		if t == nil {
			return nil, nil
		}
		id = t.GrantID
	default:
		return nil, nil
	}
	var grant *lambda.Grant
	if id != "" { // a token of the login service has no grant
		var err error
		if grant, err = s.reader.grant(ctx, id); err != nil {
			return nil, oauthUnavailable(err)
		}
		if grant == nil {
			return nil, nil
		}
	}
	if grant == nil || grant.Account != app.Account || grant.ClientID != app.ClientID {
		return nil, oauthInvalid("invalid_grant", "the token was not issued to this app")
	}
	return grant, nil
}
