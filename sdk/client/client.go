// Package client calls the HTTP API of a Sluice gateway: tokens, lambdas,
// deployments and invocations.
//
// A Client belongs to one account and speaks with one TokenSource. It never
// repeats a call by itself: an invocation runs user code, and whether that may
// happen twice is for the caller to say (see WithRequestID). Every error that the
// gateway answered is an *Error.
//
//	c, err := client.New("12345678", client.WithBaseURL("https://127.0.0.1:8443"), client.WithCAFile(ca))
//	…
//	c = c.With(client.AppCredentials(c, clientID, clientSecret))
//	answer, err := c.Invoke(ctx, lambdaID, map[string]string{"name": "Ada"})
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// MaxAnswer is the largest answer that a Client reads, in bytes. A longer one
// is an error.
const MaxAnswer = 64 << 20

const userAgent = "sluice-go-client"

// Endpoints are the base URLs of the services that a Client calls, each with
// scheme and host and without a path. Discover finds them; in a development
// gateway all are the same.
type Endpoints struct {
	Invocation string // Domain API name faasGW
	Management string // faasUI
	Sentinel   string // sentinel
	Login      string // agentVep
}

// Client calls the gateway for one account. It is safe for concurrent use and
// holds no state but connections and its TokenSource.
type Client struct {
	account   string
	endpoints Endpoints
	http      *http.Client
	tokens    TokenSource
	system    string
}

// Option changes how New builds a Client.
type Option func(*Client) error

// New makes a Client for account. Without options it has no endpoints, no
// token and the system's trusted certificates; WithBaseURL or WithEndpoints is
// required. A call has no time limit but its context's.
func New(account string, options ...Option) (*Client, error) {
	if account == "" {
		return nil, errors.New("client: account is missing")
	}
	c := &Client{account: account, http: &http.Client{Transport: newTransport(nil)}, system: userAgent}
	for _, option := range options {
		if err := option(c); err != nil {
			return nil, fmt.Errorf("client: %w", err)
		}
	}
	for _, e := range []struct{ name, url string }{
		{"Invocation", c.endpoints.Invocation}, {"Management", c.endpoints.Management},
		{"Sentinel", c.endpoints.Sentinel}, {"Login", c.endpoints.Login},
	} {
		u, err := url.Parse(e.url)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return nil, fmt.Errorf("client: endpoint %s %q is no http or https URL: give WithBaseURL or WithEndpoints", e.name, e.url)
		}
	}
	return c, nil
}

// WithBaseURL uses one base URL for every service.
func WithBaseURL(base string) Option {
	return WithEndpoints(Endpoints{Invocation: base, Management: base, Sentinel: base, Login: base})
}

// WithEndpoints sets the base URL of each service.
func WithEndpoints(e Endpoints) Option {
	return func(c *Client) error {
		c.endpoints = Endpoints{
			Invocation: strings.TrimSuffix(e.Invocation, "/"), Management: strings.TrimSuffix(e.Management, "/"),
			Sentinel: strings.TrimSuffix(e.Sentinel, "/"), Login: strings.TrimSuffix(e.Login, "/"),
		}
		return nil
	}
}

// WithTokenSource sets where the bearer token of every call comes from.
func WithTokenSource(s TokenSource) Option {
	return func(c *Client) error {
		c.tokens = s
		return nil
	}
}

// WithHTTPClient uses h for every request instead of a client of its own.
func WithHTTPClient(h *http.Client) Option {
	return func(c *Client) error {
		c.http = h
		return nil
	}
}

// WithCAFile trusts the PEM certificates in file and no others.
func WithCAFile(file string) Option {
	return func(c *Client) error {
		pem, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read CA: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return fmt.Errorf("read CA: %s holds no certificate", file)
		}
		c.http = &http.Client{Transport: newTransport(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12})}
		return nil
	}
}

// WithExternalSystem sets the name under which Invoke presents the caller.
func WithExternalSystem(name string) Option {
	return func(c *Client) error {
		if name == "" {
			return errors.New("the external system's name is empty")
		}
		c.system = name
		return nil
	}
}

func newTransport(t *tls.Config) *http.Transport {
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: t, ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: 10 * time.Second,
	}
}

// With gives a copy of c, on the same connections, that speaks with the tokens
// of s.
func (c *Client) With(s TokenSource) *Client {
	d := *c
	d.tokens = s
	return &d
}

// Account is the account that c calls for.
func (c *Client) Account() string { return c.account }

// HTTP is the client under c, for calls that this package does not know.
func (c *Client) HTTP() *http.Client { return c.http }

// Endpoints are the base URLs that c calls.
func (c *Client) Endpoints() Endpoints { return c.endpoints }

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// accountPath builds the path of a resource of the account.
func (c *Client) accountPath(parts ...string) string {
	var b strings.Builder
	b.WriteString("/api/account/" + url.PathEscape(c.account))
	for _, p := range parts {
		b.WriteString("/" + url.PathEscape(p))
	}
	return b.String()
}

// call is one request and how its answer is read.
type call struct {
	method string
	base   string
	path   string
	query  url.Values
	header http.Header
	form   url.Values // sent as a form; else body as JSON, if not nil
	body   any
	bare   bool // no bearer token
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do makes one request. An answer of 2xx or 304 is returned; any other is an
// *Error.
func (c *Client) do(ctx context.Context, k call) (answer, error) {
	req, err := c.request(ctx, k)
	if err != nil {
		return answer{}, fmt.Errorf("%s %s: %w", k.method, k.path, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, fmt.Errorf("%s %s: %w", k.method, k.path, withoutURL(err))
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxAnswer+1))
	switch {
	case err != nil:
		return answer{}, fmt.Errorf("%s %s: read the answer: %w", k.method, k.path, err)
	case len(body) > MaxAnswer:
		return answer{}, fmt.Errorf("%s %s: the answer is larger than %d bytes", k.method, k.path, MaxAnswer)
	case resp.StatusCode/100 != 2 && resp.StatusCode != http.StatusNotModified:
		return answer{}, newError(resp, body)
	}
	return answer{resp.StatusCode, resp.Header, body}, nil
}

func (c *Client) request(ctx context.Context, k call) (*http.Request, error) {
	var body io.Reader
	contentType := "application/json"
	switch {
	case k.form != nil:
		body, contentType = strings.NewReader(k.form.Encode()), "application/x-www-form-urlencoded"
	case k.body != nil:
		text, err := json.Marshal(k.body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(text)
	}
	target := k.base + k.path
	if len(k.query) > 0 {
		target += "?" + k.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, k.method, target, body)
	if err != nil {
		return nil, err
	}
	for name, values := range k.header {
		req.Header[name] = values
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", userAgent)
	if k.bare || c.tokens == nil {
		return req, nil
	}
	token, err := c.tokens.Token(ctx)
	if err != nil {
		return nil, fmt.Errorf("get a token: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	return req, nil
}

// withoutURL takes the URL out of err: its query may hold what no log should.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// decode reads a's body as JSON into v.
func (a answer) decode(what string, v any) error {
	if err := json.Unmarshal(a.body, v); err != nil {
		return fmt.Errorf("%s: the answer is not what the contract says: %w", what, err)
	}
	return nil
}

// Token gives the bearer token that c's next call would send; empty without a
// TokenSource. A Client is a TokenSource itself, so another may share its tokens.
func (c *Client) Token(ctx context.Context) (string, error) {
	if c.tokens == nil {
		return "", nil
	}
	return c.tokens.Token(ctx)
}
