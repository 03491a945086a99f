package host_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	signals "os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/plugins"
	"github.com/sluice-faas/sluice/plugins/catalog"
	"github.com/sluice-faas/sluice/plugins/host"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

func TestACallIsAnswered(t *testing.T) {
	p := obedient(t)
	require.True(t, p.Available())
	require.Equal(t, "obedient", p.Description().Name)
	for _, payload := range []string{`null`, `{"a":[1,"ü\u0000",{}]}`, `"x"`, `-1e400`} {
		r, err := p.Handle(context.Background(), runtime.Call{Payload: []byte(payload)})
		require.NoError(t, err)
		require.Equal(t, payload, string(r.Payload))
	}
	got, err := p.Handle(context.Background(), runtime.Call{
		Payload: []byte(`{"do":"headers"}`), Headers: []runtime.Header{{Key: "a", Value: "1"}, {}, {Key: "a", Value: "2"}},
	})
	require.NoError(t, err)
	require.JSONEq(t, `[{"Key":"a","Value":"1"},{"Key":"","Value":""},{"Key":"a","Value":"2"}]`, string(got.Payload))
}

func TestTextThatIsNotUTF8HarmsNoOtherCall(t *testing.T) {
	p := obedient(t)
	headers := []runtime.Header{{Key: "good", Value: "1"}, {Key: "\xff", Value: "\xc3("}}
	r, err := p.Handle(context.Background(), runtime.Call{Payload: []byte(`{"do":"headers"}`), RequestID: "\xff", Headers: headers})
	require.NoError(t, err)
	require.JSONEq(t, `[{"Key":"good","Value":"1"},{"Key":"\uFFFD","Value":"\uFFFD("}]`, string(r.Payload))
	require.Equal(t, "\xff", headers[1].Key, "the caller's own are not changed")
}

func TestManyCallsAtOnceAreToldApart(t *testing.T) {
	p := obedient(t)
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			for j := range 20 {
				want := fmt.Sprintf(`{"call":"%d.%d"}`, i, j)
				r, err := p.Handle(context.Background(), runtime.Call{Payload: []byte(want)})
				if err != nil || string(r.Payload) != want {
					t.Errorf("%s: %s, %v", want, r.Payload, err)
				}
			}
		})
	}
	wg.Wait()
	require.Zero(t, p.OpenCalls())
}

func TestAFailureIsTheAuthors(t *testing.T) {
	p := obedient(t)
	_, err := tell(t, p, order{Do: "fail", Text: "x is not a function"})
	require.Equal(t, &runtime.Failure{Kind: runtime.RuntimeException, Message: "x is not a function", Stack: "at lambda:1"}, err)
	_, err = tell(t, p, order{Do: "panic", Text: "boom"})
	var failure *runtime.Failure
	require.ErrorAs(t, err, &failure)
	require.Equal(t, "boom", failure.Message)
	require.NotEmpty(t, failure.Stack)
	require.True(t, p.Available(), "neither harms the process")
}

