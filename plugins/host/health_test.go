package host_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/plugins/host"
	runtimev1 "github.com/sluice-faas/sluice/plugins/proto/faas/runtime/v1"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

func init() {
	behaviours["is behind"] = isBehind
	attacks["a heartbeat whose lag is no number"] = raw(nested(3, nested(1, []byte("x"))))
}

// isBehind says of each lag that it was told.
func isBehind(s hostStream, id uint64) error {
	for _, lag := range []uint32{200, 400, 0, 4_000_000_000} {
		if err := s.Send(&runtimev1.RuntimeFrame{Heartbeat: &runtimev1.Heartbeat{EventLoopLagMs: lag, OpenCalls: 1}}); err != nil {
			return err
		}
		if err := s.Send(logged(&runtimev1.LogRecord{CallId: id, Level: runtimev1.Level_LEVEL_INFO, Message: "told"})); err != nil {
			return err
		}
	}
	return once(func(uint64) *runtimev1.RuntimeFrame { return answer(id, "1") })(s, id)
}

func TestLagIsWhatTheLastHeartbeatsSay(t *testing.T) {
	p, _ := attacked(t, "is behind")
	require.Zero(t, p.Lag())
	var told []time.Duration
	_, err := p.Handle(context.Background(), runtime.Call{Payload: []byte("1"), Log: func(runtime.LogRecord) {
		told = append(told, p.Lag())
	}})
	require.NoError(t, err)
	const ms = time.Millisecond
	require.Equal(t, []time.Duration{200 * ms, 300 * ms, 150 * ms, 30*time.Second + 75*ms}, told, "halves, and no more than a minute is believed")
	require.Zero(t, p.Lag(), "no call is open")
}

func TestAProcessThatSaysNothingIsBehind(t *testing.T) {
	p, _ := attacked(t, "says nothing")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = p.Handle(ctx, runtime.Call{Payload: []byte("1")})
	}()
	require.Eventually(t, func() bool { return p.Lag() > 50*time.Millisecond }, 10*time.Second, time.Millisecond)
	require.Less(t, p.Lag(), 10*time.Second)
	cancel()
	<-done
}

func TestWhatAProcessPrintedLastIsKept(t *testing.T) {
	p := obedient(t)
	_, err := tell(t, p, order{Do: "stderr", Text: "the last words\n", N: 1})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return p.Printed() == "the last words" }, 10*time.Second, time.Millisecond, p.Printed())
}

func TestWhatAProcessSaysIsRedacted(t *testing.T) {
	o, log := options(t, "obedient")
	p := launch(t, o)
	redact := func(text string) string {
		return strings.ReplaceAll(strings.ReplaceAll(text, "hunter22", "[secret]"), "hunter…", "[cut]")
	}
	require.NoError(t, p.Load(context.Background(), host.LoadRequest{Redact: redact}))
	long := strings.Repeat("x", 4<<10-len("hunter")) + "hunter22"
	_, err := tell(t, p, order{Do: "stderr", Text: "it is hunter22\n" + long + "\n", N: 1})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "x[cut]") }, 10*time.Second, time.Millisecond)
	require.Contains(t, log.String(), "it is [secret]")
	require.NotContains(t, log.String(), "hunter")
	require.NotContains(t, p.Printed(), "hunter")
	require.True(t, strings.HasSuffix(p.Printed(), "x[cut]"), "as it is kept")
}
