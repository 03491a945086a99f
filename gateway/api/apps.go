package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/sluice-faas/sluice/gateway/auth"
	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

// appView is an app installation in the contract's spelling (contract/oauth2.md
// §1.5).
type appView struct {
	ClientID           string               `json:"client_id"`
	ClientSecret       string               `json:"client_secret,omitempty"` // once: when it is new
	ClientName         string               `json:"client_name"`
	DisplayName        string               `json:"display_name"`
	Description        string               `json:"description"`
	GrantTypes         []string             `json:"grant_types"`
	RedirectURIs       []string             `json:"redirect_uris"`
	ResponseTypes      []string             `json:"response_types"`
	Scope              string               `json:"scope"`
	LogoURI            string               `json:"logo_uri"`
	EntryURI           string               `json:"entry_uri"`
	QuickLaunchEnabled bool                 `json:"quick_launch_enabled"`
	Capabilities       *lambda.Capabilities `json:"capabilities,omitempty"`
	CreatedAt          string               `json:"createdAt"`
	Revision           string               `json:"revision"`
}

// appRevision leaves the secret out, as userRevision does the password.
func appRevision(a *lambda.App) string {
	shown := *a
	shown.SecretHash = ""
	return revisionOf(&shown)
}

func viewApp(a *lambda.App) appView {
	return appView{
		ClientID: a.ClientID, ClientName: a.ClientName, DisplayName: a.DisplayName, Description: a.Description,
		GrantTypes: orNone(a.GrantTypes), RedirectURIs: orNone(a.RedirectURIs), ResponseTypes: orNone(a.ResponseTypes),
		Scope: a.Scope, LogoURI: a.LogoURI, EntryURI: a.EntryURI, QuickLaunchEnabled: a.QuickLaunchEnabled,
		Capabilities: a.Capabilities, CreatedAt: wireTime(a.CreatedAt), Revision: appRevision(a),
	}
}

// respondApp answers with an app, and its secret if that is new.
func respondApp(w http.ResponseWriter, status int, a *lambda.App, secret string) error {
	v := viewApp(a)
	v.ClientSecret = secret
	setRevision(w, v.Revision)
	return respond(w, status, v)
}

// installationFields are what an installation may say of an app. Those beside
// them are only told.
func installationFields(a *lambda.App, told ...string) fields {
	f := fields{
		"client_name": &a.ClientName, "display_name": &a.DisplayName, "description": &a.Description,
		"grant_types": &a.GrantTypes, "redirect_uris": &a.RedirectURIs, "response_types": &a.ResponseTypes,
		"scope": &a.Scope, "logo_uri": &a.LogoURI, "entry_uri": &a.EntryURI, "quick_launch_enabled": &a.QuickLaunchEnabled,
		"capabilities": field(func(raw json.RawMessage) error {
			a.Capabilities = &lambda.Capabilities{}
			return readCapabilities(raw, a.Capabilities)
		}),
	}
	for _, name := range told {
		f[name] = nil
	}
	return f
}

func readCapabilities(raw json.RawMessage, c *lambda.Capabilities) error {
	const name = "capabilities"
	if raw[0] != '{' {
		return lambda.Invalid(name, "capabilities must be an object")
	}
	err := parseFields(raw, fields{"engagement": &c.Engagement, "webhooks": &c.Webhooks})
	if e := lambda.As(err); e != nil {
		return lambda.Invalid(name, "capabilities: %s", e.Message)
	}
	return err
}

// finish checks an installation. Who does not say which answers authorize shall
// give gets the one that the grants need.
func finish(a *lambda.App) error {
	if a.ResponseTypes == nil && slices.Contains(a.GrantTypes, lambda.GrantCode) {
		a.ResponseTypes = []string{lambda.ResponseCode}
	}
	return a.Validate()
}

// listApps answers the apps of the account, by name.
func (s *Server) listApps(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	apps, err := s.identity.Apps(q, q.account())
	if err != nil {
		return fmt.Errorf("list apps: %w", err)
	}
	slices.SortFunc(apps, func(a, b lambda.App) int { return strings.Compare(a.ClientName, b.ClientName) })
	views := make([]appView, len(apps))
	for i := range apps {
		views[i] = viewApp(&apps[i])
	}
	return respond(w, http.StatusOK, views)
}

