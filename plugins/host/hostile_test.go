package host_test

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sluice-faas/sluice/plugins"
	"github.com/sluice-faas/sluice/plugins/host"
	runtimev1 "github.com/sluice-faas/sluice/plugins/proto/faas/runtime/v1"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

// hostile is a runtime that answers its first call as os.Args[3] says.
type hostile struct {
	runtimev1.UnimplementedRuntimeServiceServer
}

// firstCalls counts the calls of the first frame.
var firstCalls int

type hostStream = grpc.BidiStreamingServer[runtimev1.HostFrame, runtimev1.RuntimeFrame]

func (hostile) Describe(context.Context, *runtimev1.DescribeRequest) (*runtimev1.DescribeResponse, error) {
	return &runtimev1.DescribeResponse{Name: "hostile"}, nil
}

func (hostile) Load(context.Context, *runtimev1.LoadRequest) (*runtimev1.LoadResponse, error) {
	return &runtimev1.LoadResponse{}, nil
}

func (hostile) Session(s hostStream) error {
	frame, err := s.Recv()
	if err != nil {
		return err
	}
	firstCalls = len(frame.GetCalls())
	f, ok := attacks[os.Args[3]]
	if !ok {
		f = behaviours[os.Args[3]]
	}
	return f(s, frame.GetCalls()[0].GetId())
}

func serveHostile() {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig:  plugins.Handshake,
		VersionedPlugins: plugins.VersionedPlugins(hostile{}),
		GRPCServer: func(o []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(o, grpc.ForceServerCodecV2(looseCodec{}))...)
		},
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Off}),
	})
}

func good(id uint64) *runtimev1.Result {
	return &runtimev1.Result{CallId: id, Outcome: &runtimev1.Result_Payload{Payload: []byte("1")}}
}

func answer(id uint64, payload string) *runtimev1.RuntimeFrame {
	return &runtimev1.RuntimeFrame{Results: []*runtimev1.Result{{CallId: id, Outcome: &runtimev1.Result_Payload{Payload: []byte(payload)}}}}
}

func logged(r *runtimev1.LogRecord) *runtimev1.RuntimeFrame {
	return &runtimev1.RuntimeFrame{Logs: []*runtimev1.LogRecord{r}}
}

// once sends one frame and waits for what comes of it.
func once(f func(id uint64) *runtimev1.RuntimeFrame) attack {
	return func(s hostStream, id uint64) error {
		if err := s.Send(f(id)); err != nil {
			return err
		}
		<-s.Context().Done()
		return nil
	}
}

// raw sends bytes as a frame.
func raw(b []byte) attack {
	return func(s hostStream, _ uint64) error {
		if err := s.SendMsg(rawMessage(b)); err != nil {
			return err
		}
		<-s.Context().Done()
		return nil
	}
}

// forEver sends frames until it is stopped.
func forEver(f func(id uint64) *runtimev1.RuntimeFrame) attack {
	return func(s hostStream, id uint64) error {
		for frame := f(id); ; {
			if err := s.Send(frame); err != nil {
				return err
			}
		}
	}
}

type attack func(s hostStream, id uint64) error

