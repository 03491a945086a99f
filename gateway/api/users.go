package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/sluice-faas/sluice/gateway/auth"
	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

// minPassword is the least number of characters of a password that somebody
// thought of.
const minPassword = 8

// userView is a user as those see them who manage users. Of roles and profile a
// user has one; effectiveRoles are what follows.
type userView struct {
	ID             string        `json:"id"`
	LoginName      string        `json:"loginName"`
	Profile        string        `json:"profile,omitempty"`
	Roles          []lambda.Role `json:"roles"`
	EffectiveRoles []lambda.Role `json:"effectiveRoles"`
	CreatedAt      string        `json:"createdAt"`
	Revision       string        `json:"revision"`
	Password       string        `json:"password,omitempty"` // once: when the gateway has made it up
}

// userRevision leaves the password out: changing it is no change that another
// editor of the user has to know of.
func userRevision(u *lambda.User) string {
	shown := *u
	shown.PasswordHash, shown.PasswordSetAt, shown.Roles = "", time.Time{}, orNone(u.Roles)
	return revisionOf(&shown)
}

func viewUser(u *lambda.User, profile *lambda.Profile) userView {
	return userView{
		ID: u.ID, LoginName: u.LoginName, Profile: u.Profile, Roles: orNone(u.Roles),
		EffectiveRoles: orNone(lambda.EffectiveRoles(u, profile)), CreatedAt: wireTime(u.CreatedAt), Revision: userRevision(u),
	}
}

// respondUser answers with a user and its profile, and the password that was
// made up, if one was.
func (s *Server) respondUser(w http.ResponseWriter, r *http.Request, status int, u *lambda.User, password string) error {
	profile, err := s.profileOf(r.Context(), u)
	if err != nil {
		return err
	}
	v := viewUser(u, profile)
	v.Password = password
	setRevision(w, v.Revision)
	return respond(w, status, v)
}

// profileOf gives the profile that a user names, or nil.
func (s *Server) profileOf(ctx context.Context, u *lambda.User) (*lambda.Profile, error) {
	if u.Profile == "" {
		return nil, nil
	}
	p, err := s.identity.Profile(ctx, u.Account, u.Profile)
	if lambda.Is(err, lambda.KindNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read profile: %w", err)
	}
	return p, nil
}

// listUsers answers the users of the account, by login name.
func (s *Server) listUsers(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	users, err := s.identity.Users(q, q.account())
	if err != nil {
		return fmt.Errorf("list users: %w", err)
	}
	profiles, err := s.identity.Profiles(q, q.account())
	if err != nil {
		return fmt.Errorf("list users: %w", err)
	}
	named := map[string]*lambda.Profile{}
	for i := range profiles {
		named[profiles[i].Name] = &profiles[i]
	}
	slices.SortFunc(users, func(a, b lambda.User) int { return strings.Compare(a.LoginName, b.LoginName) })
	views := make([]userView, len(users))
	for i := range users {
		views[i] = viewUser(&users[i], named[users[i].Profile])
	}
	return respond(w, http.StatusOK, views)
}

// readUser answers one user.
func (s *Server) readUser(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	u, err := s.identity.User(q, q.account(), q.params.ByName("id"))
	if err != nil {
		return fmt.Errorf("read user: %w", err)
	}
	return s.respondUser(w, r, http.StatusOK, u, "")
}

// createUser makes a user, with a password of the caller's or one that the answer
// tells, this once.
func (s *Server) createUser(w http.ResponseWriter, r *http.Request) error {
	q, given := of(r), ""
	u := &lambda.User{ID: uuid.NewString(), Account: q.account(), CreatedAt: s.now().UTC()}
	err := readFields(w, r, fields{"loginName": &u.LoginName, "roles": &u.Roles, "profile": &u.Profile, "password": &given})
	if err != nil {
		return err
	}
	if err := u.Validate(); err != nil {
		return err
	}
	if err := s.spend(q, u); err != nil {
		return err
	}
	var told string
	if told, u.PasswordHash, err = s.newPassword(q, given); err != nil {
		return err
	}
	if err := s.identity.CreateUser(q, u); err != nil {
		return fmt.Errorf("create user: %w", err)
	}
	s.note(q, journal.Activity{Action: journal.Create, Noun: journal.User, ID: u.ID, Name: u.LoginName, Changes: userChanges(&lambda.User{}, u)})
	s.settle(q)
	return s.respondUser(w, r, http.StatusCreated, u, told)
}

