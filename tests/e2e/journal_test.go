package e2e_test

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/sdk/client"
	"github.com/sluice-faas/sluice/tests/dev"
)

// eventually asks until the journal, which writes a moment later, has what was
// wanted.
func eventually(t *testing.T, what string, has func() bool) {
	t.Helper()
	require.Eventually(t, has, 20*time.Second, 50*time.Millisecond, what)
}

// journalled waits for n invocations of a lambda, and gives them, the oldest first.
func journalled(t *testing.T, c *client.Client, lambdaID string, n int) []client.PastInvocation {
	t.Helper()
	var list []client.PastInvocation
	eventually(t, "its invocations are in the journal", func() bool {
		var err error
		list, _, err = c.Invocations(t.Context(), client.Query{LambdaID: lambdaID, Oldest: true})
		require.NoError(t, err)
		return len(list) >= n
	})
	require.Len(t, list, n)
	return list
}

func TestTheJournalHoldsWhatLambdasLoggedAndHowTheyEnded(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	author, app, reader := developer(t, g), brand(t, g), as(t, g, invocationRole)
	begin := time.Now()
	l := deployed(t, author, "journal", `function lambda(input, callback) {
		const { many, end } = input.payload
		console.debug('unseen')
		console.info('=SUM(A1)', { a: 'x;y' })
		console.warn('two\nlines "quoted"')
		console.error('grüße', 1, null)
		for (let i = 0; i < (many ?? 0); i++) console.log('much')
		if (end === 'fail') return callback(new Error('no luck'))
		if (end === 'throw') undefinedFunction()
		if (end === 'exit') return process.exit(3)
		if (end === 'sleep') return
		callback(null, 'done')
	}`)
	ends := []string{"", "fail", "throw", "sleep", "exit"}
	for _, end := range ends {
		_, err := app.Invoke(t.Context(), l.ID, map[string]any{"end": end}, client.WithRequestID("journal-"+end))
		require.Equal(t, end == "", err == nil, "%s: %v", end, err)
	}
	_, err := app.Invoke(t.Context(), l.ID, map[string]any{"many": 20}, client.WithRequestID("journal-many"))
	require.NoError(t, err, "too much log fails no call")
	_, err = author.InvokeManual(t.Context(), l.ID, nil, client.WithRequestID("journal-manual"))
	require.NoError(t, err)

	calls := journalled(t, reader, l.ID, len(ends)+2)
	for i, want := range []client.PastInvocation{
		{RequestID: "journal-", State: "SUCCEEDED", Trigger: "call"},
		{RequestID: "journal-fail", State: "CODING_FAILURE", Trigger: "call", Phase: "run", Code: client.CodeCustomFailure, Message: "no luck"},
		{RequestID: "journal-throw", State: "CODING_FAILURE", Trigger: "call", Phase: "run", Code: client.CodeRuntimeException, Message: "undefinedFunction is not defined"},
		{RequestID: "journal-sleep", State: "TIMEOUT", Trigger: "call", Phase: "run", Code: client.CodeExecutionTime, Message: "Lambda Execution is taking too long"},
		{RequestID: "journal-exit", State: "CODING_FAILURE", Trigger: "call", Phase: "run", Code: client.CodeCustomFailure},
		{RequestID: "journal-many", State: "SUCCEEDED", Trigger: "call", Dropped: 23},
		{RequestID: "journal-manual", State: "SUCCEEDED", Trigger: "manual"},
	} {
		got := calls[i]
		if want.Message == "" && want.Code != "" {
			require.Contains(t, got.Message, "The lambda ended its process")
			want.Message = got.Message
		}
		require.Equal(t, l.ID, got.LambdaID)
		require.Equal(t, l.Name, got.LambdaName)
		require.Equal(t, 1, got.Version)
		require.Positive(t, got.RunMS)
		require.GreaterOrEqual(t, got.Timestamp, begin.UnixMilli())
		require.NotEmpty(t, got.Caller)
		require.Equal(t, want, client.PastInvocation{
			RequestID: got.RequestID, State: got.State, Trigger: got.Trigger, Phase: got.Phase, Code: got.Code, Message: got.Message, Dropped: got.Dropped,
		})
	}

	t.Run("logs", func(t *testing.T) {
		written := []string{"=SUM(A1)", "two\nlines \"quoted\"", "grüße"}
		for request, want := range map[string][]string{
			"journal-":       written,
			"journal-fail":   append(slices.Clone(written), "Received Error - no luck"),
			"journal-sleep":  append(slices.Clone(written), "Received Error - Lambda Execution is taking too long"),
			"journal-exit":   append(slices.Clone(written), "Received Error - "+calls[4].Message),
			"journal-manual": nil,
		} {
			lines, _, err := reader.Logs(t.Context(), client.Query{LambdaID: l.ID, RequestID: request, Oldest: true})
			require.NoError(t, err)
			var got []string
			for _, line := range lines {
				got = append(got, line.Message)
			}
			require.Equal(t, want, got, request)
		}
		lines, _, err := reader.Logs(t.Context(), client.Query{LambdaID: l.ID, RequestID: "journal-many"})
		require.NoError(t, err)
		require.Len(t, lines, 1)
		require.Equal(t, "Error", lines[0].Level)
		require.Contains(t, lines[0].Message, "com.liveperson.faas.handler.log-limit-reached: the call logged 23 records with")
		lines, _, err = reader.Logs(t.Context(), client.Query{LambdaID: l.ID, Levels: []string{"Error"}, Text: "GRÜSSE", Limit: 1000})
		require.NoError(t, err)
		require.Empty(t, lines)
		lines, _, err = reader.Logs(t.Context(), client.Query{LambdaID: l.ID, Levels: []string{"Info"}, Text: "X;Y"})
		require.NoError(t, err)
		require.Len(t, lines, len(ends))
		require.JSONEq(t, `[{"a":"x;y"}]`, string(lines[0].Extras))
	})
	t.Run("export", func(t *testing.T) {
		text, err := reader.ExportLogs(t.Context(), client.Query{LambdaID: l.ID, RequestID: "journal-", From: begin, To: time.Now()})
		require.NoError(t, err)
		table := csv.NewReader(strings.NewReader(text))
		table.Comma = ';'
		rows, err := table.ReadAll()
		require.NoError(t, err)
		require.Equal(t, [][]string{
			{"lambdaUUID", "requestID", "timestamp", "level", "message", "extras"},
			{l.ID, "journal-", rows[1][2], "Info", "'=SUM(A1)", `[{"a":"x;y"}]`},
			{l.ID, "journal-", rows[2][2], "Warn", "two\nlines \"quoted\"", `[]`},
			{l.ID, "journal-", rows[3][2], "Error", "grüße", `[1,null]`},
		}, rows)
	})
	t.Run("report", func(t *testing.T) {
		report, err := reader.Report(t.Context(), l.ID, client.Query{From: begin.Add(-20 * time.Minute), To: time.Now().Add(time.Second)}, 5*time.Minute)
		require.NoError(t, err)
		var sum client.Statistic
		for _, s := range report {
			sum.Succeeded += s.Succeeded
			sum.CodingFailure += s.CodingFailure
			sum.Timeout += s.Timeout
			sum.PlatformFailure += s.PlatformFailure + s.Unknown
		}
		require.Equal(t, client.Statistic{Succeeded: 3, CodingFailure: 3, Timeout: 1}, sum)
	})
	t.Run("a repetition with its X-Request-ID is no second invocation", func(t *testing.T) {
		c := newCaller(t, g, appToken(t, g))
		for _, id := range []string{"journal-again", "journal-again", "journal-again", "journal-last"} {
			require.Equal(t, http.StatusOK, c.invoke(t, l.ID, `{"payload":{}}`, "X-Request-ID", id).status)
		}
		calls := journalled(t, reader, l.ID, len(ends)+4)
		require.Equal(t, "journal-again", calls[len(calls)-2].RequestID)
		require.Equal(t, "journal-last", calls[len(calls)-1].RequestID)
	})
	t.Run("who changed it", func(t *testing.T) {
		list, _, err := author.Activities(t.Context(), client.Query{Noun: "lambda"})
		require.NoError(t, err)
		var did []string
		for _, a := range slices.Backward(list) {
			if a.ID == l.ID {
				did = append(did, a.Action+" by "+a.By)
			}
		}
		require.Equal(t, []string{"create by developer@example.com", "deploy by developer@example.com"}, did)
	})
}

