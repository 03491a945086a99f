package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/api"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

const invokePath = "/lambdas/6f2c0000-0000-4000-8000-000000000000/invoke"

func TestInvocationForms(t *testing.T) {
	g := newGateway(t)
	r := g.do("POST", invokePath+"?v=1&userId=x", g.app, `{"timestamp":0,"headers":[{"key":"a","value":"b"}],"payload":{"n":1}}`)
	require.Equal(t, http.StatusOK, r.StatusCode)
	require.Equal(t, `"hello"`, r.body, "a brand gets the result with nothing around it")
	require.Equal(t, "application/json", r.Header.Get("Content-Type"))
	require.Equal(t, []lambda.Pair{{Key: "a", Value: "b"}}, g.calls[0].Headers)
	require.Equal(t, `{"n":1}`, string(g.calls[0].Payload))

	r = g.do("POST", invokePath, g.tokens[lambda.RoleDeveloper], "")
	require.JSONEq(t, `{"result":"hello","logs":[]}`, r.body, "a login gets logs as well")
	require.True(t, g.calls[1].Manual)
	r = g.do("POST", invokePath+"?externalSystem=crm", g.tokens[lambda.RoleDeveloper], "")
	require.Equal(t, `"hello"`, r.body)
	r = g.do("POST", invokePath+"?externalSystem=", g.tokens[lambda.RoleDeveloper], "")
	require.JSONEq(t, `{"result":"hello","logs":[]}`, r.body, "an empty parameter is absent")
}

func TestEveryOutcomeHasItsStatus(t *testing.T) {
	g := newGateway(t)
	for _, c := range []struct {
		err    error
		status int
		code   string
	}{
		{&lambda.Error{Kind: lambda.KindFunction, Code: lambda.CodeCustomFailure, Message: "m"}, 901, lambda.CodeCustomFailure},
		{&lambda.Error{Kind: lambda.KindNotFound, Code: lambda.CodeNotDeployed, Message: "m"}, 404, lambda.CodeNotDeployed},
		{&lambda.Error{Kind: lambda.KindTimeout, Code: lambda.CodeGeneral, Message: "m"}, 408, lambda.CodeGeneral},
		{&lambda.Error{Kind: lambda.KindRateLimited, Code: lambda.CodeRateLimit, Message: "m", RetryAfter: 1500 * time.Millisecond}, 429, lambda.CodeRateLimit},
		{&lambda.Error{Kind: lambda.KindCrashed, Code: lambda.CodeRuntimeGeneral, Message: "m"}, 500, lambda.CodeRuntimeGeneral},
		{&lambda.Error{Kind: lambda.KindUnavailable, Code: lambda.CodeRuntimeUnavailable, Message: "m"}, 503, lambda.CodeRuntimeUnavailable},
		{context.DeadlineExceeded, 408, lambda.CodeGeneral},
		{errors.New("secret detail"), 500, lambda.CodeGeneral},
	} {
		g.answer = func(lambda.Invocation) (lambda.Result, error) { return lambda.Result{}, c.err }
		r := g.do("POST", invokePath, g.app, "")
		require.Equal(t, c.status, r.StatusCode)
		require.Equal(t, c.code, r.code())
		require.NotContains(t, r.body, "secret detail")
		require.NotContains(t, r.body, "errorLogs")
		if c.status == 429 {
			require.Equal(t, "2", r.Header.Get("Retry-After"), "rounded up")
		}
	}
	require.Contains(t, g.log.String(), "secret detail", "the log is told in full")
}

func TestErrorLogsOfAManualCall(t *testing.T) {
	g := newGateway(t)
	g.answer = func(lambda.Invocation) (lambda.Result, error) {
		return lambda.Result{}, &lambda.Error{Kind: lambda.KindFunction, Code: lambda.CodeCustomFailure, Message: "m",
			Logs: []lambda.LogRecord{{Level: "Error", Message: "Received Error - m", Extras: json.RawMessage("[]"), Timestamp: 1}}}
	}
	r := g.do("POST", invokePath, g.tokens[lambda.RoleDeveloper], "")
	require.Equal(t, 901, r.StatusCode)
	require.JSONEq(t, `{"errorCode":"com.liveperson.faas.handler.custom-failure","errorMsg":"m","errorLogs":[{"level":"Error","message":"Received Error - m","extras":[],"timestamp":1}]}`, r.body)
}

