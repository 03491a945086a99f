// Package api is the gateway's HTTP front: one table of routes (routes.go), one
// file per resource, and one place that writes every answer (respond.go). A
// handler gets a request that is already authenticated and authorized, and
// returns an error instead of writing one.
package api

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/julienschmidt/httprouter"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/sluice-faas/sluice/gateway/auth"
	"github.com/sluice-faas/sluice/gateway/directory"
	"github.com/sluice-faas/sluice/gateway/invoke"
	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
	"github.com/sluice-faas/sluice/gateway/web"
	"github.com/sluice-faas/sluice/plugins/host"
	"github.com/sluice-faas/sluice/plugins/pool"
)

// Lambdas is what the API needs of the store.
type Lambdas interface {
	CreateLambda(ctx context.Context, l *lambda.Lambda, once *store.Once) (store.Record, error)
	Record(ctx context.Context, account, id string) (store.Record, error)
	Records(ctx context.Context, account string) ([]store.Record, error)
	UpdateLambda(ctx context.Context, account, id string, version int, change func(*lambda.Lambda) (bool, error)) (store.Record, bool, error)
	DeleteLambda(ctx context.Context, account, id string, version int) error
	Counts(ctx context.Context, account string) (total, deployed int, err error)
	StartDeployment(ctx context.Context, want store.Start) (*lambda.Deployment, error)
	Version(ctx context.Context, account, id string, version int) (*lambda.Version, error)
	History(ctx context.Context, account, id string) ([]lambda.Deployment, error)
	SetMinWarm(ctx context.Context, account, id string, n int) (before int, err error)
}

// Domains is the whitelist in the store.
type Domains interface {
	CreateDomain(ctx context.Context, d lambda.Domain, once *store.Once) (*lambda.Domain, error)
	Domain(ctx context.Context, account string, id int) (*lambda.Domain, error)
	Domains(ctx context.Context, account string) ([]lambda.Domain, error)
	DeleteDomain(ctx context.Context, account string, id int) error
}

// Receipts tells which requests with an Idempotency-Key were carried out.
type Receipts interface {
	Receipt(ctx context.Context, o *store.Once) (*store.Receipt, error)
}

// Identity is who there is, in the store: accounts, their users, profiles and
// apps. What is not there is a lambda.Error of kind NotFound.
type Identity interface {
	CreateAccount(ctx context.Context, a *lambda.Account) error
	Account(ctx context.Context, id string) (*lambda.Account, error)
	Accounts(ctx context.Context) ([]lambda.Account, error)

	CreateUser(ctx context.Context, u *lambda.User) error
	UpdateUser(ctx context.Context, account, id string, change func(*lambda.User) error) (*lambda.User, error)
	DeleteUser(ctx context.Context, account, id string, may func(*lambda.User) error) error
	EndUserSessions(ctx context.Context, account, userID string) error
	User(ctx context.Context, account, id string) (*lambda.User, error)
	Users(ctx context.Context, account string) ([]lambda.User, error)

	PutProfile(ctx context.Context, account, name string, change func(p *lambda.Profile, isNew bool) error) (*lambda.Profile, bool, error)
	DeleteProfile(ctx context.Context, account, name string, may func(*lambda.Profile) error) error
	Profile(ctx context.Context, account, name string) (*lambda.Profile, error)
	Profiles(ctx context.Context, account string) ([]lambda.Profile, error)

	InstallApp(ctx context.Context, a *lambda.App) error
	UpdateApp(ctx context.Context, account, clientID string, change func(*lambda.App) error) (*lambda.App, error)
	DeleteApp(ctx context.Context, account, clientID string, may func(*lambda.App) error) error
	App(ctx context.Context, account, clientID string) (*lambda.App, error)
	Apps(ctx context.Context, account string) ([]lambda.App, error)

	// Written is the revision of this gateway's newest write, for Views.WaitFor.
	Written() int64
}

// Views is the memory by which callers are known.
type Views interface {
	// WaitFor returns when everything up to that revision is in the views.
	WaitFor(ctx context.Context, revision int64) error
}

// Runtimes is what the API needs of the pool: what languages there are, and
// whether a source is a lambda in one of them.
type Runtimes interface {
	Describe(ctx context.Context, runtime string) (host.Description, error)
	Build(ctx context.Context, runtime, source string, deps []host.Dependency) (host.BuildResult, error)
}

