package lambda_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// requireFault wants an error that names the field and says why.
func requireFault(t *testing.T, err error, field, says string) {
	t.Helper()
	e := lambda.As(err)
	require.NotNil(t, e, "want a lambda.Error, got %v", err)
	require.Equal(t, lambda.KindInvalid, e.Kind)
	require.Equal(t, field, e.Field)
	require.Contains(t, e.Message, says)
	require.LessOrEqual(t, len(e.Message), 600, "what was sent is cut")
}

func TestEffectiveRoles(t *testing.T) {
	own := []lambda.Role{lambda.RoleAdmin}
	profile := &lambda.Profile{Name: "p", Roles: []lambda.Role{lambda.RoleDeveloper, lambda.RoleInvocation}}
	require.Equal(t, own, lambda.EffectiveRoles(&lambda.User{Roles: own}, nil))
	require.Equal(t, own, lambda.EffectiveRoles(&lambda.User{Roles: own}, profile), "a profile that is not named does not count")
	require.Equal(t, profile.Roles, lambda.EffectiveRoles(&lambda.User{Profile: "p"}, profile))
	require.Equal(t, profile.Roles, lambda.EffectiveRoles(&lambda.User{Profile: "p", Roles: own}, profile), "beside a profile own roles do not count")
	require.Empty(t, lambda.EffectiveRoles(&lambda.User{Profile: "p", Roles: own}, nil), "who names a profile that is gone may do nothing")
}

func TestAccountsPeopleAndProfilesAreChecked(t *testing.T) {
	account := func(id, name string) error { return (&lambda.Account{ID: id, Name: name}).Validate() }
	profile := func(name string, roles ...lambda.Role) error {
		return (&lambda.Profile{Name: name, Roles: roles}).Validate()
	}
	user := func(login, profile string, roles ...lambda.Role) error {
		return (&lambda.User{LoginName: login, Profile: profile, Roles: roles}).Validate()
	}
	dev, admin := lambda.RoleDeveloper, lambda.RoleAdmin
	for name, err := range map[string]error{
		"an account":                        account("12345678", "Brand & Söhne, Inc."),
		"the longest account":               account(strings.Repeat("9", 20), strings.Repeat("ü", 128)),
		"a profile":                         profile("Agent Manager", admin, dev),
		"a user with roles":                 user("dev@example.com", "", dev),
		"a user with every role":            user("x", "", lambda.AllRoles...),
		"a user with a profile":             user("x", "Agent Manager"),
		"the longest login name":            user(strings.Repeat("x", 256), "", dev),
		"a login name that begins with dot": user(".x", "", dev),
	} {
		require.NoError(t, err, name)
	}
	for name, c := range map[string]struct {
		err         error
		field, says string
	}{
		"an account without id":                    {account("", "x"), "id", "1 to 20 digits"},
		"an account of letters":                    {account("le123", "x"), "id", "no account id"},
		"an account id too long":                   {account(strings.Repeat("1", 21), "x"), "id", "1 to 20 digits"},
		"an account without name":                  {account("1", ""), "name", "name is missing"},
		"an account name too long":                 {account("1", strings.Repeat("ü", 129)), "name", "has 129 characters: the limit is 128"},
		"a name of blanks":                         {account("1", " "), "name", "begins or ends with a blank"},
		"a name of two lines":                      {account("1", "a\nb"), "name", "line break"},
		"a name that hides text":                   {account("1", "a\u202eb"), "name", "control character"},
		"a name with an escape":                    {account("1", "a\x1b[31m"), "name", "control character"},
		"a name that is no UTF-8":                  {account("1", "a\xff"), "name", "UTF-8"},
		"a profile without name":                   {profile("", admin), "name", "missing"},
		"a profile name too long":                  {profile(strings.Repeat("p", 65), admin), "name", "65 characters: the limit is 64"},
		"a profile name with a slash":              {profile("a/b", admin), "name", "slash"},
		"a profile name that is a path":            {profile("..", admin), "name", `".."`},
		"a profile without roles":                  {profile("p"), "roles", "roles is empty: name one or more of LPA, FaaS-Admin, FaaS-Developer, FaaS-Invocation"},
		"a role that is none":                      {profile("p", "faas-admin"), "roles", `"faas-admin", which is no role`},
		"a role twice":                             {profile("p", admin, dev, admin), "roles", "FaaS-Admin twice"},
		"a user without login name":                {user("", "", dev), "loginName", "missing"},
		"a login name too long":                    {user(strings.Repeat("ü", 129), "", dev), "loginName", "258 bytes: the limit is 256"},
		"a login name with a slash":                {user("a/b", "", dev), "loginName", "slash"},
		"a login name that looks like another":     {user("dev\u200b@example.com", "", dev), "loginName", "nobody can see"},
		"a login name with a soft hyphen":          {user("d\u00adev", "", dev), "loginName", "nobody can see"},
		"a login name with a filler":               {user("dev\u3164", "", dev), "loginName", "nobody can see"},
		"a login name with a variation selector":   {user("dev\ufe0f", "", dev), "loginName", "nobody can see"},
		"a profile name with a blank like another": {profile("Agent\u00a0Manager", admin), "name", "unusual blank"},
		"a login name that is a path":              {user(".", "", dev), "loginName", `"."`},
		"a user who is nothing":                    {user("x", ""), "roles", "roles and profile are missing"},
		"a user who is too much":                   {user("x", "p", dev), "roles", "both given"},
		"a user with a role of no one":             {user("x", "", lambda.Role(strings.Repeat("r", 5000))), "roles", "no role"},
	} {
		t.Run(name, func(t *testing.T) { requireFault(t, c.err, c.field, c.says) })
	}
}