func TestLogsReachTheirCall(t *testing.T) {
	p := obedient(t)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			var got []string
			call := payload(t, order{Do: "log", N: 3, Text: fmt.Sprint("call ", i, " record ")})
			call.Log = func(r runtime.LogRecord) {
				got = append(got, r.Message)
				if r.Level != runtime.LevelWarn || string(r.Extras) != "[1]" {
					t.Errorf("%+v", r)
				}
			}
			_, err := p.Handle(context.Background(), call)
			if err != nil || len(got) != 3 || got[2] != fmt.Sprint("call ", i, " record 2") {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	wg.Wait()
}

func TestRecordsOverTheLimitAreCounted(t *testing.T) {
	o, _ := options(t, "obedient")
	p := launch(t, o)
	require.NoError(t, p.Load(context.Background(), host.LoadRequest{Limits: host.Limits{LogRecords: 10, LogRecordBytes: 50}}))
	n := 0
	call := payload(t, order{Do: "log", N: 25, Text: strings.Repeat("long ", 30)})
	call.Log = func(r runtime.LogRecord) {
		n++
		require.LessOrEqual(t, len(r.Message)+len(r.Extras), 50)
	}
	r, err := p.Handle(context.Background(), call)
	require.NoError(t, err)
	require.Equal(t, 10, n)
	require.Equal(t, 15, r.DroppedLogs)
}

func TestLoad(t *testing.T) {
	artifact := func(t *testing.T, o order) host.LoadRequest {
		b, err := json.Marshal(o)
		require.NoError(t, err)
		return host.LoadRequest{Artifact: b, Environment: map[string]string{"KEY": "value"}}
	}
	fresh := func(t *testing.T) *host.Process {
		o, _ := options(t, "obedient")
		return launch(t, o)
	}
	t.Run("gives the environment", func(t *testing.T) {
		p := fresh(t)
		require.False(t, p.Available())
		_, err := p.Handle(context.Background(), runtime.Call{Payload: []byte("1")})
		require.ErrorIs(t, err, host.ErrUnavailable)
		require.NoError(t, p.Load(context.Background(), artifact(t, order{})))
		got, err := tell(t, p, order{Do: "given"})
		require.NoError(t, err)
		require.JSONEq(t, `{"KEY":"value"}`, got)
		require.Error(t, p.Load(context.Background(), artifact(t, order{})), "a second time")
		require.True(t, p.Available())
	})
	t.Run("tells a fault of user code and ends the process", func(t *testing.T) {
		p := fresh(t)
		err := p.Load(context.Background(), artifact(t, order{Do: "refuse", Text: "lambda is not defined"}))
		var fault *host.LoadError
		require.ErrorAs(t, err, &fault)
		require.Equal(t, "lambda is not defined", fault.Message)
		awaitEnd(t, p)
	})
	t.Run("tells an exit of user code", func(t *testing.T) {
		p := fresh(t)
		err := p.Load(context.Background(), artifact(t, order{Do: "exit", N: 7}))
		var exit *host.ExitError
		require.ErrorAs(t, err, &exit)
		require.Equal(t, "exit status 7", exit.Reason)
	})
	t.Run("ends with its context", func(t *testing.T) {
		p := fresh(t)
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, p.Load(ctx, artifact(t, order{Do: "hang"})), context.DeadlineExceeded)
		awaitEnd(t, p)
	})
	t.Run("refuses an artifact larger than a message", func(t *testing.T) {
		p := fresh(t)
		require.ErrorIs(t, p.Load(context.Background(), host.LoadRequest{Artifact: make([]byte, plugins.MaxFrame)}), host.ErrTooLarge)
	})
	t.Run("of a process that was killed", func(t *testing.T) {
		p := fresh(t)
		p.Kill()
		awaitEnd(t, p)
		require.ErrorIs(t, p.Load(context.Background(), host.LoadRequest{}), host.ErrUnavailable)
	})
}

func TestTypesAreWhatTheRuntimeDescribes(t *testing.T) {
	o, _ := options(t, "obedient")
	p := launch(t, o)
	types, err := p.Types(context.Background())
	require.NoError(t, err)
	require.Equal(t, p.Description().TypeDeclarations, types, "one without packages has no more of them")
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = p.Types(ended)
	require.ErrorIs(t, err, context.Canceled)
	p.Kill()
	awaitEnd(t, p)
	_, err = p.Types(context.Background())
	require.ErrorIs(t, err, host.ErrUnavailable)
}

