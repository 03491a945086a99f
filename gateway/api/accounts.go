package api

import (
	"fmt"
	"net/http"

	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

// accountView is an account as the operator sees it.
type accountView struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	CreatedAt string `json:"createdAt"`
}

func viewAccount(a *lambda.Account) accountView {
	return accountView{ID: a.ID, Name: a.Name, CreatedAt: wireTime(a.CreatedAt)}
}

// listAccounts answers every account of the region.
func (s *Server) listAccounts(w http.ResponseWriter, r *http.Request) error {
	accounts, err := s.identity.Accounts(r.Context())
	if err != nil {
		return fmt.Errorf("list accounts: %w", err)
	}
	views := make([]accountView, len(accounts))
	for i := range accounts {
		views[i] = viewAccount(&accounts[i])
	}
	return respond(w, http.StatusOK, views)
}

// createAccount makes an account, without users or apps.
func (s *Server) createAccount(w http.ResponseWriter, r *http.Request) error {
	a := &lambda.Account{CreatedAt: s.now().UTC()}
	if err := readFields(w, r, fields{"id": &a.ID, "name": &a.Name}); err != nil {
		return err
	}
	if err := a.Validate(); err != nil {
		return err
	}
	q := of(r)
	if err := s.identity.CreateAccount(q, a); err != nil {
		return fmt.Errorf("create account: %w", err)
	}
	var c changes
	c.value("name", "", a.Name)
	s.note(q, journal.Activity{Account: a.ID, Action: journal.Create, Noun: journal.Account, ID: a.ID, Name: a.Name, Changes: c})
	s.settle(q)
	return respond(w, http.StatusCreated, viewAccount(a))
}
