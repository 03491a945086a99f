package api

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/sluice-faas/sluice/gateway/auth"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/web"
)

// The web UI: its files, and how a person signs in to it. The browser goes to
// Sentinel with a code challenge and comes back with a code, which is turned into a
// session here, so that no token is ever in a script's reach: all that the browser
// has is a cookie. Requests that carry it, and no Authorization, are the person's.

const (
	// begunCookie and a part of the state name the cookie of one way through Sentinel,
	// so that several tabs may be on theirs.
	begunCookie = "__Host-sluice-begun-"
	begunFor    = 10 * time.Minute
	maxBegun    = 8
	// freshCookie marks a browser that signed out: the next sign-in asks for a
	// password, wherever Sentinel is.
	freshCookie = "__Host-sluice-fresh"
	maxPlace    = 1024
)

// apiRoots are the paths that are never the web UI's.
var apiRoots = []string{"/api", "/sentinel", "/ui", "/limits", "/openapi.json", "/openapi.yaml"}

// isPage tells whether a request that no route has may be answered with the web UI.
func (s *Server) isPage(r *http.Request) bool {
	if s.ui == nil || r.Method != http.MethodGet && r.Method != http.MethodHead || !s.directory.Serves(r.Host, "faasUI") {
		return false
	}
	// However it is written: nobody who mistypes an API's path shall get a page.
	clean := strings.ToLower(path.Clean("/" + r.URL.Path))
	return !slices.ContainsFunc(apiRoots, func(root string) bool {
		rest, ok := strings.CutPrefix(clean, root)
		return ok && (rest == "" || rest[0] == '/')
	})
}

// servePage answers with a file of the web UI, or its page.
func (s *Server) servePage(w http.ResponseWriter, r *http.Request) error {
	err := s.ui.Serve(w, r)
	if errors.Is(err, web.ErrNoFile) {
		return lambda.NotFound(lambda.CodeBadInput, "there is no file %.200q", r.URL.Path)
	}
	return err
}

// admitCookie finds out whose cookie a request carries that says nothing else about
// its caller. A page of another site cannot change anything by it: browsers say
// where such a request comes from.
func (s *Server) admitCookie(r *http.Request) (authorization string, err error) {
	bearer := webCookie(r)
	if bearer == "" || !s.directory.Serves(r.Host, "faasUI") {
		return "", nil
	}
	if err := s.sameOrigin.Check(r); err != nil {
		return "", &lambda.Error{
			Kind: lambda.KindForbidden, Code: lambda.CodeForbidden, Phase: lambda.PhaseAuthorize, Err: err,
			Message: "this change was sent from another site: make it in the web UI itself, or send a token in the header Authorization",
		}
	}
	return "Bearer " + bearer, nil
}

func webCookie(r *http.Request) string {
	for _, c := range r.CookiesNamed(auth.WebCookie) {
		if c.Value != "" {
			return c.Value
		}
	}
	return ""
}

// webUser is who is signed in to the web UI.
type webUser struct {
	AccountID   string        `json:"accountId"`
	UserID      string        `json:"userId"`
	LoginName   string        `json:"loginName"`
	Roles       []lambda.Role `json:"roles"`
	Permissions []string      `json:"permissions"`
}

// webSession answers who is signed in, without an error if nobody is.
func (s *Server) webSession(w http.ResponseWriter, r *http.Request) error {
	var answer struct {
		User      *webUser          `json:"user"`
		ExpiresAt *time.Time        `json:"expiresAt,omitempty"`
		Hosts     map[string]string `json:"hosts,omitempty"`
		Gateway   string            `json:"gateway"`
	}
	answer.Gateway = s.version
	session, err := s.auth.WebSession(r.Context(), webCookie(r))
	if err != nil {
		return err
	}
	if session != nil {
		answer.User = &webUser{
			AccountID: session.Account, UserID: session.User.ID, LoginName: session.User.LoginName,
			Roles: append([]lambda.Role{}, session.Roles...), Permissions: auth.Permissions(session.Roles).Names(),
		}
		ends := session.ExpiresAt.UTC()
		answer.ExpiresAt, answer.Hosts = &ends, make(map[string]string)
		for _, e := range s.directory.List(session.Account) {
			answer.Hosts[e.Service] = e.BaseURI
		}
	}
	return respond(w, http.StatusOK, answer)
}

// begun is what the browser keeps of one way through Sentinel.
type begun struct {
	auth.WebLogin
	To string `json:"to"`
}

