package e2e_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/sdk/client"
)

// bindTo changes the event of a function at a desk.
func (d *desk) bindTo(t *testing.T, name, event string) {
	t.Helper()
	file := "project/functions/" + name + "/config.json"
	var f function
	require.NoError(t, json.Unmarshal([]byte(d.read(t, file)), &f))
	f.Event = event
	config, err := json.Marshal(f)
	require.NoError(t, err)
	d.write(t, file, string(config))
}

func TestThePublicCLIKnowsTheEvents(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, t.TempDir(), append([]string{"--no-sample"}, lpfDomains...)...)
	cli, author := newLPF(t, g), developer(t, g)
	cli.login(t, developerRole)
	d := cli.desk(t, developerRole)
	events, err := author.Events(t.Context())
	require.NoError(t, err)
	const event = "controllerbot_messaging_ttr"

	t.Run("create:function asks for one of them", func(t *testing.T) {
		name := newName("lpf_asked")
		r := d.start(t, "create:function", "-n", name, "-d", "waits for an event")
		r.says(t, "Choose an eventId")
		r.says(t, events[2].ID)
		r.hears(t, "\x1b[B\x1b[B") // two down from No Event, and then Enter
		got := r.wait(t)
		require.Zero(t, got.code, "%+v", got)
		require.Contains(t, got.stdout, "The function \""+name+"\" has been created\n")
		require.Contains(t, got.stdout, events[1].ID)
		// It keeps the answer under another name than it reads it by, and so forgets it.
		require.Contains(t, d.read(t, "project/functions/"+name+"/config.json"), `"event": "No Event"`)
	})

	name := newName("lpf_event")
	d.function(t, name, versioned("1"))
	d.bindTo(t, name, event)
	requireEnding(t, d.run(t, "push", name, "--yes"), 0, task("Pushing", name, "completed"))
	l := lambdaNamed(t, author, name)
	require.Equal(t, event, l.EventID)

	t.Run("get events", func(t *testing.T) {
		got := d.run(t, "get", "events")
		for _, e := range events {
			require.Equal(t, []string{e.Name, e.ID}, row(t, got, e.Name))
		}
		require.Equal(t, event, row(t, d.run(t, "get", "functions"), name)[4])
	})
	t.Run("push to an event that is full", func(t *testing.T) {
		second := newName("lpf_full")
		d.function(t, second, versioned("1"))
		d.bindTo(t, second, event)
		_, err := author.CreateLambda(t.Context(), client.LambdaSpec{Name: second, Description: "one too many", EventID: event, Code: versioned("1")})
		requireEnding(t, d.run(t, "push", second, "--yes"), 1, task("Pushing", second, "failed", messageOf(t, err, http.StatusConflict)))
		all, err := author.Lambdas(t.Context())
		require.NoError(t, err)
		require.Len(t, all, 1)
	})
	t.Run("push to an event that is none", func(t *testing.T) {
		third := newName("lpf_none")
		d.function(t, third, versioned("1"))
		d.bindTo(t, third, "no_such_event")
		got := d.run(t, "push", third, "--yes")
		require.Equal(t, 1, got.code, "%+v", got)
		require.Contains(t, got.stdout, "GET /events")
	})
	t.Run("pull writes the event's example as input, and a push of it changes nothing", func(t *testing.T) {
		skilled := *l
		skilled.Skills = []string{"sales"}
		_, _, err := author.UpdateLambda(t.Context(), &skilled)
		require.NoError(t, err)
		requireEnding(t, d.run(t, "pull", name, "--yes"), 0, task("Pulling", name, "completed"))
		var f function
		require.NoError(t, json.Unmarshal([]byte(d.read(t, "project/functions/"+name+"/config.json")), &f))
		require.Equal(t, event, f.Event)
		input, err := json.Marshal(f.Input)
		require.NoError(t, err)
		require.JSONEq(t, `{"headers":[],"payload":`+string(l.Sample.Payload)+`}`, string(input))
		got := d.run(t, "push", name, "--yes")
		require.True(t, strings.Contains(got.stdout, "Push Skipped"), "%+v", got)
		require.Equal(t, []string{"sales"}, lambdaNamed(t, author, name).Skills, "it knows no skills, and leaves them")
	})
}
