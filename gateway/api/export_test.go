package api

import (
	"time"

	"github.com/sluice-faas/sluice/gateway/auth"
	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

// ParseInvocation is for the tests and the fuzzer.
var (
	ParseInvocation = parseInvocation
	Members         = members
	Elements        = elements
)

// CSV writes lines as an export does.
var CSV = csvOf

// What activities hold of two states of a noun.
var (
	LambdaChanges  = func(before, after *lambda.Lambda) []journal.Change { return lambdaChanges(before, after) }
	UserChanges    = func(before, after *lambda.User) []journal.Change { return userChanges(before, after) }
	ProfileChanges = func(before, after *lambda.Profile) []journal.Change { return profileChanges(before, after) }
	AppChanges     = func(before, after *lambda.App) []journal.Change { return appChanges(before, after) }
)

// SetTailPulse makes live tails look round so often. Call it before the first.
func SetTailPulse(s *Server, every time.Duration) { s.tails.pulse = every }

// Row is a route as the tests walk it.
type Row struct {
	Method, Path string
	Permission   auth.Permission
	Changes      bool
}

// Routes gives the whole table.
func Routes() []Row {
	s := &Server{}
	var rows []Row
	for _, r := range s.routes() {
		rows = append(rows, Row{r.method, r.path, r.permission, r.changes()})
	}
	return rows
}

// SetClock makes s tell the time by now. Call it before the first request.
func SetClock(s *Server, now func() time.Time) { s.now = now }

// OpenAPI is the description as it is served.
func OpenAPI() []byte {
	body, err := openapiJSON()
	if err != nil {
		panic(err)
	}
	return body
}

// BodyBudget is the bound on large bodies.
type BodyBudget struct{ b bodyBudget }

// NewBodyBudget makes one of the usual size.
func NewBodyBudget() *BodyBudget { return &BodyBudget{} }

// Take reserves.
func (b *BodyBudget) Take(account string, n int64) error { return b.b.take(account, n) }

// Give releases.
func (b *BodyBudget) Give(account string, n int64) { b.b.give(account, n) }

// ParseInstallation reads an installation as installApp does, ParseReplacement as
// updateApp does, without a store.
func ParseInstallation(body []byte) (*lambda.App, error) { return parseInstallation(body) }

// ParseReplacement lets pass what answers have.
func ParseReplacement(body []byte) (*lambda.App, error) {
	return parseInstallation(body, "client_id", "createdAt", "revision")
}

func parseInstallation(body []byte, told ...string) (*lambda.App, error) {
	a := &lambda.App{}
	if err := parseFields(body, installationFields(a, told...)); err != nil {
		return nil, err
	}
	return a, finish(a)
}

// ViewApp shows an app as answers do.
func ViewApp(a *lambda.App) any { return viewApp(a) }

// SpendAll leaves an account nothing to write with for a while.
func (s *Server) SpendAll(account string) {
	_ = s.saves.take(account, 0, s.now()) // it is known from here on
	limiter, _ := s.saves.accounts.Get(account)
	limiter.ReserveN(s.now(), saveBurst)
	limiter.ReserveN(s.now(), saveBurst)
}

// SetIdentity puts something between s and who there is. Call it before the first
// request.
func (s *Server) SetIdentity(wrap func(Identity) Identity) { s.identity = wrap(s.identity) }

// SetDomains is SetIdentity for the whitelist.
func (s *Server) SetDomains(wrap func(Domains) Domains) { s.domains = wrap(s.domains) }

// Place is place.
var Place = place