// webSignIn sends the browser to Sentinel. What is wrong is told on the web UI's own
// page.
func (s *Server) webSignIn(w http.ResponseWriter, r *http.Request) error {
	account, to := r.URL.Query().Get("account"), place(r.URL.Query().Get("to"))
	if !lambda.ValidAccount(account) {
		return signInFailed(w, "account", to)
	}
	ui, err := s.directory.BaseURI(account, "faasUI")
	if err != nil {
		return err
	}
	sentinel, err := s.directory.BaseURI(account, "sentinel")
	if err != nil {
		return err
	}
	here := s.directory.Serves(r.Host, "sentinel")
	// Over plain HTTP no cookie of ours is kept, and Sentinel elsewhere leads back to
	// one host only.
	if r.TLS == nil || !here && r.Host != ui {
		return seeOther(w, "https://"+ui+"/ui/sign-in?"+url.Values{"account": {account}, "to": {to}}.Encode())
	}
	if here {
		sentinel = r.Host
	}
	b := begun{WebLogin: auth.NewWebLogin(account, r.Host), To: to}
	text, err := json.Marshal(b)
	if err != nil {
		return err
	}
	s.forgetBegun(w, r, maxBegun-1)
	setCookie(w, begunName(b.State), base64.RawURLEncoding.EncodeToString(text), begunFor)
	_, err = r.Cookie(freshCookie)
	return seeOther(w, b.URL(sentinel, err == nil))
}

// forgetBegun drops all but some of the ways through Sentinel that were begun and
// never came back.
func (s *Server) forgetBegun(w http.ResponseWriter, r *http.Request, keep int) {
	for _, c := range r.Cookies() {
		if strings.HasPrefix(c.Name, begunCookie) {
			if keep--; keep < 0 {
				setCookie(w, c.Name, "", -1)
			}
		}
	}
}

func begunName(state string) string { return begunCookie + state[:8] }

// webCallback is where Sentinel sends the browser back to.
func (s *Server) webCallback(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	b, ok := readBegun(r, q.Get("state"))
	if !ok {
		return signInFailed(w, "expired", "/")
	}
	setCookie(w, begunName(b.State), "", -1)
	switch code := q.Get("error"); code {
	case "":
	case "server_error", "temporarily_unavailable":
		return signInFailed(w, "unavailable", b.To)
	default:
		return signInFailed(w, "denied", b.To)
	}
	in, err := s.auth.RedeemWeb(r.Context(), b.WebLogin, q.Get("code"))
	var refused *auth.OAuthError
	switch {
	case err == nil:
	case errors.As(err, &refused) && refused.Status == http.StatusBadRequest, lambda.Is(err, lambda.KindUnauthorized):
		return errors.Join(err, signInFailed(w, "expired", b.To))
	default:
		return errors.Join(err, signInFailed(w, "unavailable", b.To))
	}
	setCookie(w, freshCookie, "", -1)
	http.SetCookie(w, &http.Cookie{ // without an end of its own: the session is prolonged
		Name: auth.WebCookie, Value: in.Bearer, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
	return seeOther(w, b.To)
}

// readBegun gives what the browser kept under a state.
func readBegun(r *http.Request, state string) (b begun, ok bool) {
	if len(state) < 8 {
		return b, false
	}
	c, err := r.Cookie(begunName(state))
	if err != nil {
		return b, false
	}
	text, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil || json.Unmarshal(text, &b) != nil || b.State != state || b.Host != r.Host {
		return b, false
	}
	b.To = place(b.To)
	return b, true
}

// webSignOut ends the session, here and at the login page.
func (s *Server) webSignOut(w http.ResponseWriter, r *http.Request) error {
	if err := s.sameOrigin.Check(r); err != nil {
		return &lambda.Error{
			Kind: lambda.KindForbidden, Code: lambda.CodeForbidden, Phase: lambda.PhaseAuthorize, Err: err,
			Message: "this sign-out was sent from another site: sign out in the web UI itself",
		}
	}
	if err := s.auth.EndWeb(r, webCookie(r)); err != nil {
		return err
	}
	setCookie(w, auth.WebCookie, "", -1)
	http.SetCookie(w, &http.Cookie{Name: freshCookie, Value: "1", Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// setCookie sets a cookie that only this host gets back, or with a negative time
// ends it.
func setCookie(w http.ResponseWriter, name, value string, lives time.Duration) {
	age := int(lives / time.Second)
	if lives < 0 {
		age = -1
	}
	http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: age, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

// place gives a path of the web UI with its query, or / for what may lead elsewhere.
func place(to string) string {
	u, err := url.Parse(to)
	if err != nil || len(to) > maxPlace || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(to, "/") ||
		strings.HasPrefix(to, "//") || strings.ContainsFunc(to, func(c rune) bool { return c == '\\' || c < ' ' || c == 0x7f }) {
		return "/"
	}
	return to
}

func signInFailed(w http.ResponseWriter, why, to string) error {
	return seeOther(w, "/sign-in?"+url.Values{"error": {why}, "to": {to}}.Encode())
}

func seeOther(w http.ResponseWriter, location string) error {
	w.Header().Set("Location", location)
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(http.StatusSeeOther)
	return nil
}
