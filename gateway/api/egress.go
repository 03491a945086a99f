package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/sluice-faas/sluice/gateway/egress"
	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

// Egress tells what would become of a request of an account's lambda.
type Egress interface {
	Check(ctx context.Context, account, url string) (egress.Check, error)
}

var _ Egress = (*egress.Proxy)(nil)

// attemptView is an attempt of a lambda to reach another host.
type attemptView struct {
	LambdaUUID string            `json:"lambdaUUID"`
	Timestamp  int64             `json:"timestamp"`
	Host       string            `json:"host"`
	Port       int               `json:"port"`
	Method     string            `json:"method"`
	Verdict    lambda.Verdict    `json:"verdict"`
	Rule       lambda.EgressRule `json:"rule"`
	Entry      string            `json:"entry,omitempty"`
	Address    string            `json:"address,omitempty"`
	Duration   float64           `json:"durationMs"`
	Count      int               `json:"count"`
}

func viewAttempt(a *lambda.Attempt) attemptView {
	v := attemptView{
		LambdaUUID: a.LambdaID, Timestamp: a.At.UnixMilli(), Host: a.Host, Port: a.Port, Method: a.Method, Verdict: a.Rule.Verdict(),
		Rule: a.Rule, Entry: a.Entry, Duration: milliseconds(a.Duration), Count: a.Count,
	}
	if a.Address.IsValid() {
		v.Address = a.Address.String()
	}
	return v
}

// listAttempts answers which hosts lambdas tried to reach, the newest attempt first.
func (s *Server) listAttempts(w http.ResponseWriter, r *http.Request) error {
	q, p := of(r), queryOf(r)
	span := p.period(s.now(), usualInvocations, longestInvocations)
	wanted := journal.AttemptQuery{
		Account: q.account(), LambdaID: p.text("lambdaUUID"), From: span.from, To: span.to,
		Verdict: choice(p, "verdict", append([]lambda.Verdict{""}, lambda.Verdicts...)...), Rules: choices(p, "rule", lambda.EgressRules),
		Host: p.text("host"), Limit: p.number("limit", journal.DefaultLimit, 1, journal.MaxAttempts), Cursor: p.text("cursor"),
	}
	if p.fault != nil {
		return p.fault
	}
	if _, err := s.named(q, wanted.LambdaID); err != nil {
		return fmt.Errorf("list attempts: %w", err)
	}
	page, err := s.journal.Attempts(q, wanted)
	if err != nil {
		return fmt.Errorf("list attempts: %w", err)
	}
	views := make([]attemptView, len(page.Attempts))
	for i := range page.Attempts {
		views[i] = viewAttempt(&page.Attempts[i])
	}
	return respond(w, http.StatusOK, struct {
		Attempts []attemptView `json:"attempts"`
		Next     string        `json:"next,omitempty"`
		Missing  []string      `json:"missing,omitempty"`
	}{views, page.Next, page.Missing})
}

// checkEgress answers what would become of a request to an URL, without making it.
func (s *Server) checkEgress(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	var body struct {
		URL string `json:"url"`
	}
	if err := s.decode(w, r, &body); err != nil {
		return err
	}
	c, err := s.egress.Check(q, q.account(), body.URL)
	if err != nil {
		return fmt.Errorf("check an URL: %w", err)
	}
	addresses := make([]string, len(c.Addresses))
	for i, a := range c.Addresses {
		addresses[i] = a.String()
	}
	return respond(w, http.StatusOK, struct {
		Verdict   lambda.Verdict    `json:"verdict"`
		Rule      lambda.EgressRule `json:"rule"`
		Message   string            `json:"message"`
		Scheme    string            `json:"scheme"`
		Host      string            `json:"host"`
		Port      int               `json:"port"`
		Entry     string            `json:"entry,omitempty"`
		Addresses []string          `json:"addresses"`
	}{c.Rule.Verdict(), c.Rule, c.Message, c.Scheme, c.Host, c.Port, c.Entry, addresses})
}