// updateUser gives a user other roles, or another profile. What it may do changes
// at once, under the tokens that it has.
func (s *Server) updateUser(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	var login, profile string
	var roles []lambda.Role
	err := readFields(w, r, fields{
		"loginName": &login, "roles": &roles, "profile": &profile,
		"id": nil, "effectiveRoles": nil, "createdAt": nil, "revision": nil,
	})
	if err != nil {
		return err
	}
	wanted, err := demanded(r)
	if err != nil {
		return err
	}
	var before lambda.User
	u, err := s.identity.UpdateUser(q, q.account(), q.params.ByName("id"), func(u *lambda.User) error {
		before = *u
		if err := wanted.met("user", userRevision(u)); err != nil {
			return err
		}
		if login != "" && login != u.LoginName {
			return lambda.Invalid("loginName", "loginName cannot change after creation: it is %q", u.LoginName)
		}
		u.Roles, u.Profile = roles, profile
		if err := u.Validate(); err != nil {
			return err
		}
		return s.spend(q, u)
	})
	if err != nil {
		return fmt.Errorf("update user: %w", err)
	}
	s.note(q, journal.Activity{Action: journal.Update, Noun: journal.User, ID: u.ID, Name: u.LoginName, Changes: userChanges(&before, u)})
	s.settle(q)
	return s.respondUser(w, r, http.StatusOK, u, "")
}

// deleteUser removes a user; its sessions and tokens end.
func (s *Server) deleteUser(w http.ResponseWriter, r *http.Request) error {
	q := of(r)
	wanted, err := demanded(r)
	if err != nil {
		return err
	}
	var gone lambda.User
	err = s.identity.DeleteUser(q, q.account(), q.params.ByName("id"), func(u *lambda.User) error {
		gone = *u
		return wanted.met("user", userRevision(u))
	})
	if err != nil {
		return fmt.Errorf("delete user: %w", err)
	}
	s.note(q, journal.Activity{Action: journal.Delete, Noun: journal.User, ID: gone.ID, Name: gone.LoginName, Changes: userChanges(&gone, &lambda.User{})})
	s.settle(q)
	return respond(w, http.StatusOK, message{"Successfully deleted user"})
}

// resetPassword gives a user the password of the caller's choice, or one that the
// answer tells, this once, ends every session and token that the user has, and
// forgets failed logins.
func (s *Server) resetPassword(w http.ResponseWriter, r *http.Request) error {
	q, given := of(r), ""
	if err := readFields(w, r, fields{"password": &given}); err != nil {
		return err
	}
	id := q.params.ByName("id")
	if _, err := s.identity.User(q, q.account(), id); err != nil { // before the work of hashing
		return fmt.Errorf("reset password: %w", err)
	}
	told, hash, err := s.newPassword(q, given)
	if err != nil {
		return err
	}
	u, err := s.identity.UpdateUser(q, q.account(), id, func(u *lambda.User) error {
		u.PasswordHash, u.PasswordSetAt = hash, s.now().UTC()
		return s.spend(q, u)
	})
	if err != nil {
		return fmt.Errorf("reset password: %w", err)
	}
	var c changes
	c.hidden("password")
	s.note(q, journal.Activity{Action: journal.Update, Noun: journal.User, ID: u.ID, Name: u.LoginName, Changes: c})
	if err := s.identity.EndUserSessions(q, q.account(), id); err != nil {
		return fmt.Errorf("end the sessions of the old password: %w", err)
	}
	s.auth.Forgive(u.Account, u.LoginName)
	s.settle(q)
	return s.respondUser(w, r, http.StatusOK, u, told)
}

// newPassword hashes the password that was given, or one that it makes up and
// tells.
func (s *Server) newPassword(q *request, given string) (told, hash string, err error) {
	if n := utf8.RuneCountInString(given); given != "" && n < minPassword {
		return "", "", lambda.Invalid("password", "password has %d characters: give %d or more, or none to have one made", n, minPassword)
	}
	if given == "" {
		told = auth.NewPassword()
		given = told
	}
	hash, err = s.auth.HashPassword(q.caller, q.account(), given)
	return told, hash, err
}
