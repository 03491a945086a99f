package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/gateway/store"
	"github.com/sluice-faas/sluice/gateway/store/etcdtest"
	"github.com/sluice-faas/sluice/sdk/client"
	"github.com/sluice-faas/sluice/tests/dev"
)

// witness is a server that lambdas tell of their runs.
type witness struct {
	*httptest.Server
	mu   sync.Mutex
	seen map[string]map[string]int // by minute, by name
	news chan struct{}             // closed when one is told
}

func newWitness(t *testing.T) *witness {
	t.Helper()
	w := &witness{seen: map[string]map[string]int{}, news: make(chan struct{})}
	w.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // what is not whole has no name that counts
		var run struct{ Name string }
		_ = json.Unmarshal(body, &run)
		w.mu.Lock()
		defer w.mu.Unlock()
		minute := minuteOf(time.Now())
		if w.seen[minute] == nil {
			w.seen[minute] = map[string]int{}
		}
		w.seen[minute][run.Name]++
		close(w.news)
		w.news = make(chan struct{})
	}))
	t.Cleanup(w.Close)
	return w
}

func minuteOf(at time.Time) string { return at.UTC().Format("15:04") }

// of tells how often each lambda ran in a minute.
func (w *witness) of(at time.Time) map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := map[string]int{}
	for name, n := range w.seen[minuteOf(at)] {
		seen[name] = n
	}
	return seen
}

// await waits until so many runs of a minute were told, or that time.
func (w *witness) await(at time.Time, n int, until time.Time) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	for {
		w.mu.Lock()
		news, sum := w.news, 0
		for _, times := range w.seen[minuteOf(at)] {
			sum += times
		}
		w.mu.Unlock()
		if sum >= n {
			return
		}
		select {
		case <-news:
		case <-timer.C:
			return
		}
	}
}

// teller is a lambda that tells the witness of each run, with its payload, and
// then takes its time.
func teller(url string, takes time.Duration) string {
	return fmt.Sprintf(`const http = require('http')
		function lambda(input, callback) {
			const request = http.request('%s', { method: 'POST' }, (answer) => {
				answer.resume()
				answer.on('end', () => setTimeout(() => callback(null, 'told'), %d))
			})
			request.on('error', callback)
			request.end(JSON.stringify(input.payload))
		}`, url, takes.Milliseconds())
}

