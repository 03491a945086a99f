package auth

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"html/template"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

var (
	//go:embed pages/style.css
	pageStyle string
	//go:embed pages/login.html
	loginHTML string
	//go:embed pages/error.html
	errorHTML string

	loginTemplate = template.Must(template.New("login").Parse(loginHTML))
	errorTemplate = template.Must(template.New("error").Parse(errorHTML))

	// styleSource lets the pages' one style element through, and no other.
	styleSource = func() string {
		sum := sha256.Sum256([]byte(pageStyle))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}()
)

func loginPath(account string) string { return "/sentinel/account/" + account + "/login" }

// loginPage is what the login page shows.
type loginPage struct {
	Style    template.CSS
	App      string
	Account  string
	Username string
	Error    string
	Field    string // where the cursor stands
}

// HandleLoginPage answers GET of the login page, whose query is that of the
// request to authorize which sent the browser there.
func (s *Service) HandleLoginPage(w http.ResponseWriter, r *http.Request) error {
	a, err := s.authorization(r)
	if err != nil {
		return refuse(w, r, err)
	}
	page := newLoginPage(a)
	if hint := a.param("login_hint"); len(hint) <= lambda.MaxLoginName {
		page.Username = hint
	}
	return page.respond(w, a, http.StatusOK)
}

func newLoginPage(a *authorization) *loginPage {
	return &loginPage{Style: template.CSS(pageStyle), App: cmp.Or(a.app.DisplayName, a.app.ClientName, a.app.ClientID), Account: a.account} // our own
}

func (p *loginPage) respond(w http.ResponseWriter, a *authorization, status int) error {
	p.Field = "username"
	if p.Username != "" {
		p.Field = "password"
	}
	return respondPage(w, status, loginTemplate, p, formTargets(a.redirectURI))
}

// HandleLoginForm answers POST of the login page: it begins a session and sends
// the browser back to authorize, with the same query.
func (s *Service) HandleLoginForm(w http.ResponseWriter, r *http.Request) error {
	a, err := s.authorization(r)
	if err != nil {
		return refuse(w, r, err)
	}
	if err := s.sameOrigin.Check(r); err != nil {
		return respondPageError(w, r, &OAuthError{
			Status: http.StatusForbidden, Code: "invalid_request", Err: err,
			Description: "the form was sent from another site: go back to the app and log in from there",
		})
	}
	username, password, err := readLoginForm(w, r)
	if err == nil {
		var id string
		if id, err = s.beginBrowser(r, a, username, password); err == nil {
			http.SetCookie(w, &http.Cookie{ // without an end of its own: refreshing prolongs the session
				Name: browserCookie(a.account), Value: id, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
			})
			redirect(w, http.StatusSeeOther, authorizePath(a.account)+"?"+a.query.Encode())
			return nil
		}
	}
	return s.loginFailed(w, r, a, username, err)
}

func authorizePath(account string) string { return "/sentinel/api/account/" + account + "/authorize" }

