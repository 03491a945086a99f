package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/api"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

const (
	ttr      = "controllerbot_messaging_ttr" // takes one lambda
	commands = "conversational_command"      // takes 30
)

// templates are those of a language that is not there: the real ones are the
// subject of tests/e2e.
var templates = []lambda.Template{
	{ID: "11111111-1111-4111-8111-111111111111", Name: "Hello", Description: "says hello", Runtime: "javascript", Code: "hello",
		Environment: []lambda.Pair{{Key: "A", Value: "1"}}, Input: json.RawMessage(`{"headers":[],"payload":{"name":"Ada"}}`)},
	{ID: "22222222-2222-4222-8222-222222222222", Name: "Hurry", Description: "hurries", Runtime: "javascript", Code: "hurry",
		EventID: ttr, Input: json.RawMessage(`{"headers":[],"payload":{}}`)},
	{ID: "33333333-3333-4333-8333-333333333333", Name: "Hello", Description: "says hello in another language", Runtime: "another",
		Code: "hello", Input: json.RawMessage(`{"headers":[],"payload":{}}`)},
}

// bound makes a lambda of an event, with skills.
func (g *gateway) bound(name, event string, skills ...string) reply {
	g.t.Helper()
	var body map[string]any
	require.NoError(g.t, json.Unmarshal([]byte(createBody(name, "x")), &body))
	body["eventId"] = event
	if skills != nil {
		body["skills"] = skills
	}
	text, err := json.Marshal(body)
	require.NoError(g.t, err)
	return g.do("POST", "/lambdas", g.tokens[lambda.RoleDeveloper], string(text))
}

// listens makes such a lambda and deploys it.
func (g *gateway) listens(name, event string, skills ...string) string {
	g.t.Helper()
	r := g.bound(name, event, skills...)
	require.Equal(g.t, http.StatusCreated, r.StatusCode, r.body)
	var l struct{ UUID string }
	require.NoError(g.t, json.Unmarshal([]byte(r.body), &l))
	g.deploy(l.UUID, nil)
	return l.UUID
}

func TestEventsAndTemplatesAreListed(t *testing.T) {
	g := newGateway(t)
	dev := g.tokens[lambda.RoleDeveloper]
	events := get[[]map[string]any](t, g, "/events", dev)
	require.Len(t, events, 15)
	require.Equal(t, map[string]any{
		"eventId": "denver_post_survey_email_transcript", "eventName": "Chat Post Survey E-Mail Transcript", "lambdaLimit": 10.0,
		"description": "A consumer has answered the survey after a chat: say to whom the transcript is mailed.",
	}, events[0])

	list := get[[]map[string]any](t, g, "/templates", dev)
	require.Equal(t, map[string]any{
		"uuid": templates[0].ID, "name": "Hello", "description": "says hello", "code": "hello",
		"environmentVariables": []any{map[string]any{"key": "A", "value": "1"}}, "payload": map[string]any{"headers": []any{}, "payload": map[string]any{"name": "Ada"}},
	}, list[0])
	require.Equal(t, ttr, list[1]["eventId"])
	require.Equal(t, []any{}, list[1]["environmentVariables"], "never null")
	require.NotContains(t, list[1], "runtime", "it is the default")
	require.Equal(t, "another", list[2]["runtime"].(map[string]any)["name"])
}

