package host_test

import (
	"context"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-faas/sluice/plugins"
	"github.com/sluice-faas/sluice/plugins/host"
	runtimev1 "github.com/sluice-faas/sluice/plugins/proto/faas/runtime/v1"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

func counted(sequence, call uint64, message string) *runtimev1.LogRecord {
	return &runtimev1.LogRecord{CallId: call, Sequence: sequence, Level: runtimev1.Level_LEVEL_INFO, Message: message, TimestampMs: time.Now().UnixMilli()}
}

// area is the record area, in the runtime's process.
func area() (*os.File, error) {
	fd, err := strconv.Atoi(os.Getenv(plugins.RecordAreaEnv))
	return os.NewFile(uintptr(fd), "area"), err
}

// keepRecords writes records into a half of the area.
func keepRecords(half int64, records ...*runtimev1.LogRecord) error {
	b, err := proto.Marshal(&runtimev1.RuntimeFrame{Logs: records})
	if err != nil {
		return err
	}
	f, err := area()
	if err != nil {
		return err
	}
	_, err = f.WriteAt(append(b, 0), half*plugins.RecordArea/2)
	return err
}

func init() {
	behaviours["keeps records and dies"] = func(s hostStream, id uint64) error {
		if err := s.Send(&runtimev1.RuntimeFrame{Logs: []*runtimev1.LogRecord{counted(1, id, "sent")}}); err != nil {
			return err
		}
		// What was sent is in the area too, and the second half began before the first.
		if err := keepRecords(1, counted(1, id, "sent"), counted(2, id, "kept"), counted(3, 0, "of nobody")); err != nil {
			return err
		}
		if err := keepRecords(0, counted(4, id, "last"), counted(5, id+99, "of a call that never was"), counted(6, id, "behind it")); err != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond) // gRPC's writer has its own pace
		return syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	behaviours["keeps records and is blocked"] = func(s hostStream, id uint64) error {
		if err := keepRecords(0, counted(1, id, "kept"), counted(3, id, "another is on its way before it")); err != nil {
			return err
		}
		<-s.Context().Done()
		return nil
	}
	behaviours["sends later what it has kept"] = func(s hostStream, id uint64) error {
		if err := keepRecords(0, counted(1, id, "1"), counted(2, id+1, "2")); err != nil {
			return err
		}
		for cancelled := false; !cancelled; {
			frame, err := s.Recv()
			if err != nil {
				return err
			}
			cancelled = len(frame.GetCancels()) > 0
		}
		f := answer(id+1, "1")
		f.Logs = []*runtimev1.LogRecord{counted(1, id, "1"), counted(2, id+1, "2"), counted(3, id+1, "3")}
		return once(func(uint64) *runtimev1.RuntimeFrame { return f })(s, id)
	}
	behaviours["keeps rubbish and dies"] = func(_ hostStream, id uint64) error {
		f, err := area()
		if err != nil {
			return err
		}
		if err := f.Truncate(plugins.RecordArea * 2); err == nil {
			return err // the sealed area has grown
		}
		rubbish := map[string]string{
			"text":               strings.Repeat("rubbish", 1000),
			"a length too large": "\x12\xff\xff\xff\xff\x0f",
			"no record":          "\x12\x03\xff\xff\xff",
			"records without sequence": func() string {
				b, _ := proto.Marshal(&runtimev1.RuntimeFrame{Logs: []*runtimev1.LogRecord{counted(0, id, "uncounted")}})
				return string(b)
			}(),
			"too many records": func() string {
				frame := &runtimev1.RuntimeFrame{}
				for n := range uint64(4000) {
					frame.Logs = append(frame.Logs, counted(n+1, id, "m"))
				}
				b, _ := proto.Marshal(frame)
				return string(b)
			}(),
		}[os.Args[4]]
		if _, err := f.WriteAt([]byte(rubbish), 0); err != nil {
			return err
		}
		os.Exit(1)
		return nil
	}
}

// logging is a call that collects what it logs.
func logging(logs *[]string) runtime.Call {
	return runtime.Call{Payload: []byte("1"), Log: func(r runtime.LogRecord) { *logs = append(*logs, r.Message) }}
}

func TestWhatACallLoggedLastIsThereAlsoWhenItsProcessDies(t *testing.T) {
	p, log := attacked(t, "keeps records and dies")
	var logs []string
	_, err := p.Handle(context.Background(), logging(&logs))
	var exit *host.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, []string{"sent", "kept", "last"}, logs)
	awaitEnd(t, p)
	require.Contains(t, log.String(), "of nobody")
	require.NotContains(t, log.String(), "of a call that never was")
}

func TestWhatACallLoggedLastIsThereAlsoWhenItsTimeIsOver(t *testing.T) {
	p, _ := attacked(t, "keeps records and is blocked")
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	var logs []string
	_, err := p.Handle(ctx, logging(&logs))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, []string{"kept"}, logs)
}

func TestARecordThatWasTakenFromTheAreaIsNotTakenAgain(t *testing.T) {
	p, log := attacked(t, "sends later what it has kept")
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	var first, second []string
	late, answered := make(chan error, 1), make(chan error, 1)
	go func() { _, err := p.Handle(ctx, logging(&first)); late <- err }()
	require.Eventually(t, func() bool { return p.OpenCalls() == 1 }, time.Second, time.Millisecond)
	go func() { _, err := p.Handle(context.Background(), logging(&second)); answered <- err }()
	require.ErrorIs(t, <-late, context.DeadlineExceeded)
	require.NoError(t, <-answered)
	require.Equal(t, []string{"1"}, first)
	require.Equal(t, []string{"2", "3"}, second)
	require.NotContains(t, log.String(), `"message":"1"`, "it does not come a second time as one of no call")
}

func TestRubbishInTheAreaHarmsNothing(t *testing.T) {
	for name, want := range map[string]int{
		"text": 0, "a length too large": 0, "no record": 0, "records without sequence": 0, "too many records": 1016,
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := attacked(t, "keeps rubbish and dies", name)
			var logs []string
			_, err := p.Handle(context.Background(), logging(&logs))
			var exit *host.ExitError
			require.ErrorAs(t, err, &exit)
			require.Equal(t, "exit status 1", exit.Reason)
			require.Len(t, logs, want)
		})
	}
}
