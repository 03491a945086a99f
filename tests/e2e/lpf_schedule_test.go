package e2e_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/sdk/client"
)

const lpfScheduleHelp = "Try this: Use \"lpf create:schedule --help\" for more information.\nReference: https://github.com/LivePersonInc/faas-cli#create\n"

func TestThePublicCLICreatesSchedules(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, t.TempDir(), append([]string{"--no-sample", "--limit", "schedules=2"}, lpfDomains...)...)
	cli := newLPF(t, g)
	cli.login(t, developerRole)
	cli.login(t, invocationRole)
	author := developer(t, g)
	d := cli.desk(t, developerRole)
	create := func(function, cron string) ending { return d.run(t, "create:schedule", "-f", function, "-c", cron) }
	l := deployed(t, author, "lpf_scheduled", versioned("1"))

	t.Run("of a deployed function", func(t *testing.T) {
		got := create(l.Name, "0 6 1 1 *")
		list := schedulesOf(t, author)
		require.Len(t, list, 1)
		requireEnding(t, got, 0, "The schedule has been created. Next execution: "+list[0].Next.UTC().Format("2006-01-02T15:04:05.000Z")+"\n")
		user, err := g.Info.User(developerRole)
		require.NoError(t, err)
		require.Equal(t, l.ID, list[0].LambdaID)
		require.Equal(t, "0 6 1 1 *", list[0].Cron)
		require.True(t, list[0].Active)
		require.Equal(t, user.Username, list[0].CreatedBy)
		require.Equal(t, time.January, list[0].Next.Month())
	})
	t.Run("the line that it gives as an example", func(t *testing.T) {
		other := deployed(t, author, "lpf_scheduled", versioned("1"))
		got := create(other.Name, "*/3 * * 0-12 *")
		require.Zero(t, got.code, "%+v", got)
		require.True(t, strings.HasPrefix(got.stdout, "The schedule has been created. Next execution: 20"), got.stdout)
	})
	t.Run("one more than there may be", func(t *testing.T) {
		third := deployed(t, author, "lpf_scheduled", versioned("1"))
		requireEnding(t, create(third.Name, "* * * * *"), 1, "Error: the account has 2 schedules: the limit is 2, delete one first\n"+lpfScheduleHelp)
	})
	t.Run("a second one of a function", func(t *testing.T) {
		requireEnding(t, create(l.Name, "* * * * *"), 1, "Error: lambda "+l.Name+" has a schedule already: change that one, or delete it first\n"+lpfScheduleHelp)
	})
	t.Run("a line that is none", func(t *testing.T) {
		requireEnding(t, create(l.Name, "* * 32 * *"), 1,
			`Error: cronExpression has "32" as its day of month: "32" is no value of it; give *, or values, ranges and steps of 1-31, such as 1, 1-7 or 1,15`+"\n"+lpfScheduleHelp)
		requireEnding(t, create(l.Name, "@hourly"), 1, `Error: cronExpression "@hourly" is no line of 5 fields: write 0 * * * *`+"\n"+lpfScheduleHelp)
	})
	draft, err := author.CreateLambda(t.Context(), client.LambdaSpec{Name: newName("lpf_draft"), Description: "is not deployed", Code: versioned("1")})
	require.NoError(t, err)
	for what, name := range map[string]string{"a function that is not deployed": draft.Name, "a function that nobody knows": "lpf_nobody"} {
		t.Run(what, func(t *testing.T) {
			r := d.start(t, "create:schedule", "-f", name, "-c", "* * * * *")
			r.says(t, "Choose a deployed lambda") // another
			r.interrupt(t)
			got := r.wait(t)
			require.Equal(t, 130, got.code)
			require.Contains(t, got.stdout, name+" was not found as a deployed lambda on the account.")
		})
	}
	t.Run("by a user who may invoke only", func(t *testing.T) {
		// It reads the functions first, which such a user may not.
		got := cli.desk(t, invocationRole).run(t, "create:schedule", "-f", l.Name, "-c", "* * * * *")
		require.Equal(t, 1, got.code)
		require.Contains(t, got.stdout, "needs the permission ReadLambdas, which this token does not carry")
	})
	require.Len(t, schedulesOf(t, author), 2)
}