// TestEveryDueRunIsMadeOnceWhateverBecomesOfAGateway has two gateways on one etcd
// for three minutes. At the second, one of them is killed while it makes runs; at the
// third, the other is stopped while it does.
func TestEveryDueRunIsMadeOnceWhateverBecomesOfAGateway(t *testing.T) {
	t.Parallel()
	const quick, slow = 5, 3
	told := newWitness(t)
	etcd := etcdtest.Start(t)
	flags := []string{"--etcd-endpoints", etcd.Endpoint, "--no-sample", "--limit", dev.NoLimits, "--prestart", "2"}
	survivor := ownGateway(t, t.TempDir(), flags...)
	victim := ownGateway(t, copyDemo(t, survivor), flags...)
	author := as(t, survivor, developerRole)
	_, err := as(t, survivor, "FaaS-Admin").AddPrivateDomain(t.Context(), "localhost")
	require.NoError(t, err)
	told.URL = "http://localhost:" + portOf(t, told.URL)

	var lambdas []*client.Lambda
	for i := range quick + slow {
		takes := time.Duration(0)
		if i >= quick {
			takes = 3 * time.Second
		}
		lambdas = append(lambdas, deployed(t, author, "scheduled", teller(told.URL, takes)))
	}
	first := time.Now().Add(5 * time.Second).Truncate(time.Minute).Add(time.Minute) // there is time to make them all
	time.Sleep(time.Until(first.Add(-time.Minute)))
	for _, l := range lambdas {
		payload, err := json.Marshal(map[string]string{"name": l.Name})
		require.NoError(t, err)
		s, err := author.CreateSchedule(t.Context(), l.ID, "* * * * *", payload)
		require.NoError(t, err)
		require.WithinDuration(t, first, *s.Next, 0)
		require.Nil(t, s.Last)
	}

	// Both live.
	told.await(first, len(lambdas), first.Add(20*time.Second))
	time.Sleep(10 * time.Second) // the slow ones end, and a second run would show
	seen := told.of(first)
	for _, l := range lambdas {
		require.Equal(t, 1, seen[l.Name], "%s: %v", l.Name, seen)
	}
	for _, s := range schedulesOf(t, author) {
		require.False(t, s.Failed || s.Running, "%+v", s)
		require.False(t, s.Last.Before(first), "%+v", s)
		require.Zero(t, s.Missed)
	}
	by := map[string]int{}
	for _, run := range lastRuns(t, etcd) {
		by[run.Gateway]++
	}
	t.Logf("both lived and made %v", by)

	// One is killed while it makes runs.
	second := first.Add(time.Minute)
	told.await(second, 2, second.Add(20*time.Second)) // some have begun
	victim.Kill()
	time.Sleep(time.Until(second.Add(store.DefaultGatewayTTL + 10*time.Second)))
	seen = told.of(second)
	failed := 0
	for _, s := range schedulesOf(t, author) {
		name := nameOf(lambdas, s.LambdaID)
		require.False(t, s.Running, "%s: nobody makes it any more: %+v", name, s)
		require.False(t, s.Last.Before(second), "%s: nobody made it: %+v", name, s)
		require.Zero(t, s.Missed)
		if s.Failed {
			failed++
			require.Equal(t, client.CodeUnavailable, s.LastError.Code)
			require.Contains(t, s.LastError.Message, "It is not repeated")
			require.LessOrEqual(t, seen[name], 1, "%s ran twice: %v", name, seen)
			continue
		}
		require.Equal(t, 1, seen[name], "%s: %v", name, seen)
	}
	t.Logf("one was killed: %v ran, %d runs were lost with it", seen, failed)

	// An undeployment ends a schedule.
	require.NoError(t, author.Undeploy(t.Context(), lambdas[0].ID))
	require.Eventually(t, func() bool { return len(schedulesOf(t, author)) == len(lambdas)-1 }, 20*time.Second, 100*time.Millisecond)

	// The one that is left makes all, and when it is stopped it waits for their ends.
	third := second.Add(time.Minute)
	told.await(third, len(lambdas)-1, third.Add(20*time.Second))
	stopping, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, survivor.Stop(stopping))
	seen = told.of(third)
	require.Zero(t, seen[lambdas[0].Name])
	for _, l := range lambdas[1:] {
		require.Equal(t, 1, seen[l.Name], "%s: %v", l.Name, seen)
	}
	last := lastRuns(t, etcd)
	require.Len(t, last, len(lambdas)-1)
	for _, run := range last {
		require.True(t, third.Equal(run.Due), "%+v", run)
		require.False(t, run.EndedAt.IsZero() || run.Failed, "%+v", run)
	}
}

func schedulesOf(t *testing.T, c *client.Client) []client.Schedule {
	t.Helper()
	list, err := c.Schedules(t.Context())
	require.NoError(t, err)
	return list
}

func nameOf(lambdas []*client.Lambda, id string) string {
	for _, l := range lambdas {
		if l.ID == id {
			return l.Name
		}
	}
	return ""
}

// lastRuns reads the last run of every schedule.
func lastRuns(t *testing.T, etcd *etcdtest.Server) []lambda.Execution {
	t.Helper()
	table, err := store.New(etcd.Client(t), zerolog.Nop()).OpenTimetable(t.Context())
	require.NoError(t, err)
	defer table.Close()
	var last []lambda.Execution
	for _, ref := range table.Take() {
		if seen, ok := table.Of(ref); ok && seen.Runs != nil && seen.Runs.Last != nil {
			last = append(last, *seen.Runs.Last)
		}
	}
	return last
}
