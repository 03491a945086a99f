package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/spf13/cobra"
)

const appsPath = "/configuration/app-install/installations"

// app is one as the API shows it.
type app struct {
	ClientID     string   `json:"client_id"`
	ClientSecret string   `json:"client_secret"`
	ClientName   string   `json:"client_name"`
	GrantTypes   []string `json:"grant_types"`
	Scope        string   `json:"scope"`
	CreatedAt    string   `json:"createdAt"`
}

var appHeader = []string{"CLIENT NAME", "CLIENT ID", "GRANT TYPES", "SCOPE", "CREATED"}

func (a app) row() []string {
	return []string{a.ClientName, a.ClientID, orDash(a.GrantTypes...), orDash(a.Scope), day(a.CreatedAt)}
}

func appCommand() *cobra.Command {
	return noun("app", "Manage the OAuth 2.0 apps of an account",
		"Manage the OAuth 2.0 apps that are installed on an account. An app gets tokens\nwith its client id and secret: of its own, or for users who log in.",
		true, installApp, listApps, uninstallApp, rotateSecret)
}

func installApp(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "install FILE", Short: "Install an app from its JSON (- for stdin), and print its id and secret",
		Long: `Install an app from a JSON file (- for stdin), and print its client id and secret.

Fields: client_name (required), grant_types (required: authorization_code,
refresh_token, client_credentials), redirect_uris (for authorization_code),
response_types (code, token, id_token, "id_token token"), scope, display_name,
description, logo_uri, entry_uri, quick_launch_enabled, capabilities.`,
		Example: `  echo '{"client_name": "my-faas-caller", "grant_types": ["client_credentials"],
    "scope": "faas.lambda.invoke"}' | sluice app install -`,
		Args: Arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return []string{"json"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: o.run(func(ctx context.Context, s *session) error {
			text, err := readInput(s.command, s.args[0])
			if err != nil {
				return err
			}
			var a app
			answer, err := s.call(ctx, http.MethodPost, s.path+appsPath, text, &a)
			if err != nil {
				return fmt.Errorf("%s: %w", s.args[0], err)
			}
			return s.printSecret(answer, a)
		}),
	}
}

// printSecret shows an app and its new secret.
func (s *session) printSecret(answer json.RawMessage, a app) error {
	s.note("The secret is shown this once: keep it.")
	return s.print(answer, append(slices.Clone(appHeader), "CLIENT SECRET"), append(a.row(), a.ClientSecret))
}

func listApps(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the apps of the account", Args: Arguments(cobra.NoArgs),
		RunE: o.run(func(ctx context.Context, s *session) error {
			apps, answer, err := s.apps(ctx)
			if err != nil {
				return err
			}
			return s.print(answer, appHeader, rows(apps)...)
		}),
	}
}

func (s *session) apps(ctx context.Context) (apps []app, answer json.RawMessage, err error) {
	answer, err = s.get(ctx, s.path+appsPath, &apps)
	return apps, answer, err
}

// appPath finds the app of a client id, or of a client name.
func (s *session) appPath(ctx context.Context, name string) (string, error) {
	apps, _, err := s.apps(ctx)
	if err != nil {
		return "", err
	}
	found := slices.IndexFunc(apps, func(a app) bool { return a.ClientID == name })
	if found < 0 {
		found = slices.IndexFunc(apps, func(a app) bool { return a.ClientName == name })
	}
	if found < 0 {
		return "", fmt.Errorf("there is no app %q: `sluice app list` shows all", name)
	}
	return s.path + appsPath + "/" + apps[found].ClientID, nil
}

func uninstallApp(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "uninstall CLIENT-ID|CLIENT-NAME", Short: "Uninstall an app; its tokens are worth nothing any more",
		Args: Arguments(cobra.ExactArgs(1)), ValidArgsFunction: o.completeFirst(appsPath, "client_name"),
		RunE: o.run(func(ctx context.Context, s *session) error {
			path, err := s.appPath(ctx, s.args[0])
			if err != nil {
				return err
			}
			return s.remove(ctx, path, "App %s is uninstalled.", s.args[0])
		}),
	}
}

func rotateSecret(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "rotate-secret CLIENT-ID|CLIENT-NAME", Short: "Give an app a new secret, and print it; the old one is worth nothing any more",
		Args: Arguments(cobra.ExactArgs(1)), ValidArgsFunction: o.completeFirst(appsPath, "client_name"),
		RunE: o.run(func(ctx context.Context, s *session) error {
			path, err := s.appPath(ctx, s.args[0])
			if err != nil {
				return err
			}
			var a app
			answer, err := s.call(ctx, http.MethodPost, path+"/secret", nil, &a)
			if err != nil {
				return err
			}
			return s.printSecret(answer, a)
		}),
	}
}
