package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/sluice-faas/sluice/plugins"
	runtimev1 "github.com/sluice-faas/sluice/plugins/proto/faas/runtime/v1"
)

// The tests are inside the package, because what Serve serves is reached from
// outside only through a process; plugins/host tests that way.

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		Serve("test", nil)
		return
	}
	goleak.VerifyTestMain(m)
}

func TestStartedByHandItSaysWhatItIs(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, "serve")
	cmd.Env = []string{}
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "not meant to be executed directly")
}

func client(t *testing.T, load Loader, options ...Option) runtimev1.RuntimeServiceClient {
	t.Helper()
	server := grpc.NewServer(plugins.ServerOptions()...)
	runtimev1.RegisterRuntimeServiceServer(server, newService("test", load, options))
	l := bufconn.Listen(1 << 20)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("passthrough:", append(plugins.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return runtimev1.NewRuntimeServiceClient(conn)
}

func loads(h HandlerFunc) Loader {
	return func(context.Context, Function) (Handler, error) { return h, nil }
}

// stream loads h and opens its session.
func stream(t *testing.T, limits *runtimev1.Limits, h HandlerFunc) grpc.BidiStreamingClient[runtimev1.HostFrame, runtimev1.RuntimeFrame] {
	t.Helper()
	c := client(t, loads(h))
	answer, err := c.Load(context.Background(), &runtimev1.LoadRequest{Limits: limits})
	require.NoError(t, err)
	require.Nil(t, answer.GetFailure())
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	s, err := c.Session(ctx)
	require.NoError(t, err)
	return s
}

func send(t *testing.T, s grpc.BidiStreamingClient[runtimev1.HostFrame, runtimev1.RuntimeFrame], f *runtimev1.HostFrame) {
	t.Helper()
	require.NoError(t, s.Send(f))
}

// receive collects frames until n results are there, or with n 0 until the end.
func receive(t *testing.T, s grpc.BidiStreamingClient[runtimev1.HostFrame, runtimev1.RuntimeFrame], n int) (results []*runtimev1.Result, logs []*runtimev1.LogRecord, beats int) {
	t.Helper()
	for n == 0 || len(results) < n {
		f, err := s.Recv()
		if n == 0 && errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		results, logs = append(results, f.GetResults()...), append(logs, f.GetLogs()...)
		if f.GetHeartbeat() != nil {
			beats++
		}
	}
	return results, logs, beats
}

func call(id uint64, payload string) *runtimev1.HostFrame {
	return &runtimev1.HostFrame{Calls: []*runtimev1.Call{{Id: id, Payload: []byte(payload)}}}
}

func TestDescribe(t *testing.T) {
	d, err := client(t, nil, WithDescription(Description{Version: "1.2", Dependencies: []Dependency{{"a", "1"}}})).
		Describe(context.Background(), &runtimev1.DescribeRequest{})
	require.NoError(t, err)
	require.Equal(t, "test", d.GetName())
	require.Equal(t, "test", d.GetDisplayName())
	require.Equal(t, "1.2", d.GetVersion())
	require.Len(t, d.GetDependencies(), 1)
}

func TestBuild(t *testing.T) {
	request := &runtimev1.BuildRequest{Source: "source", Dependencies: []*runtimev1.Dependency{{Name: "a", Version: "1"}}}
	b, err := client(t, nil).Build(context.Background(), request)
	require.NoError(t, err)
	require.Equal(t, "source", string(b.GetArtifact()), "without a builder the artifact is the source")

	for _, warning := range []bool{true, false} {
		b, err = client(t, nil, WithBuild(func(_ context.Context, source string, d []Dependency) ([]byte, []Diagnostic, error) {
			return []byte(strings.ToUpper(source)), []Diagnostic{{Warning: warning, Code: "c", Message: d[0].Name, Line: 1, Column: 2}}, nil
		})).Build(context.Background(), request)
		require.NoError(t, err)
		require.Equal(t, warning, string(b.GetArtifact()) == "SOURCE", "an error leaves no artifact")
		require.Equal(t, "a", b.GetDiagnostics()[0].GetMessage())
	}

	_, err = client(t, nil, WithBuild(func(context.Context, string, []Dependency) ([]byte, []Diagnostic, error) {
		return nil, nil, errors.New("disk full")
	})).Build(context.Background(), request)
	require.Equal(t, codes.Internal, status.Code(err))
}

func TestLoad(t *testing.T) {
	t.Run("gets the function, once", func(t *testing.T) {
		c := client(t, func(_ context.Context, fn Function) (Handler, error) {
			require.Equal(t, Function{Artifact: []byte("a"), Environment: map[string]string{"K": "v"}, Limits: Limits{1, 2, 3, 4}}, fn)
			return HandlerFunc(nil), nil
		})
		request := &runtimev1.LoadRequest{Artifact: []byte("a"), Environment: map[string]string{"K": "v"},
			Limits: &runtimev1.Limits{ResultBytes: 1, LogRecordBytes: 2, LogRecords: 3, MemoryMib: 4}}
		_, err := c.Load(context.Background(), request)
		require.NoError(t, err)
		_, err = c.Load(context.Background(), request)
		require.Equal(t, codes.FailedPrecondition, status.Code(err))
	})
	t.Run("tells the author's faults from the platform's", func(t *testing.T) {
		fault := errors.New("no handler")
		answer, err := client(t, func(context.Context, Function) (Handler, error) { return nil, fmt.Errorf("load: %w", LoadError(fault)) }).
			Load(context.Background(), &runtimev1.LoadRequest{})
		require.NoError(t, err)
		require.Equal(t, "no handler", answer.GetFailure().GetMessage())
		_, err = client(t, func(context.Context, Function) (Handler, error) { return nil, fault }).
			Load(context.Background(), &runtimev1.LoadRequest{})
		require.Equal(t, codes.Internal, status.Code(err))
		require.ErrorIs(t, LoadError(fault), fault)
	})
	t.Run("comes before the session", func(t *testing.T) {
		s, err := client(t, nil).Session(context.Background())
		require.NoError(t, err)
		_, err = s.Recv()
		require.Equal(t, codes.FailedPrecondition, status.Code(err))
	})
}

func TestOutcomes(t *testing.T) {
	outcomes := map[string]struct {
		handler HandlerFunc
		want    string // a payload, or else a failure's message
		kind    runtimev1.FailureKind
	}{
		"a result": {func(context.Context, Call) (Result, error) { return Result{Payload: []byte("1")}, nil }, "1", 0},
		"a failure": {func(context.Context, Call) (Result, error) {
			return Result{}, fmt.Errorf("wrapped: %w", &Failure{Kind: RuntimeException, Message: "m"})
		}, "m", runtimev1.FailureKind_FAILURE_KIND_RUNTIME_EXCEPTION},
		"an error":            {func(context.Context, Call) (Result, error) { return Result{}, errors.New("e") }, "e", runtimev1.FailureKind_FAILURE_KIND_CUSTOM},
		"a panic":             {func(context.Context, Call) (Result, error) { panic("p") }, "p", runtimev1.FailureKind_FAILURE_KIND_RUNTIME_EXCEPTION},
		"no result":           {func(context.Context, Call) (Result, error) { return Result{}, nil }, "the result is not JSON", runtimev1.FailureKind_FAILURE_KIND_CUSTOM},
		"not UTF-8":           {func(context.Context, Call) (Result, error) { return Result{Payload: []byte("\"\xff\"")}, nil }, "the result is not JSON", runtimev1.FailureKind_FAILURE_KIND_CUSTOM},
		"more than the limit": {func(context.Context, Call) (Result, error) { return Result{Payload: []byte(`"1234567890"`)}, nil }, "the result is 12 bytes, the limit is 10", runtimev1.FailureKind_FAILURE_KIND_CUSTOM},
		"a message that is not UTF-8 and too long": {func(context.Context, Call) (Result, error) {
			return Result{}, errors.New("\xff" + strings.Repeat("ü", maxText))
		}, "\uFFFD" + strings.Repeat("ü", maxText/2-3) + "…", runtimev1.FailureKind_FAILURE_KIND_CUSTOM},
	}
	for name, test := range outcomes {
		t.Run(name, func(t *testing.T) {
			s := stream(t, &runtimev1.Limits{ResultBytes: 10}, test.handler)
			send(t, s, call(7, "1"))
			results, _, _ := receive(t, s, 1)
			require.Equal(t, uint64(7), results[0].GetCallId())
			require.Equal(t, test.kind, results[0].GetFailure().GetKind())
			require.Equal(t, test.want, string(results[0].GetPayload())+results[0].GetFailure().GetMessage())
		})
	}
}

func TestACallIsHandedOver(t *testing.T) {
	s := stream(t, nil, func(ctx context.Context, c Call) (Result, error) {
		deadline, ok := ctx.Deadline()
		if !ok || time.Until(deadline) > time.Minute || c.RequestID != "r" || !c.Debug || len(c.Headers) != 1 || c.Headers[0] != (Header{"k", "v"}) {
			return Result{}, fmt.Errorf("%+v", c)
		}
		return Result{Payload: c.Payload, DroppedLogs: 2}, nil
	})
	send(t, s, &runtimev1.HostFrame{Calls: []*runtimev1.Call{{
		Id: 1, RequestId: "r", Debug: true, TimeoutMs: 50_000, Payload: []byte(`"p"`), Headers: []*runtimev1.Header{{Key: "k", Value: "v"}},
	}}})
	results, _, _ := receive(t, s, 1)
	require.Equal(t, `"p"`, string(results[0].GetPayload()))
	require.Equal(t, uint32(2), results[0].GetDroppedLogs())
}

func TestLogsAreKeptWithinTheLimits(t *testing.T) {
	var late func(LogRecord)
	s := stream(t, &runtimev1.Limits{LogRecords: 3, LogRecordBytes: 20}, func(_ context.Context, c Call) (Result, error) {
		late = c.Log
		c.Log(LogRecord{Level: LevelError, Message: "m", Extras: []byte(`[1]`), Time: time.UnixMilli(5)})
		c.Log(LogRecord{Level: 77, Message: strings.Repeat("x", 50), Extras: []byte(`{"no":"array"}`)})
		c.Log(LogRecord{Message: "\xff", Extras: []byte(`[` + strings.Repeat("1,", 20) + `1]`)})
		c.Log(LogRecord{Message: "one too many"})
		return Result{Payload: []byte("1")}, nil
	})
	send(t, s, call(1, "1"))
	results, logs, _ := receive(t, s, 1)
	require.Equal(t, uint32(1), results[0].GetDroppedLogs())
	require.Len(t, logs, 3)
	require.Equal(t, int64(5), logs[0].GetTimestampMs())
	require.Equal(t, runtimev1.Level_LEVEL_ERROR, logs[0].GetLevel())
	require.Equal(t, "[1]", string(logs[0].GetExtras()))
	require.Equal(t, runtimev1.Level_LEVEL_INFO, logs[1].GetLevel())
	require.Equal(t, strings.Repeat("x", 17)+"…", logs[1].GetMessage())
	require.Empty(t, logs[1].GetExtras())
	require.Equal(t, "\uFFFD", logs[2].GetMessage())
	late(LogRecord{Message: "after the call"}) // is dropped
	send(t, s, &runtimev1.HostFrame{Drain: true})
	_, logs, _ = receive(t, s, 0)
	require.Empty(t, logs)
}

func TestACancelledCallIsToldAndSendsNothing(t *testing.T) {
	told := make(chan struct{})
	s := stream(t, nil, func(ctx context.Context, c Call) (Result, error) {
		if string(c.Payload) == "1" {
			<-ctx.Done()
			c.Log(LogRecord{Message: "too late"})
			close(told)
		}
		return Result{Payload: c.Payload}, nil
	})
	send(t, s, call(1, "1"))
	send(t, s, &runtimev1.HostFrame{Cancels: []*runtimev1.Cancel{{CallId: 1}, {CallId: 99}}})
	<-told
	send(t, s, call(2, "2"))
	send(t, s, &runtimev1.HostFrame{Drain: true})
	results, logs, _ := receive(t, s, 0)
	require.Len(t, results, 1)
	require.Equal(t, uint64(2), results[0].GetCallId())
	require.Empty(t, logs)
}

func TestADrainedSessionEndsAfterItsCalls(t *testing.T) {
	release := make(chan struct{})
	s := stream(t, nil, func(_ context.Context, c Call) (Result, error) {
		<-release
		return Result{Payload: c.Payload}, nil
	})
	send(t, s, call(1, "1"))
	send(t, s, &runtimev1.HostFrame{Drain: true})
	time.AfterFunc(600*time.Millisecond, func() { close(release) })
	results, _, beats := receive(t, s, 0)
	require.Len(t, results, 1)
	require.GreaterOrEqual(t, beats, 1, "it says that it lives while a call is open")
}

func TestLargeResultsAreSpreadOverFrames(t *testing.T) {
	large := []byte(`"` + strings.Repeat("x", 1<<20) + `"`)
	s := stream(t, nil, func(context.Context, Call) (Result, error) { return Result{Payload: large}, nil })
	f := &runtimev1.HostFrame{}
	for id := range uint64(20) {
		f.Calls = append(f.Calls, &runtimev1.Call{Id: id + 1, Payload: []byte("1")})
	}
	send(t, s, f)
	results, _, _ := receive(t, s, 20)
	for _, r := range results {
		require.Len(t, r.GetPayload(), len(large))
	}
}

func TestHandlersEndWithTheirHost(t *testing.T) {
	ended := make(chan struct{})
	c := client(t, loads(func(ctx context.Context, _ Call) (Result, error) {
		<-ctx.Done()
		close(ended)
		return Result{}, ctx.Err()
	}))
	_, err := c.Load(context.Background(), &runtimev1.LoadRequest{})
	require.NoError(t, err)
	ctx, leave := context.WithCancel(context.Background())
	s, err := c.Session(ctx)
	require.NoError(t, err)
	require.NoError(t, s.Send(call(1, "1")))
	time.AfterFunc(20*time.Millisecond, leave)
	<-ended
}