func TestAPanicIsAnInternalError(t *testing.T) {
	g := newGateway(t)
	g.answer = func(lambda.Invocation) (lambda.Result, error) { panic("boom") }
	r := g.do("POST", invokePath, g.app, "")
	require.Equal(t, 500, r.StatusCode)
	require.Equal(t, lambda.CodeGeneral, r.code())
	require.NotContains(t, r.body, "boom")
	require.Contains(t, g.log.String(), "boom")
}

func TestBodiesOverTheLimit(t *testing.T) {
	g := newGateway(t)
	big := `{"payload":"` + strings.Repeat("x", 200_000) + `"}`
	r := g.do("POST", invokePath, g.app, big)
	require.Equal(t, http.StatusRequestEntityTooLarge, r.StatusCode)
	require.Contains(t, r.body, "100000 bytes")
	r = g.do("POST", invokePath, g.app, `{"payload":`)
	require.Equal(t, http.StatusBadRequest, r.StatusCode)
	require.Equal(t, lambda.CodeBadInput, r.code())
	require.Empty(t, g.calls)
}

func TestRetriesWithOneRequestIDRunOnce(t *testing.T) {
	g := newGateway(t)
	g.answer = func(lambda.Invocation) (lambda.Result, error) {
		time.Sleep(50 * time.Millisecond)
		return lambda.Result{Payload: json.RawMessage("1")}, nil
	}
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			r := g.do("POST", invokePath, g.app, `{"payload":1}`, "X-Request-ID", "same")
			require.Equal(t, "1", r.body)
		})
	}
	wg.Wait()
	require.Len(t, g.calls, 1)
	g.do("POST", invokePath, g.app, `{"payload":2}`, "X-Request-ID", "same")
	require.Len(t, g.calls, 2, "another body is another call")
	g.do("POST", invokePath, g.tokens[lambda.RoleInvocation], `{"payload":1}`, "X-Request-ID", "same")
	require.Len(t, g.calls, 3, "another caller shares nothing")
}

func TestIsImplemented(t *testing.T) {
	g := newGateway(t)
	r := g.do("GET", "/events/some_event/isImplemented?v=1&skillId=", g.app, "")
	require.JSONEq(t, `{"implemented":false}`, r.body)
}

// TestLargeBodiesAreBounded reserves room for more large bodies than the gateway
// may hold.
func TestLargeBodiesAreBounded(t *testing.T) {
	budget := api.NewBodyBudget()
	const one = 6 << 20
	fill := func(account string) (held int) {
		for budget.Take(account, one) == nil {
			held++
			require.Less(t, held, 1000)
		}
		return held
	}
	require.Equal(t, 21, fill("1"), "an account has half of the room")
	require.Equal(t, 21, fill("2"))
	require.Zero(t, fill("3"))
	require.True(t, lambda.Is(budget.Take("3", one), lambda.KindUnavailable), "it never ran, the caller may repeat")
	budget.Give("1", one)
	require.NoError(t, budget.Take("3", one))
}

// TestManyLargeBodiesOfOneAuthor sends all of large saves but their last byte.
func TestManyLargeBodiesOfOneAuthor(t *testing.T) {
	g := newGateway(t)
	const size = 2 << 20
	send := func(c net.Conn, role lambda.Role) {
		_, err := fmt.Fprintf(c, "POST /api/account/%s/lambdas HTTP/1.1\r\nHost: ui.example.com\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n{",
			account, g.tokens[role], size)
		require.NoError(t, err)
	}
	refused := make(chan int, 100)
	for range cap(refused) {
		c, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		send(c, lambda.RoleDeveloper)
		go func() {
			if r, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil {
				_ = r.Body.Close()
				refused <- r.StatusCode
			}
		}()
	}
	for range cap(refused) - 64 {
		select {
		case status := <-refused:
			require.Equal(t, http.StatusServiceUnavailable, status)
		case <-time.After(20 * time.Second):
			t.Fatal("all of them are held in memory")
		}
	}
	r := g.do("POST", "/lambdas", g.tokens[lambda.RoleDeveloper], createBody("small", "x"))
	require.Equal(t, http.StatusCreated, r.StatusCode, r.body)
}
