package auth

import (
	"encoding/base64"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/julienschmidt/httprouter"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// jwksLifetime is how long others may keep the key set. A key is published for
// KeyLead before it signs, so nobody meets one that they do not have.
const jwksLifetime = "public, max-age=60"

// HandleAppToken answers POST …/app/token (contract/oauth2.md §1.4). The
// parameters may come in the body, in the query, and the client's id and secret
// by HTTP Basic; what comes twice must be the same. After an error the answer is
// written; the error returned is for the log.
func (s *Service) HandleAppToken(w http.ResponseWriter, r *http.Request) error {
	token, err := s.appToken(w, r)
	if err != nil {
		return respondOAuthError(w, err)
	}
	return respond(w, http.StatusOK, struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
	}{token, "Bearer"})
}

func (s *Service) appToken(w http.ResponseWriter, r *http.Request) (string, error) {
	form, err := readForm(w, r)
	if err != nil {
		return "", err
	}
	credentials, err := clientCredentials(form, r.Header.Values("Authorization"))
	if err != nil {
		return "", err
	}
	grant, err := single(form, "grant_type")
	if err != nil {
		return "", err
	}
	return s.AppToken(r.Context(), account(r), grant, credentials.id, credentials.secrets...)
}

// HandleJWKS answers GET /sentinel/well-known/jwks.
func (s *Service) HandleJWKS(w http.ResponseWriter, _ *http.Request) error {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", jwksLifetime)
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(s.JWKS()) // a caller who left needs no answer
	return nil
}

// account gives the account that the path names.
func account(r *http.Request) string {
	return httprouter.ParamsFromContext(r.Context()).ByName("account")
}

// readStrictForm is readForm for requests whose parameters may come once in the
// body and once in the query, but no more often (RFC 6749 §3.2).
func readStrictForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	form, err := readForm(w, r)
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	for name, values := range form {
		if asked := len(query[name]); asked > 1 || len(values)-asked > 1 {
			return nil, oauthInvalid("invalid_request", "a parameter is given more than once")
		}
	}
	return form, nil
}

// readForm gives the parameters of body and query together.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	body, err := readBody(w, r)
	if err != nil {
		status := http.StatusBadRequest
		if lambda.Is(err, lambda.KindTooLarge) {
			status = http.StatusRequestEntityTooLarge
		}
		return nil, &OAuthError{Status: status, Code: "invalid_request", Description: lambda.As(err).Message, Err: errors.Unwrap(err)}
	}
	if len(body) > 0 && !isForm(r.Header.Get("Content-Type")) {
		return nil, oauthInvalid("invalid_request", "the body must be application/x-www-form-urlencoded")
	}
	return parseForm(string(body), r.URL.RawQuery)
}

// isForm reports whether a body of that type is a form. Without a type it is
// taken for one: there is nothing else that it could be.
func isForm(contentType string) bool {
	if contentType == "" {
		return true
	}
	media, _, err := mime.ParseMediaType(contentType)
	return (err == nil || errors.Is(err, mime.ErrInvalidMediaParameter)) && media == "application/x-www-form-urlencoded"
}

func parseForm(body, query string) (url.Values, error) {
	form, err := url.ParseQuery(body)
	if err != nil {
		return nil, oauthInvalid("invalid_request", "the body is not a well-formed form")
	}
	more, err := url.ParseQuery(query)
	if err != nil {
		return nil, oauthInvalid("invalid_request", "the query is not well-formed")
	}
	for name, values := range more {
		form[name] = append(form[name], values...)
	}
	return form, nil
}

// single gives the one value of a parameter, empty if it is absent.
func single(form url.Values, name string) (string, error) {
	value := ""
	for _, v := range form[name] {
		switch {
		case v == "": // means absent
		case value == "":
			value = v
		case v != value:
			return "", oauthInvalid("invalid_request", name+" is given twice with different values")
		}
	}
	return value, nil
}

// credentials are what a client gave to prove who it is. The secret is kept as
// every reading that the sender can have meant.
type credentials struct {
	id      string
	secrets []string
}

// clientCredentials takes the id and secret of the client from the form, from an
// Authorization header of scheme Basic, or from both if they agree.
func clientCredentials(form url.Values, authorization []string) (credentials, error) {
	id, err := single(form, "client_id")
	if err != nil {
		return credentials{}, err
	}
	secret, err := single(form, "client_secret")
	if err != nil {
		return credentials{}, err
	}
	if len(secret) > maxClientSecretLength {
		return credentials{}, invalidClient()
	}
	c := credentials{id: id}
	if secret != "" {
		c.secrets = []string{secret}
	}
	if len(authorization) > 1 {
		return credentials{}, oauthInvalid("invalid_request", "the Authorization header is given twice")
	}
	if len(authorization) == 0 || authorization[0] == "" {
		return c, nil
	}
	basic, err := parseBasic(authorization[0])
	if err != nil {
		return credentials{}, err
	}
	return c.with(basic)
}

// with joins what form and header gave.
func (c credentials) with(basic credentials) (credentials, error) {
	if c.id != "" && c.id != basic.id {
		return credentials{}, oauthInvalid("invalid_request", "client_id differs between parameters and Authorization header")
	}
	if len(c.secrets) == 0 {
		return basic, nil
	}
	for _, s := range basic.secrets {
		if s == c.secrets[0] {
			return credentials{id: basic.id, secrets: c.secrets}, nil
		}
	}
	return credentials{}, oauthInvalid("invalid_request", "client_secret differs between parameters and Authorization header")
}

// parseBasic reads HTTP Basic authentication. RFC 6749 §2.3.1 has both parts
// form-encoded before; many clients leave that out, so the secret is read both
// ways.
func parseBasic(header string) (credentials, error) {
	scheme, encoded, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return credentials{}, invalidClient()
	}
	text, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil {
		return credentials{}, invalidClient()
	}
	id, secret, ok := strings.Cut(string(text), ":")
	if !ok || len(secret) > 3*maxClientSecretLength {
		return credentials{}, invalidClient()
	}
	c := credentials{id: id, secrets: []string{secret}}
	if decoded, err := url.QueryUnescape(id); err == nil {
		c.id = decoded
	}
	if decoded, err := url.QueryUnescape(secret); err == nil && decoded != secret {
		c.secrets = append(c.secrets, decoded)
	}
	return c, nil
}

// respondOAuthError writes err as RFC 6749 §5.2 has it and returns it.
func respondOAuthError(w http.ResponseWriter, err error) error {
	var e *OAuthError
	if !errors.As(err, &e) {
		e = &OAuthError{Status: http.StatusInternalServerError, Code: "server_error", Description: "internal error"}
	}
	if e.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="Sentinel"`)
	}
	setRetryAfter(w, e.RetryAfter)
	return errors.Join(err, respondOAuth(w, e))
}

// respondOAuth writes the body of an error.
func respondOAuth(w http.ResponseWriter, e *OAuthError) error {
	return respond(w, e.Status, struct {
		Code        string `json:"error"`
		Description string `json:"error_description"`
	}{e.Code, e.Description})
}
