package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/sdk/client"
)

// listening makes a lambda of an event, bound to skills, and deploys it.
func listening(t *testing.T, author *client.Client, word, event, code string, skills ...string) *client.Lambda {
	t.Helper()
	l, err := author.CreateLambda(t.Context(), client.LambdaSpec{
		Name: newName(word), Description: "made by " + t.Name(), EventID: event, Skills: skills, Code: code,
	})
	require.NoError(t, err)
	l, err = author.DeployAndWait(t.Context(), l.ID)
	require.NoError(t, err)
	seen(t, author, event, true, skills...)
	return l
}

// seen waits until calls see, or do not see, a lambda of an event, which follows
// the end of a deployment by a moment.
func seen(t *testing.T, c *client.Client, event string, want bool, skills ...string) {
	t.Helper()
	skill := ""
	if len(skills) > 0 {
		skill = skills[0]
	}
	require.Eventually(t, func() bool {
		implemented, err := c.IsImplemented(t.Context(), event, client.WithSkill(skill))
		require.NoError(t, err)
		return implemented == want
	}, 20*time.Second, 5*time.Millisecond)
}

// counts tells how often it has run in its process, what it was called with and
// under which id.
const counts = `let runs = 0
	function lambda(input, callback) { runs++; callback(null, { runs, input }) }`

func TestInvokeByEvent(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, t.TempDir(), "--no-sample", "--limit", "run-time="+runLimit.String())
	author, caller := developer(t, g), brand(t, g)
	const commands, end = "conversational_command", "controllerbot_messaging_conversation_end"
	fire := func(event string, options ...client.InvokeOption) []client.EventResult {
		t.Helper()
		results, err := caller.InvokeEvent(t.Context(), event, map[string]int{"n": 1}, options...)
		require.NoError(t, err)
		return results
	}
	require.Empty(t, fire(commands))
	require.Empty(t, fire("no_such_event"))

	first := listening(t, author, "a_first", commands, counts)
	failing := listening(t, author, "b_failing", commands, `function lambda(input, callback) { null.x }`)
	silent := listening(t, author, "c_silent", commands, `function lambda(input, callback) { if (input.payload.n > 1) callback(null, 'late') }`)
	sales := listening(t, author, "d_sales", commands, versioned("sales"), "sales")

	t.Run("every lambda runs with the same call, and a failing one hurts no other", func(t *testing.T) {
		results := fire(commands, client.WithHeaders(client.Pair{Key: "k", Value: "v"}))
		require.Len(t, results, 4)
		for i, l := range []*client.Lambda{first, failing, silent, sales} {
			require.Equal(t, l.ID, results[i].LambdaID)
			require.WithinDuration(t, time.Now(), results[i].At, time.Minute)
		}
		require.JSONEq(t, `{"runs":1,"input":{"headers":[{"key":"k","value":"v"}],"payload":{"n":1}}}`, string(results[0].Result))
		require.Contains(t, string(results[1].Result), `"errorCode":"com.liveperson.faas.handler.runtime-exception"`)
		require.JSONEq(t, `{"errorCode":"com.liveperson.faas.handler.executiontime-exceeded","errorMsg":"Lambda Execution is taking too long"}`, string(results[2].Result))
	})
	t.Run("a developer gets no other answer than a brand", func(t *testing.T) {
		c := newCaller(t, g, sessionToken(t, g, "FaaS-Developer"))
		r := c.send(t, http.MethodPost, "/api/account/"+c.account+"/events/"+commands+"/invoke?v=1&skillId=", []byte(`{"payload":{"n":2}}`))
		require.Equal(t, http.StatusOK, r.status, r.body)
		var results []client.EventResult
		require.NoError(t, json.Unmarshal([]byte(r.body), &results))
		require.Len(t, results, 4)
		require.JSONEq(t, `"late"`, string(results[2].Result))
	})
	_, err := author.UndeployAndWait(t.Context(), silent.ID)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(fire(commands)) == 3 }, 20*time.Second, 5*time.Millisecond, "an undeployed lambda is not called")

	t.Run("a repetition with the same id gets the same answer", func(t *testing.T) {
		id := client.WithRequestID(uuid.NewString())
		once := fire(commands, id)
		require.Equal(t, once, fire(commands, id))
		require.NotEqual(t, once, fire(commands))
		require.NotEqual(t, once, fire(commands, id, client.WithSkill("sales")), "for a skill it is another call")
	})
	t.Run("a skill's call runs the lambdas of that skill and those of none", func(t *testing.T) {
		require.Len(t, fire(commands, client.WithSkill("sales")), 3)
		require.Len(t, fire(commands, client.WithSkill("support")), 2)
		sales.Skills = []string{"support"}
		changed, stored, err := author.UpdateLambda(t.Context(), sales)
		require.NoError(t, err)
		require.True(t, stored)
		require.Equal(t, []string{"support"}, changed.Skills)
		require.Len(t, fire(commands, client.WithSkill("support")), 3, "at once, without a deployment")
		require.Len(t, fire(commands, client.WithSkill("sales")), 2)

		first, err := author.Lambda(t.Context(), first.ID)
		require.NoError(t, err)
		first.Skills = []string{"other", "support"}
		_, _, err = author.UpdateLambda(t.Context(), first)
		require.True(t, client.IsCode(err, client.CodeSkillConflict), "%v", err)
		require.ErrorContains(t, err, sales.Name)
	})
	t.Run("the failure of a single lambda is the answer", func(t *testing.T) {
		listening(t, author, "ends", end, givesUp)
		_, err := caller.InvokeEvent(t.Context(), end, nil)
		require.True(t, client.IsStatus(err, client.StatusLambdaFailed), "%v", err)
		require.True(t, client.IsCode(err, client.CodeCustomFailure), "%v", err)
	})
	t.Run("an event is full", func(t *testing.T) {
		_, err := author.CreateLambda(t.Context(), client.LambdaSpec{Name: newName("more"), Description: "one too many", EventID: end, Code: givesUp})
		require.True(t, client.IsStatus(err, http.StatusConflict), "%v", err)
		require.True(t, client.IsCode(err, client.CodeEventLimit), "%v", err)
	})
}

// TestAnEventSurvivesWhatItsLambdasDo has lambdas of one event end their
// processes, and answer more than a call may hold.
func TestAnEventSurvivesWhatItsLambdasDo(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, t.TempDir(), "--no-sample", "--limit", "result=65536")
	author, caller := developer(t, g), brand(t, g)
	const hook = "bot_connectors_error_hook"
	listening(t, author, "a_fine", hook, versioned("fine"))
	listening(t, author, "b_exits", hook, `function lambda(input, callback) { process.exit(3) }`)
	for i := range 3 {
		listening(t, author, fmt.Sprintf("c_large%d", i), hook, `function lambda(input, callback) { callback(null, 'x'.repeat(30000)) }`)
	}
	for range 3 {
		results, err := caller.InvokeEvent(t.Context(), hook, nil)
		require.NoError(t, err)
		require.Len(t, results, 5)
		require.NotContains(t, string(results[0].Result), "errorCode")
		require.Contains(t, string(results[1].Result), `"errorCode":"com.liveperson.faas.handler.custom-failure"`)
		over := 0
		for _, r := range results[2:] {
			if len(r.Result) < 30000 {
				require.Contains(t, string(r.Result), "larger than the limit of 65536 bytes")
				over++
			}
		}
		require.Equal(t, 1, over, "two have room")
	}
}