var attacks = map[string]attack{
	"a result for an id that was never given": once(func(id uint64) *runtimev1.RuntimeFrame { return answer(id+1000, "1") }),
	"a result for id 0":                       once(func(uint64) *runtimev1.RuntimeFrame { return answer(0, "1") }),
	"a result that is not JSON":               once(func(id uint64) *runtimev1.RuntimeFrame { return answer(id, "{") }),
	"an empty result":                         once(func(id uint64) *runtimev1.RuntimeFrame { return answer(id, "") }),
	"a result that is not UTF-8":              once(func(id uint64) *runtimev1.RuntimeFrame { return answer(id, "\"\xff\"") }),
	"a result over the limit": once(func(id uint64) *runtimev1.RuntimeFrame {
		return answer(id, `"`+strings.Repeat("x", plugins.MaxPayload)+`"`)
	}),
	"a frame over the limit": once(func(id uint64) *runtimev1.RuntimeFrame {
		return answer(id, `"`+strings.Repeat("x", plugins.MaxFrame+1)+`"`)
	}),
	"a result without outcome": once(func(id uint64) *runtimev1.RuntimeFrame {
		return &runtimev1.RuntimeFrame{Results: []*runtimev1.Result{{CallId: id}}}
	}),
	"a failure without kind": once(func(id uint64) *runtimev1.RuntimeFrame {
		return &runtimev1.RuntimeFrame{Results: []*runtimev1.Result{{CallId: id, Outcome: &runtimev1.Result_Failure{Failure: &runtimev1.Failure{Message: "x"}}}}}
	}),
	"a failure over the limit": once(func(id uint64) *runtimev1.RuntimeFrame {
		return &runtimev1.RuntimeFrame{Results: []*runtimev1.Result{{CallId: id, Outcome: &runtimev1.Result_Failure{Failure: &runtimev1.Failure{
			Kind: runtimev1.FailureKind_FAILURE_KIND_CUSTOM, Message: strings.Repeat("x", 1<<20)}}}}}
	}),
	"a log record for a call that never was": once(func(id uint64) *runtimev1.RuntimeFrame {
		return logged(&runtimev1.LogRecord{CallId: id + 1, Level: runtimev1.Level_LEVEL_INFO})
	}),
	"a log record without level": once(func(id uint64) *runtimev1.RuntimeFrame {
		return logged(&runtimev1.LogRecord{CallId: id})
	}),
	"a log record whose extras are no array": once(func(id uint64) *runtimev1.RuntimeFrame {
		return logged(&runtimev1.LogRecord{CallId: id, Level: runtimev1.Level_LEVEL_INFO, Extras: []byte("{}")})
	}),
	"a log record over the limit": once(func(id uint64) *runtimev1.RuntimeFrame {
		return logged(&runtimev1.LogRecord{CallId: id, Level: runtimev1.Level_LEVEL_INFO, Message: strings.Repeat("x", 1<<20)})
	}),
	"a log record that is not UTF-8": raw(nested(2, nested(3, []byte("\xff")))),
	"an exit by a call that never was": once(func(id uint64) *runtimev1.RuntimeFrame {
		return &runtimev1.RuntimeFrame{Exit: &runtimev1.Exit{CallId: id + 1}}
	}),
	"bytes that are not protobuf": raw([]byte("\xff\xff\xff not protobuf")),
	"a field of the wrong type":   raw(protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 7)),
	"records of one call without end": forEver(func(id uint64) *runtimev1.RuntimeFrame {
		return logged(&runtimev1.LogRecord{CallId: id, Level: runtimev1.Level_LEVEL_INFO, Message: "again"})
	}),
	"records of no call without end": forEver(func(uint64) *runtimev1.RuntimeFrame {
		return logged(&runtimev1.LogRecord{Level: runtimev1.Level_LEVEL_INFO, Message: "again"})
	}),
	"heartbeats without end": forEver(func(uint64) *runtimev1.RuntimeFrame {
		return &runtimev1.RuntimeFrame{Heartbeat: &runtimev1.Heartbeat{}}
	}),
	"empty frames without end": forEver(func(uint64) *runtimev1.RuntimeFrame { return &runtimev1.RuntimeFrame{} }),
	"large frames of nothing": func(s hostStream, _ uint64) error {
		frame := rawMessage(nested(99, make([]byte, plugins.MaxFrame-100)))
		for {
			if err := s.SendMsg(frame); err != nil {
				return err
			}
		}
	},
	"an end of the session": func(hostStream, uint64) error { return nil },
}