// readLoginForm gives the two fields of the form.
func readLoginForm(w http.ResponseWriter, r *http.Request) (username, password string, err error) {
	body, err := readBody(w, r)
	if err != nil {
		return "", "", err
	}
	if !isForm(r.Header.Get("Content-Type")) {
		return "", "", lambda.Invalid("body", "the body must be application/x-www-form-urlencoded")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || len(form["username"]) > 1 || len(form["password"]) > 1 {
		return "", "", lambda.Invalid("body", "the body is not a well-formed form")
	}
	return form.Get("username"), form.Get("password"), nil
}

// beginBrowser begins a session for the request a. The id is new at each login,
// and the session that the browser had ends.
func (s *Service) beginBrowser(r *http.Request, a *authorization, username, password string) (id string, err error) {
	user, err := s.verify(r.Context(), source(r), a.account, username, password)
	if err != nil {
		return "", err
	}
	id = NewToken()
	now := s.cfg.Now()
	session := &lambda.Session{
		ID: Hash(id), Kind: lambda.SessionBrowser, Account: user.Account, UserID: user.ID, LoginName: user.LoginName,
		Request: a.hash(), CreatedAt: now.UTC(), ExpiresAt: now.Add(s.cfg.SessionLifetime).UTC(),
	}
	if err := s.createSession(r.Context(), user, session, nil); err != nil {
		return "", err
	}
	if old := browserSessionID(r, a.account); old != "" {
		if err := s.store.DeleteSession(r.Context(), Hash(old)); err != nil { // it ends by itself
			s.log.Warn().Err(err).Msg("the session that a login replaced is left")
		}
	}
	return id, nil
}

// loginFailed shows the page again, with what went wrong.
func (s *Service) loginFailed(w http.ResponseWriter, r *http.Request, a *authorization, username string, err error) error {
	e := lambda.As(err)
	if e == nil {
		return respondPageError(w, r, err)
	}
	failure, ok := loginFailed[e.Kind]
	if !ok {
		return respondPageError(w, r, err)
	}
	page := newLoginPage(a)
	if len(username) <= lambda.MaxLoginName {
		page.Username = strings.ToValidUTF8(username, "")
	}
	page.Error = sentence(e.Message)
	setRetryAfter(w, e.RetryAfter)
	return errors.Join(err, page.respond(w, a, failure.status))
}

// sentence makes a message of ours one that stands alone. The name of a parameter
// at its beginning stays as it is.
func sentence(message string) string {
	word, _, _ := strings.Cut(message, " ")
	if message == "" || strings.Contains(word, "_") {
		return message + "."
	}
	return strings.ToUpper(message[:1]) + message[1:] + "."
}

// errorPage is what a person sees whom no app can be told of.
type errorPage struct {
	Style   template.CSS
	Status  int
	Message string
	Code    string
}

// respondPageError writes err as JSON, or as a page for whom prefers that.
func respondPageError(w http.ResponseWriter, r *http.Request, err error) error {
	var e *OAuthError
	if !errors.As(err, &e) {
		e = &OAuthError{Status: http.StatusInternalServerError, Code: "server_error", Description: "internal error"}
	}
	setRetryAfter(w, e.RetryAfter)
	if !prefersHTML(r.Header.Get("Accept")) {
		challenge(w, e.Status)
		return errors.Join(err, respondOAuth(w, e))
	}
	page := errorPage{Style: template.CSS(pageStyle), Status: e.Status, Message: sentence(e.Description), Code: e.Code} // our own
	return errors.Join(err, respondPage(w, e.Status, errorTemplate, page, "'none'"))
}

// respondPage writes a page that runs nothing, loads nothing, sits in no frame and
// sends forms only to where formTargets says.
func respondPage(w http.ResponseWriter, status int, page *template.Template, data any, formTargets string) error {
	var body bytes.Buffer
	if err := page.Execute(&body, data); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src "+styleSource+"; form-action "+formTargets+"; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin") // with no-referrer the form would come from Origin: null
	h.Set("Cache-Control", "no-store")
	challenge(w, status)
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // a browser that left needs no page
	return nil
}

// challenge adds to a 401 what it must have (RFC 9110 §15.5.2): a scheme that makes
// no browser ask for a password.
func challenge(w http.ResponseWriter, status int) {
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="Sentinel"`)
	}
}

// plainHost is what a Content-Security-Policy can name (CSP level 3, §2.3.1).
var plainHost = regexp.MustCompile(`^[A-Za-z0-9.-]+$`)

// formTargets are the places that the form may lead to. Browsers hold the
// redirects that follow to it as well, so the app's is one of them; where its host
// cannot be named, by its scheme.
func formTargets(redirectURI string) string {
	u, err := url.Parse(redirectURI) // authorization checked it
	if err != nil {
		return "'self'"
	}
	if !plainHost.MatchString(u.Hostname()) {
		return "'self' " + u.Scheme + ":"
	}
	return "'self' " + u.Scheme + "://" + u.Host
}

// prefersHTML reports whether an Accept header ranks text/html above JSON. One
// that takes either has no preference, and gets JSON.
func prefersHTML(accept string) bool {
	return acceptance(accept, "text", "html") > acceptance(accept, "application", "json")
}

// acceptance is the weight that an Accept header gives to a type: that of the
// entry which names it most closely (RFC 9110 §12.5.1).
func acceptance(accept, kind, subtype string) float64 {
	weight, closeness := 0.0, 0
	for _, entry := range strings.Split(accept, ",") {
		media, params, err := mime.ParseMediaType(entry)
		if err != nil {
			continue
		}
		near := 0
		switch media {
		case kind + "/" + subtype:
			near = 3
		case kind + "/*":
			near = 2
		case "*/*":
			near = 1
		}
		if near <= closeness {
			continue
		}
		q := 1.0
		if text, ok := params["q"]; ok {
			if q, err = strconv.ParseFloat(text, 64); err != nil || !(q >= 0 && q <= 1) {
				continue
			}
		}
		weight, closeness = q, near
	}
	return weight
}
