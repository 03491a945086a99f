package vault

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

const (
	requestTimeout = 5 * time.Second // of one request to Vault
	requests       = 32              // at once; more wait
	maxAnswer      = 16 << 20        // bytes of an answer; the largest secret has some five
)

// What Vault can say that is worth telling apart.
var (
	errVersion      = errors.New("another version is stored")
	errBeingDeleted = errors.New("it is being deleted at this moment")
	errRefused      = errors.New("vault refuses the token, or its policy does not cover this: see deploy/vault")
	errSealed       = errors.New("vault is sealed")
	errUnreadable   = errors.New("vault's answer is not what it should be")
)

// client makes requests with the token of a session.
type client struct {
	api     *api.Client
	session *session
	slots   chan struct{}
}

func (c *client) get(ctx context.Context, path string) (*api.Secret, error) {
	return c.do(ctx, "read "+path, func(ctx context.Context) (*api.Secret, error) {
		return c.api.Logical().ReadWithContext(ctx, path)
	})
}

func (c *client) list(ctx context.Context, path string) (*api.Secret, error) {
	return c.do(ctx, "list "+path, func(ctx context.Context) (*api.Secret, error) {
		return c.api.Logical().ListWithContext(ctx, path)
	})
}

func (c *client) put(ctx context.Context, path string, data map[string]any) (*api.Secret, error) {
	return c.do(ctx, "write "+path, func(ctx context.Context) (*api.Secret, error) {
		return c.api.Logical().WriteWithContext(ctx, path, data)
	})
}

func (c *client) delete(ctx context.Context, path string) error {
	_, err := c.do(ctx, "delete "+path, func(ctx context.Context) (*api.Secret, error) {
		return c.api.Logical().DeleteWithContext(ctx, path)
	})
	return err
}

// do makes a request, and once more with a new token when Vault did not accept
// the one it had. Nothing else is repeated: the caller knows what may be. What is
// not there is nil without an error.
func (c *client) do(ctx context.Context, what string, request func(context.Context) (*api.Secret, error)) (*api.Secret, error) {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	for range 2 {
		token, err := c.session.current(ctx)
		if err != nil {
			return nil, c.fault(ctx, what, err)
		}
		answer, err := within(ctx, request)
		if !isStatus(err, http.StatusForbidden) {
			return answer, c.fault(ctx, what, err)
		}
		if err := c.session.refused(ctx, token); err != nil {
			return nil, c.fault(ctx, what, err)
		}
	}
	return nil, c.fault(ctx, what, errRefused)
}

// within runs a request for no longer than requestTimeout.
func within(ctx context.Context, request func(context.Context) (*api.Secret, error)) (*api.Secret, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return request(ctx)
}

// fault turns the error of a request into that of a secret.Store. The caller's own
// end comes back as it is, and so does errVersion.
func (c *client) fault(ctx context.Context, what string, err error) error {
	switch err = cause(err); {
	case err == nil || errors.Is(err, errVersion):
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case isFinal(err):
		return lambda.SecretsRefused(fmt.Errorf("%s: %w", what, err))
	}
	return lambda.SecretsUnavailable(fmt.Errorf("%s: %w", what, err))
}

// cause says what went wrong in words of our own: an answer of Vault, or of what
// stands in its place, may hold anything.
func cause(err error) error {
	var known *faultError
	var answer *api.ResponseError
	var certificate *tls.CertificateVerificationError
	var network net.Error
	var op *net.OpError
	switch {
	case err == nil, errors.As(err, &known), errors.Is(err, errVersion), errors.Is(err, errRefused), errors.Is(err, errLogin), errors.Is(err, errSealed):
		return err
	case errors.As(err, &answer):
		return statusFault(answer)
	case errors.As(err, &certificate):
		return &faultError{"vault's certificate is not accepted: " + certificate.Err.Error(), true}
	case errors.Is(err, context.Canceled):
		return &faultError{"the request was given up", false}
	case errors.As(err, &network) && network.Timeout():
		return &faultError{"vault does not answer in time", false}
	case errors.As(err, &op):
		return &faultError{"vault cannot be reached: " + op.Error(), false}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &faultError{"vault broke the connection off", false}
	}
	return errUnreadable
}

// faultError is a cause that was put in our own words.
type faultError struct {
	text  string
	final bool // waiting does not help
}

func (e *faultError) Error() string { return e.text }

func statusFault(answer *api.ResponseError) error {
	said := strings.Join(answer.Errors, " ")
	switch {
	case answer.StatusCode == http.StatusBadRequest && strings.Contains(said, "check-and-set"):
		return errVersion
	case answer.StatusCode == http.StatusServiceUnavailable && strings.Contains(said, "sealed"):
		return errSealed
	case answer.StatusCode == http.StatusForbidden:
		return errRefused
	}
	final := answer.StatusCode < http.StatusInternalServerError && !passing[answer.StatusCode]
	return &faultError{fmt.Sprintf("vault answers %d %s", answer.StatusCode, http.StatusText(answer.StatusCode)), final}
}

// passing are the refusals that end by themselves.
var passing = map[int]bool{http.StatusRequestTimeout: true, http.StatusPreconditionFailed: true, http.StatusTooManyRequests: true}

// isFinal tells whether a cause is one that an operator has to mend.
func isFinal(err error) bool {
	var known *faultError
	return errors.Is(err, errRefused) || errors.Is(err, errLogin) || errors.Is(err, errUnreadable) || errors.As(err, &known) && known.final
}

func isStatus(err error, status int) bool {
	var answer *api.ResponseError
	return errors.As(err, &answer) && answer.StatusCode == status
}

// check asks Vault for the token.
func (c *client) check(ctx context.Context) error {
	token, err := c.session.current(ctx)
	if err == nil {
		err = c.session.look(ctx, token)
	}
	if isStatus(err, http.StatusForbidden) {
		err = c.session.refused(ctx, token)
	}
	if err != nil {
		return cause(err)
	}
	return c.session.warning(time.Now())
}

func (c *client) close(ctx context.Context) error {
	err := c.session.close(ctx)
	c.api.CloneConfig().HttpClient.CloseIdleConnections()
	return err
}

// bounded keeps an answer from taking more memory than any should.
type bounded struct{ http.RoundTripper }

// RoundTrip sends a request.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = body{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	}
	return resp, err
}

// CloseIdleConnections is for http.Client.
func (b bounded) CloseIdleConnections() {
	if t, ok := b.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

type body struct {
	io.Reader
	io.Closer
}