// behaviours are not illegal, or not at once; each has a test of its own.
var behaviours = map[string]attack{
	"answers twice": func(s hostStream, id uint64) error {
		return s.Send(&runtimev1.RuntimeFrame{Results: []*runtimev1.Result{good(id), good(id)}})
	},
	"logs and answers in one frame": once(func(id uint64) *runtimev1.RuntimeFrame {
		return &runtimev1.RuntimeFrame{
			Results: []*runtimev1.Result{good(id)},
			Logs:    []*runtimev1.LogRecord{{CallId: id, Level: runtimev1.Level_LEVEL_ERROR, Message: "first"}},
		}
	}),
	"answers late": answersLate,
	"says nothing": func(s hostStream, _ uint64) error { <-s.Context().Done(); return nil },
	"reads nothing": func(s hostStream, _ uint64) error {
		time.Sleep(time.Hour)
		return nil
	},
	"exits": func(s hostStream, id uint64) error {
		frame, err := s.Recv() // the second call
		if err != nil {
			return err
		}
		if len(os.Args) > 4 { // it is answered before the end
			if err := s.Send(answer(frame.GetCalls()[0].GetId(), `"in time"`)); err != nil {
				return err
			}
		}
		if err := s.Send(&runtimev1.RuntimeFrame{Exit: &runtimev1.Exit{CallId: id, Reason: "process.exit(3)"}}); err != nil {
			return err
		}
		if len(os.Args) > 4 && os.Args[4] == "lingers" {
			time.Sleep(time.Hour)
		}
		time.Sleep(50 * time.Millisecond)
		os.Exit(3)
		return nil
	},
	"retires": func(s hostStream, id uint64) error {
		if err := s.Send(&runtimev1.RuntimeFrame{Retire: &runtimev1.Retire{Reason: "an exception outside any call"}}); err != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
		return once(func(uint64) *runtimev1.RuntimeFrame { return answer(id, "1") })(s, id)
	},
	"retires without end": forEver(func(uint64) *runtimev1.RuntimeFrame {
		return &runtimev1.RuntimeFrame{Retire: &runtimev1.Retire{Reason: "again"}}
	}),
	"kills itself": func(s hostStream, id uint64) error {
		if err := s.Send(&runtimev1.RuntimeFrame{Exit: &runtimev1.Exit{CallId: id, Reason: "process.kill(process.pid, 'SIGKILL')"}}); err != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
		return syscall.Kill(os.Getpid(), syscall.SIGKILL)
	},
	"answers and dies": func(s hostStream, _ uint64) error {
		for calls := firstCalls; calls < 500; {
			frame, err := s.Recv()
			if err != nil {
				return err
			}
			calls += len(frame.GetCalls())
		}
		for i := range uint64(500) { // ids count from 1
			if err := s.Send(answer(1+i, "1")); err != nil {
				return err
			}
		}
		time.Sleep(20 * time.Millisecond) // gRPC's writer has its own pace
		os.Exit(1)
		return nil
	},
}

// answersLate answers and logs for a call once that has been cancelled, then
// answers the next call.
func answersLate(s hostStream, id uint64) error {
	next, cancelled := uint64(0), false
	receive := func() error {
		frame, err := s.Recv()
		for _, c := range frame.GetCalls() {
			next = c.GetId()
		}
		cancelled = cancelled || len(frame.GetCancels()) > 0
		return err
	}
	for !cancelled {
		if err := receive(); err != nil {
			return err
		}
	}
	if err := s.Send(logged(&runtimev1.LogRecord{CallId: id, Level: runtimev1.Level_LEVEL_INFO, Message: "too late"})); err != nil {
		return err
	}
	if err := s.Send(answer(id, `"too late"`)); err != nil {
		return err
	}
	for next == 0 { // it may have come in the cancel's frame
		if err := receive(); err != nil {
			return err
		}
	}
	return once(func(uint64) *runtimev1.RuntimeFrame { return answer(next, "2") })(s, id)
}

func nested(field protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), b)
}

// attacked loads the hostile runtime.
func attacked(t testing.TB, args ...string) (*host.Process, *logBook) {
	t.Helper()
	o, log := options(t, "hostile", args...)
	return load(t, o), log
}