func TestBuildWorksWithoutLoad(t *testing.T) {
	o, _ := options(t, "obedient")
	p := launch(t, o)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			r, err := p.Build(context.Background(), "source", []host.Dependency{{Name: "a", Version: "1"}})
			if err != nil || string(r.Artifact) != "source" {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
	wg.Wait()
	p.Kill()
	awaitEnd(t, p)
	_, err := p.Build(context.Background(), "source", nil)
	require.ErrorIs(t, err, host.ErrUnavailable)
}

// go-plugin's own reader of stderr panics on some of these lines.
func TestNoLineOnStderrHarmsTheHost(t *testing.T) {
	for _, line := range []string{
		`{"@message":1}`, `{"@level":5}`, `{"@timestamp":{}}`, `{"@message":"x","@level":null,"a":[]}`,
		"panic: not really", "\x1b[31m\xff\x00", strings.Repeat("x", 200<<10),
	} {
		o, log := options(t, "obedient")
		p := load(t, o)
		got, err := tell(t, p, order{Do: "stderr", N: 1, Text: line + "\n"})
		require.NoError(t, err)
		require.Equal(t, strconv.Itoa(len(strings.ToValidUTF8(line, "\uFFFD"))+1), got)
		_, err = tell(t, p, order{})
		require.NoError(t, err)
		require.Eventually(t, func() bool { return strings.Contains(log.String(), "runtime process printed") }, time.Second, time.Millisecond)
		require.Less(t, len(log.String()), 16<<10)
		for _, l := range strings.Split(strings.TrimSpace(log.String()), "\n") {
			require.True(t, json.Valid([]byte(l)), l)
		}
	}
}

func TestAFloodOnStderrIsCountedNotKept(t *testing.T) {
	o, log := options(t, "obedient")
	p := load(t, o)
	_, err := tell(t, p, order{Do: "stderr", N: 100_000, Text: "again and again\n"})
	require.NoError(t, err)
	p.Kill()
	awaitEnd(t, p)
	require.Less(t, len(log.String()), 256<<10)
	require.Contains(t, log.String(), "said more than is kept")
}

// What the gateway was started with may hold secrets.
func TestTheProcessSeesNothingOfTheHostsEnvironment(t *testing.T) {
	t.Setenv("VAULT_TOKEN", "s.secret")
	got, err := tell(t, obedient(t), order{Do: "environ"})
	require.NoError(t, err)
	var environ []string
	require.NoError(t, json.Unmarshal([]byte(got), &environ))
	for _, e := range environ {
		name, _, _ := strings.Cut(e, "=")
		require.Contains(t, []string{
			"SLUICE_RUNTIME", "PLUGIN_MIN_PORT", "PLUGIN_MAX_PORT", "PLUGIN_PROTOCOL_VERSIONS", "PLUGIN_UNIX_SOCKET_DIR", "SLUICE_RECORD_AREA",
			"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SLUICE_EGRESS",
		}, name)
	}
}

// gRPC's default limit is 4 MiB, less than a payload may have.
func TestMessagesAreBoundedOnBothSides(t *testing.T) {
	p := obedient(t)
	most := []byte(`"` + strings.Repeat("x", plugins.MaxPayload-2) + `"`)
	r, err := p.Handle(context.Background(), runtime.Call{Payload: most})
	require.NoError(t, err)
	require.Equal(t, most, r.Payload)
	_, err = p.Handle(context.Background(), runtime.Call{Payload: append([]byte(" "), most...)})
	require.ErrorIs(t, err, host.ErrTooLarge)
	_, err = p.Handle(context.Background(), runtime.Call{Payload: most, Headers: []runtime.Header{{Value: strings.Repeat("x", 1<<20)}}})
	require.ErrorIs(t, err, host.ErrTooLarge)
	_, err = tell(t, p, order{Do: "large", N: plugins.MaxPayload})
	var failure *runtime.Failure
	require.ErrorAs(t, err, &failure, "a result too large is the author's fault")
	var wg sync.WaitGroup // together more than a frame holds
	for range 12 {
		wg.Go(func() {
			r, err := p.Handle(context.Background(), runtime.Call{Payload: most})
			if err != nil || len(r.Payload) != len(most) {
				if !errors.Is(err, host.ErrUnavailable) { // the queue is bounded by bytes
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.True(t, p.Available())
}

// A call must not wait for its deadline when nobody is left to answer it.
func TestAProcessThatEndsMidCallEndsTheCallAtOnce(t *testing.T) {
	t.Run("with one call open it is that call's doing", func(t *testing.T) {
		p := obedient(t)
		began := time.Now()
		_, err := tell(t, p, order{Do: "exit", N: 3})
		var exit *host.ExitError
		require.ErrorAs(t, err, &exit)
		require.Equal(t, host.ExitError{Reason: "exit status 3", Own: true}, *exit)
		require.Less(t, time.Since(began), time.Second)
		began = time.Now()
		_, err = tell(t, p, order{})
		require.ErrorIs(t, err, host.ErrUnavailable)
		require.Less(t, time.Since(began), 100*time.Millisecond)
		require.False(t, p.Available())
		awaitEnd(t, p)
		require.Equal(t, "exit status 3", p.ExitReason())
	})
	t.Run("with several open nobody is blamed", func(t *testing.T) {
		p := obedient(t)
		others := []<-chan error{
			start(t, p, context.Background(), order{Do: "sleep", N: 60_000}),
			start(t, p, context.Background(), order{Do: "sleep", N: 60_000}),
		}
		require.NoError(t, syscall.Kill(p.PID(), syscall.SIGKILL))
		for _, done := range others {
			var exit *host.ExitError
			require.ErrorAs(t, <-done, &exit)
			require.Equal(t, host.ExitError{Reason: "signal: killed"}, *exit)
		}
	})
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run("a signal that nobody announced came from outside: "+signal.String(), func(t *testing.T) {
			if signals.Ignored(signal) {
				return // as under nohup: the process inherits that
			}
			p := obedient(t)
			done := start(t, p, context.Background(), order{Do: "sleep", N: 60_000})
			require.NoError(t, syscall.Kill(p.PID(), signal))
			var exit *host.ExitError
			require.ErrorAs(t, <-done, &exit)
			require.Equal(t, host.ExitError{Reason: "signal: " + signal.String()}, *exit)
		})
	}
	t.Run("a signal that faulty code causes is that call's doing", func(t *testing.T) {
		p := obedient(t)
		done := start(t, p, context.Background(), order{Do: "sleep", N: 60_000})
		require.NoError(t, syscall.Kill(p.PID(), syscall.SIGBUS))
		var exit *host.ExitError
		require.ErrorAs(t, <-done, &exit)
		require.True(t, exit.Own)
	})
	t.Run("an abandoned call may be to blame as well", func(t *testing.T) {
		p := obedient(t)
		ctx, cancel := context.WithCancel(context.Background())
		first := start(t, p, ctx, order{Do: "sleep", N: 60_000})
		cancel()
		require.ErrorIs(t, <-first, context.Canceled)
		_, err := tell(t, p, order{Do: "exit", N: 3})
		var exit *host.ExitError
		require.ErrorAs(t, err, &exit)
		require.False(t, exit.Own)
	})
}

// go-plugin's own way to end a process does not ask for its open calls.
func TestDrainLetsOpenCallsFinish(t *testing.T) {
	p := obedient(t)
	done := start(t, p, context.Background(), order{Do: "sleep", N: 300})
	drained := make(chan error, 2)
	for range 2 { // also called twice
		go func() { drained <- p.Drain(context.Background()) }()
	}
	require.Eventually(t, func() bool { return !p.Available() }, time.Second, time.Millisecond)
	_, err := tell(t, p, order{})
	require.ErrorIs(t, err, host.ErrUnavailable)
	require.NoError(t, <-done, "the open call was answered")
	require.NoError(t, <-drained)
	require.NoError(t, <-drained)
	awaitEnd(t, p)
	require.Equal(t, "drained", p.ExitReason())
	require.NoError(t, p.Drain(context.Background()), "again")
}

func TestDrainKillsWhenItsTimeIsOver(t *testing.T) {
	p := obedient(t)
	done := start(t, p, context.Background(), order{Do: "sleep", N: 60_000})
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, p.Drain(ctx), context.DeadlineExceeded)
	var exit *host.ExitError
	require.ErrorAs(t, <-done, &exit)
	require.False(t, exit.Own)
	awaitEnd(t, p)
}

func TestDrainOfARuntimeThatDoesNotListen(t *testing.T) {
	p, _ := attacked(t, "says nothing")
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, err := p.Handle(ctx, runtime.Call{Payload: []byte("1")})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	began := time.Now()
	require.NoError(t, p.Drain(context.Background()))
	require.Less(t, time.Since(began), 5*time.Second)
}

func TestDrainOfABlankProcess(t *testing.T) {
	o, _ := options(t, "obedient")
	p := launch(t, o)
	require.NoError(t, p.Drain(context.Background()))
	awaitEnd(t, p)
}

func TestKillInEveryState(t *testing.T) {
	p := obedient(t)
	done := start(t, p, context.Background(), order{Do: "sleep", N: 60_000})
	began := time.Now()
	p.Kill()
	p.Kill()
	var exit *host.ExitError
	require.ErrorAs(t, <-done, &exit)
	require.Equal(t, host.ExitError{Reason: "killed by the gateway"}, *exit)
	require.Less(t, time.Since(began), time.Second)
	awaitEnd(t, p)
	p.Kill()
	require.NoError(t, p.Drain(context.Background()))
}

// A stream of all calls has no deadline of one call: each goes in a frame.
func TestDeadlineAndCancelReachTheRuntime(t *testing.T) {
	for name, limit := range map[string]time.Duration{"deadline": 200 * time.Millisecond, "cancel": time.Hour} {
		t.Run(name, func(t *testing.T) {
			p := obedient(t)
			seen := filepath.Join(t.TempDir(), "seen")
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			defer cancel()
			done := start(t, p, ctx, order{Do: "wait", Text: seen})
			if name == "cancel" {
				cancel()
			}
			require.ErrorIs(t, <-done, ctx.Err())
			require.Eventually(t, func() bool { b, err := os.ReadFile(seen); return err == nil && len(b) > 0 }, 5*time.Second, time.Millisecond)
			require.True(t, p.Available(), "it is sound and goes on")
			_, err := tell(t, p, order{})
			require.NoError(t, err)
		})
	}
	t.Run("an ended context is not sent", func(t *testing.T) {
		p := obedient(t)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err := p.Handle(ctx, runtime.Call{Payload: []byte("1")})
		require.ErrorIs(t, err, context.Canceled)
	})
}

// What a runtime prints before its handshake, and all else that can be wrong with
// a start.
func TestAStartThatFailsSaysWhy(t *testing.T) {
	for kind, want := range map[string]string{
		"stray":            `the runtime printed "Debugger listening on ws://127.0.0.1:9229" on stdout where its handshake line must be`,
		"stray-unfinished": `the runtime printed "loading" on stdout`,
		"stray-endless":    `on stdout where its handshake line must be`,
		"dies":             "exit status 3",
		"elsewhere":        "must be a socket in PLUGIN_UNIX_SOCKET_DIR",
		"tcp":              "must be a unix socket",
		"future":           "incompatible API version",
	} {
		t.Run(kind, func(t *testing.T) {
			o, _ := options(t, kind)
			began := time.Now()
			_, err := host.Launch(context.Background(), o)
			require.ErrorContains(t, err, want)
			require.ErrorContains(t, err, "start runtime "+kind)
			require.Less(t, time.Since(began), 3*time.Second)
			if kind == "dies" {
				require.ErrorContains(t, err, "it said: Error: Cannot find module './main.js'")
			}
			left, err := os.ReadDir(o.RunDir)
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
	for _, kind := range []string{"silent", "mute"} {
		t.Run(kind+" until the time is over", func(t *testing.T) {
			o, _ := options(t, kind)
			o.StartTimeout = 300 * time.Millisecond
			_, err := host.Launch(context.Background(), o)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorContains(t, err, "300ms")
		})
		t.Run(kind+" until the caller leaves", func(t *testing.T) {
			o, _ := options(t, kind)
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(100*time.Millisecond, cancel)
			_, err := host.Launch(ctx, o)
			require.ErrorIs(t, err, context.Canceled)
		})
	}
	t.Run("no such command", func(t *testing.T) {
		o, _ := options(t, "obedient")
		o.Runtime.Command = "/nonexistent/node"
		_, err := host.Launch(context.Background(), o)
		require.ErrorIs(t, err, os.ErrNotExist)
	})
	t.Run("a run folder too deep for sockets", func(t *testing.T) {
		o, _ := options(t, "obedient")
		o.RunDir = "/tmp/" + strings.Repeat("x", 80)
		_, err := host.Launch(context.Background(), o)
		require.ErrorContains(t, err, "the limit is 64")
	})
}

// What a runtime prints after its handshake.
func TestStdoutNeverBlocksTheProcessNorGrowsTheHost(t *testing.T) {
	p := obedient(t)
	before := rss(t)
	for range 4 {
		got, err := tell(t, p, order{Do: "stdout", N: 25, Text: strings.Repeat("x", 1<<20)})
		require.NoError(t, err)
		require.Equal(t, strconv.Itoa(25<<20), got)
	}
	require.Less(t, rss(t)-before, int64(48<<20))
	// go-plugin's server gives the process another os.Stdout, which goes by gRPC.
	_, err := tell(t, p, order{Do: "print", N: 20_000, Text: strings.Repeat("y", 100)})
	require.NoError(t, err)
	_, err = tell(t, p, order{})
	require.NoError(t, err)
}

func rss(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	require.NoError(t, err)
	n, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	require.NoError(t, err)
	return n * int64(os.Getpagesize())
}

// A gateway that was killed leaves sockets and folders behind.
func TestTheRunFolderIsOwnedAndEmptied(t *testing.T) {
	t.Run("what a killed gateway left is removed", func(t *testing.T) {
		dir := filepath.Join(runDir(t), "new")
		require.NoError(t, host.PrepareRunDir(dir))
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "plugin-dir1", "deeper"), 0o700))
		require.NoError(t, os.Chmod(dir, 0o755))
		require.NoError(t, host.PrepareRunDir(dir))
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left)
		info, err := os.Stat(dir)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
		require.NoError(t, os.Remove(dir))
	})
	t.Run("a folder with other things is left alone", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "data"), nil, 0o600))
		short := filepath.Join(runDir(t), "l")
		require.NoError(t, os.Symlink(dir, short))
		require.Error(t, host.PrepareRunDir(short), "a symbolic link is no folder")
		require.NoError(t, os.Remove(short))
		require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(short), "data"), nil, 0o600))
		require.ErrorContains(t, host.PrepareRunDir(filepath.Dir(short)), `holds "data"`)
	})
	t.Run("relative", func(t *testing.T) {
		require.ErrorContains(t, host.PrepareRunDir("run"), "not an absolute path")
	})
}