func TestALambdaOfAnEvent(t *testing.T) {
	g := newGateway(t)
	dev := g.tokens[lambda.RoleDeveloper]
	r := g.bound("first", ttr)
	require.Equal(t, http.StatusCreated, r.StatusCode, r.body)
	var first struct {
		UUID, EventID string
		SamplePayload struct {
			Headers []any
			Payload map[string]any
		}
	}
	require.NoError(t, json.Unmarshal([]byte(r.body), &first))
	require.Equal(t, ttr, first.EventID)
	require.Empty(t, first.SamplePayload.Headers)
	require.Contains(t, first.SamplePayload.Payload, "ttr")
	require.NotContains(t, r.body, "skills", "clients that know no skills see nothing new")
	require.Equal(t, map[string]any{"headers": []any{}, "payload": map[string]any{}}, g.create("none")["samplePayload"])

	t.Run("an event that is none is refused, and the answer says where they are", func(t *testing.T) {
		for _, event := range []string{"unknown", "No Event", strings.ToUpper(ttr), "a/b"} {
			r := g.bound("other", event)
			require.Equal(t, http.StatusBadRequest, r.StatusCode, event)
			require.Equal(t, lambda.CodeBadInput, r.code())
			require.Contains(t, r.body, "eventId")
			require.Contains(t, r.body, "GET /events")
		}
		require.Equal(t, http.StatusCreated, g.bound("empty", "").StatusCode, "an empty one is none")
	})
	t.Run("an event is full", func(t *testing.T) {
		r := g.bound("second", ttr)
		require.Equal(t, http.StatusConflict, r.StatusCode)
		require.Equal(t, lambda.CodeEventLimit, r.code())
		require.Contains(t, r.body, "Messaging TTR")
		require.Equal(t, http.StatusOK, g.do("DELETE", "/lambdas/"+first.UUID, dev, "").StatusCode)
		require.Equal(t, http.StatusCreated, g.bound("second", ttr).StatusCode)
	})
	t.Run("one from before, of what is no event, is listed, changed and called as ever", func(t *testing.T) {
		now := time.Now().UTC()
		old := &lambda.Lambda{Account: account, ID: "44444444-4444-4444-8444-444444444444", Name: "old", Description: "old", EventID: "a/b c",
			Runtime: "javascript", Version: 1, Code: "x", CreatedAt: now, UpdatedAt: now}
		_, err := g.store.CreateLambda(t.Context(), old, nil)
		require.NoError(t, err)
		r := g.do("PUT", "/lambdas/"+old.ID, dev, `{"version":1,"eventId":"a/b c","description":"new"}`)
		require.Equal(t, http.StatusAccepted, r.StatusCode, r.body)
		require.Contains(t, r.body, `"samplePayload":{"headers":[],"payload":{}}`)
		g.deploy(old.ID, nil)
		require.Equal(t, http.StatusOK, g.do("POST", "/lambdas/"+old.ID+"/invoke", g.app, "").StatusCode)
		require.Contains(t, g.do("GET", "/lambdas?eventId=a/b%20c", dev, "").body, old.ID)
	})
}

func TestSkillsOfALambda(t *testing.T) {
	g := newGateway(t)
	dev := g.tokens[lambda.RoleDeveloper]
	type view struct {
		UUID    string
		Version int
		State   string
		Skills  []string
	}
	parse := func(r reply) (v view) {
		require.NoError(t, json.Unmarshal([]byte(r.body), &v), r.body)
		return v
	}
	id := g.listens("sales", commands, "s1", "s2")
	other := g.listens("any", commands)
	ask := func(skill string) int {
		return len(get[[]any](t, g, "/lambdas?eventId="+commands, dev)) + g.ran(skill)
	}
	require.Equal(t, 2+2, ask("s1"))
	require.Equal(t, 2+1, ask("s3"))

	t.Run("a change of skills alone is a change, and holds at once without a deployment", func(t *testing.T) {
		r := g.do("PUT", "/lambdas/"+id, dev, `{"version":1,"skills":["s3"]}`)
		require.Equal(t, http.StatusAccepted, r.StatusCode, r.body)
		require.Equal(t, view{id, 2, "Modified", []string{"s3"}}, parse(r))
		require.Equal(t, 1, g.ran("s1"))
		require.Equal(t, 2, g.ran("s3"))
		require.Equal(t, http.StatusConflict, g.do("PUT", "/lambdas/"+id, dev, `{"version":1,"skills":["s4"]}`).StatusCode, "somebody changed them meanwhile")
	})
	t.Run("who does not speak of them leaves them", func(t *testing.T) {
		for _, body := range []string{`{"version":2}`, `{"version":2,"skills":["s3"]}`, `{"version":2,"skills":null}`} {
			require.Equal(t, http.StatusNotModified, g.do("PUT", "/lambdas/"+id, dev, body).StatusCode, body)
		}
		require.Equal(t, []string{"s3"}, parse(g.do("PUT", "/lambdas/"+id, dev, `{"version":2,"description":"new"}`)).Skills)
	})
	t.Run("one that another lambda of the event has is refused", func(t *testing.T) {
		r := g.do("PUT", "/lambdas/"+other, dev, `{"version":1,"skills":["s9","s3"]}`)
		require.Equal(t, http.StatusConflict, r.StatusCode)
		require.Equal(t, lambda.CodeSkillConflict, r.code())
		require.Contains(t, r.body, "skill s3 is bound to lambda sales")
		require.Equal(t, http.StatusConflict, g.bound("third", commands, "s3").StatusCode)
	})
	t.Run("none are left when they are taken away", func(t *testing.T) {
		r := g.do("PUT", "/lambdas/"+id, dev, `{"version":3,"skills":[]}`)
		require.Equal(t, http.StatusAccepted, r.StatusCode, r.body)
		require.NotContains(t, r.body, `"skills"`)
		require.Equal(t, 2, g.ran("whatever"))
	})
	for says, r := range map[string]reply{
		"this one has no event":             g.bound("bad", "", "s"),
		"skills[0] is empty":                g.bound("bad", commands, ""),
		"skills[0] has 51 characters":       g.bound("bad", commands, strings.Repeat("s", 51)),
		"letters, digits, - and _ only":     g.bound("bad", commands, "a b"),
		"skills holds s twice":              g.bound("bad", commands, "s", "s"),
		"skills has 51 entries":             g.bound("bad", commands, strings.Split(strings.Repeat("s,", 50)+"s", ",")...),
		"skills must be an array":           g.do("POST", "/lambdas", dev, `{"skills":"s"}`),
		"skills must be a string":           g.do("POST", "/lambdas", dev, `{"skills":[1]}`),
		"skills are for lambdas that an ev": g.do("PUT", "/lambdas/"+g.create("plain")["uuid"].(string), dev, `{"version":1,"skills":["s"]}`),
	} {
		require.Equal(t, http.StatusBadRequest, r.StatusCode, "%s: %s", says, r.body)
		require.Contains(t, r.body, says)
	}
}

