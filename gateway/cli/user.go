package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

const usersPath = "/configuration/le-users/users"

// user is one as the API shows it.
type user struct {
	ID             string   `json:"id"`
	LoginName      string   `json:"loginName"`
	Profile        string   `json:"profile"`
	EffectiveRoles []string `json:"effectiveRoles"`
	CreatedAt      string   `json:"createdAt"`
	Password       string   `json:"password"`
}

var userHeader = []string{"LOGIN NAME", "ID", "PROFILE", "ROLES", "CREATED"}

func (u user) row() []string {
	return []string{u.LoginName, u.ID, orDash(u.Profile), orDash(u.EffectiveRoles...), day(u.CreatedAt)}
}

func userCommand() *cobra.Command {
	return noun("user", "Manage the users of an account",
		"Manage the users of an account. A user has roles ("+roleNames()+"),\nor a profile that has them. A change counts at once, under the tokens that are out.",
		true, addUser, listUsers, setRole, setProfile, resetPassword, removeUser)
}

func roleNames() string {
	var names []string
	for _, r := range lambda.AllRoles {
		names = append(names, string(r))
	}
	return strings.Join(names, ", ")
}

// checkRoles finds what is no role before anything is asked of the gateway.
func checkRoles(roles []string) error {
	for _, r := range roles {
		if !lambda.Role(r).Valid() {
			return usagef("%.50q is no role: use %s", r, roleNames())
		}
	}
	return nil
}

// completeRoles suggests the roles that are not there yet.
func completeRoles(given []string) ([]string, cobra.ShellCompDirective) {
	var words []string
	for _, r := range lambda.AllRoles {
		if !slices.Contains(given, string(r)) {
			words = append(words, string(r))
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

func roleFlag(c *cobra.Command, roles *[]string, about string) {
	c.Flags().StringSliceVar(roles, "role", nil, about)
	_ = c.RegisterFlagCompletionFunc("role", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return completeRoles(*roles)
	})
}

func passwordFlag(c *cobra.Command, file *string) {
	c.Flags().StringVar(file, "password-file", "", "file whose first line is the password, - for stdin (default: one is made up)")
}

// passwordFrom reads a password, which an argument must not hold: others can see
// the arguments of a process.
func passwordFrom(c *cobra.Command, file string) (string, error) {
	text, err := readInput(c, file)
	if err != nil {
		return "", err
	}
	password, more, _ := strings.Cut(string(text), "\n")
	password = strings.TrimSuffix(password, "\r")
	switch {
	case strings.TrimSpace(more) != "":
		return "", usagef("%s has more than one line: a password is one", file)
	case password == "":
		return "", usagef("%s holds no password", file)
	case !utf8.ValidString(password):
		return "", usagef("%s is not UTF-8", file)
	}
	return password, nil
}

// maxInput is more than any input of these commands needs.
const maxInput = 64 << 10

// readInput reads a file, or stdin for -.
func readInput(c *cobra.Command, file string) ([]byte, error) {
	in := c.InOrStdin()
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, Usage(err)
		}
		defer func() { _ = f.Close() }() // it was only read
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxInput+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", file, err)
	case len(text) > maxInput:
		return nil, usagef("%s is larger than %d bytes", file, maxInput)
	}
	return text, nil
}

func addUser(o *options) *cobra.Command {
	var roles []string
	var profile, file string
	c := &cobra.Command{
		Use: "add LOGIN-NAME (--role ROLE... | --profile NAME) [--password-file FILE]", Short: "Make a user, and print its password if it is made up",
		Example: "  sluice user add dev@example.com --role FaaS-Developer\n  sluice user add ops@example.com --role FaaS-Admin --role FaaS-Developer",
		Args:    Arguments(cobra.ExactArgs(1)), ValidArgsFunction: cobra.NoFileCompletions,
		PreRunE: func(*cobra.Command, []string) error {
			if (len(roles) > 0) == (profile != "") {
				return usagef("give either --role (%s) or --profile", roleNames())
			}
			return checkRoles(roles)
		},
		RunE: o.run(func(ctx context.Context, s *session) error {
			body := map[string]any{"loginName": s.args[0]}
			if profile != "" {
				body["profile"] = profile
			} else {
				body["roles"] = roles
			}
			if err := s.withPassword(body, file); err != nil {
				return err
			}
			var u user
			answer, err := s.call(ctx, http.MethodPost, s.path+usersPath, body, &u)
			if err != nil {
				return err
			}
			return s.printPassword(answer, u)
		}),
	}
	roleFlag(c, &roles, "a role; may be repeated: "+roleNames())
	c.Flags().StringVar(&profile, "profile", "", "a profile of the account, instead of roles")
	_ = c.RegisterFlagCompletionFunc("profile", o.completeOf(profilesPath, "name"))
	passwordFlag(c, &file)
	return c
}

