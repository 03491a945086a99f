package lambda_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

func TestAScheduleIsDueAfterItsLastRunOrItsOwnBegin(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(1_800_000_000+int64(s), 0) }
	c := lambda.Schedule{ID: "a", From: at(0)}
	for name, x := range map[string]struct {
		runs *lambda.Runs
		want int
	}{
		"none so far":                        {nil, 0},
		"the last":                           {&lambda.Runs{ScheduleID: "a", From: at(0), Due: at(600)}, 600},
		"of another schedule":                {&lambda.Runs{ScheduleID: "b", From: at(0), Due: at(600)}, 0},
		"before it was changed":              {&lambda.Runs{ScheduleID: "a", From: at(-9), Due: at(-5)}, 0},
		"of a clock that was a little ahead": {&lambda.Runs{ScheduleID: "a", From: at(-9), Due: at(30)}, 30},
		"of a clock that was years ahead":    {&lambda.Runs{ScheduleID: "a", From: at(-9), Due: at(9_000_000)}, 0},
		"of a clock that is years ahead":     {&lambda.Runs{ScheduleID: "a", From: at(0), Due: at(9_000_000)}, 9_000_000},
	} {
		require.True(t, at(x.want).Equal(c.After(x.runs)), name)
	}
}