func TestAnIllegalFrameEndsTheProcessAndItsCallOnly(t *testing.T) {
	other := obedient(t)
	for name := range attacks {
		t.Run(name, func(t *testing.T) {
			p, log := attacked(t, name)
			_, err := p.Handle(context.Background(), runtime.Call{Payload: []byte("1")})
			var exit *host.ExitError
			require.ErrorAs(t, err, &exit)
			require.True(t, exit.Own, "it was the only call")
			awaitEnd(t, p)
			require.NotEmpty(t, p.ExitReason())
			require.Contains(t, log.String(), `"message":"runtime process is killed"`)
			require.False(t, p.Available())
			_, err = p.Handle(context.Background(), runtime.Call{Payload: []byte("1")})
			require.ErrorIs(t, err, host.ErrUnavailable)
		})
	}
	_, err := tell(t, other, order{})
	require.NoError(t, err, "another process notices nothing")
}

func TestAResultSentTwiceEndsTheProcess(t *testing.T) {
	p, _ := attacked(t, "answers twice")
	_, err := p.Handle(context.Background(), runtime.Call{Payload: []byte("1")})
	require.NoError(t, err, "the first one counts")
	awaitEnd(t, p)
	require.Contains(t, p.ExitReason(), "which is not open")
}

func TestRecordsInAFrameComeBeforeItsResults(t *testing.T) {
	p, _ := attacked(t, "logs and answers in one frame")
	var got []string
	_, err := p.Handle(context.Background(), runtime.Call{Payload: []byte("1"), Log: func(r runtime.LogRecord) {
		require.Equal(t, runtime.LevelError, r.Level)
		require.WithinDuration(t, time.Now(), r.Time, time.Minute, "a clock that is far off is not believed")
		got = append(got, r.Message)
	}})
	require.NoError(t, err)
	require.Equal(t, []string{"first"}, got)
}

func TestWhatComesAfterACancelIsIgnored(t *testing.T) {
	p, _ := attacked(t, "answers late")
	ctx, cancel := context.WithCancel(context.Background())
	call := runtime.Call{Payload: []byte("1"), Log: func(runtime.LogRecord) { t.Error("a record after the call's end") }}
	done := make(chan error, 1)
	go func() { _, err := p.Handle(ctx, call); done <- err }()
	require.Eventually(t, func() bool { return p.OpenCalls() == 1 }, time.Second, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	r, err := p.Handle(context.Background(), runtime.Call{Payload: []byte("1")})
	require.NoError(t, err)
	require.Equal(t, "2", string(r.Payload))
}

func TestAResultThatWasSentBeforeTheEndArrives(t *testing.T) {
	p, _ := attacked(t, "answers and dies")
	errs := make(chan error, 500)
	for range 500 {
		go func() {
			_, err := p.Handle(context.Background(), runtime.Call{Payload: []byte("1")})
			errs <- err
		}()
	}
	for range 500 {
		require.NoError(t, <-errs)
	}
	awaitEnd(t, p)
	require.Equal(t, "exit status 1", p.ExitReason())
}

func TestAnExitBlamesTheCallItNames(t *testing.T) {
	for _, how := range []string{"dies", "lingers"} {
		t.Run(how, func(t *testing.T) {
			p, _ := attacked(t, "exits", how)
			culprit := start(t, p, context.Background(), order{})
			other := start(t, p, context.Background(), order{})
			require.NoError(t, <-other, "it was answered before the end")
			var exit *host.ExitError
			require.ErrorAs(t, <-culprit, &exit)
			require.True(t, exit.Own)
			require.Equal(t, "process.exit(3)", exit.Reason)
			awaitEnd(t, p)
		})
	}
	t.Run("also when it ends by SIGKILL", func(t *testing.T) {
		p, _ := attacked(t, "kills itself")
		_, err := p.Handle(context.Background(), runtime.Call{Payload: []byte("1")})
		var exit *host.ExitError
		require.ErrorAs(t, err, &exit)
		require.Equal(t, host.ExitError{Reason: "process.kill(process.pid, 'SIGKILL')", Own: true}, *exit)
	})
	t.Run("and no other", func(t *testing.T) {
		p, _ := attacked(t, "exits")
		culprit := start(t, p, context.Background(), order{})
		other := start(t, p, context.Background(), order{})
		var exit *host.ExitError
		require.ErrorAs(t, <-culprit, &exit)
		require.True(t, exit.Own)
		require.ErrorAs(t, <-other, &exit)
		require.False(t, exit.Own)
	})
}

func TestARetiredProcessFinishesWhatItHas(t *testing.T) {
	p, _ := attacked(t, "retires")
	done := start(t, p, context.Background(), order{})
	require.Eventually(t, func() bool { return !p.Available() }, time.Second, time.Millisecond)
	_, err := p.Handle(context.Background(), runtime.Call{Payload: []byte("1")})
	require.ErrorIs(t, err, host.ErrUnavailable)
	require.NoError(t, <-done)
}

func TestAProcessThatAsksToBeReplacedAgainAndAgainIsLoggedOnce(t *testing.T) {
	p, log := attacked(t, "retires without end")
	_, err := p.Handle(context.Background(), runtime.Call{Payload: []byte("1")})
	var exit *host.ExitError
	require.ErrorAs(t, err, &exit)
	awaitEnd(t, p)
	require.Contains(t, p.ExitReason(), "entries a second")
	require.Equal(t, 1, strings.Count(log.String(), "asks to be replaced"))
}

func TestASilentProcessIsGivenNoCallsAndKilledAtADeadline(t *testing.T) {
	p, _ := attacked(t, "says nothing")
	ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond)
	defer cancel()
	first := start(t, p, ctx, order{})
	second := start(t, p, context.Background(), order{})
	require.True(t, p.Available())
	require.Eventually(t, func() bool { return !p.Available() }, 1400*time.Millisecond, 10*time.Millisecond)
	require.ErrorIs(t, <-first, context.DeadlineExceeded)
	var exit *host.ExitError
	require.ErrorAs(t, <-second, &exit)
	require.Equal(t, "event loop blocked", exit.Reason)
	require.False(t, exit.Own, "which of the two blocks it cannot be known")
	awaitEnd(t, p)
}