// withPassword adds the password of a file, if one is named.
func (s *session) withPassword(body map[string]any, file string) error {
	if file == "" {
		return nil
	}
	password, err := passwordFrom(s.command, file)
	body["password"] = password
	return err
}

// printPassword shows a user, and the password if it was made up.
func (s *session) printPassword(answer json.RawMessage, u user) error {
	header, row := userHeader, u.row()
	if u.Password != "" {
		header, row = append(slices.Clone(header), "PASSWORD"), append(row, u.Password)
		s.note("The password is shown this once: keep it.")
	}
	return s.print(answer, header, row)
}

func listUsers(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the users of the account", Args: Arguments(cobra.NoArgs),
		RunE: o.run(func(ctx context.Context, s *session) error {
			users, answer, err := s.users(ctx)
			if err != nil {
				return err
			}
			return s.print(answer, userHeader, rows(users)...)
		}),
	}
}

func (s *session) users(ctx context.Context) (users []user, answer json.RawMessage, err error) {
	answer, err = s.get(ctx, s.path+usersPath, &users)
	return users, answer, err
}

// userPath finds the user of a login name, or of an id.
func (s *session) userPath(ctx context.Context, name string) (string, error) {
	users, _, err := s.users(ctx)
	if err != nil {
		return "", err
	}
	found := slices.IndexFunc(users, func(u user) bool { return u.LoginName == name })
	if found < 0 {
		found = slices.IndexFunc(users, func(u user) bool { return u.ID == name })
	}
	if found < 0 {
		return "", fmt.Errorf("there is no user %q: `sluice user list` shows all", name)
	}
	return s.path + usersPath + "/" + users[found].ID, nil
}

// change puts something in the place of a user's roles.
func (s *session) change(ctx context.Context, body any) error {
	path, err := s.userPath(ctx, s.args[0])
	if err != nil {
		return err
	}
	var u user
	answer, err := s.call(ctx, http.MethodPut, path, body, &u)
	if err != nil {
		return err
	}
	return s.print(answer, userHeader, u.row())
}

func setRole(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "set-role LOGIN-NAME ROLE...", Short: "Give a user these roles, instead of those it had",
		Example: "  sluice user set-role dev@example.com FaaS-Admin FaaS-Developer",
		Args:    Arguments(cobra.MinimumNArgs(2)),
		ValidArgsFunction: func(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return completeRoles(args[1:])
			}
			return o.completeFirst(usersPath, "loginName")(c, args, word)
		},
		PreRunE: func(_ *cobra.Command, args []string) error { return checkRoles(args[1:]) },
		RunE: o.run(func(ctx context.Context, s *session) error {
			return s.change(ctx, map[string]any{"roles": s.args[1:]})
		}),
	}
}

func setProfile(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "set-profile LOGIN-NAME PROFILE", Short: "Give a user a profile, instead of what it had",
		Args: Arguments(cobra.ExactArgs(2)),
		ValidArgsFunction: func(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return o.completeOf(profilesPath, "name")(c, args, word)
			}
			return o.completeFirst(usersPath, "loginName")(c, args, word)
		},
		PreRunE: func(_ *cobra.Command, args []string) error { return checkProfile(args[1]) },
		RunE: o.run(func(ctx context.Context, s *session) error {
			return s.change(ctx, map[string]any{"profile": s.args[1]})
		}),
	}
}

func resetPassword(o *options) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "reset-password LOGIN-NAME [--password-file FILE]", Short: "Give a user a new password; its sessions and tokens end",
		Args: Arguments(cobra.ExactArgs(1)), ValidArgsFunction: o.completeFirst(usersPath, "loginName"),
		RunE: o.run(func(ctx context.Context, s *session) error {
			body := map[string]any{}
			if err := s.withPassword(body, file); err != nil {
				return err
			}
			path, err := s.userPath(ctx, s.args[0])
			if err != nil {
				return err
			}
			var u user
			answer, err := s.call(ctx, http.MethodPost, path+"/password", body, &u)
			if err != nil {
				return err
			}
			return s.printPassword(answer, u)
		}),
	}
	passwordFlag(c, &file)
	return c
}

func removeUser(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "remove LOGIN-NAME", Short: "Remove a user; its sessions and tokens end",
		Args: Arguments(cobra.ExactArgs(1)), ValidArgsFunction: o.completeFirst(usersPath, "loginName"),
		RunE: o.run(func(ctx context.Context, s *session) error {
			path, err := s.userPath(ctx, s.args[0])
			if err != nil {
				return err
			}
			return s.remove(ctx, path, "User %s is removed.", s.args[0])
		}),
	}
}

// remove deletes what is at path.
func (s *session) remove(ctx context.Context, path, format string, args ...any) error {
	var message map[string]string
	answer, err := s.call(ctx, http.MethodDelete, path, nil, &message)
	if err != nil {
		return err
	}
	return s.done(answer, format, args...)
}