// ran calls the event of commands for a skill and tells how many lambdas ran.
func (g *gateway) ran(skill string) int {
	g.t.Helper()
	query := "?v=1&externalSystem=x&skillId=" + skill
	entries := g.fire(commands, query)
	implemented := get[struct{ Implemented bool }](g.t, g, "/events/"+commands+"/isImplemented"+query, g.app)
	require.Equal(g.t, len(entries) > 0, implemented.Implemented)
	return len(entries)
}

type entryOfEvent struct {
	UUID      string
	Timestamp time.Time
	Result    json.RawMessage
}

// fire calls an event.
func (g *gateway) fire(event, query string, headers ...string) []entryOfEvent {
	g.t.Helper()
	r := g.do("POST", "/events/"+event+"/invoke"+query, g.app, `{"timestamp":0,"headers":[{"key":"a","value":"b"}],"payload":{"n":1}}`, headers...)
	require.Equal(g.t, http.StatusOK, r.StatusCode, r.body)
	var entries []entryOfEvent
	require.NoError(g.t, json.Unmarshal([]byte(r.body), &entries))
	return entries
}

func TestInvokeByEvent(t *testing.T) {
	failure := func(kind lambda.Kind, phase lambda.Phase, code string) error {
		return &lambda.Error{Kind: kind, Phase: phase, Code: code, Message: "no luck", RetryAfter: time.Second,
			Logs: []lambda.LogRecord{{Level: "Error", Message: "secret detail", Extras: json.RawMessage("[]")}}}
	}
	g := newGateway(t)
	path := "/events/" + commands + "/invoke"
	for name, event := range map[string]string{"of which no lambda is deployed": commands, "that is none": "no_such_event"} {
		t.Run("an event "+name+" gives an empty list", func(t *testing.T) {
			g.bound("draft", commands)
			for range 2 { // also by the id that a later call may have
				r := g.do("POST", "/events/"+event+"/invoke", g.app, "", "X-Request-ID", "early")
				require.Equal(t, http.StatusOK, r.StatusCode)
				require.Equal(t, "[]", r.body)
			}
			require.Equal(t, http.StatusBadRequest, g.do("POST", "/events/"+event+"/invoke", g.app, "{").StatusCode)
		})
	}
	b, a := g.listens("b", commands), g.listens("a", commands)
	g.listens("elsewhere", ttr)
	answers := map[string]func() (lambda.Result, error){}
	ran := map[string]int{}
	g.answer = func(inv lambda.Invocation) (lambda.Result, error) {
		ran[inv.LambdaID]++
		if f := answers[inv.LambdaID]; f != nil {
			return f()
		}
		return lambda.Result{Payload: json.RawMessage(`{"by":"` + inv.LambdaID + `"}`)}, nil
	}
	says := func(id string, err error) {
		answers[id] = func() (lambda.Result, error) { return lambda.Result{}, err }
	}

	t.Run("every lambda of it gets the same call, and no developer's test", func(t *testing.T) {
		for _, token := range []string{g.app, g.tokens[lambda.RoleDeveloper]} {
			g.calls = nil
			r := g.do("POST", path, token, `{"headers":[{"key":"a","value":"b"}],"payload":{"n":1}}`)
			require.Equal(t, http.StatusOK, r.StatusCode)
			var entries []entryOfEvent
			require.NoError(t, json.Unmarshal([]byte(r.body), &entries))
			require.Len(t, entries, 2)
			for i, id := range []string{a, b} { // in the order of their names
				require.Equal(t, id, entries[i].UUID)
				require.JSONEq(t, `{"by":"`+id+`"}`, string(entries[i].Result))
				require.WithinDuration(t, time.Now(), entries[i].Timestamp, time.Minute)
			}
			require.Len(t, g.calls, 2)
			for _, c := range g.calls {
				require.False(t, c.Manual)
				require.Equal(t, lambda.TriggerEvent, c.Trigger)
				require.Equal(t, commands, c.EventID)
				require.Equal(t, r.Header.Get("X-Request-ID"), c.RequestID)
				require.Equal(t, `{"n":1}`, string(c.Payload))
				require.Equal(t, []lambda.Pair{{Key: "a", Value: "b"}}, c.Headers)
			}
		}
	})
	t.Run("the entry of one that failed says so, and nothing of what the log knows", func(t *testing.T) {
		for i, c := range []struct {
			err  error
			want string
		}{
			{failure(lambda.KindFunction, lambda.PhaseRun, lambda.CodeCustomFailure), `{"errorCode":"` + lambda.CodeCustomFailure + `","errorMsg":"no luck"}`},
			{failure(lambda.KindUnavailable, lambda.PhaseQueue, lambda.CodeRuntimeUnavailable), `{"errorCode":"` + lambda.CodeRuntimeUnavailable + `","errorMsg":"no luck"}`},
			{failure(lambda.KindCrashed, lambda.PhaseRuntime, lambda.CodeRuntimeGeneral), `{"errorCode":"` + lambda.CodeRuntimeGeneral + `","errorMsg":"no luck"}`},
			{errors.New("secret detail"), `{"errorCode":"` + lambda.CodeGeneral + `","errorMsg":"internal error; quote request id r-3"}`},
		} {
			says(b, c.err)
			entries := g.fire(commands, "", "X-Request-ID", fmt.Sprint("r-", i))
			require.Len(t, entries, 2)
			require.JSONEq(t, `{"by":"`+a+`"}`, string(entries[0].Result), "the other ran, so the call succeeded")
			require.JSONEq(t, c.want, string(entries[1].Result))
		}
		require.Contains(t, g.log.String(), "secret detail", "the log is told in full")
	})
	t.Run("a call that no lambda has seen is refused, so that it is repeated", func(t *testing.T) {
		for _, id := range []string{a, b} {
			says(id, failure(lambda.KindUnavailable, lambda.PhaseQueue, lambda.CodeRuntimeUnavailable))
		}
		clear(ran)
		for range 2 {
			r := g.do("POST", path, g.app, "", "X-Request-ID", "busy")
			require.Equal(t, http.StatusServiceUnavailable, r.StatusCode)
			require.Equal(t, "1", r.Header.Get("Retry-After"))
			require.Equal(t, lambda.CodeRuntimeUnavailable, r.code())
		}
		clear(answers)
		require.Len(t, g.fire(commands, "", "X-Request-ID", "busy"), 2)
		require.Equal(t, map[string]int{a: 3, b: 3}, ran)
	})
	t.Run("of repetitions with one id the lambdas run once", func(t *testing.T) {
		clear(ran)
		says(b, failure(lambda.KindFunction, lambda.PhaseRun, lambda.CodeCustomFailure))
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() { require.Len(t, g.fire(commands, "?skillId=x", "X-Request-ID", "same"), 2) })
		}
		wg.Wait()
		require.Equal(t, map[string]int{a: 1, b: 1}, ran)
		g.fire(commands, "", "X-Request-ID", "same")
		require.Equal(t, map[string]int{a: 2, b: 2}, ran, "for another skill it is another call")
		g.do("POST", "/lambdas/"+a+"/invoke", g.app, `{"timestamp":0,"headers":[{"key":"a","value":"b"}],"payload":{"n":1}}`, "X-Request-ID", "same")
		require.Equal(t, 3, ran[a], "and of a lambda it is one of its own")
	})
	t.Run("the error of a single lambda is the answer", func(t *testing.T) {
		only := g.listens("only", "bot_connectors_post_hook")
		for status, err := range map[int]error{
			901: failure(lambda.KindFunction, lambda.PhaseRun, lambda.CodeCustomFailure), 503: failure(lambda.KindUnavailable, lambda.PhaseStart, lambda.CodeRuntimeUnavailable),
			500: failure(lambda.KindCrashed, lambda.PhaseRuntime, lambda.CodeRuntimeGeneral), 408: failure(lambda.KindTimeout, lambda.PhaseRun, lambda.CodeGeneral),
		} {
			says(only, err)
			r := g.do("POST", "/events/bot_connectors_post_hook/invoke", g.app, "")
			require.Equal(t, status, r.StatusCode, r.body)
			require.Equal(t, lambda.As(err).Code, r.code())
			require.NotEmpty(t, r.Header.Get("X-Sluice-Phase"))
		}
	})
	t.Run("one that is undeployed is not called", func(t *testing.T) {
		says(b, lambda.NotFound(lambda.CodeNotDeployed, "gone")) // which the view does not know yet
		require.Len(t, g.fire(commands, ""), 1)
		says(a, lambda.NotFound(lambda.CodeNotDeployed, "gone"))
		require.Empty(t, g.fire(commands, ""))
	})
}

