package api

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aymanbagabas/go-udiff"

	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

// noteLimit bounds the wait for the disk.
const noteLimit = 5 * time.Second

// note keeps that the caller of q has changed something: it is on disk before
// the answer goes out. The helper fills in account, time, person and request. A
// caller who has left is no reason to forget it, and an update without a
// difference is none. What cannot be kept is logged and counted: the change
// itself has been made.
//
//	var c changes
//	c.value("description", before.Description, after.Description)
//	s.note(q, journal.Activity{Action: journal.Update, Noun: journal.Lambda, ID: l.ID, Name: l.Name, Changes: c})
func (s *Server) note(q *request, a journal.Activity) {
	if a.Action == journal.Update && len(a.Changes) == 0 {
		return
	}
	if err := s.keep(q, &a); err != nil {
		s.metrics.unnoted.Inc()
		s.log.Error().Err(err).Str("requestId", q.id).Str("accountId", a.Account).Str("by", a.By).
			Str("action", string(a.Action)).Str("noun", string(a.Noun)).Str("id", a.ID).Str("name", clip(a.Name, 100)).
			Msg("a change was made and is not among the activities")
	}
}

// keep is note for who decides what becomes of an activity that cannot be kept.
func (s *Server) keep(q *request, a *journal.Activity) error {
	a.Account, a.At, a.By, a.RequestID = cmp.Or(a.Account, q.account()), s.now().UTC(), author(q.principal), q.id
	ctx, cancel := context.WithTimeout(context.WithoutCancel(q), noteLimit)
	defer cancel()
	return s.journal.Note(ctx, *a)
}

// changes are what an activity changed, field by field. Its methods add what
// differs and nothing else, whole: the journal cuts what is too long.
type changes []journal.Change

// value compares short texts.
func (c *changes) value(field, before, after string) {
	if before != after {
		*c = append(*c, journal.Change{Field: field, Before: before, After: after})
	}
}

// hidden notes that a value which nobody may read is another one now.
func (c *changes) hidden(field string) {
	*c = append(*c, journal.Change{Field: field, After: journal.SetAnew})
}

// text compares long texts, line by line.
func (c *changes) text(field, before, after string) {
	if before != after {
		*c = append(*c, journal.Change{Field: field, Diff: difference(field, before, after)})
	}
}

// difference is a unified diff.
func difference(name, before, after string) string {
	diff, err := udiff.ToUnified(name, name, before, udiff.Lines(before, after), udiff.DefaultContextLines)
	if err != nil { // the edits are its own, and fit
		return fmt.Sprintf("%d bytes became %d", len(before), len(after))
	}
	return diff
}

// list compares lists of words, whose order says nothing.
func list[T ~string](c *changes, field string, before, after []T) {
	c.value(field, words(before), words(after))
}

func words[T ~string](list []T) string {
	sorted := make([]string, len(list))
	for i, w := range list {
		sorted[i] = string(w)
	}
	slices.Sort(sorted)
	return strings.Join(sorted, ", ")
}

// pairs compares lists of names and values, name by name.
func (c *changes) pairs(field string, before, after []lambda.Pair) {
	then, now := valuesOf(before), valuesOf(after)
	var names []string
	for _, p := range slices.Concat(before, after) {
		if !slices.Contains(names, p.Key) {
			names = append(names, p.Key)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		value, had := then[name]
		next, has := now[name]
		switch {
		case had != has:
			*c = append(*c, journal.Change{Field: field + "." + name, Before: value, After: next})
		default:
			c.value(field+"."+name, value, next)
		}
	}
}

func valuesOf(pairs []lambda.Pair) map[string]string {
	values := make(map[string]string, len(pairs))
	for _, p := range pairs {
		values[p.Key] = p.Value
	}
	return values
}

// What differs between two states of each noun; the one before is the zero value
// for what is new, the one after for what is gone.

func lambdaChanges(before, after *lambda.Lambda) changes {
	var c changes
	c.value("name", before.Name, after.Name)
	c.value("description", before.Description, after.Description)
	c.value("eventId", before.EventID, after.EventID)
	c.value("runtime", before.Runtime, after.Runtime)
	c.text("code", before.Code, after.Code)
	c.pairs("environment", before.Environment, after.Environment)
	c.pairs("dependencies", before.Dependencies, after.Dependencies)
	list(&c, "skills", before.Skills, after.Skills)
	return c
}

func userChanges(before, after *lambda.User) changes {
	var c changes
	c.value("loginName", before.LoginName, after.LoginName)
	c.value("profile", before.Profile, after.Profile)
	list(&c, "roles", before.Roles, after.Roles)
	return c
}

func profileChanges(before, after *lambda.Profile) changes {
	var c changes
	list(&c, "roles", before.Roles, after.Roles)
	return c
}

func appChanges(before, after *lambda.App) changes {
	var c changes
	c.value("client_name", before.ClientName, after.ClientName)
	c.value("display_name", before.DisplayName, after.DisplayName)
	c.value("description", before.Description, after.Description)
	list(&c, "grant_types", before.GrantTypes, after.GrantTypes)
	list(&c, "redirect_uris", before.RedirectURIs, after.RedirectURIs)
	list(&c, "response_types", before.ResponseTypes, after.ResponseTypes)
	c.value("scope", before.Scope, after.Scope)
	c.value("logo_uri", before.LogoURI, after.LogoURI)
	c.value("entry_uri", before.EntryURI, after.EntryURI)
	c.value("quick_launch_enabled", boolText(before.QuickLaunchEnabled), boolText(after.QuickLaunchEnabled))
	then, now := capabilitiesOf(before), capabilitiesOf(after)
	c.value("capabilities.engagement", string(then.Engagement), string(now.Engagement))
	c.value("capabilities.webhooks", string(then.Webhooks), string(now.Webhooks))
	return c
}

func capabilitiesOf(a *lambda.App) lambda.Capabilities {
	if a.Capabilities == nil {
		return lambda.Capabilities{}
	}
	return *a.Capabilities
}

// boolText leaves false out: it is what is not set.
func boolText(b bool) string {
	if b {
		return "true"
	}
	return ""
}