// A gateway that is killed cannot end what it started.
func TestNoProcessOutlivesTheGateway(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	dir := runDir(t)
	t.Cleanup(func() { require.NoError(t, host.PrepareRunDir(dir)) })
	gateway := exec.Command(self, "as-runtime", "gateway", dir)
	gateway.Stderr = os.Stderr
	out, err := gateway.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, gateway.Start())
	var pids [3]int
	for i := range pids {
		_, err = fmt.Fscan(out, &pids[i])
		require.NoError(t, err)
		require.False(t, gone(pids[i]))
	}
	require.NoError(t, gateway.Process.Kill())
	require.Error(t, gateway.Wait())
	for _, pid := range pids {
		require.Eventually(t, func() bool { return gone(pid) || zombie(pid) }, 5*time.Second, 5*time.Millisecond)
	}
}

// beGateway launches processes, prints their ids and waits to be killed. It starts
// them from goroutines whose threads end, as a gateway's may.
func beGateway() {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	for range 3 {
		pids := make(chan int)
		go func() {
			lockThread() // and never unlock: the thread ends with the goroutine
			p, err := host.Launch(context.Background(), host.Options{
				Runtime: catalog.Runtime{Name: "obedient", Command: self, Args: []string{"as-runtime", "obedient"}},
				RunDir:  os.Args[3], Log: zerolog.Nop(),
			})
			if err == nil {
				err = p.Load(context.Background(), host.LoadRequest{})
			}
			if err != nil {
				panic(err)
			}
			pids <- p.PID()
		}()
		pid := <-pids
		time.Sleep(50 * time.Millisecond)
		if gone(pid) {
			panic("the process ended with the goroutine that launched it")
		}
		fmt.Println(pid)
	}
	time.Sleep(time.Minute)
}