func TestALiveTailFollowsCallsOverHTTPS(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	author, app := developer(t, g), brand(t, g)
	l := deployed(t, author, "tail", `function lambda(input, callback) { console.info('call', input.payload.n); callback(null, 1) }`)
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			resp := liveTail(ctx, t, g, l.ID, http2)
			require.Equal(t, name, resp.Proto)
			const calls = 50
			var calling sync.WaitGroup
			defer calling.Wait() // a line comes before its call is answered
			calling.Go(func() {
				for n := range calls {
					if _, err := app.Invoke(ctx, l.ID, map[string]int{"n": n}, client.WithRequestID(fmt.Sprintf("tail-%s-%d", name, n))); err != nil {
						t.Errorf("call %d: %v", n, err)
					}
				}
			})
			lines := bufio.NewScanner(resp.Body)
			for n := 0; n < calls && lines.Scan(); {
				data, ok := strings.CutPrefix(lines.Text(), "data: ")
				if !ok {
					continue
				}
				var line client.LogLine
				require.NoError(t, json.Unmarshal([]byte(data), &line), data)
				require.Equal(t, fmt.Sprintf("tail-%s-%d", name, n), line.RequestID)
				require.JSONEq(t, fmt.Sprintf("[%d]", n), string(line.Extras))
				n++
			}
			require.NoError(t, lines.Err())
		})
	}
}

