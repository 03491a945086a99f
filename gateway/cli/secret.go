package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/sluice-faas/sluice/gateway/secret"
)

const secretsPath = "/secrets"

// keptSecret is one as the API shows it, but for its value: not even the encrypted
// form is of use here.
type keptSecret struct {
	Key       string `json:"key"`
	Type      string `json:"type"`
	Version   int    `json:"version"`
	CreatedAt string `json:"createdAt"`
	CreatedBy string `json:"createdBy"`
	UpdatedAt string `json:"updatedAt"`
	UpdatedBy string `json:"updatedBy"`
}

var secretHeader = []string{"KEY", "TYPE", "CHANGED", "BY"}

func (k keptSecret) row() []string {
	return []string{k.Key, strings.ToLower(k.Type), day(k.UpdatedAt), orDash(k.UpdatedBy)}
}

func secretCommand() *cobra.Command {
	return noun("secret", "Manage the secrets of an account",
		"Manage the secrets of an account, and those that only the operator may set:\n"+strings.Join(secret.Hidden(), " and ")+".\nNo command shows a value.",
		true, setSecret, listSecrets, deleteSecret)
}

// The types that a value may be said to have.
var secretTypes = []string{"string", "number", "json"}

func setSecret(o *options) *cobra.Command {
	var file, kind string
	c := &cobra.Command{
		Use: "set KEY [--file FILE] [--type TYPE]", Short: "Make a secret, or give it this value instead of the one it had",
		Long: `Make a secret, or give it this value instead of the one it had.

The value comes from stdin, or from a file: others can see the arguments of a
process. A JSON object or array is kept as one, any other text as a string,
without the line break at its end.`,
		Example: `  echo '{"consumerKey": "…", "consumerSecret": "…", "token": "…", "tokenSecret": "…"}' |
    sluice secret set lp-faas-default-app-key
  sluice secret set lp-faas-orchestrator-app-key --file key.json`,
		Args: Arguments(cobra.ExactArgs(1)), ValidArgsFunction: o.completeFirst(secretsPath, "key"),
		PreRunE: func(_ *cobra.Command, args []string) error { return checkSecret(args[0], kind) },
		RunE: o.run(func(ctx context.Context, s *session) error {
			text, err := readInput(s.command, file)
			if err != nil {
				return err
			}
			value, err := secretValue(text, kind)
			if err != nil {
				return err
			}
			return s.setSecret(ctx, s.args[0], value)
		}),
	}
	c.Flags().StringVar(&file, "file", "-", "file with the value, - for stdin")
	c.Flags().StringVar(&kind, "type", "", "what the value is: string, number or json (default: json for an object or array, else string)")
	suggest(c, "type", secretTypes...)
	return c
}

// setSecret changes the secret, or makes it if there is none.
func (s *session) setSecret(ctx context.Context, key string, value json.RawMessage) error {
	var k keptSecret
	_, err := s.call(ctx, http.MethodPut, s.path+secretsPath+"/"+key, map[string]any{"value": value}, &k)
	if no := (*refused)(nil); errors.As(err, &no) && no.status == http.StatusNotFound {
		_, err = s.call(ctx, http.MethodPost, s.path+secretsPath, map[string]any{"key": key, "value": value}, &k)
	}
	if err != nil {
		return err
	}
	answer, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return s.print(answer, secretHeader, k.row())
}

// checkSecret finds keys that no secret has: some could not be a part of a path.
func checkSecret(key, kind string) error {
	if err := secret.CheckKey(key); err != nil {
		return Usage(err)
	}
	switch kind {
	case "", "string", "number", "json":
		return nil
	}
	return usagef("--type %.20s: use %s", kind, strings.Join(secretTypes, ", "))
}

// secretValue makes what was read the JSON of a value. Its errors hold no part of
// it.
func secretValue(text []byte, kind string) (json.RawMessage, error) {
	if !utf8.Valid(text) {
		return nil, usagef("the value is not UTF-8")
	}
	plain := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	trimmed := bytes.TrimSpace(text)
	if len(trimmed) == 0 {
		return nil, usagef("there is no value: give it on stdin, or name a file that holds it with --file")
	}
	looks := trimmed[0] == '{' || trimmed[0] == '['
	switch {
	case kind == "string" || kind == "" && !looks:
		return json.Marshal(plain)
	case kind == "number":
		if c := trimmed[0]; !json.Valid(trimmed) || c != '-' && (c < '0' || c > '9') {
			return nil, usagef("the value is no number: give one, or another --type")
		}
	case !looks || !json.Valid(trimmed):
		return nil, usagef("the value is no JSON object or array: mend it, or say --type string if it is to be kept as it is")
	}
	return trimmed, nil
}

func listSecrets(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the secrets of the account, without their values", Args: Arguments(cobra.NoArgs),
		RunE: o.run(func(ctx context.Context, s *session) error {
			secrets := []keptSecret{}
			if _, err := s.get(ctx, s.path+secretsPath, &secrets); err != nil {
				return err
			}
			answer, err := json.Marshal(secrets)
			if err != nil {
				return err
			}
			return s.print(answer, secretHeader, rows(secrets)...)
		}),
	}
}

func deleteSecret(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "delete KEY", Short: "Delete a secret for good",
		Args: Arguments(cobra.ExactArgs(1)), ValidArgsFunction: o.completeFirst(secretsPath, "key"),
		PreRunE: func(_ *cobra.Command, args []string) error { return checkSecret(args[0], "") },
		RunE: o.run(func(ctx context.Context, s *session) error {
			return s.remove(ctx, s.path+secretsPath+"/"+s.args[0], "Secret %s is deleted.", s.args[0])
		}),
	}
}
