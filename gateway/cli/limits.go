package cli

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// limit is one as the API shows it.
type limit struct {
	Name  string      `json:"name"`
	Value *int64      `json:"value"`
	Unit  lambda.Unit `json:"unit"`
	About string      `json:"about"`
}

func (l limit) row() []string {
	value := "none"
	if l.Value != nil {
		value = strconv.FormatInt(*l.Value, 10)
	}
	unit := string(l.Unit)
	if l.Unit == lambda.UnitCount {
		unit = ""
	}
	return []string{l.Name, value, unit, l.About}
}

func limitsCommand() *cobra.Command {
	return noun("limits", "Show the limits of a gateway",
		"Show every limit of a gateway that runs. `sluice dev --limit name=value` changes one.",
		false, listLimits)
}

func listLimits(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List all limits", Args: Arguments(cobra.NoArgs),
		RunE: o.run(func(ctx context.Context, s *session) error {
			var answer struct {
				Limits []limit `json:"limits"`
			}
			raw, err := s.get(ctx, "/limits", &answer)
			if err != nil {
				return err
			}
			return s.print(raw, []string{"LIMIT", "VALUE", "UNIT", "OF"}, rows(answer.Limits)...)
		}),
	}
}
