package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

const (
	sessionCookie = "session_id"
	textCSRF      = "CSRF token invalid!"
)

// Codes of the login service's error bodies. 10 is the platform's; the others
// are ours, no client reads them.
const (
	loginCodeInternal    = 1
	loginCodeInput       = 2
	loginCodeCredentials = 3
	loginCodeRateLimit   = 4
	loginCodeUnavailable = 5
	loginCodeCSRF        = 10
)

// privileges are the numbers of the roles in config.userPrivileges.
var privileges = map[lambda.Role]int{
	lambda.RoleLPA: 1, lambda.RoleAdmin: 2, lambda.RoleDeveloper: 3, lambda.RoleInvocation: 4,
}

// loginBody is the answer to a login (contract/oauth2.md §2.1).
type loginBody struct {
	Bearer     string      `json:"bearer"`
	CSRF       string      `json:"csrf"`
	SessionID  string      `json:"sessionId"`
	SessionTTL string      `json:"sessionTTl"` // milliseconds
	Config     loginConfig `json:"config"`
}

type loginConfig struct {
	UserID            string `json:"userId"`
	LoginName         string `json:"loginName"`
	UserPrivileges    []int  `json:"userPrivileges"`
	IsAdmin           bool   `json:"isAdmin"`
	IsLPA             bool   `json:"isLPA"`
	ServerCurrentTime int64  `json:"serverCurrentTime"` // epoch milliseconds
	TimeDiff          int    `json:"timeDiff"`
	ServerTimeZone    string `json:"serverTimeZoneName"`
	ServerGMTDiff     int    `json:"serverTimeGMTDiff"`
	AccountTimeZone   string `json:"accountTimeZoneId"`
}

// HandleLogin answers POST …/login. After an error the answer is written; the
// error returned is for the log. The same holds for the other handlers here.
func (s *Service) HandleLogin(w http.ResponseWriter, r *http.Request) error {
	result, err := s.login(w, r)
	if err != nil {
		return s.respondLoginError(w, err)
	}
	now := s.cfg.Now()
	s.setSessionCookie(w, result.SessionID, s.cfg.SessionLifetime)
	return respond(w, http.StatusOK, loginBody{
		Bearer: result.Bearer, CSRF: result.CSRF, SessionID: result.SessionID,
		SessionTTL: strconv.FormatInt(s.cfg.SessionLifetime.Milliseconds(), 10),
		Config:     configOf(result.User, result.Roles, now),
	})
}

func configOf(u *lambda.User, roles []lambda.Role, now time.Time) loginConfig {
	c := loginConfig{
		UserID: u.ID, LoginName: u.LoginName, UserPrivileges: []int{}, ServerCurrentTime: now.UnixMilli(),
		ServerTimeZone: "UTC", AccountTimeZone: "UTC",
	}
	for _, role := range roles {
		if n, ok := privileges[role]; ok {
			c.UserPrivileges = append(c.UserPrivileges, n)
		}
	}
	c.IsAdmin, c.IsLPA = standing(roles)
	return c
}

// standing tells what clients are told of a user's roles.
func standing(roles []lambda.Role) (isAdmin, isLPA bool) {
	isLPA = slices.Contains(roles, lambda.RoleLPA)
	return isLPA || slices.Contains(roles, lambda.RoleAdmin), isLPA
}

func (s *Service) login(w http.ResponseWriter, r *http.Request) (LoginResult, error) {
	var body struct {
		Username string `json:"username"`
		Password string `json:"password"`
	}
	if err := readJSON(w, r, &body); err != nil {
		return LoginResult{}, err
	}
	return s.loginFrom(r.Context(), source(r), account(r), body.Username, body.Password)
}

// HandleRefresh answers POST …/refresh.
func (s *Service) HandleRefresh(w http.ResponseWriter, r *http.Request) error {
	id, csrf, err := sessionSecrets(w, r)
	if err == nil {
		err = s.Refresh(r.Context(), account(r), id, csrf)
	}
	if err != nil {
		return s.respondLoginError(w, err)
	}
	s.setSessionCookie(w, id, s.cfg.SessionLifetime)
	return respondEmpty(w)
}