// liveTail opens a live tail of a lambda's lines that hold the word call.
func liveTail(ctx context.Context, t *testing.T, g *dev.Gateway, lambdaID string, http2 bool) *http.Response {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: trust(t, g), ForceAttemptHTTP2: http2}
	t.Cleanup(transport.CloseIdleConnections)
	address := g.Info.URLs["faasUI"] + "/api/account/" + g.Info.AccountID + "/logs/tail?lambdaUUID=" + lambdaID + "&text=call"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+sessionToken(t, g, invocationRole))
	resp, err := (&http.Client{Transport: transport}).Do(req)
	require.NoError(t, err)
	t.Cleanup(func() { _ = resp.Body.Close() })
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
	return resp
}

func TestAGatewayThatStopsEndsItsLiveTails(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, t.TempDir(), "--no-sample")
	l := deployed(t, developer(t, g), "tailed", versioned("1"))
	var tails []*http.Response
	for _, http2 := range []bool{false, true} {
		tails = append(tails, liveTail(t.Context(), t, g, l.ID, http2))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second) // a call under way would be waited for 35 s
	defer cancel()
	require.NoError(t, g.Stop(ctx))
	for _, tail := range tails {
		text, err := io.ReadAll(tail.Body)
		require.NoError(t, err, "it has an end, and is not cut off")
		require.Contains(t, string(text), "event: end\ndata: {\"reason\":\"the gateway stops\"}\n\n")
	}
}

