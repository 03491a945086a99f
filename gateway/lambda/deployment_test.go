package lambda_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

var (
	allStates = []lambda.DeploymentState{
		lambda.BuildStart, lambda.BuildFinish, lambda.DeployStart, lambda.DeployFinish, lambda.BuildError, lambda.DeployError,
	}
	allEvents = []lambda.DeploymentEvent{lambda.Built, lambda.BuildFailed, lambda.RolledOut, lambda.Healthy, lambda.Unhealthy}
)

func TestDeploymentState(t *testing.T) {
	type step struct {
		from lambda.DeploymentState
		on   lambda.DeploymentEvent
	}
	// The whole table of contract/management.md §3. Every other pair is refused.
	table := map[step]lambda.DeploymentState{
		{lambda.BuildStart, lambda.Built}:       lambda.BuildFinish,
		{lambda.BuildStart, lambda.BuildFailed}: lambda.BuildError,
		{lambda.BuildFinish, lambda.RolledOut}:  lambda.DeployStart,
		{lambda.DeployStart, lambda.Healthy}:    lambda.DeployFinish,
		{lambda.DeployStart, lambda.Unhealthy}:  lambda.DeployError,
	}
	for _, from := range append(allStates, "", "Build start", "unknown") {
		for _, on := range append(allEvents, "", "unknown") {
			next, err := from.Next(on)
			want, ok := table[step{from, on}]
			if ok {
				require.NoError(t, err, "%s, %s", from, on)
				require.Equal(t, want, next, "%s, %s", from, on)
				continue
			}
			require.True(t, lambda.Is(err, lambda.KindConflict), "%s, %s: %v", from, on, err)
			require.Equal(t, from, next, "a refused event moves nothing")
		}
	}
	t.Run("the final states are those that no event leaves", func(t *testing.T) {
		for _, s := range allStates {
			leaves := false
			for _, e := range allEvents {
				_, err := s.Next(e)
				leaves = leaves || err == nil
			}
			require.Equal(t, !leaves, s.Final(), "%s", s)
		}
	})
	t.Run("every kind reaches Deploy Finish from its first state", func(t *testing.T) {
		for kind, events := range map[lambda.DeploymentKind][]lambda.DeploymentEvent{
			lambda.Deploy:   {lambda.Built, lambda.RolledOut, lambda.Healthy},
			lambda.Undeploy: {lambda.Healthy},
		} {
			s := kind.First()
			for _, e := range events {
				require.False(t, s.Final())
				var err error
				s, err = s.Next(e)
				require.NoError(t, err)
			}
			require.Equal(t, lambda.DeployFinish, s)
		}
	})
	t.Run("the states are spelled as clients read them", func(t *testing.T) {
		require.Equal(t, []lambda.DeploymentState{
			"Build Start", "Build Finish", "Deploy Start", "Deploy Finish", "Build Error", "Deploy Error",
		}, allStates)
	})
}

func TestStateOf(t *testing.T) {
	saved := &lambda.Lambda{Version: 3}
	live := func(version int) *lambda.Live { return &lambda.Live{Version: version} }
	last := func(kind lambda.DeploymentKind, s lambda.DeploymentState) *lambda.Deployment {
		return &lambda.Deployment{Kind: kind, State: s}
	}
	for name, c := range map[string]struct {
		live *lambda.Live
		last *lambda.Deployment
		want lambda.State
	}{
		"never deployed is a draft":                                        {nil, nil, lambda.Draft},
		"a first deployment under way is a draft":                          {nil, last(lambda.Deploy, lambda.BuildStart), lambda.Draft},
		"a first deployment that failed is a draft":                        {nil, last(lambda.Deploy, lambda.BuildError), lambda.Draft},
		"the saved version live is productive":                             {live(3), last(lambda.Deploy, lambda.DeployFinish), lambda.Productive},
		"another version live is modified":                                 {live(2), last(lambda.Deploy, lambda.DeployFinish), lambda.Modified},
		"a failed redeployment of an edited one is modified":               {live(2), last(lambda.Deploy, lambda.DeployError), lambda.Modified},
		"a redeployment under way keeps the state":                         {live(3), last(lambda.Deploy, lambda.DeployStart), lambda.Productive},
		"an undeployment under way is marked":                              {live(3), last(lambda.Undeploy, lambda.DeployStart), lambda.MarkedUndeployed},
		"an undeployment of an edited one is marked":                       {live(2), last(lambda.Undeploy, lambda.DeployStart), lambda.MarkedUndeployed},
		"undeployed is a draft":                                            {nil, last(lambda.Undeploy, lambda.DeployFinish), lambda.Draft},
		"live without a record of its deployment is judged by its version": {live(3), nil, lambda.Productive},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, lambda.StateOf(saved, c.live, c.last)) })
	}
}
