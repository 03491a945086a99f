package host_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sluice-faas/sluice/plugins/catalog"
	"github.com/sluice-faas/sluice/plugins/host"
	launcher "github.com/sluice-faas/sluice/plugins/sandbox/launch"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

// TestMain lets the test binary be every runtime that the tests need: started as
// "<binary> as-runtime <kind>" it is one of kinds and never runs a test.
func TestMain(m *testing.M) {
	launcher.Main()
	if len(os.Args) > 2 && os.Args[1] == "as-runtime" {
		kind, ok := kinds[os.Args[2]]
		if !ok {
			fmt.Fprintln(os.Stderr, "no such kind of runtime:", os.Args[2])
			os.Exit(2)
		}
		kind()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m,
		goleak.Cleanup(func(code int) {
			if dir, err := echoProgram(); err == nil {
				_ = os.RemoveAll(dir) // in the system's folder for such things
			}
			os.Exit(code)
		}),
		// The thread that starts processes is kept for the program's life.
		goleak.IgnoreAnyFunction("github.com/sluice-faas/sluice/plugins/sandbox.spawn"))
}

// kinds are the runtimes by name.
var kinds = map[string]func(){
	"obedient": func() { runtime.Serve("obedient", loadObedient) },
	"hostile":  serveHostile,
	"gateway":  beGateway,
	"stray": func() {
		fmt.Println("Debugger listening on ws://127.0.0.1:9229")
		time.Sleep(time.Minute)
	},
	"stray-unfinished": func() {
		fmt.Print("loading")
		time.Sleep(time.Minute)
	},
	"stray-endless": func() {
		for {
			if _, err := os.Stdout.Write(bytes.Repeat([]byte("7"), 64<<10)); err != nil {
				return
			}
		}
	},
	"silent": func() { time.Sleep(time.Minute) },
	"dies": func() {
		fmt.Fprintln(os.Stderr, "Error: Cannot find module './main.js'")
		os.Exit(3)
	},
	"elsewhere": func() {
		fmt.Printf("1|1|unix|%s|grpc\n", "/run/docker.sock")
		time.Sleep(time.Minute)
	},
	"tcp": func() {
		fmt.Printf("1|1|tcp|%s|grpc\n", "127.0.0.1:1")
		time.Sleep(time.Minute)
	},
	"future": func() {
		fmt.Printf("1|2|unix|%s|grpc\n", filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "s"))
		time.Sleep(time.Minute)
	},
	"mute": func() { // listens, says nothing
		path := filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "s")
		l, err := net.Listen("unix", path)
		if err != nil {
			os.Exit(2)
		}
		fmt.Printf("1|1|unix|%s|grpc\n", path)
		for {
			if _, err := l.Accept(); err != nil {
				return
			}
		}
	},
}

// order is what the obedient runtime is told to do, as a call's payload or as the
// artifact. Without Do the payload is echoed.
type order struct {
	Do   string `json:"do"`
	N    int    `json:"n"`
	Text string `json:"text"`
}

func loadObedient(_ context.Context, fn runtime.Function) (runtime.Handler, error) {
	var o order
	if len(fn.Artifact) > 0 {
		if err := json.Unmarshal(fn.Artifact, &o); err != nil {
			return nil, err
		}
	}
	switch o.Do {
	case "refuse":
		return nil, runtime.LoadError(errors.New(o.Text))
	case "exit":
		os.Exit(o.N)
	case "hang":
		select {}
	}
	return runtime.HandlerFunc(func(ctx context.Context, call runtime.Call) (runtime.Result, error) {
		return obey(ctx, fn, call)
	}), nil
}

