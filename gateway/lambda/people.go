package lambda

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of what names an account and its people.
const (
	MaxAccountName = 128 // characters
	MaxProfileName = 64  // characters
	MaxLoginName   = 256 // bytes
)

// AllRoles are the roles, the most powerful first.
var AllRoles = []Role{RoleLPA, RoleAdmin, RoleDeveloper, RoleInvocation}

// EffectiveRoles are what u may be: the roles of the profile that it names, or
// its own when it names none. profile is that profile, nil if there is none of
// the name; then the user may be nothing.
func EffectiveRoles(u *User, profile *Profile) []Role {
	switch {
	case u.Profile == "":
		return u.Roles
	case profile == nil:
		return nil
	}
	return profile.Roles
}

// Validate checks what an operator writes of an account. Like that of the other
// nouns here it returns the first fault, as an Error of kind Invalid that names
// the field and the limit.
func (a *Account) Validate() error {
	if !ValidAccount(a.ID) {
		return Invalid("id", "id %.50q is no account id: give 1 to %d digits", a.ID, MaxAccountLength)
	}
	return checkName("name", a.Name, MaxAccountName)
}

// Validate checks what is written of a profile.
func (p *Profile) Validate() error {
	if err := checkName("name", p.Name, MaxProfileName); err != nil {
		return err
	}
	if err := checkPathName("name", p.Name); err != nil {
		return err
	}
	return checkRoles(p.Roles)
}

// Validate checks what is written of a user, but for the password.
func (u *User) Validate() error {
	const field = "loginName"
	if n := len(u.LoginName); n > MaxLoginName {
		return Invalid(field, "loginName has %d bytes: the limit is %d", n, MaxLoginName)
	}
	if err := checkName(field, u.LoginName, MaxLoginName); err != nil {
		return err
	}
	if err := checkPathName(field, u.LoginName); err != nil {
		return err
	}
	switch {
	case u.Profile == "" && len(u.Roles) == 0:
		return Invalid("roles", "roles and profile are missing: give roles (%s) or the name of a profile", roleNames())
	case u.Profile != "" && len(u.Roles) > 0:
		return Invalid("roles", "roles and profile are both given: a user has the roles of a profile or roles of its own")
	case u.Profile != "":
		return nil // whether there is such a profile, the store knows
	}
	return checkRoles(u.Roles)
}

func checkRoles(roles []Role) error {
	if len(roles) == 0 {
		return Invalid("roles", "roles is empty: name one or more of %s", roleNames())
	}
	for i, r := range roles {
		switch {
		case !r.Valid():
			return Invalid("roles", "roles holds %.50q, which is no role: use %s", string(r), roleNames())
		case slices.Contains(roles[:i], r):
			return Invalid("roles", "roles holds %s twice: remove one", r)
		}
	}
	return nil
}

func roleNames() string {
	names := make([]string, len(AllRoles))
	for i, r := range AllRoles {
		names[i] = string(r)
	}
	return strings.Join(names, ", ")
}

// checkName accepts what people can read and type again: one line, without
// characters that are not seen.
func checkName(field, s string, limit int) error {
	n := utf8.RuneCountInString(s)
	switch {
	case s == "":
		return Invalid(field, "%s is missing: give 1 to %d characters", field, limit)
	case n > limit:
		return Invalid(field, "%s has %d characters: the limit is %d", field, n, limit)
	case strings.TrimSpace(s) != s:
		return Invalid(field, "%s begins or ends with a blank: remove it", field)
	case strings.ContainsAny(s, "\n\r\t"):
		return Invalid(field, "%s holds a line break or a tab: remove it", field)
	}
	if err := checkText(field, s); err != nil {
		return err
	}
	if strings.ContainsFunc(s, isUnseen) {
		return Invalid(field, "%s holds a character that nobody can see, or an unusual blank: remove it", field)
	}
	return nil
}

// isUnseen tells what makes two names that look the same: what is not shown, and
// blanks other than the one of the keyboard.
func isUnseen(r rune) bool {
	return unicode.In(r, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) ||
		unicode.IsSpace(r) && r != ' '
}

// checkText accepts text of several lines.
func checkText(field, s string) error {
	switch {
	case !utf8.ValidString(s):
		return Invalid(field, "%s is not valid UTF-8", field)
	case hasControl(s):
		return Invalid(field, "%s holds a control character: remove it", field)
	}
	return nil
}

// checkPathName accepts what can stand alone between two slashes.
func checkPathName(field, s string) error {
	switch {
	case strings.Contains(s, "/"):
		return Invalid(field, "%s holds a slash: use another character", field)
	case s == "." || s == "..":
		return Invalid(field, "%s is %q, which paths give a meaning of its own: choose another", field, s)
	}
	return nil
}
