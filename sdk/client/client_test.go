package client_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sluice-faas/sluice/sdk/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What the real gateway answers is the subject of tests/e2e; here a server says
// what no healthy gateway says.
func serve(t *testing.T, handler http.HandlerFunc) *client.Client {
	t.Helper()
	server := httptest.NewServer(handler)
	c, err := client.New("12345678", client.WithBaseURL(server.URL+"/"))
	require.NoError(t, err)
	t.Cleanup(func() {
		c.Close()
		server.Close()
	})
	return c
}

func TestNewNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		account string
		options []client.Option
		says    string
	}{
		"no account":            {"", []client.Option{client.WithBaseURL("http://x")}, "account"},
		"no endpoints":          {"1", nil, "WithBaseURL"},
		"a URL without a host":  {"1", []client.Option{client.WithBaseURL("https://")}, "Invocation"},
		"another scheme":        {"1", []client.Option{client.WithBaseURL("ftp://x")}, "ftp"},
		"one endpoint missing":  {"1", []client.Option{client.WithEndpoints(client.Endpoints{Invocation: "http://a", Management: "http://a", Login: "http://a"})}, "Sentinel"},
		"a CA file that is not": {"1", []client.Option{client.WithBaseURL("http://x"), client.WithCAFile("/no/such/file")}, "/no/such/file"},
		"an empty system":       {"1", []client.Option{client.WithBaseURL("http://x"), client.WithExternalSystem("")}, "external system"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client.New(tt.account, tt.options...)
			require.ErrorContains(t, err, tt.says)
		})
	}
}

func TestEveryFormOfErrorAnswerIsRead(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status   int
		body     string
		want     client.Error
		function bool
	}{
		"the contract's form": {
			901, `{"errorCode":"com.liveperson.faas.handler.custom-failure","errorMsg":"no","errorLogs":[{"level":"Error","message":"m","extras":[],"timestamp":1}]}`,
			client.Error{Status: 901, Code: client.CodeCustomFailure, Message: "no", RequestID: "id", Phase: "run", RetryAfter: 5 * time.Second,
				Logs: []client.LogRecord{{Level: "Error", Message: "m", Extras: json.RawMessage("[]"), Timestamp: 1}}}, true,
		},
		"Sentinel's form": {
			400, `{"error":"invalid_client","error_description":"who are you"}`,
			client.Error{Status: 400, Code: "invalid_client", Message: "who are you", RequestID: "id", Phase: "run", RetryAfter: 5 * time.Second}, false,
		},
		"the login service's form": {
			401, `{"error":{"time":"now","message":"CSRF token invalid!","internalCode":10,"responseStatus":"UNAUTHORIZED"}}`,
			client.Error{Status: 401, Code: "UNAUTHORIZED", Message: "CSRF token invalid!", RequestID: "id", Phase: "run", RetryAfter: 5 * time.Second}, false,
		},
		"no JSON": {
			502, "<html>bad gateway</html>",
			client.Error{Status: 502, Message: "an answer that is not JSON: <html>bad gateway</html>", RequestID: "id", Phase: "run", RetryAfter: 5 * time.Second}, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Request-ID", "id")
				w.Header().Set("X-Sluice-Phase", "run")
				w.Header().Set("Retry-After", "5")
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			})
			_, err := c.Invoke(t.Context(), "l", nil)
			var e *client.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, tt.want, *e)
			require.Equal(t, tt.function, e.Function())
			require.True(t, client.IsStatus(err, tt.status))
			require.True(t, client.IsCode(err, tt.want.Code))
			require.Contains(t, err.Error(), tt.want.Message)
		})
	}
}

func TestAnAnswerOutsideTheContractIsAnErrorAndNoPanic(t *testing.T) {
	t.Parallel()
	for _, body := range []string{``, `null`, `[]`, `[null]`, `[{},{}]`, `{`, `"x"`, `{"uuid":1}`} {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
		_, err := c.Lambda(t.Context(), "l")
		require.Error(t, err, "%s", body)
		_, err = c.AppToken(t.Context(), "id", "secret")
		require.Error(t, err, "%s", body)
		_, err = c.Login(t.Context(), "u", "p")
		require.Error(t, err, "%s", body)
		_, err = client.Discover(t.Context(), c.HTTP(), c.Endpoints().Invocation, "12345678")
		require.Error(t, err, "%s", body)
	}
}

func TestAnEndlessAnswerIsCutOff(t *testing.T) {
	t.Parallel()
	chunk := strings.Repeat("x", 1<<20)
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := io.WriteString(w, chunk); err != nil {
				return
			}
		}
	})
	_, err := c.Invoke(t.Context(), "l", nil)
	require.ErrorContains(t, err, "larger than")
}

func TestAnInvocationSendsWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	var got *http.Request
	var body string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		got, body = r, string(text)
		_, _ = io.WriteString(w, `{"result":1,"logs":[]}`)
	})
	c = c.With(client.StaticToken("secret"))
	_, err := c.Invoke(t.Context(), "a/b", json.RawMessage(`[1]`), client.WithRequestID("r"), client.WithUserID("u"), client.WithHeaders(client.Pair{Key: "k", Value: "v"}))
	require.NoError(t, err)
	require.Equal(t, "/api/account/12345678/lambdas/a%2Fb/invoke", got.URL.EscapedPath())
	require.Equal(t, "Bearer secret", got.Header.Get("Authorization"))
	require.Equal(t, "r", got.Header.Get("X-Request-ID"))
	require.Equal(t, "u", got.URL.Query().Get("userId"))
	require.NotEmpty(t, got.URL.Query().Get("externalSystem"))
	require.Contains(t, body, `"headers":[{"key":"k","value":"v"}],"payload":[1]`)

	_, err = c.InvokeManual(t.Context(), "l", nil)
	require.NoError(t, err)
	require.False(t, got.URL.Query().Has("externalSystem"), "it would make the answer raw")
	require.NotContains(t, body, "payload")
}

// jwt is a token that ends then; nobody here checks its signature.
func jwt(ends time.Time, n int64) string {
	claims := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d,"n":%d}`, ends.Unix(), n))
	return "e30." + claims + ".sig"
}

func TestTheJournalIsAskedForWhatWasWanted(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(1626330360217)
	wanted := client.Query{
		LambdaID: "l-1", From: at, To: at.Add(time.Second), Levels: []string{"Info", "Warn"}, Text: "a b", RequestID: "r-1",
		States: []string{"TIMEOUT"}, Oldest: true, Limit: 7, Cursor: "c=",
	}
	var asked []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path+"?"+r.URL.RawQuery)
		w.Header().Set("X-Sluice-Cursor", "more")
		switch {
		case strings.HasSuffix(r.URL.Path, "/logs"):
			_, _ = io.WriteString(w, `[{"requestID":"r-1","timestamp":5,"level":"Info","message":"m","extras":[1],"lambdaUUID":"l-1","version":3}]`)
		case strings.HasSuffix(r.URL.Path, "/logs/export"):
			_, _ = io.WriteString(w, "a;b\n")
		case strings.HasSuffix(r.URL.Path, "/invocations"):
			_, _ = io.WriteString(w, `{"invocations":[{"requestID":"r-1","state":"TIMEOUT","runMs":1.5}],"next":"more"}`)
		case strings.HasSuffix(r.URL.Path, "/activities"):
			_, _ = io.WriteString(w, `{"activities":[{"by":"ada","timestamp":"2021-07-15T06:26:00.217Z","changes":[{"field":"code","diff":"d"}]}],"next":"more"}`)
		default:
			_, _ = io.WriteString(w, `{"uuid":"l-1","name":"n","invocationStatistics":[{"from":1,"to":2,"UNKOWN":3,"TIMEOUT":4}]}`)
		}
	})
	lines, next, err := c.Logs(t.Context(), wanted)
	require.NoError(t, err)
	require.Equal(t, "more", next)
	require.Equal(t, []client.LogLine{{
		LogRecord: client.LogRecord{Level: "Info", Message: "m", Extras: json.RawMessage(`[1]`), Timestamp: 5}, RequestID: "r-1", LambdaID: "l-1", Version: 3,
	}}, lines)
	text, err := c.ExportLogs(t.Context(), client.Query{LambdaID: "l-1"})
	require.NoError(t, err)
	require.Equal(t, "a;b\n", text)
	calls, next, err := c.Invocations(t.Context(), client.Query{})
	require.NoError(t, err)
	require.Equal(t, "more", next)
	require.Equal(t, []client.PastInvocation{{RequestID: "r-1", State: "TIMEOUT", RunMS: 1.5}}, calls)
	report, err := c.Report(t.Context(), "l-1", client.Query{From: at}, time.Hour)
	require.NoError(t, err)
	require.Equal(t, []client.Statistic{{From: 1, To: 2, Unknown: 3, Timeout: 4}}, report)
	changes, next, err := c.Activities(t.Context(), client.Query{Noun: "lambda"})
	require.NoError(t, err)
	require.Equal(t, "more", next)
	require.Equal(t, []client.Activity{{By: "ada", Timestamp: at.UTC(), Changes: []client.Change{{Field: "code", Diff: "d"}}}}, changes)
	const account = "/api/account/12345678"
	require.Equal(t, []string{
		account + "/logs?cursor=c%3D&endTimestamp=1626330361217&filterLevels=Info&filterLevels=Warn&invocationStates=TIMEOUT&lambdaUUID=l-1&limit=7&order=oldest&requestId=r-1&startTimestamp=1626330360217&text=a+b&v=1",
		account + "/logs/export?lambdaUUID=l-1&v=1",
		account + "/invocations?v=1",
		account + "/reports/invocations/l-1?bucketSize=3600&startTimestamp=1626330360217&v=1",
		account + "/activities?noun=lambda&v=1",
	}, asked)
}

func TestAppCredentialsKeepATokenUntilHalfAnHourBeforeItsEnd(t *testing.T) {
	t.Parallel()
	var fetched atomic.Int64
	var lifetime atomic.Int64
	var broken atomic.Bool
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if err := r.ParseForm(); err != nil || r.PostForm.Get("client_secret") != "s" || r.PostForm.Get("grant_type") != "client_credentials" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		ends := time.Now().Add(time.Duration(lifetime.Load()))
		_, _ = fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer"}`, jwt(ends, fetched.Add(1)))
	})

	lifetime.Store(int64(time.Hour))
	source := client.AppCredentials(c, "id", "s")
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := source.Token(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, int64(1), fetched.Load(), "callers wait for the one fetch")

	lifetime.Store(int64(20 * time.Minute))
	source = client.AppCredentials(c, "id", "s")
	_, err := source.Token(t.Context())
	require.NoError(t, err)
	short, err := source.Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, int64(3), fetched.Load(), "a token near its end is fetched anew")
	broken.Store(true)
	again, err := source.Token(t.Context())
	require.NoError(t, err, "while the service is away the old one does")
	require.Equal(t, short, again)

	_, err = client.AppCredentials(c, "id", "s").Token(t.Context())
	require.True(t, client.IsStatus(err, http.StatusServiceUnavailable))
}

