package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/api"
	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/gateway/lambda"
)

// event is a server-sent event; of a comment name is ":".
type event struct{ name, data string }

// watch opens a live tail and gives its events; the channel closes at its end.
func watch(t *testing.T, c *http.Client, address, token string) (*http.Response, <-chan event) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := c.Do(req)
	require.NoError(t, err)
	t.Cleanup(func() { _ = resp.Body.Close() })
	events := make(chan event, 10_000)
	if resp.StatusCode != http.StatusOK {
		return resp, events
	}
	require.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
	go func() {
		defer close(events)
		readEvents(resp.Body, events)
	}()
	return resp, events
}

func readEvents(r io.Reader, to chan<- event) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	var e event
	for lines.Scan() {
		name, text, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "event":
			e.name = text
		case "data":
			e.data = text
		case "":
			if text != "" || strings.HasPrefix(lines.Text(), ":") {
				to <- event{":", text}
			} else if e.data != "" {
				to <- e
				e = event{}
			}
		}
	}
}

// next gives the next event that is no comment.
func next(t *testing.T, events <-chan event) event {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		select {
		case e, open := <-events:
			require.True(t, open, "the stream has ended")
			if e.name != ":" {
				return e
			}
		case <-limit:
			require.FailNow(t, "no event came")
		}
	}
}

// ended waits for the end of a stream, and gives the reason that it told last.
func ended(t *testing.T, events <-chan event) string {
	t.Helper()
	e := next(t, events)
	require.Equal(t, "end", e.name)
	var v struct{ Reason string }
	require.NoError(t, json.Unmarshal([]byte(e.data), &v))
	select {
	case _, open := <-events:
		require.False(t, open)
	case <-time.After(20 * time.Second):
		require.FailNow(t, "the stream goes on")
	}
	return v.Reason
}

func (g *gateway) tail(query string, role lambda.Role) (*http.Response, <-chan event) {
	g.t.Helper()
	return watch(g.t, http.DefaultClient, g.url+"/api/account/"+account+"/logs/tail"+query, g.tokens[role])
}

func TestALiveTailShowsLinesAsTheyAreWritten(t *testing.T) {
	g := newGateway(t)
	id, second := g.create("first")["uuid"].(string), g.create("second")["uuid"].(string)
	_, all := g.tail("?lambdaUUID="+id, lambda.RoleDeveloper)
	_, some := g.tail("?lambdaUUID="+id+"&filterLevels=Error&filterLevels=Warn&text=MIND&requestId=r-2", lambda.RoleInvocation)
	at := time.Now()
	log := func(id, request string, records ...lambda.LogRecord) {
		g.called(id, at, func(e *journal.Entry) { e.RequestID, e.Logs = request, records })
	}
	log(second, "r-2", record(at, "Error", "mind another lambda", `[]`))
	log(id, "r-1", record(at, "Error", "mind another request", `[]`))
	log(id, "r-2", record(at, "Info", "mind another level", `[]`), record(at, "Error", "another text", `[]`), record(at, "Error", "never mind", `[{"a":"x\ny"}]`), record(at, "Warn", "more", `["mind"]`))
	g.called(id, at, func(e *journal.Entry) {
		e.Account, e.Logs = other, []lambda.LogRecord{record(at, "Error", "mind another account", `[]`)}
	})

	require.JSONEq(t, fmt.Sprintf(`{"requestID":"r-2","timestamp":%s,"level":"Error","message":"never mind","extras":[{"a":"x\ny"}],"lambdaUUID":%q,"version":3}`, ms(at), id), next(t, some).data)
	require.Contains(t, next(t, some).data, `"more"`)
	for _, message := range []string{"mind another request", "mind another level", "another text", "never mind", "more"} {
		e := next(t, all)
		require.Empty(t, e.name)
		require.Contains(t, e.data, fmt.Sprintf(`"message":%q`, message))
	}
	require.Contains(t, g.metrics(), "sluice_log_tails 2")
	g.server.EndTails()
	require.Equal(t, "the gateway stops", ended(t, all))
	require.Equal(t, "the gateway stops", ended(t, some))
	require.Eventually(t, func() bool { return strings.Contains(g.metrics(), "sluice_log_tails 0") }, 5*time.Second, 5*time.Millisecond)
	r := g.do("GET", "/logs/tail?lambdaUUID="+id, g.tokens[lambda.RoleLPA], "")
	require.Equal(t, http.StatusServiceUnavailable, r.StatusCode, "no new one begins")
}

