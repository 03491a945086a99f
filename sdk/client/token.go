package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// TokenSource gives the bearer token for a call. It is asked before every call,
// by many goroutines at once, and should keep what it has while that is good.
type TokenSource interface {
	Token(ctx context.Context) (string, error)
}

// StaticToken is a TokenSource that always gives the same token.
type StaticToken string

// Token gives t.
func (t StaticToken) Token(context.Context) (string, error) { return string(t), nil }

// AppToken fetches a token of the client credentials grant: a JWT that may
// invoke lambdas and nothing else.
func (c *Client) AppToken(ctx context.Context, clientID, clientSecret string) (string, error) {
	a, err := c.do(ctx, call{
		method: http.MethodPost, base: c.endpoints.Sentinel, bare: true,
		path:  "/sentinel/api/account/" + url.PathEscape(c.account) + "/app/token",
		query: url.Values{"v": {"2.0"}},
		form: url.Values{
			"grant_type": {"client_credentials"}, "scope": {""}, "client_id": {clientID}, "client_secret": {clientSecret},
		},
	})
	if err != nil {
		return "", fmt.Errorf("app token: %w", err)
	}
	var v struct {
		Token string `json:"access_token"`
	}
	if err := a.decode("app token", &v); err != nil {
		return "", err
	}
	if v.Token == "" {
		return "", errors.New("app token: the answer holds no access_token")
	}
	return v.Token, nil
}

// refreshBefore is how long before its end an app token is replaced, as the
// public clients do.
const refreshBefore = 30 * time.Minute

// AppCredentials is a TokenSource that fetches app tokens through c and keeps
// each until half an hour before its end. Callers who arrive during a fetch wait
// for it.
func AppCredentials(c *Client, clientID, clientSecret string) TokenSource {
	return &appCredentials{client: c, id: clientID, secret: clientSecret}
}

type appCredentials struct {
	client     *Client
	id, secret string

	mu     sync.Mutex
	token  string
	renew  time.Time
	expire time.Time
}

func (s *appCredentials) Token(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.token != "" && now.Before(s.renew) {
		return s.token, nil
	}
	token, err := s.client.AppToken(ctx, s.id, s.secret)
	if err != nil {
		if s.token != "" && now.Before(s.expire) {
			return s.token, nil // still good: the service may be back by the next call
		}
		return "", err
	}
	expire, err := expiry(token)
	if err != nil {
		return "", err
	}
	s.token, s.expire, s.renew = token, expire, expire.Add(-refreshBefore)
	return token, nil
}

// expiry reads exp of a JWT without checking the signature: the gateway does that.
func expiry(token string) (time.Time, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}, errors.New("app token: it is no JWT")
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}, fmt.Errorf("app token: decode its claims: %w", err)
	}
	var claims struct {
		Expires int64 `json:"exp"`
	}
	if err := json.Unmarshal(raw, &claims); err != nil || claims.Expires == 0 {
		return time.Time{}, errors.New("app token: its claims hold no exp")
	}
	return time.Unix(claims.Expires, 0), nil
}

// Session is what a login gave. It is a TokenSource; invocations with its token
// are manual ones unless they name an external system.
type Session struct {
	Bearer    string
	CSRF      string
	ID        string
	UserID    string
	LoginName string
}

// Token gives the session's bearer token.
func (s *Session) Token(context.Context) (string, error) { return s.Bearer, nil }

// Login opens a session for a user.
func (c *Client) Login(ctx context.Context, username, password string) (*Session, error) {
	a, err := c.do(ctx, call{
		method: http.MethodPost, base: c.endpoints.Login, path: c.accountPath("login"), bare: true,
		query: url.Values{"v": {"1.3"}},
		body:  map[string]string{"username": username, "password": password},
	})
	if err != nil {
		return nil, fmt.Errorf("login: %w", err)
	}
	var v struct {
		Bearer    string `json:"bearer"`
		CSRF      string `json:"csrf"`
		SessionID string `json:"sessionId"`
		Config    struct {
			UserID    string `json:"userId"`
			LoginName string `json:"loginName"`
		} `json:"config"`
	}
	if err := a.decode("login", &v); err != nil {
		return nil, err
	}
	if v.Bearer == "" {
		return nil, errors.New("login: the answer holds no bearer")
	}
	return &Session{Bearer: v.Bearer, CSRF: v.CSRF, ID: v.SessionID, UserID: v.Config.UserID, LoginName: v.Config.LoginName}, nil
}

// Refresh prolongs a session; one that the gateway does not know is an *Error
// with status 401.
func (c *Client) Refresh(ctx context.Context, s *Session) error {
	return c.sessionCall(ctx, "refresh", s)
}

// Logout ends a session and its token.
func (c *Client) Logout(ctx context.Context, s *Session) error {
	return c.sessionCall(ctx, "logout", s)
}

func (c *Client) sessionCall(ctx context.Context, verb string, s *Session) error {
	_, err := c.do(ctx, call{
		method: http.MethodPost, base: c.endpoints.Login, path: c.accountPath(verb), bare: true,
		header: http.Header{"Cookie": {"session_id=" + s.ID}},
		body:   map[string]string{"csrf": s.CSRF},
	})
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	return nil
}