func TestWaitingForADeployment(t *testing.T) {
	t.Parallel()
	states := []string{client.BuildStart, client.BuildFinish, client.DeployStart, client.DeployFailed}
	var look atomic.Int64
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		i := min(int(look.Add(1))-1, len(states)-1)
		_, _ = fmt.Fprintf(w, `[{"uuid":"l","state":"Draft","lastDeployment":{"deploymentState":%q,"deploymentError":{"errorCode":"c","errorMsg":"broken"}}}]`, states[i])
	})
	_, err := c.WaitDeployed(t.Context(), "l")
	var failed *client.DeployError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, client.DeployFailed, failed.State)
	require.Equal(t, "broken", failed.Message)

	never := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `[{"uuid":"l","state":"Draft","lastDeployment":{}}]`)
	})
	_, err = never.WaitDeployed(t.Context(), "l")
	require.ErrorContains(t, err, "never deployed")

	endless := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `[{"uuid":"l","lastDeployment":{"deploymentState":"Deploy Start"}}]`)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = endless.WaitDeployed(ctx, "l")
	require.True(t, errors.Is(err, context.DeadlineExceeded), "%v", err)
}

func TestDiscoverReadsTheDomainAPI(t *testing.T) {
	t.Parallel()
	list := `{"service":"faasGW","account":"1","baseURI":"gw.example.com"},{"service":"sentinel","account":"1","baseURI":"http://s.example.com"},{"service":"agentVep","account":"1","baseURI":"v.example.com:8443"}`
	full := list + `,{"service":"faasUI","account":"1","baseURI":"ui.example.com"}`
	answer := full
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, "/api/account/1/service/baseURI.json?version=1.0", r.URL.RequestURI())
		_, _ = io.WriteString(w, `{"baseURIs":[`+answer+`]}`)
	})
	origin := c.Endpoints().Invocation
	got, err := client.Discover(t.Context(), c.HTTP(), origin, "1")
	require.NoError(t, err)
	require.Equal(t, client.Endpoints{
		Invocation: "https://gw.example.com", Management: "https://ui.example.com",
		Sentinel: "http://s.example.com", Login: "https://v.example.com:8443",
	}, got)
	answer = list
	_, err = client.Discover(t.Context(), c.HTTP(), origin, "1")
	require.ErrorContains(t, err, "faasUI")
}

func TestAFailedConnectionDoesNotTellTheQuery(t *testing.T) {
	t.Parallel()
	c, err := client.New("1", client.WithBaseURL("http://127.0.0.1:1"))
	require.NoError(t, err)
	_, err = c.Invoke(t.Context(), "l", nil, client.WithUserID("private"))
	require.Error(t, err)
	require.NotContains(t, err.Error(), "private")
}