func TestALiveTailEndsWithItsToken(t *testing.T) {
	g := newGateway(t)
	api.SetTailPulse(g.server, 20*time.Millisecond)
	id := g.create("first")["uuid"].(string)
	_, revoked := g.tail("?lambdaUUID="+id, lambda.RoleDeveloper)
	_, demoted := g.tail("?lambdaUUID="+id, lambda.RoleInvocation)
	_, kept := g.tail("?lambdaUUID="+id, lambda.RoleLPA)
	for range 3 { // it says now and then that it is there
		require.Equal(t, ":", (<-kept).name)
	}
	require.NoError(t, g.store.EndUserSessions(t.Context(), account, "id-faas-developer"))
	require.Contains(t, ended(t, revoked), "log in again")
	require.NoError(t, g.store.DeleteUser(t.Context(), account, "id-faas-invocation", nil))
	require.NotEmpty(t, ended(t, demoted))

	g.called(id, time.Now(), func(e *journal.Entry) { e.Logs = []lambda.LogRecord{record(time.Now(), "Info", "still", `[]`)} })
	require.Contains(t, next(t, kept).data, "still")
}

func TestAnAccountHasSoManyLiveTails(t *testing.T) {
	g := newGateway(t, func(l *lambda.Limits) { l.LogTails = 2 })
	query := "?lambdaUUID=" + g.create("first")["uuid"].(string)
	first, _ := g.tail(query, lambda.RoleDeveloper)
	g.tail(query, lambda.RoleDeveloper)
	r := g.do("GET", "/logs/tail"+query, g.tokens[lambda.RoleLPA], "")
	require.Equal(t, http.StatusTooManyRequests, r.StatusCode)
	require.Equal(t, lambda.CodeRateLimit, r.code())
	require.Contains(t, r.body, "the limit is 2, close one first")
	require.NoError(t, first.Body.Close())
	require.Eventually(t, func() bool {
		third, _ := g.tail(query, lambda.RoleDeveloper)
		return third.StatusCode == http.StatusOK
	}, 5*time.Second, 10*time.Millisecond, "who left makes room")
}

func TestALiveTailOutlivesTheLimitsOfTheServer(t *testing.T) {
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			api.SetTailPulse(g.server, 50*time.Millisecond)
			id := g.create("first")["uuid"].(string)
			const limit = 300 * time.Millisecond
			s := httptest.NewUnstartedServer(g.server)
			s.Config.ReadTimeout, s.Config.WriteTimeout, s.Config.IdleTimeout = limit, limit, limit
			s.EnableHTTP2 = http2
			s.StartTLS()
			t.Cleanup(s.Close)
			t.Cleanup(g.server.EndTails)
			resp, events := watch(t, s.Client(), s.URL+"/api/account/"+account+"/logs/tail?lambdaUUID="+id, g.tokens[lambda.RoleDeveloper])
			require.Equal(t, name, resp.Proto)
			for i := range 4 {
				time.Sleep(limit)
				g.called(id, time.Now(), func(e *journal.Entry) {
					e.Logs = []lambda.LogRecord{record(time.Now(), "Info", fmt.Sprint("line ", i), `[]`)}
				})
				require.Contains(t, next(t, events).data, fmt.Sprint("line ", i))
			}
		})
	}
}

func TestAReaderThatIsTooSlowIsToldWhatItMissed(t *testing.T) {
	g := newGateway(t)
	id := g.create("first")["uuid"].(string)
	w := &stuck{ResponseRecorder: httptest.NewRecorder(), wait: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req := httptest.NewRequest("GET", "/api/account/"+account+"/logs/tail?lambdaUUID="+id, nil).WithContext(ctx)
	req.Header.Set("Authorization", "Bearer "+g.tokens[lambda.RoleDeveloper])
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.server.ServeHTTP(w, req)
	}()
	require.Eventually(t, func() bool { return strings.Contains(g.metrics(), "sluice_log_tails 1") }, 5*time.Second, time.Millisecond)
	const lines = 20_000
	var many []lambda.LogRecord
	for i := range lines {
		many = append(many, record(time.Now(), "Info", fmt.Sprint("line ", i), `[]`))
	}
	g.called(id, time.Now(), func(e *journal.Entry) { e.Logs = many })
	close(w.wait)
	g.called(id, time.Now(), func(e *journal.Entry) { e.Logs = []lambda.LogRecord{record(time.Now(), "Info", "the last", `[]`)} })
	g.server.EndTails()
	<-done
	events := make(chan event, lines+10)
	readEvents(w.Body, events)
	close(events)
	shown, missed := 0, uint64(0)
	for e := range events {
		switch e.name {
		case "":
			shown++
		case "missed":
			var v struct{ Missed uint64 }
			require.NoError(t, json.Unmarshal([]byte(e.data), &v))
			missed = v.Missed
		}
	}
	require.Positive(t, missed)
	require.Less(t, shown, lines)
}

// stuck is a client that takes nothing until wait is closed.
type stuck struct {
	*httptest.ResponseRecorder
	wait chan struct{}
}

func (s *stuck) FlushError() error {
	<-s.wait
	return nil
}
func (s *stuck) SetReadDeadline(time.Time) error  { return nil }
func (s *stuck) SetWriteDeadline(time.Time) error { return nil }