// Live tells from memory what is live, and who answers an event for a skill. What
// it returns is shared and not changed.
type Live interface {
	Live(account, lambdaID string) (*lambda.Live, bool)
	Bound(account, eventID, skillID string) []*lambda.Live
	Implemented(account, eventID, skillID string) bool
	MinWarm(account, lambdaID string) int
}

// Journal is what the API needs of the journal.
type Journal interface {
	Note(ctx context.Context, a journal.Activity) error
	Logs(ctx context.Context, q journal.LogQuery) (journal.LogPage, error)
	Invocations(ctx context.Context, q journal.InvocationQuery) (journal.InvocationPage, error)
	Buckets(ctx context.Context, q journal.BucketQuery) (buckets []journal.Bucket, missing []string, err error)
	Totals(ctx context.Context, account string, from, to time.Time) (succeeded, failed int64, missing []string, err error)
	Activities(ctx context.Context, q journal.ActivityQuery) (journal.ActivityPage, error)
	Attempts(ctx context.Context, q journal.AttemptQuery) (journal.AttemptPage, error)
	Tail(f journal.TailFilter) *journal.Tail
}

var _ Journal = (*journal.Journal)(nil)

// Config is what a Server is made of. Every field but Log, Templates, UI and Version is required.
type Config struct {
	Log          zerolog.Logger
	Lambdas      Lambdas
	Domains      Domains
	Schedules    Schedules
	Secrets      Secrets
	Receipts     Receipts
	Identity     Identity
	Views        Views
	Live         Live
	Egress       Egress
	Journal      Journal
	Authenticate *auth.Authenticator
	Auth         *auth.Service
	Directory    *directory.Directory
	Invoker      invoke.Invoker
	Replays      *invoke.Replays
	Runtimes     Runtimes
	// Condition tells how the processes of what is live of a lambda are on this gateway.
	Condition    func(*lambda.Live) pool.Status
	RuntimeNames []string // installed runtimes; the first is the default
	Templates    []lambda.Template
	Metrics      prometheus.Registerer
	Limits       lambda.Limits
	UI           *web.UI // the web UI; without it there is none
	Version      string  // the gateway's, for people
}

// Server answers every request of every service. Safe for concurrent use.
type Server struct {
	log           zerolog.Logger
	lambdas       Lambdas
	domains       Domains
	schedules     Schedules
	secrets       Secrets
	receipts      Receipts
	identity      Identity
	views         Views
	live          Live
	egress        Egress
	journal       Journal
	authenticator *auth.Authenticator
	auth          *auth.Service
	directory     *directory.Directory
	invoker       invoke.Invoker
	replays       *invoke.Replays
	runtimes      Runtimes
	condition     func(*lambda.Live) pool.Status
	runtimeNames  []string
	templates     []lambda.Template
	limits        lambda.Limits
	public        front
	control       front
	metrics       *metrics
	bodies        bodyBudget
	saves         *saveBudget
	accountCalls  *rates[string]
	lambdaCalls   *rates[lambdaKey]
	requests      *rates[string] // of accounts, to the management API
	tails         *tails
	ui            *web.UI
	version       string
	sameOrigin    *http.CrossOriginProtection
	now           func() time.Time
}

// New builds the server and its router.
func New(c Config) *Server {
	s := &Server{
		log: c.Log, lambdas: c.Lambdas, domains: c.Domains, schedules: c.Schedules, secrets: c.Secrets, receipts: c.Receipts, identity: c.Identity, views: c.Views,
		live: c.Live, egress: c.Egress, journal: c.Journal, authenticator: c.Authenticate, auth: c.Auth,
		directory: c.Directory, invoker: c.Invoker, replays: c.Replays, runtimes: c.Runtimes, condition: c.Condition,
		runtimeNames: c.RuntimeNames, templates: c.Templates, limits: c.Limits, metrics: newMetrics(c.Metrics), saves: newSaveBudget(), now: time.Now,
		accountCalls: newRates[string](c.Limits.AccountCalls, "invocations of the account"),
		lambdaCalls:  newRates[lambdaKey](c.Limits.LambdaCalls, "invocations of the lambda"),
		requests:     newRates[string](c.Limits.AccountRequests, "requests of the account"),
		tails:        newTails(c.Limits.LogTails),
		ui:           c.UI, version: c.Version, sameOrigin: http.NewCrossOriginProtection(),
	}
	s.metrics.countTails(c.Metrics, s.tails.count)
	s.public, s.control = s.newFront(anybody), s.newFront(operator)
	return s
}

