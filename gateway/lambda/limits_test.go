package lambda_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

func TestLimits(t *testing.T) {
	t.Run("every default is within its bounds, and has a name of its own", func(t *testing.T) {
		seen := map[string]bool{}
		for _, row := range lambda.LimitTable {
			require.False(t, seen[row.Name], row.Name)
			seen[row.Name] = true
			v := row.Of(lambda.DefaultLimits())
			require.GreaterOrEqual(t, v, row.Least, row.Name)
			require.LessOrEqual(t, v, row.Most, row.Name)
			require.NotEmpty(t, row.About, row.Name)
		}
	})
	t.Run("a setting changes its limit and no other", func(t *testing.T) {
		l, err := lambda.ParseLimits([]string{"code=500", "access-token=2h", "lambdas=7", "lambdas=0"})
		require.NoError(t, err)
		changed := map[string]int64{"code": 500, "access-token": 7200, "lambdas": 0}
		for _, row := range lambda.LimitTable {
			want, ok := changed[row.Name]
			if !ok {
				want = row.Of(lambda.DefaultLimits())
			}
			require.Equal(t, want, row.Of(l), row.Name)
		}
	})
	t.Run("a refresh token lives as long as an access token", func(t *testing.T) {
		_, err := lambda.ParseLimits([]string{"refresh-token=1h"})
		require.ErrorContains(t, err, "refresh-token=1h0m0s is shorter than access-token=8h0m0s")
		_, err = lambda.ParseLimits([]string{"refresh-token=1h", "access-token=30m"})
		require.NoError(t, err)
	})
	t.Run("everything that is wrong is named", func(t *testing.T) {
		_, err := lambda.ParseLimits([]string{"code", "nothing=1", "code=9999999", "run-time=1.5s", "run-time=20", "memory=x"})
		for _, says := range []string{"code=:", `"nothing=1" names no limit`, "code=9999999: give a number from 100 to 200000", "run-time=1.5s: give whole seconds", "run-time=20:", "memory=x"} {
			require.ErrorContains(t, err, says)
		}
	})
}
