package api

import (
	"fmt"
	"net/http"
	"time"

	"github.com/sluice-faas/sluice/gateway/auth"
	"github.com/sluice-faas/sluice/gateway/journal"
)

// usualActivities is the period of a query that names no start.
const usualActivities = 30 * day

// activityView is a change that somebody made.
type activityView struct {
	Timestamp string           `json:"timestamp"`
	By        string           `json:"by"`
	Action    journal.Action   `json:"action"`
	Noun      journal.Noun     `json:"noun"`
	ID        string           `json:"id,omitempty"`
	Name      string           `json:"name"`
	RequestID string           `json:"requestID"`
	Changes   []journal.Change `json:"changes"`
}

func viewActivity(a *journal.Activity) activityView {
	return activityView{
		Timestamp: wireTime(a.At), By: a.By, Action: a.Action, Noun: a.Noun, ID: a.ID, Name: a.Name,
		RequestID: a.RequestID, Changes: orNone(a.Changes),
	}
}

// guarded are the nouns that not everybody may read who may read activities.
var guarded = map[journal.Noun]auth.Permission{
	journal.User: auth.ManageUsers, journal.Profile: auth.ManageUsers, journal.App: auth.ManageApps,
}

// unseen are the guarded nouns that the caller may not read.
func unseen(q *request) (nouns []journal.Noun) {
	for noun, permission := range guarded {
		if !q.principal.May(permission) {
			nouns = append(nouns, noun)
		}
	}
	return nouns
}

// listActivities answers who changed what on the account, the newest first: those
// of the things that the caller may read.
func (s *Server) listActivities(w http.ResponseWriter, r *http.Request) error {
	q, p := of(r), queryOf(r)
	longest := max(s.limits.ActivityRetention, time.Hour)
	span := p.period(s.now(), min(usualActivities, longest), longest)
	wanted := journal.ActivityQuery{
		Account: q.account(), From: span.from, To: span.to,
		Noun: choice(p, "noun", append([]journal.Noun{""}, journal.Nouns...)...), ID: p.text("id"), By: p.text("by"),
		Action:  choice(p, "action", append([]journal.Action{""}, journal.Actions...)...),
		Without: unseen(q), Limit: p.number("limit", journal.DefaultLimit, 1, journal.MaxActivities), Cursor: p.text("cursor"),
	}
	if p.fault != nil {
		return p.fault
	}
	page, err := s.journal.Activities(q, wanted)
	if err != nil {
		return fmt.Errorf("list activities: %w", err)
	}
	views := make([]activityView, len(page.Activities))
	for i := range page.Activities {
		views[i] = viewActivity(&page.Activities[i])
	}
	return respond(w, http.StatusOK, struct {
		Activities []activityView `json:"activities"`
		Next       string         `json:"next,omitempty"`
		Missing    []string       `json:"missing,omitempty"`
	}{views, page.Next, page.Missing})
}