// origin is who can reach a front: the one fact about a caller that no request
// can lie about, because a listener belongs to one front.
type origin bool

const (
	anybody  origin = false
	operator origin = true // whoever runs the gateway, see Control
)

// front is the table of routes as callers of one origin meet it.
type front struct{ router *httprouter.Router }

// newFront leaves out, for anybody, what is the operator's alone: to them it does
// not exist.
func (s *Server) newFront(from origin) front {
	router := httprouter.New()
	router.RedirectTrailingSlash = false
	router.RedirectFixedPath = false
	router.HandleOPTIONS = false
	router.NotFound = s.plain(from, func(w http.ResponseWriter, r *http.Request) error {
		if from == anybody && s.isPage(r) {
			return s.servePage(w, r)
		}
		return lambda.NotFound(lambda.CodeBadInput, "there is nothing at %s %.200q", r.Method, r.URL.Path)
	})
	router.MethodNotAllowed = s.plain(from, func(w http.ResponseWriter, r *http.Request) error {
		return &lambda.Error{
			Kind: lambda.KindMethod, Code: lambda.CodeBadInput, Phase: lambda.PhaseRequest,
			Message: fmt.Sprintf("method %.20s is not allowed here: use %s", r.Method, w.Header().Get("Allow")),
		}
	})
	for _, row := range s.routes() {
		if row.permission&auth.Operate == 0 || from == operator {
			router.Handle(row.method, row.path, s.serve(&row, from))
		}
	}
	return front{router}
}

// ServeHTTP answers one request. A path with an encoded slash leads nowhere: the
// router would read it as a plain one, a proxy in front of us as a part of a name.
func (f front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.RawPath != "" && strings.Contains(strings.ToLower(r.URL.RawPath), "%2f") {
		f.router.NotFound.ServeHTTP(w, r)
		return
	}
	f.router.ServeHTTP(w, r)
}

// ServeHTTP answers one request of anybody.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.public.ServeHTTP(w, r) }

// Control answers the operator, who may do everything on every account, and what
// exists for nobody else. There is no token for that: put it on no listener that
// others than the operator can reach.
func (s *Server) Control() http.Handler { return s.control }

// plain serves what has no route.
func (s *Server) plain(from origin, h handler) http.Handler {
	handle := s.serve(&route{path: "none", handle: h}, from)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handle(w, r, nil) })
}

// serve wraps a route's handler with all that every request needs: an id, the
// host check, authentication, authorization, a panic guard, metrics and the one
// log line.
func (s *Server) serve(row *route, from origin) httprouter.Handle {
	observe, changes := s.metrics.route(row), row.changes()
	return func(rw http.ResponseWriter, r *http.Request, params httprouter.Params) {
		q := &request{Context: r.Context(), caller: r.Context(), params: params, route: row, origin: from, start: s.now()}
		w := &answer{ResponseWriter: rw}
		defer q.end()
		defer func() {
			if p := recover(); p != nil {
				s.recovered(w, q, p)
			}
			elapsed := s.now().Sub(q.start)
			observe(w.status, elapsed)
			s.logRequest(r, q, w, elapsed)
		}()
		var err error
		q.id, q.given, err = requestID(r)
		h := rw.Header()
		h["X-Request-Id"] = []string{q.id}
		h["Cache-Control"] = noStore
		h["X-Content-Type-Options"] = noSniff
		if r.TLS != nil && !local(r.Host) {
			h["Strict-Transport-Security"] = hstsValue
		}
		if err == nil {
			err = s.admit(w, r, q)
		}
		if err == nil && changes {
			defer q.persist()()
		}
		if err == nil {
			err = row.handle(w, r.WithContext(q))
		}
		if err != nil {
			s.failed(w, r, q, err)
		}
	}
}

// failed answers with err, unless the caller has left or an answer is already
// on its way.
func (s *Server) failed(w *answer, r *http.Request, q *request, err error) {
	switch {
	case w.status != 0:
		q.err = err
	case r.Context().Err() != nil:
		q.err, w.status = err, statusClientGone
	default:
		fail(w, q, err)
	}
}

