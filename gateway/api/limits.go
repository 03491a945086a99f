package api

import (
	"fmt"
	"net/http"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// limitView is a limit as /limits shows it. A value of null is no limit.
type limitView struct {
	Name  string      `json:"name"`
	Value *int64      `json:"value"`
	Unit  lambda.Unit `json:"unit"`
	About string      `json:"about"`
}

// listLimits answers every limit of this gateway.
func (s *Server) listLimits(w http.ResponseWriter, _ *http.Request) error {
	views := make([]limitView, len(lambda.LimitTable))
	for i, row := range lambda.LimitTable {
		views[i] = limitView{Name: row.Name, Unit: row.Unit, About: row.About}
		if v := row.Of(s.limits); v != 0 || row.Least != 0 {
			views[i].Value = &v
		}
	}
	return respond(w, http.StatusOK, map[string][]limitView{"limits": views})
}

// unlimited is what clients that expect a number read of a count without limit.
const unlimited = 1_000_000_000

func orUnlimited(n int) int {
	if n == 0 {
		return unlimited
	}
	return n
}

// limitCounts answers the limits that the public CLI shows of an account
// (contract/management.md §2).
func (s *Server) limitCounts(w http.ResponseWriter, _ *http.Request) error {
	return respond(w, http.StatusOK, struct {
		Total    int `json:"limitTotalLambdas"`
		Deployed int `json:"limitDeployedLambdas"`
		Monthly  int `json:"invocationLimitPerMonth"`
	}{orUnlimited(s.limits.Lambdas), orUnlimited(s.limits.DeployedLambdas), orUnlimited(s.limits.MonthlyCalls)})
}

// lambdaCounts answers how many lambdas the account has.
func (s *Server) lambdaCounts(w http.ResponseWriter, r *http.Request) error {
	account := of(r).account()
	total, deployed, err := s.lambdas.Counts(r.Context(), account)
	if err != nil {
		return fmt.Errorf("count lambdas: %w", err)
	}
	return respond(w, http.StatusOK, struct {
		AccountID string `json:"accountId"`
		Total     int    `json:"total"`
		Deployed  int    `json:"deployed"`
	}{account, total, deployed})
}
