package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/api"
	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
)

// scheduled is a schedule as clients see it.
type scheduled struct {
	UUID, LambdaUUID, CronExpression, CreatedBy, UpdatedBy, Revision string
	IsActive, DidLastExecutionFail, IsRunning                        bool
	NextExecution, LastExecution                                     *string
	InvocationBody                                                   json.RawMessage
	LastExecutionError                                               *struct{ ErrorCode, ErrorMsg string }
	MissedExecutions                                                 int
	FirstMissedExecution, LastMissedExecution                        *string
}

func (r reply) schedule(status int) scheduled {
	r.t.Helper()
	require.Equal(r.t, status, r.StatusCode, r.body)
	var c scheduled
	require.NoError(r.t, json.Unmarshal([]byte(r.body), &c))
	require.Equal(r.t, `"`+c.Revision+`"`, r.Header.Get("ETag"))
	return c
}

// deployedLambda makes one that can be scheduled.
func (g *gateway) deployedLambda(name string) string {
	g.t.Helper()
	id := g.create(name)["uuid"].(string)
	g.deploy(id, nil)
	return id
}

func TestSchedules(t *testing.T) {
	g := newGateway(t, func(l *lambda.Limits) { l.Schedules, l.SchedulePayload = 2, 20 })
	now := time.Date(2026, 11, 24, 10, 2, 30, 0, time.UTC)
	api.SetClock(g.server, func() time.Time { return now })
	dev, admin, invoker := g.tokens[lambda.RoleDeveloper], g.tokens[lambda.RoleAdmin], g.tokens[lambda.RoleInvocation]
	list := func() []scheduled { return get[[]scheduled](t, g, "/schedules", invoker) }
	require.Equal(t, "[]", g.do("GET", "/schedules", invoker, "").body)
	id := g.deployedLambda("first")

	// What the public CLI sends.
	r := g.do("POST", "/schedules", dev, `{"timestamp":0,"lambdaUUID":"`+id+`","cronExpression":"*/5  * * * *","isActive":true,"uuid":""}`)
	c := r.schedule(http.StatusCreated)
	next := "2026-11-24T10:05:00.000Z"
	require.Equal(t, scheduled{
		UUID: c.UUID, LambdaUUID: id, CronExpression: "*/5 * * * *", IsActive: true, NextExecution: &next, CreatedBy: "faas-developer", UpdatedBy: "faas-developer", Revision: c.Revision,
	}, c)
	for _, key := range []string{`"nextExecution":"` + next + `"`, `"lastExecution":null`, `"didLastExecutionFail":false`} {
		require.Contains(t, r.body, key)
	}
	require.NotEqual(t, id, c.UUID)
	require.Equal(t, []scheduled{c}, list())

	first := func() scheduled { // the second comes at the same moment
		for _, shown := range list() {
			if shown.UUID == c.UUID {
				return shown
			}
		}
		return scheduled{}
	}
	t.Run("a lambda has one, an account so many, and only of what is deployed", func(t *testing.T) {
		r := g.do("POST", "/schedules", admin, `{"lambdaUUID":"`+id+`","cronExpression":"* * * * *"}`)
		require.Equal(t, http.StatusConflict, r.StatusCode)
		require.Equal(t, lambda.CodeScheduleConflict, r.code())
		r = g.do("POST", "/schedules", admin, `{"lambdaUUID":"no-such","cronExpression":"* * * * *"}`)
		require.Equal(t, http.StatusNotFound, r.StatusCode)
		require.Equal(t, lambda.CodeMissingLambda, r.code())
		draft := g.create("draft")["uuid"].(string)
		r = g.do("POST", "/schedules", admin, `{"lambdaUUID":"`+draft+`","cronExpression":"* * * * *"}`)
		require.Equal(t, http.StatusConflict, r.StatusCode)
		require.Equal(t, lambda.CodeNotDeployed, r.code())
		require.Contains(t, r.body, "lambda draft is not deployed: deploy it first")

		g.do("POST", "/schedules", admin, `{"lambdaUUID":"`+g.deployedLambda("second")+`","cronExpression":"* * * * *"}`).schedule(http.StatusCreated)
		r = g.do("POST", "/schedules", admin, `{"lambdaUUID":"`+g.deployedLambda("third")+`","cronExpression":"* * * * *"}`)
		require.Equal(t, http.StatusConflict, r.StatusCode)
		require.Equal(t, lambda.CodeScheduleLimit, r.code())
		require.Equal(t, http.StatusForbidden, g.do("POST", "/schedules", invoker, `{}`).StatusCode)
	})
	t.Run("a change says what it changes", func(t *testing.T) {
		put := func(body string, headers ...string) reply {
			return g.do("PUT", "/schedules/"+c.UUID, admin, body, headers...)
		}
		require.Equal(t, http.StatusNotModified, put(`{}`).StatusCode)
		require.Equal(t, http.StatusNotModified, put(`{"lambdaUUID":"`+id+`","cronExpression":"*/5 * * * *","isActive":true,"invocationBody":null}`).StatusCode)
		now = now.Add(time.Minute)
		c2 := put(`{"invocationBody":{ "a" : [1] }}`, "If-Match", `"`+c.Revision+`"`).schedule(http.StatusOK)
		require.JSONEq(t, `{"a":[1]}`, string(c2.InvocationBody))
		require.Equal(t, "faas-admin", c2.UpdatedBy)
		require.Equal(t, "faas-developer", c2.CreatedBy)
		require.NotEqual(t, c.Revision, c2.Revision)
		r := put(`{"isActive":false}`, "If-Match", `"`+c.Revision+`"`)
		require.Equal(t, http.StatusPreconditionFailed, r.StatusCode)
		require.Equal(t, lambda.CodeScheduleConflict, r.code())
		c3 := put(`{"isActive":false,"cronExpression":"0 0 1 1 *","invocationBody":null}`, "If-Match", "*").schedule(http.StatusOK)
		require.Nil(t, c3.NextExecution)
		require.Empty(t, c3.InvocationBody)
		c4 := put(`{"isActive":true,"invocationBody":"text"}`).schedule(http.StatusOK)
		require.Equal(t, "2027-01-01T00:00:00.000Z", *c4.NextExecution)
		require.Equal(t, c4, first())
		got, err := g.store.Schedule(t.Context(), account, c.UUID)
		require.NoError(t, err)
		require.Equal(t, now, got.Schedule.From)
		require.Contains(t, put(`{"lambdaUUID":"other"}`).body, "lambdaUUID cannot change")
		require.Equal(t, http.StatusBadRequest, put(`{}`, "If-Match", "x").StatusCode)
	})
	t.Run("bad input is refused with its field", func(t *testing.T) {
		for body, says := range map[string]string{
			``:                    "the body must be a JSON object",
			`[]`:                  "the body must be a JSON object",
			`{`:                   "the body is not valid JSON",
			`{}`:                  "lambdaUUID is missing: give the uuid of a deployed lambda",
			`{"lambdaUUID":""}`:   "lambdaUUID is missing",
			`{"lambdaUUID":null}`: "lambdaUUID is missing",
			`{"lambdaUUID":7}`:    "lambdaUUID must be a string",
			`{"lambdaUUID":"x"}`:  "cronExpression is missing: give 5",
			`{"lambdaUUID":"x","cronExpression":null}`:                                                           "cronExpression is missing",
			`{"lambdaUUID":"x","cronExpression":["*"]}`:                                                          "cronExpression must be a string",
			`{"lambdaUUID":"x","cronExpression":"* * * *"}`:                                                      "cronExpression has 4 fields",
			`{"lambdaUUID":"x","cronExpression":"* * * * 9"}`:                                                    "as its day of week",
			`{"lambdaUUID":"x","cronExpression":"@hourly"}`:                                                      "write 0 * * * *",
			`{"lambdaUUID":"x","cronExpression":"` + strings.Repeat("* ", 200) + `"}`:                            "cronExpression has 400 characters: the limit is 256",
			`{"lambdaUUID":"x","cronExpression":"* * * * *","isActive":"yes"}`:                                   "isActive must be true or false",
			`{"lambdaUUID":"x","cronExpression":"* * * * *","invocationBody":"` + strings.Repeat("é", 19) + `"}`: "invocationBody has 21 characters: the limit is 20",
		} {
			r := g.do("POST", "/schedules", dev, body)
			require.Equal(t, http.StatusBadRequest, r.StatusCode, "%s: %s", body, r.body)
			require.Equal(t, lambda.CodeBadInput, r.code())
			require.Contains(t, r.body, says)
		}
		for _, path := range []string{"/schedules/" + id, "/schedules/none", "/schedules/%00", "/schedules/" + strings.Repeat("x", 300)} {
			for _, method := range []string{"PUT", "DELETE"} {
				r := g.do(method, path, dev, `{"isActive":false}`)
				require.Equal(t, http.StatusNotFound, r.StatusCode, r.body)
				require.Equal(t, lambda.CodeMissingSchedule, r.code())
			}
		}
	})
	t.Run("what became of its runs is shown", func(t *testing.T) {
		got, err := g.store.Schedule(t.Context(), account, c.UUID)
		require.NoError(t, err)
		p, err := g.store.Attend(t.Context(), "g", 5*time.Second)
		require.NoError(t, err)
		defer p.Close(t.Context())
		table, err := g.store.OpenTimetable(t.Context())
		require.NoError(t, err)
		defer table.Close()
		seen, ok := table.Of(store.LambdaRef{Account: account, LambdaID: id})
		require.True(t, ok)
		run := lambda.Execution{Due: now, RequestID: "r", Gateway: "g", StartedAt: now.Add(time.Second)}
		_, err = g.store.StartRun(t.Context(), p, seen, lambda.Runs{
			ScheduleID: c.UUID, From: got.Schedule.From, Due: now, Last: &run, Missed: 3, MissedSince: now.Add(-time.Hour), MissedUntil: now.Add(-time.Minute),
		})
		require.NoError(t, err)
		shown := first()
		require.True(t, shown.IsRunning)
		require.Equal(t, "2026-11-24T10:03:31.000Z", *shown.LastExecution)
		require.False(t, shown.DidLastExecutionFail)
		require.Equal(t, 3, shown.MissedExecutions)
		require.Equal(t, "2026-11-24T09:03:30.000Z", *shown.FirstMissedExecution)
		require.Equal(t, "2026-11-24T10:02:30.000Z", *shown.LastMissedExecution)

		run.EndedAt, run.Failed, run.Code, run.Message = now.Add(2*time.Second), true, lambda.CodeCustomFailure, "why"
		_, err = g.store.EndRun(t.Context(), store.LambdaRef{Account: account, LambdaID: id}, run)
		require.NoError(t, err)
		shown = first()
		require.False(t, shown.IsRunning)
		require.True(t, shown.DidLastExecutionFail)
		require.Equal(t, "why", shown.LastExecutionError.ErrorMsg)
		require.Equal(t, lambda.CodeCustomFailure, shown.LastExecutionError.ErrorCode)
	})
	t.Run("it goes by being deleted, and with the deployment", func(t *testing.T) {
		require.Equal(t, http.StatusPreconditionFailed, g.do("DELETE", "/schedules/"+c.UUID, dev, "", "If-Match", `"`+c.Revision+`"`).StatusCode)
		require.Equal(t, http.StatusOK, g.do("DELETE", "/schedules/"+c.UUID, dev, "").StatusCode)
		require.Equal(t, http.StatusNotFound, g.do("DELETE", "/schedules/"+c.UUID, dev, "").StatusCode)
		left := list()
		require.Len(t, left, 1)
		require.Equal(t, http.StatusAccepted, g.do("DELETE", "/deployments/"+left[0].LambdaUUID, dev, "").StatusCode)
		g.carryOut(left[0].LambdaUUID, nil)
		require.Empty(t, list())
	})
	t.Run("one Idempotency-Key makes one", func(t *testing.T) {
		body := `{"lambdaUUID":"` + id + `","cronExpression":"* * * * *"}`
		first := g.do("POST", "/schedules", dev, body, "Idempotency-Key", "k").schedule(http.StatusCreated)
		again := g.do("POST", "/schedules", dev, body, "Idempotency-Key", "k")
		require.Equal(t, "true", again.Header.Get("Idempotent-Replay"))
		require.Equal(t, first, again.schedule(http.StatusCreated))
	})
	t.Run("all of it is among the activities", func(t *testing.T) {
		page, err := g.journal.Activities(t.Context(), journal.ActivityQuery{Account: account, Limit: 100, From: now.Add(-time.Hour), To: now.Add(time.Hour)})
		require.NoError(t, err)
		var told []string
		for _, a := range page.Activities {
			if a.Noun != journal.Schedule {
				continue
			}
			text := fmt.Sprintf("%s %s by %s:", a.Action, a.Name, a.By)
			for _, change := range a.Changes {
				text += fmt.Sprintf(" %s %q->%q", change.Field, change.Before, change.After)
			}
			told = append(told, strings.ReplaceAll(text, id, "ID"))
		}
		require.Contains(t, told, `create first by faas-developer: lambdaUUID ""->"ID" cronExpression ""->"*/5 * * * *" isActive ""->"true"`)
		require.Contains(t, told, `update first by faas-admin: invocationBody ""->"{\"a\":[1]}"`)
		require.Contains(t, told, `update first by faas-admin: cronExpression "*/5 * * * *"->"0 0 1 1 *" isActive "true"->"" invocationBody "{\"a\":[1]}"->""`)
		require.Contains(t, told, `delete first by faas-developer: lambdaUUID "ID"->"" cronExpression "0 0 1 1 *"->"" isActive "true"->"" invocationBody "\"text\""->""`)
		require.Len(t, told, 7)
	})
}

