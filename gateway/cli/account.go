package cli

import (
	"context"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// account is one as the API shows it.
type account struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	CreatedAt string `json:"createdAt"`
}

var accountHeader = []string{"ID", "NAME", "CREATED"}

func (a account) row() []string { return []string{a.ID, a.Name, day(a.CreatedAt)} }

func accountCommand() *cobra.Command {
	return noun("account", "Make and list accounts",
		"Make and list the accounts of a gateway that runs. An account is a brand: users,\napps and lambdas belong to one. They are made here only, not over the network.",
		false, createAccount, listAccounts)
}

func createAccount(o *options) *cobra.Command {
	var name string
	c := &cobra.Command{
		Use: "create ID --name NAME", Short: "Make an account; its id is all digits",
		Example: "  sluice account create 87654321 --name 'Second brand'",
		Args:    Arguments(cobra.ExactArgs(1)), ValidArgsFunction: cobra.NoFileCompletions,
		PreRunE: func(_ *cobra.Command, args []string) error {
			if name == "" {
				return usagef("--name is missing: say what the account is called")
			}
			if err := (&lambda.Account{ID: args[0], Name: name}).Validate(); err != nil {
				return Usage(err)
			}
			return nil
		},
		RunE: o.run(func(ctx context.Context, s *session) error {
			var a account
			answer, err := s.call(ctx, http.MethodPost, "/api/accounts", map[string]string{"id": s.args[0], "name": name}, &a)
			if err != nil {
				return err
			}
			return s.print(answer, accountHeader, a.row())
		}),
	}
	c.Flags().StringVar(&name, "name", "", "what people call the account")
	return c
}

func listAccounts(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List all accounts", Args: Arguments(cobra.NoArgs),
		RunE: o.run(func(ctx context.Context, s *session) error {
			var accounts []account
			answer, err := s.get(ctx, "/api/accounts", &accounts)
			if err != nil {
				return err
			}
			return s.print(answer, accountHeader, rows(accounts)...)
		}),
	}
}

// rows are those of a list.
func rows[T interface{ row() []string }](list []T) [][]string {
	table := make([][]string, len(list))
	for i, one := range list {
		table[i] = one.row()
	}
	return table
}