// readApp answers one app.
func (s *Server) readApp(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	a, err := s.identity.App(q, q.account(), q.params.ByName("id"))
	if err != nil {
		return fmt.Errorf("read app: %w", err)
	}
	return respondApp(w, http.StatusOK, a, "")
}

// installApp installs an app and tells its secret, this once.
func (s *Server) installApp(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	a := &lambda.App{}
	if err := readFields(w, r, installationFields(a)); err != nil {
		return err
	}
	if err := finish(a); err != nil {
		return err
	}
	secret := auth.NewClientSecret()
	a.Account, a.ClientID, a.SecretHash, a.CreatedAt = q.account(), uuid.NewString(), auth.Hash(secret), s.now().UTC()
	if err := s.spend(q, a); err != nil {
		return err
	}
	if err := s.identity.InstallApp(q, a); err != nil {
		return fmt.Errorf("install app: %w", err)
	}
	s.note(q, journal.Activity{Action: journal.Create, Noun: journal.App, ID: a.ClientID, Name: a.ClientName, Changes: appChanges(&lambda.App{}, a)})
	s.settle(q)
	return respondApp(w, http.StatusCreated, a, secret)
}

// updateApp puts an installation in the place of the one before: a field that is
// absent is empty from then on. Id and secret stay, and tokens that were issued
// are worth what the new installation allows.
func (s *Server) updateApp(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	var next lambda.App
	if err := readFields(w, r, installationFields(&next, "client_id", "createdAt", "revision")); err != nil {
		return err
	}
	if err := finish(&next); err != nil {
		return err
	}
	wanted, err := demanded(r)
	if err != nil {
		return err
	}
	var before lambda.App
	a, err := s.identity.UpdateApp(q, q.account(), q.params.ByName("id"), func(a *lambda.App) error {
		if err := wanted.met("app", appRevision(a)); err != nil {
			return err
		}
		before = *a
		*a = next
		a.SecretHash, a.CreatedAt = before.SecretHash, before.CreatedAt
		return s.spend(q, a)
	})
	if err != nil {
		return fmt.Errorf("update app: %w", err)
	}
	s.note(q, journal.Activity{Action: journal.Update, Noun: journal.App, ID: a.ClientID, Name: a.ClientName, Changes: appChanges(&before, a)})
	s.settle(q)
	return respondApp(w, http.StatusOK, a, "")
}

// deleteApp uninstalls an app.
func (s *Server) deleteApp(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	wanted, err := demanded(r)
	if err != nil {
		return err
	}
	var gone lambda.App
	err = s.identity.DeleteApp(q, q.account(), q.params.ByName("id"), func(a *lambda.App) error {
		gone = *a
		return wanted.met("app", appRevision(a))
	})
	if err != nil {
		return fmt.Errorf("uninstall app: %w", err)
	}
	s.note(q, journal.Activity{Action: journal.Delete, Noun: journal.App, ID: gone.ClientID, Name: gone.ClientName, Changes: appChanges(&gone, &lambda.App{})})
	s.settle(q)
	return respond(w, http.StatusOK, message{"Successfully uninstalled app"})
}

// rotateSecret gives an app a new secret and tells it, this once. The old one is
// worth nothing from then on; tokens that it got stay good until they end.
func (s *Server) rotateSecret(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	if err := readFields(w, r, fields{}); err != nil {
		return err
	}
	secret := auth.NewClientSecret()
	a, err := s.identity.UpdateApp(q, q.account(), q.params.ByName("id"), func(a *lambda.App) error {
		a.SecretHash = auth.Hash(secret)
		return s.spend(q, a)
	})
	if err != nil {
		return fmt.Errorf("rotate secret: %w", err)
	}
	var c changes
	c.hidden("client_secret")
	s.note(q, journal.Activity{Action: journal.Update, Noun: journal.App, ID: a.ClientID, Name: a.ClientName, Changes: c})
	s.settle(q)
	return respondApp(w, http.StatusOK, a, secret)
}