func TestASilentProcessIsKilledAlsoWhenItsCallersLeave(t *testing.T) {
	p, _ := attacked(t, "says nothing")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	ctx, leave := context.WithCancel(ctx)
	defer cancel()
	done := start(t, p, ctx, order{})
	time.Sleep(1200 * time.Millisecond)
	leave()
	require.ErrorIs(t, <-done, context.Canceled)
	require.Zero(t, p.OpenCalls())
	require.False(t, p.Available(), "it has not been heard since")
	awaitEnd(t, p)
	require.Equal(t, "event loop blocked", p.ExitReason())
}

func TestAProcessThatDoesNotReadHoldsNobodyUpAndLittleMemory(t *testing.T) {
	p, _ := attacked(t, "reads nothing")
	big, err := json.Marshal(strings.Repeat("x", 5<<20))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	errs := make(chan error, 40)
	for range 40 {
		go func() { _, err := p.Handle(ctx, runtime.Call{Payload: big}); errs <- err }()
	}
	refused := 0
	for range 40 {
		select {
		case err := <-errs:
			if err != nil && strings.Contains(err.Error(), host.ErrUnavailable.Error()) {
				refused++
			}
		case <-time.After(3 * time.Second):
			require.FailNow(t, "a caller was held beyond its deadline")
		}
	}
	require.Greater(t, refused, 30, "the queue is bounded by bytes")
}

// rawMessage is a frame given as bytes.
type rawMessage []byte

// looseCodec is the protobuf codec, but sends a rawMessage as it is.
type looseCodec struct{}

func (looseCodec) Name() string { return "proto" }

func (looseCodec) Marshal(v any) (mem.BufferSlice, error) {
	if b, ok := v.(rawMessage); ok {
		return mem.BufferSlice{mem.SliceBuffer(b)}, nil
	}
	return encoding.GetCodecV2("proto").Marshal(v)
}

func (looseCodec) Unmarshal(b mem.BufferSlice, v any) error {
	return encoding.GetCodecV2("proto").Unmarshal(b, v)
}