// zombie reports whether a process has ended but not been reaped, as orphans are
// where init does not do it.
func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, state, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(state, "Z")
}

func TestKillTakesTheWholeGroup(t *testing.T) {
	for name, end := range map[string]func(*host.Process){
		"when the gateway kills it": (*host.Process).Kill,
		"when it ends by itself":    func(p *host.Process) { _ = syscall.Kill(p.PID(), syscall.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			p := obedient(t)
			got, err := tell(t, p, order{Do: "fork"})
			require.NoError(t, err)
			grandchild, err := strconv.Atoi(got)
			require.NoError(t, err)
			require.False(t, gone(grandchild))
			end(p)
			awaitEnd(t, p)
			require.Eventually(t, func() bool { return gone(grandchild) || zombie(grandchild) }, 5*time.Second, 5*time.Millisecond)
		})
	}
}

func TestAChildThatKeepsTheOutputsOpenDoesNotHoldTheEndUp(t *testing.T) {
	p := obedient(t)
	got, err := tell(t, p, order{Do: "escape"})
	require.NoError(t, err)
	pid, err := strconv.Atoi(got)
	require.NoError(t, err)
	began := time.Now()
	p.Kill()
	awaitEnd(t, p)
	require.Less(t, time.Since(began), 3*time.Second)
	_ = syscall.Kill(pid, syscall.SIGKILL)
}

