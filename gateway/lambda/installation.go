package lambda

import (
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits of an app installation, in characters where nothing else is said. The
// first four are the contract's (contract/oauth2.md §1.5).
const (
	MaxAppName        = 128
	MaxAppDescription = 256
	MaxRedirectURI    = 128
	MaxAppURI         = 1024
	MaxScope          = 128
	MaxRedirectURIs   = 32   // of one app
	MaxCapabilities   = 4096 // bytes of JSON
)

// The grant types that an app can be installed for.
const (
	GrantCode        = "authorization_code"
	GrantRefresh     = "refresh_token"
	GrantCredentials = "client_credentials"
)

// ResponseCode is the response type of the authorization code flow, the only one
// that the authorize endpoint serves.
const ResponseCode = "code"

var (
	grantTypes    = []string{GrantCode, GrantRefresh, GrantCredentials}
	responseTypes = []string{ResponseCode, "token", "id_token", "id_token token"}
)

// Validate checks what an installation says of an app, and returns the first
// fault as an Error of kind Invalid that names the field and the limit.
func (a *App) Validate() error {
	if err := checkName("client_name", a.ClientName, MaxAppName); err != nil {
		return err
	}
	for _, text := range []struct {
		field, value string
		limit        int
	}{
		{"display_name", a.DisplayName, MaxAppName}, {"description", a.Description, MaxAppDescription},
	} {
		if n := utf8.RuneCountInString(text.value); n > text.limit {
			return Invalid(text.field, "%s has %d characters: the limit is %d", text.field, n, text.limit)
		}
		if err := checkText(text.field, text.value); err != nil {
			return err
		}
	}
	for _, check := range []func() error{a.checkGrants, a.checkRedirects, a.checkScope, a.checkLinks, a.checkCapabilities} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// checkGrants sees to it that each grant can be used: what needs another, or
// a place to send the browser back to, has it.
func (a *App) checkGrants() error {
	const grants, responses = "grant_types", "response_types"
	if len(a.GrantTypes) == 0 {
		return Invalid(grants, "grant_types is missing: name one or more of %s", strings.Join(grantTypes, ", "))
	}
	if err := checkSubset(grants, a.GrantTypes, grantTypes); err != nil {
		return err
	}
	if err := checkSubset(responses, a.ResponseTypes, responseTypes); err != nil {
		return err
	}
	code := slices.Contains(a.GrantTypes, GrantCode)
	switch {
	case !code && slices.Contains(a.GrantTypes, GrantRefresh):
		return Invalid(grants, "grant_types holds refresh_token without authorization_code, from which refresh tokens come: add it, or remove refresh_token")
	case code && len(a.RedirectURIs) == 0:
		return Invalid("redirect_uris", "redirect_uris is missing: authorization_code needs one or more")
	case code && len(a.ResponseTypes) > 0 && !slices.Contains(a.ResponseTypes, ResponseCode):
		return Invalid(responses, "response_types lacks code, which authorization_code needs: add it")
	}
	return nil
}

func checkSubset(field string, given, allowed []string) error {
	for i, one := range given {
		switch {
		case !slices.Contains(allowed, one):
			return Invalid(field, "%s holds %.50q, which is none of %s", field, one, strings.Join(allowed, ", "))
		case slices.Contains(given[:i], one):
			return Invalid(field, "%s holds %s twice: remove one", field, one)
		}
	}
	return nil
}

func (a *App) checkRedirects() error {
	const field = "redirect_uris"
	if n := len(a.RedirectURIs); n > MaxRedirectURIs {
		return Invalid(field, "redirect_uris has %d entries: the limit is %d", n, MaxRedirectURIs)
	}
	for i, uri := range a.RedirectURIs {
		if slices.Contains(a.RedirectURIs[:i], uri) {
			return Invalid(field, "redirect_uris holds %.150s twice: remove one", uri)
		}
		if err := CheckRedirectURI(uri); err != nil {
			return err
		}
	}
	return nil
}

// CheckRedirectURI says what is wrong with a place to send codes to: it must be a
// URI of the web, without a fragment (RFC 6749 §3.1.2), that a code reaches over
// TLS or without leaving the machine.
func CheckRedirectURI(uri string) error {
	const field = "redirect_uris"
	u, err := parseURI(field, uri, MaxRedirectURI)
	switch {
	case err != nil:
		return err
	case strings.Contains(uri, "#"):
		return Invalid(field, "redirect_uris: %q has a fragment: remove what begins with #", uri)
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return Invalid(field, "redirect_uris: %q would carry the code in clear over a network: use https, or http with localhost", uri)
	}
	return nil
}

func (a *App) checkLinks() error {
	for _, link := range []struct{ field, value string }{{"logo_uri", a.LogoURI}, {"entry_uri", a.EntryURI}} {
		if link.value == "" {
			continue
		}
		if _, err := parseURI(link.field, link.value, MaxAppURI); err != nil {
			return err
		}
	}
	return nil
}

// parseURI accepts absolute URIs of the web as RFC 3986 writes them. Some hold
// characters of which browsers make others, such as \ and blanks, or no host: a
// browser would go elsewhere than the text says.
func parseURI(field, uri string, limit int) (*url.URL, error) {
	if n := utf8.RuneCountInString(uri); n > limit {
		return nil, Invalid(field, "%s: a URI has %d characters: the limit is %d", field, n, limit)
	}
	if i := strings.IndexFunc(uri, notInURI); i >= 0 {
		return nil, Invalid(field, "%s: %q holds a character that no URI has, at byte %d: write it as %%XX", field, uri, i)
	}
	u, err := url.Parse(uri)
	switch {
	case err != nil:
		return nil, Invalid(field, "%s: %q is no URI: %v", field, uri, unwrapURL(err))
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, Invalid(field, "%s: %q is not absolute: begin it with https://", field, uri)
	case u.User != nil:
		return nil, Invalid(field, "%s: a URI holds a user name: remove it", field)
	case u.Hostname() == "" || u.Opaque != "":
		return nil, Invalid(field, "%s: %q names no host", field, uri)
	case strings.Contains(u.Host, "*"):
		return nil, Invalid(field, "%s: %q has a wildcard: name each host", field, uri)
	case !validPort(u):
		return nil, Invalid(field, "%s: %q has a port that is not in 1…65535", field, uri)
	}
	return u, nil
}

// unwrapURL leaves out the URI, which the message has already.
func unwrapURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// notInURI tells what RFC 3986 §2 has not.
func notInURI(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return false
	}
	return !strings.ContainsRune("-._~:/?#[]@!$&'()*+,;=%", r)
}

func validPort(u *url.URL) bool {
	_, text, err := net.SplitHostPort(u.Host)
	if err != nil {
		return !strings.HasSuffix(u.Host, ":") // no port at all
	}
	port, err := strconv.ParseUint(text, 10, 16)
	return err == nil && port > 0
}

// isLoopback tells the hosts that cannot leave the browser's own machine
// (RFC 8252 §7.3, §8.3).
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// checkScope wants scope tokens (RFC 6749 §3.3) with one blank between them.
func (a *App) checkScope() error {
	const field = "scope"
	if n := utf8.RuneCountInString(a.Scope); n > MaxScope {
		return Invalid(field, "scope has %d characters: the limit is %d", n, MaxScope)
	}
	if a.Scope == "" {
		return nil
	}
	for _, token := range strings.Split(a.Scope, " ") {
		switch {
		case token == "":
			return Invalid(field, "scope begins or ends with a blank, or holds two in a row: write names with one blank between them")
		case !IsScopeToken(token):
			return Invalid(field, "scope holds %.50q, which has a character that no scope has", token)
		}
	}
	return nil
}

// IsScopeToken reports whether s has the form of one scope (RFC 6749 §3.3).
func IsScopeToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' })
}

// checkCapabilities bounds what is kept without being looked at.
func (a *App) checkCapabilities() error {
	const field = "capabilities"
	if a.Capabilities == nil {
		return nil
	}
	for _, part := range []struct {
		name string
		raw  json.RawMessage
	}{{"engagement", a.Capabilities.Engagement}, {"webhooks", a.Capabilities.Webhooks}} {
		switch {
		case len(part.raw) > MaxCapabilities:
			return Invalid(field, "capabilities.%s has %d bytes: the limit is %d", part.name, len(part.raw), MaxCapabilities)
		case len(part.raw) > 0 && !isObject(part.raw):
			return Invalid(field, "capabilities.%s must be an object", part.name)
		}
	}
	return nil
}

func isObject(raw json.RawMessage) bool {
	var object map[string]json.RawMessage
	return json.Unmarshal(raw, &object) == nil && object != nil
}