// HandleLogout answers POST …/logout.
func (s *Service) HandleLogout(w http.ResponseWriter, r *http.Request) error {
	id, csrf, err := sessionSecrets(w, r)
	if err == nil {
		err = s.Logout(r.Context(), account(r), id, csrf)
	}
	if err != nil {
		return s.respondLoginError(w, err)
	}
	s.setSessionCookie(w, "", -time.Second)
	return respondEmpty(w)
}

// sessionSecrets reads the session id of the cookie and the CSRF token of the
// body, empty where there is none.
func sessionSecrets(w http.ResponseWriter, r *http.Request) (id, csrf string, err error) {
	var body struct {
		CSRF string `json:"csrf"`
	}
	raw, err := readBody(w, r)
	if err != nil {
		return "", "", err
	}
	// What holds no token is a wrong token: the CLI asks for a new login after a
	// 401 and gives up after anything else (contract/README.md, trap 12).
	if parseJSON(raw, &body) != nil {
		body.CSRF = ""
	}
	return sessionID(r), body.CSRF, nil
}

// sessionID finds the session cookie; pages write its name in two ways. Of
// several the first that can be a session id is it.
func sessionID(r *http.Request) string {
	for _, c := range r.Cookies() {
		if strings.EqualFold(c.Name, sessionCookie) && isToken(c.Value) {
			return c.Value
		}
	}
	return ""
}

func (s *Service) setSessionCookie(w http.ResponseWriter, id string, lifetime time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: sessionCookie, Value: id, Path: "/", MaxAge: int(lifetime / time.Second),
		Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
}

func respondEmpty(w http.ResponseWriter) error {
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return nil
}

// readJSON reads a body that is a JSON object, or nothing at all, into v. Keys
// that v does not have are ignored.
func readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	return parseJSON(body, v)
}

func parseJSON(body []byte, v any) error {
	body = bytes.Trim(body, " \t\r\n")
	switch {
	case len(body) == 0:
		return nil
	case !utf8.Valid(body):
		return lambda.Invalid("body", "the body is not valid UTF-8")
	case body[0] != '{':
		return lambda.Invalid("body", "the body must be a JSON object")
	}
	var wrongType *json.UnmarshalTypeError
	switch err := json.Unmarshal(body, v); {
	case errors.As(err, &wrongType):
		return lambda.Invalid(wrongType.Field, "%s must be a string", wrongType.Field)
	case err != nil:
		e := lambda.Invalid("body", "the body is not valid JSON")
		e.Err = err
		return e
	}
	return nil
}

// loginFailure is what the login service answers for a kind of error.
type loginFailure struct {
	status int
	name   string
	code   int
}

var loginInternal = loginFailure{http.StatusInternalServerError, "INTERNAL_SERVER_ERROR", loginCodeInternal}

var loginFailed = map[lambda.Kind]loginFailure{
	lambda.KindInvalid:      {http.StatusBadRequest, "BAD_REQUEST", loginCodeInput},
	lambda.KindTooLarge:     {http.StatusRequestEntityTooLarge, "REQUEST_ENTITY_TOO_LARGE", loginCodeInput},
	lambda.KindUnauthorized: {http.StatusUnauthorized, "UNAUTHORIZED", loginCodeCredentials},
	lambda.KindRateLimited:  {http.StatusTooManyRequests, "TOO_MANY_REQUESTS", loginCodeRateLimit},
	lambda.KindUnavailable:  {http.StatusServiceUnavailable, "SERVICE_UNAVAILABLE", loginCodeUnavailable},
}

// respondLoginError writes err in the form of the login service and returns it.
func (s *Service) respondLoginError(w http.ResponseWriter, err error) error {
	failure, message := loginInternal, "internal error"
	if e := lambda.As(err); e != nil {
		if known, ok := loginFailed[e.Kind]; ok {
			failure, message = known, e.Message
		}
		setRetryAfter(w, e.RetryAfter)
	}
	if errors.Is(err, errSession) {
		failure.code = loginCodeCSRF
	}
	type fault struct {
		Time           string `json:"time"`
		Message        string `json:"message"`
		InternalCode   int    `json:"internalCode"`
		ResponseStatus string `json:"responseStatus"`
	}
	return errors.Join(err, respond(w, failure.status, struct {
		Error fault `json:"error"`
	}{fault{s.cfg.Now().UTC().Format("2006-01-02T15:04:05.000Z"), message, failure.code, failure.name}}))
}
