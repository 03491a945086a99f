package api

import (
	"fmt"
	"net/http"

	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

// profileView is a profile with the number of users who have it.
type profileView struct {
	Name      string        `json:"name"`
	Roles     []lambda.Role `json:"roles"`
	Users     int           `json:"users"`
	CreatedAt string        `json:"createdAt"`
	UpdatedAt string        `json:"updatedAt"`
	Revision  string        `json:"revision"`
}

func viewProfile(p *lambda.Profile, users int) profileView {
	return profileView{
		Name: p.Name, Roles: orNone(p.Roles), Users: users,
		CreatedAt: wireTime(p.CreatedAt), UpdatedAt: wireTime(p.UpdatedAt), Revision: revisionOf(p),
	}
}

// holders counts the users of each profile of the account.
func (s *Server) holders(q *request) (map[string]int, error) {
	users, err := s.identity.Users(q, q.account())
	if err != nil {
		return nil, fmt.Errorf("count the users of a profile: %w", err)
	}
	holders := map[string]int{}
	for _, u := range users {
		holders[u.Profile]++
	}
	return holders, nil
}

// listProfiles answers the profiles of the account, by name.
func (s *Server) listProfiles(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	profiles, err := s.identity.Profiles(q, q.account())
	if err != nil {
		return fmt.Errorf("list profiles: %w", err)
	}
	holders, err := s.holders(q)
	if err != nil {
		return err
	}
	views := make([]profileView, len(profiles))
	for i := range profiles {
		views[i] = viewProfile(&profiles[i], holders[profiles[i].Name])
	}
	return respond(w, http.StatusOK, views)
}

// readProfile answers one profile.
func (s *Server) readProfile(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	p, err := s.identity.Profile(q, q.account(), q.params.ByName("name"))
	if err != nil {
		return fmt.Errorf("read profile: %w", err)
	}
	return s.respondProfile(w, q, http.StatusOK, p)
}

func (s *Server) respondProfile(w http.ResponseWriter, q *request, status int, p *lambda.Profile) error {
	holders, err := s.holders(q)
	if err != nil {
		return err
	}
	v := viewProfile(p, holders[p.Name])
	setRevision(w, v.Revision)
	return respond(w, status, v)
}

// putProfile makes a profile, or gives it other roles, which its users have at
// once.
func (s *Server) putProfile(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	var name string
	var roles []lambda.Role
	err := readFields(w, r, fields{"name": &name, "roles": &roles, "users": nil, "createdAt": nil, "updatedAt": nil, "revision": nil})
	if err != nil {
		return err
	}
	wanted, err := demanded(r)
	if err != nil {
		return err
	}
	path := q.params.ByName("name")
	if name != "" && name != path {
		return lambda.Invalid("name", "name is %.100q in the body and %.100q in the path: a profile keeps its name", name, path)
	}
	if err := (&lambda.Profile{Name: path, Roles: roles}).Validate(); err != nil {
		return err
	}
	now := s.now().UTC()
	var before lambda.Profile
	p, isNew, err := s.identity.PutProfile(q, q.account(), path, func(p *lambda.Profile, isNew bool) error {
		before = *p
		switch {
		case isNew && wanted.exists:
			return notMet("there is no such profile: leave out If-Match to make it")
		case isNew:
			p.CreatedAt = now
		default:
			if err := wanted.met("profile", revisionOf(p)); err != nil {
				return err
			}
		}
		p.Roles, p.UpdatedAt = roles, now
		return s.spend(q, p)
	})
	if err != nil {
		return fmt.Errorf("put profile: %w", err)
	}
	status, action := http.StatusOK, journal.Update
	if isNew {
		status, action = http.StatusCreated, journal.Create
	}
	s.note(q, journal.Activity{Action: action, Noun: journal.Profile, Name: p.Name, Changes: profileChanges(&before, p)})
	s.settle(q)
	return s.respondProfile(w, q, status, p)
}

// deleteProfile removes a profile that no user has.
func (s *Server) deleteProfile(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	wanted, err := demanded(r)
	if err != nil {
		return err
	}
	var gone lambda.Profile
	err = s.identity.DeleteProfile(q, q.account(), q.params.ByName("name"), func(p *lambda.Profile) error {
		gone = *p
		return wanted.met("profile", revisionOf(p))
	})
	if err != nil {
		return fmt.Errorf("delete profile: %w", err)
	}
	s.note(q, journal.Activity{Action: journal.Delete, Noun: journal.Profile, Name: gone.Name, Changes: profileChanges(&gone, &lambda.Profile{})})
	s.settle(q)
	return respond(w, http.StatusOK, message{"Successfully deleted profile"})
}