func TestAProcessOverItsMemoryIsKilled(t *testing.T) {
	o, _ := options(t, "obedient")
	o.MemoryMiB = 64
	p := load(t, o)
	sound, err := p.RSSBytes()
	require.NoError(t, err)
	require.Positive(t, sound)
	private, err := p.PrivateBytes()
	require.NoError(t, err)
	require.Positive(t, private)
	_, err = tell(t, p, order{Do: "allocate", N: 150})
	var exit *host.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, host.ExitError{Reason: "out of memory", Own: true}, *exit)
	awaitEnd(t, p)
	_, err = p.RSSBytes()
	require.ErrorIs(t, err, os.ErrProcessDone)
}

func TestAProcessThatRunsOutOfMemoryByItselfIsToldOf(t *testing.T) {
	_, err := tell(t, obedient(t), order{Do: "abort"})
	var exit *host.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, host.ExitError{Reason: "out of memory", Own: true}, *exit)
}

func TestResourceLimitsHold(t *testing.T) {
	p := obedient(t)
	for resource, most := range map[int]uint64{syscall.RLIMIT_CORE: 0, syscall.RLIMIT_NOFILE: 1024, syscall.RLIMIT_DATA: 2 << 30} {
		got, err := tell(t, p, order{Do: "limit", N: resource})
		require.NoError(t, err)
		n, err := strconv.ParseUint(got, 10, 64)
		require.NoError(t, err)
		require.LessOrEqual(t, n, most)
	}
}

func TestTwoHundredProcessesAtOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds; -short was asked for")
	}
	dir := runDir(t)
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	all := make(chan *host.Process, 200)
	for range 200 {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			p, err := host.Launch(context.Background(), host.Options{Runtime: program(t, "obedient"), RunDir: dir, Log: zerolog.Nop()})
			if err == nil {
				err = p.Load(context.Background(), host.LoadRequest{})
			}
			if err != nil {
				t.Error(err)
				return
			}
			all <- p
		})
	}
	wg.Wait()
	close(all)
	for p := range all {
		wg.Go(func() {
			if _, err := p.Handle(context.Background(), runtime.Call{Payload: []byte("1")}); err != nil {
				t.Error(err)
			}
			if err := p.Drain(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}