func TestAPayloadThatIsSentBackAsItWasReadIsNoChange(t *testing.T) {
	g := newGateway(t, func(l *lambda.Limits) { l.SchedulePayload = 12 })
	dev := g.tokens[lambda.RoleDeveloper]
	c := g.do("POST", "/schedules", dev, `{"lambdaUUID":"`+g.deployedLambda("first")+`","cronExpression":"* * * * *","invocationBody":{"a":"<&>"}}`).schedule(http.StatusCreated)
	read := get[[]scheduled](t, g, "/schedules", dev)[0].InvocationBody
	require.Equal(t, `{"a":"\u003c\u0026\u003e"}`, string(read), "it is escaped, and longer than the limit")
	for _, same := range []string{string(read), `{ "a" : "<&>" }`} {
		require.Equal(t, http.StatusNotModified, g.do("PUT", "/schedules/"+c.UUID, dev, `{"invocationBody":`+same+`}`).StatusCode, same)
	}
	changed := g.do("PUT", "/schedules/"+c.UUID, dev, `{"isActive":false,"invocationBody":`+string(read)+`}`).schedule(http.StatusOK)
	require.Equal(t, string(read), string(changed.InvocationBody))
	for _, a := range activities(t, g, "") {
		if a.Action == "update" && a.Noun == "schedule" {
			require.Len(t, a.Changes, 1, "%v", a.Changes)
		}
	}
	require.Equal(t, http.StatusOK, g.do("PUT", "/schedules/"+c.UUID, dev, `{"invocationBody":{"a":"<>"}}`).StatusCode)
}