func obey(ctx context.Context, fn runtime.Function, call runtime.Call) (runtime.Result, error) {
	var o order
	if err := json.Unmarshal(call.Payload, &o); err != nil || o.Do == "" {
		return runtime.Result{Payload: call.Payload}, nil //nolint:nilerr // anything else is echoed
	}
	answer := any(o.N)
	switch o.Do {
	case "sleep":
		time.Sleep(time.Duration(o.N) * time.Millisecond)
	case "wait": // for the cancel, which is left as a file in the working folder
		deadline, _ := ctx.Deadline()
		<-ctx.Done()
		if err := os.WriteFile(o.Text, []byte(deadline.String()), 0o600); err != nil {
			return runtime.Result{}, err
		}
		time.Sleep(500 * time.Millisecond) // its own clock may be ahead of the host's
	case "fail":
		return runtime.Result{}, &runtime.Failure{Kind: runtime.RuntimeException, Message: o.Text, Stack: "at lambda:1"}
	case "panic":
		panic(o.Text)
	case "exit":
		os.Exit(o.N)
	case "log":
		for i := range o.N {
			call.Log(runtime.LogRecord{Level: runtime.LevelWarn, Message: fmt.Sprint(o.Text, i), Extras: []byte(`[1]`)})
		}
	case "stdout":
		answer = writeRaw(1, o)
	case "stderr":
		answer = writeRaw(2, o)
	case "print": // through os.Stdout, which go-plugin has replaced
		for range o.N {
			fmt.Println(o.Text)
		}
	case "environ":
		answer = os.Environ()
	case "given":
		answer = fn.Environment
	case "limit":
		var limit syscall.Rlimit
		if err := syscall.Getrlimit(o.N, &limit); err != nil {
			return runtime.Result{}, err
		}
		answer = limit.Cur
	case "allocate":
		keep = bytes.Repeat([]byte{1}, o.N<<20)
		time.Sleep(time.Minute)
	case "abort": // as V8 does when its heap is full
		_, _ = fmt.Fprintln(rawFiles[2], "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory\n 1: 0xb8")
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "fork":
		cmd := exec.Command("/bin/sh", "-c", "sleep 300 & echo $!; wait")
		out, err := cmd.StdoutPipe()
		if err != nil {
			return runtime.Result{}, err
		}
		if err := cmd.Start(); err != nil {
			return runtime.Result{}, err
		}
		var pid int
		if _, err := fmt.Fscan(out, &pid); err != nil {
			return runtime.Result{}, err
		}
		answer = pid
	case "escape": // leave a child that keeps the outputs open in a session of its own
		cmd := exec.Command("/bin/sleep", "5")
		cmd.Stdout, cmd.Stderr = rawFiles[1], rawFiles[2]
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			return runtime.Result{}, err
		}
		answer = cmd.Process.Pid
	case "headers":
		answer = call.Headers
	case "size":
		answer = len(o.Text)
	case "read": // the secret o.Text
		secret, err := call.Secrets.ReadSecret(ctx, o.Text)
		return runtime.Result{Payload: secret.Value}, refused(err)
	case "update": // the secret o.Text to text of o.N characters
		secret, err := call.Secrets.UpdateSecret(ctx, runtime.Secret{Key: o.Text, Value: []byte(`"` + strings.Repeat("x", o.N) + `"`)})
		return runtime.Result{Payload: secret.Value}, refused(err)
	case "large":
		answer = strings.Repeat("x", o.N)
	}
	payload, err := json.Marshal(answer)
	return runtime.Result{Payload: payload}, err
}

// refused tells the caller why a secret was not there.
func refused(err error) error {
	var e *runtime.SecretError
	if errors.As(err, &e) {
		return &runtime.Failure{Kind: runtime.CustomFailure, Message: e.Code + ": " + e.Message}
	}
	return err
}

var keep []byte

// rawFiles are kept, because a collected file closes its descriptor.
var rawFiles = map[int]*os.File{1: os.NewFile(1, "stdout"), 2: os.NewFile(2, "stderr")}

// writeRaw writes o.Text to the descriptor itself, o.N times.
func writeRaw(fd int, o order) int {
	f := rawFiles[fd]
	n := 0
	for range o.N {
		w, err := f.WriteString(o.Text)
		if n += w; err != nil {
			break
		}
	}
	return n
}

// program is this test binary as a runtime.
func program(t testing.TB, kind string, args ...string) catalog.Runtime {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	return catalog.Runtime{Name: kind, Command: self, Args: append([]string{"as-runtime", kind}, args...), Protocol: 1}
}

// runDir is a short folder, because sockets live in it.
func runDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, host.PrepareRunDir(dir))
	return dir
}

// logBook is a log that tests read.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBook) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func options(t testing.TB, kind string, args ...string) (host.Options, *logBook) {
	t.Helper()
	log := &logBook{}
	return host.Options{Runtime: program(t, kind, args...), RunDir: runDir(t), Log: zerolog.New(log)}, log
}

func launch(t testing.TB, o host.Options) *host.Process {
	t.Helper()
	p, err := host.Launch(context.Background(), o)
	require.NoError(t, err)
	t.Cleanup(func() {
		p.Kill()
		awaitEnd(t, p)
		left, err := os.ReadDir(o.RunDir)
		require.NoError(t, err)
		require.Empty(t, left, "the process's folder is gone with it")
	})
	return p
}

func load(t testing.TB, o host.Options) *host.Process {
	t.Helper()
	return loadWith(t, o, nil)
}

func loadWith(t testing.TB, o host.Options, secrets runtime.Secrets) *host.Process {
	t.Helper()
	p := launch(t, o)
	require.NoError(t, p.Load(context.Background(), host.LoadRequest{Secrets: secrets}))
	return p
}

func obedient(t testing.TB) *host.Process {
	t.Helper()
	o, _ := options(t, "obedient")
	return load(t, o)
}

func awaitEnd(t testing.TB, p *host.Process) {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(10 * time.Second):
		require.FailNow(t, "the process did not end")
	}
}

func payload(t testing.TB, o order) runtime.Call {
	t.Helper()
	b, err := json.Marshal(o)
	require.NoError(t, err)
	return runtime.Call{Payload: b}
}

// tell gives an order and returns the answer.
func tell(t testing.TB, p *host.Process, o order) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	r, err := p.Handle(ctx, payload(t, o))
	return string(r.Payload), err
}

// start gives an order and does not wait.
func start(t testing.TB, p *host.Process, ctx context.Context, o order) <-chan error {
	t.Helper()
	call, before := payload(t, o), p.OpenCalls()
	done := make(chan error, 1)
	go func() {
		_, err := p.Handle(ctx, call)
		done <- err
	}()
	require.Eventually(t, func() bool { return p.OpenCalls() > before || len(done) > 0 }, 5*time.Second, time.Millisecond)
	return done
}

func gone(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

func lockThread() { goruntime.LockOSThread() }
