package cli

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

const profilesPath = "/configuration/le-users/profiles"

// profile is one as the API shows it.
type profile struct {
	Name      string   `json:"name"`
	Roles     []string `json:"roles"`
	Users     int      `json:"users"`
	UpdatedAt string   `json:"updatedAt"`
}

var profileHeader = []string{"NAME", "ROLES", "USERS", "CHANGED"}

func (p profile) row() []string {
	return []string{p.Name, orDash(p.Roles...), strconv.Itoa(p.Users), day(p.UpdatedAt)}
}

func profileCommand() *cobra.Command {
	return noun("profile", "Manage the profiles of an account",
		"Manage the profiles of an account. A profile is a set of roles with a name; users\nthat have it may what its roles may, at once when they change.",
		true, putProfile, listProfiles, removeProfile)
}

// checkProfile finds names that no profile has: some could not be a part of a
// path.
func checkProfile(name string) error {
	if err := (&lambda.Profile{Name: name, Roles: lambda.AllRoles}).Validate(); err != nil {
		return Usage(err)
	}
	return nil
}

// profilePath is where a profile of that name is, or would be.
func (s *session) profilePath(name string) string {
	return s.path + profilesPath + "/" + url.PathEscape(name)
}

func putProfile(o *options) *cobra.Command {
	var roles []string
	c := &cobra.Command{
		Use: "put NAME --role ROLE...", Short: "Make a profile, or give it these roles instead of those it had",
		Example: "  sluice profile put 'Agent Manager' --role FaaS-Admin --role FaaS-Developer",
		Args:    Arguments(cobra.ExactArgs(1)), ValidArgsFunction: o.completeFirst(profilesPath, "name"),
		PreRunE: func(_ *cobra.Command, args []string) error {
			if len(roles) == 0 {
				return usagef("--role is missing: give one or more of %s", roleNames())
			}
			return errors.Join(checkProfile(args[0]), checkRoles(roles))
		},
		RunE: o.run(func(ctx context.Context, s *session) error {
			var p profile
			answer, err := s.call(ctx, http.MethodPut, s.profilePath(s.args[0]), map[string]any{"roles": roles}, &p)
			if err != nil {
				return err
			}
			return s.print(answer, profileHeader, p.row())
		}),
	}
	roleFlag(c, &roles, "a role; may be repeated: "+roleNames())
	return c
}

func listProfiles(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the profiles of the account", Args: Arguments(cobra.NoArgs),
		RunE: o.run(func(ctx context.Context, s *session) error {
			var profiles []profile
			answer, err := s.get(ctx, s.path+profilesPath, &profiles)
			if err != nil {
				return err
			}
			return s.print(answer, profileHeader, rows(profiles)...)
		}),
	}
}

func removeProfile(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "Remove a profile that no user has",
		Args: Arguments(cobra.ExactArgs(1)), ValidArgsFunction: o.completeFirst(profilesPath, "name"),
		PreRunE: func(_ *cobra.Command, args []string) error { return checkProfile(args[0]) },
		RunE: o.run(func(ctx context.Context, s *session) error {
			return s.remove(ctx, s.profilePath(s.args[0]), "Profile %s is removed.", s.args[0])
		}),
	}
}