// recovered answers a panic of ours. http.ErrAbortHandler keeps its meaning.
func (s *Server) recovered(w *answer, q *request, p any) {
	if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it by identity too
		panic(p)
	}
	q.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
	s.metrics.panics.Inc()
	if w.status == 0 {
		fail(w, q, q.err)
	}
}

// admit decides whether the request may reach its handler.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, q *request) error {
	row := q.route
	if q.origin == operator {
		return s.admitOperator(q)
	}
	served := func(service string) bool { return s.directory.Serves(r.Host, service) }
	if row.services != nil && !slices.ContainsFunc(row.services, served) {
		return lambda.NotFound(lambda.CodeBadInput, "host %.200q does not serve %s", r.Host, strings.Join(row.services, " or "))
	}
	if row.permission == auth.Anyone {
		return nil
	}
	authorization := r.Header.Get("Authorization")
	if authorization == "" {
		var err error
		if authorization, err = s.admitCookie(r); err != nil {
			return err
		}
	}
	p, err := s.authenticator.Authenticate(q.Context, authorization, q.account())
	if err != nil {
		return err
	}
	q.principal = p
	if !p.May(row.permission) {
		return &lambda.Error{
			Kind: lambda.KindForbidden, Code: lambda.CodeForbidden, Phase: lambda.PhaseAuthorize,
			Message: fmt.Sprintf("%s %s needs the permission %s, which this token does not carry; it comes with %s",
				row.method, row.path, row.permission, auth.Holders(row.permission)),
		}
	}
	if row.permission == auth.Invoke {
		return s.accountCalls.take(w, q.account(), q.start)
	}
	return s.requests.take(w, q.account(), q.start)
}

// admitOperator gives the operator every right on the account of the path, which
// must exist: with no token that belongs to it, nothing has shown that yet.
func (s *Server) admitOperator(q *request) error {
	if q.route.permission == auth.Anyone {
		return nil
	}
	q.principal = auth.NewOperator(q.account())
	if q.account() == "" {
		return nil
	}
	_, err := s.identity.Account(q, q.account())
	return err
}

// logRequest writes the one line of a request. The query is left out: it may
// hold a secret.
func (s *Server) logRequest(r *http.Request, q *request, w *answer, elapsed time.Duration) {
	var e *zerolog.Event
	switch {
	case w.status >= 500 && w.status != statusLambdaFailed:
		e = s.log.Error()
	default:
		e = s.log.Info()
	}
	if e == nil {
		return
	}
	e = e.Str("requestId", q.id).Str("method", r.Method).Str("path", clip(r.URL.Path, 300)).
		Int("status", w.status).Dur("ms", elapsed).Int64("bytes", w.bytes).Str("remote", hostOnly(r.RemoteAddr))
	if account := q.account(); account != "" {
		e = e.Str("accountId", clip(account, 40))
	}
	if q.principal != nil {
		e = e.Str("caller", q.principal.Caller())
	}
	if q.lambdaID != "" {
		e = e.Str("lambdaId", clip(q.lambdaID, 100)).Int("version", q.version)
		if q.cold {
			e = e.Bool("cold", true)
		}
	}
	if q.system != "" {
		e = e.Str("externalSystem", clip(q.system, 100))
	}
	if q.claimedUser != "" {
		e = e.Str("claimedUserId", clip(q.claimedUser, 100))
	}
	if q.phase != "" {
		e = e.Str("phase", string(q.phase))
	}
	if q.err != nil && w.status != statusLambdaFailed {
		e = e.AnErr("error", q.err)
	}
	e.Msg("request")
}

// local reports whether a host name means this machine or is an address. A
// browser remembers HSTS by name for all ports, so for those it would break
// whatever else a developer runs there.
func local(host string) bool {
	name := hostOnly(host)
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	_, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil
}

func clip(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "") + "…"
	}
	return s
}

func hostOnly(addr string) string {
	if h, _, err := net.SplitHostPort(addr); err == nil {
		return h
	}
	return addr
}

// answer remembers what was sent.
type answer struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	n, err := a.ResponseWriter.Write(b)
	a.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the real writer.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
