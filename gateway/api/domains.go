package api

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

// domainView is an entry of the whitelist (contract/management.md §2,
// /proxy-settings). Clients read the name under two keys.
type domainView struct {
	ID        int    `json:"id"`
	Domain    string `json:"domain"`
	Name      string `json:"name"`
	CreatedAt string `json:"createdAt"`
	CreatedBy string `json:"createdBy"`
	// PrivateAddresses is left out where it is not so: clients know no such key.
	PrivateAddresses bool `json:"privateAddresses,omitempty"`
}

func viewDomain(d *lambda.Domain) domainView {
	return domainView{ID: d.ID, Domain: d.Name, Name: d.Name, CreatedAt: wireTime(d.CreatedAt), CreatedBy: d.CreatedBy, PrivateAddresses: d.PrivateAddresses}
}

// listDomains answers the whitelist of the account.
func (s *Server) listDomains(w http.ResponseWriter, r *http.Request) error {
	domains, err := s.domains.Domains(r.Context(), of(r).account())
	if err != nil {
		return fmt.Errorf("list domains: %w", err)
	}
	views := make([]domainView, len(domains))
	for i := range domains {
		views[i] = viewDomain(&domains[i])
	}
	return respond(w, http.StatusOK, views)
}

// addDomain puts a domain on the whitelist (contract/management.md §7).
func (s *Server) addDomain(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	var body struct {
		Domain           string `json:"domain"`
		PrivateAddresses bool   `json:"privateAddresses"`
	}
	if err := s.decode(w, r, &body); err != nil {
		return err
	}
	name, err := lambda.ParseDomain(body.Domain)
	if err != nil {
		return err
	}
	wanted := lambda.Domain{Account: q.account(), Name: name, CreatedAt: s.now().UTC(), CreatedBy: author(q.principal), PrivateAddresses: body.PrivateAddresses}
	if err := s.saves.take(q.account(), len(name), s.now()); err != nil {
		return err
	}
	once, err := s.once(q, r)
	if err != nil {
		return err
	}
	id, replayed, err := s.writeOnce(q, once, func() (string, error) {
		d, err := s.domains.CreateDomain(q, wanted, once)
		if err != nil {
			return "", err
		}
		return strconv.Itoa(d.ID), nil
	})
	if err != nil {
		return fmt.Errorf("add domain: %w", err)
	}
	markReplay(w, replayed)
	if !replayed {
		s.note(q, journal.Activity{Action: journal.Create, Noun: journal.Domain, ID: id, Name: name, Changes: permission(false, wanted.PrivateAddresses)})
	}
	n, err := strconv.Atoi(id)
	if err != nil {
		return fmt.Errorf("domain id: %w", err)
	}
	d, err := s.domains.Domain(q, q.account(), n)
	if err != nil {
		return fmt.Errorf("read domain: %w", err)
	}
	return respond(w, http.StatusCreated, viewDomain(d))
}

// deleteDomain takes a domain from the whitelist.
func (s *Server) deleteDomain(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	text := q.params.ByName("id")
	id, err := strconv.Atoi(text)
	if err != nil || id <= 0 || strconv.Itoa(id) != text {
		return lambda.NotFound(lambda.CodeMissingDomain, "There is no domain %.40q: its id is a number, as GET /proxy-settings tells it", text)
	}
	d, err := s.domains.Domain(q, q.account(), id)
	if err != nil {
		return fmt.Errorf("delete domain: %w", err)
	}
	if err := s.domains.DeleteDomain(q, q.account(), id); err != nil {
		return fmt.Errorf("delete domain: %w", err)
	}
	s.note(q, journal.Activity{Action: journal.Delete, Noun: journal.Domain, ID: text, Name: d.Name, Changes: permission(d.PrivateAddresses, false)})
	return respond(w, http.StatusOK, message{"Successfully deleted domain"})
}

// permission tells of an entry that permits private addresses: it is worth a look
// who made it, and when it went.
func permission(before, after bool) []journal.Change {
	var c changes
	c.value("privateAddresses", boolText(before), boolText(after))
	return c
}