func TestEveryAnsweredCallIsInTheJournalAfterAKill(t *testing.T) {
	const (
		rate    = 2000 // calls a second, of which a slow machine answers as many as it can
		seconds = 4
		callers = 64
	)
	g := ownGateway(t, t.TempDir(), "--no-sample", "--limit", dev.NoLimits)
	session := as(t, g, developerRole)
	l := deployed(t, session, "outlives", `function lambda(input, callback) { console.info('called'); callback(null, 1) }`)
	token := appToken(t, g)
	body := []byte(`{"timestamp":0,"payload":{}}`)

	begin := time.Now()
	var mu sync.Mutex
	answered := map[string]time.Time{}
	turns := make(chan int, callers)
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range callers {
		c := newCaller(t, g, token)
		wg.Go(func() {
			for n := range turns {
				id := fmt.Sprint("outlives-", n)
				r, err := c.try(ctx, http.MethodPost, c.invokePath(l.ID), body, "X-Request-ID", id)
				if err == nil && r.status == http.StatusOK {
					mu.Lock()
					answered[id] = time.Now()
					mu.Unlock()
				}
			}
		})
	}
	tick := time.NewTicker(5 * time.Millisecond)
	for n := 0; time.Since(begin) < seconds*time.Second; {
		<-tick.C
		n = giveOut(turns, n, int(time.Since(begin).Seconds()*rate))
	}
	tick.Stop()
	killed := time.Now()
	g.Kill()
	cancel()
	close(turns)
	wg.Wait()
	t.Logf("%d calls were answered in %s before the kill", len(answered), killed.Sub(begin).Round(time.Millisecond))

	again, err := g.Restart(t.Context())
	require.NoError(t, err)
	owned(t, again)
	kept := map[string]bool{}
	reader := reconnect(t, again, session)
	query := client.Query{LambdaID: l.ID, From: begin.Add(-time.Second), Limit: 1000}
	for {
		page, next, err := reader.Invocations(t.Context(), query)
		require.NoError(t, err)
		for _, call := range page {
			kept[call.RequestID] = true
		}
		if query.Cursor = next; next == "" {
			break
		}
	}
	old, lost := 0, []string(nil)
	for id, at := range answered {
		if killed.Sub(at) < time.Second {
			continue
		}
		if old++; !kept[id] {
			lost = append(lost, id)
		}
	}
	t.Logf("%d of them more than a second before it; %d calls are in the journal", old, len(kept))
	require.Greater(t, old, rate/10, "too few calls to mean anything")
	require.Empty(t, lost)
}

// giveOut gives out the calls from n up to until, as far as there is room, and
// says which is the next.
func giveOut(turns chan<- int, n, until int) int {
	for ; n < until; n++ {
		select {
		case turns <- n:
		default:
			return n // the machine is behind
		}
	}
	return n
}

func TestAFullDiskOfTheJournalNeitherStopsNorSlowsCalls(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	dir := filepath.Join(t.TempDir(), "data")
	small := filepath.Join(dir, "journal")
	require.NoError(t, os.MkdirAll(small, 0o700))
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=3m,mode=0700"); err != nil {
		t.Skip("a small file system cannot be mounted here:", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(small, syscall.MNT_DETACH)) })
	g := ownGateway(t, dir, "--no-sample", "--limit", dev.NoLimits)
	author, app := developer(t, g), brand(t, g)
	l := deployed(t, author, "fills", `
		const { randomBytes } = require('crypto')
		function lambda(input, callback) { if (input.payload.fill) console.info(randomBytes(2900).toString('hex')); callback(null, 1) }`)
	median := func() time.Duration {
		var took []time.Duration
		for range 101 {
			begin := time.Now()
			_, err := app.Invoke(t.Context(), l.ID, nil)
			require.NoError(t, err)
			took = append(took, time.Since(begin))
		}
		slices.Sort(took)
		return took[50]
	}
	before := median()
	require.JSONEq(t, `{"ready":true}`, admin(t, g, "/readyz"))

	var failed atomic.Int64
	eventually(t, "the disk is full, and /readyz shows it", func() bool {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 20 {
					if _, err := app.Invoke(t.Context(), l.ID, map[string]bool{"fill": true}); err != nil {
						failed.Add(1)
					}
				}
			})
		}
		wg.Wait()
		return strings.Contains(admin(t, g, "/readyz"), `"degraded":["journal"]`)
	})
	require.Zero(t, failed.Load(), "calls that failed while the disk became full")
	require.JSONEq(t, `{"ready":true,"degraded":["journal"]}`, admin(t, g, "/readyz"), "it stays ready")
	require.Contains(t, admin(t, g, "/readyz?verbose"), "full")
	after := median()
	t.Logf("median of a call: %s before, %s with a full disk", before, after)
	require.Less(t, after, 3*before+20*time.Millisecond)
	require.NotContains(t, admin(t, g, "/metrics"), "sluice_journal_dropped_total{reason=\"disk\"} 0\n")
	_, err := author.CreateLambda(t.Context(), client.LambdaSpec{Name: newName("while_full"), Description: "is saved all the same", Code: versioned("1")})
	require.NoError(t, err)
}

// admin asks the admin listener.
func admin(t *testing.T, g *dev.Gateway, path string) string {
	t.Helper()
	address, err := url.JoinPath(g.Info.URLs["admin"], "/")
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.TrimSuffix(address, "/")+path, nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(text)
}