func TestEveryRunOfAnEventCountsForTheLimits(t *testing.T) {
	exhausted := func(t *testing.T, g *gateway, most int) (calls int) {
		t.Helper()
		for calls = range most {
			r := g.do("POST", "/events/"+commands+"/invoke", g.app, "")
			if r.StatusCode != http.StatusOK {
				require.Equal(t, http.StatusTooManyRequests, r.StatusCode, r.body)
				require.Equal(t, lambda.CodeRateLimit, r.code())
				require.NotEmpty(t, r.Header.Get("Retry-After"))
				return calls
			}
		}
		require.Fail(t, "never refused")
		return calls
	}
	now := time.Now()
	t.Run("of the account", func(t *testing.T) {
		g := newGateway(t, func(l *lambda.Limits) { l.AccountCalls = 20 })
		api.SetClock(g.server, func() time.Time { return now })
		for i := range 5 {
			g.listens(fmt.Sprint("f", i), commands)
		}
		require.Equal(t, 4, exhausted(t, g, 100))
		require.Len(t, g.calls, 20)
	})
	t.Run("of one lambda, and then no other runs", func(t *testing.T) {
		g := newGateway(t, func(l *lambda.Limits) { l.LambdaCalls = 3 })
		api.SetClock(g.server, func() time.Time { return now })
		busy := g.listens("busy", commands)
		g.listens("idle", commands)
		require.Equal(t, http.StatusOK, g.do("POST", "/lambdas/"+busy+"/invoke", g.app, "").StatusCode)
		g.calls = nil
		require.Equal(t, 2, exhausted(t, g, 100))
		require.Len(t, g.calls, 4)
	})
	t.Run("an account whose limit is less than an event has lambdas can call it all the same", func(t *testing.T) {
		g := newGateway(t, func(l *lambda.Limits) { l.AccountCalls = 2 })
		api.SetClock(g.server, func() time.Time { return now })
		for i := range 5 {
			g.listens(fmt.Sprint("f", i), commands)
		}
		require.Equal(t, 1, exhausted(t, g, 100))
		require.Len(t, g.calls, 5)
	})
}
