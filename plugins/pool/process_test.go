package pool_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sluice-faas/sluice/plugins/catalog"
	"github.com/sluice-faas/sluice/plugins/host"
	"github.com/sluice-faas/sluice/plugins/pool"
	"github.com/sluice-faas/sluice/plugins/sandbox/launch"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

// TestMain lets the test binary be a runtime too: one whose calls do as their
// payload says, for what runtimes/echo cannot do.
func TestMain(m *testing.M) {
	launch.Main()
	if len(os.Args) > 1 && os.Args[1] == "as-runtime" {
		runtime.Serve("obedient", loadObedient)
		return
	}
	goleak.VerifyTestMain(m,
		// The thread that starts processes is kept for the program's life.
		goleak.IgnoreAnyFunction("github.com/sluice-faas/sluice/plugins/sandbox.spawn"),
		goleak.Cleanup(func(code int) {
			_ = os.RemoveAll(echoDir)
			os.Exit(code)
		}))
}

// order is what an obedient process is told by an artifact or a payload.
type order struct {
	Do string        `json:"do"`
	D  time.Duration `json:"d"`
}

func loadObedient(_ context.Context, fn runtime.Function) (runtime.Handler, error) {
	if string(fn.Artifact) == "broken" {
		return nil, runtime.LoadError(errors.New("x is not defined"))
	}
	if string(fn.Artifact) == "exits" {
		os.Exit(3)
	}
	return runtime.HandlerFunc(func(_ context.Context, call runtime.Call) (runtime.Result, error) {
		var o order
		if err := json.Unmarshal(call.Payload, &o); err != nil {
			return runtime.Result{}, err
		}
		switch o.Do {
		case "sleep":
			time.Sleep(o.D)
		case "exit":
			os.Exit(3)
		}
		return runtime.Result{Payload: fmt.Appendf(nil, "%d", os.Getpid())}, nil
	}), nil
}

var echoDir string

var buildEcho = sync.OnceValues(func() (program string, err error) {
	if echoDir, err = os.MkdirTemp("", "echo"); err != nil {
		return "", err
	}
	program = filepath.Join(echoDir, "echo")
	out, err := exec.Command("go", "build", "-o", program, "github.com/sluice-faas/sluice/runtimes/echo").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return program, nil
})

// realPool makes a pool of real processes of runtimes/echo ("echo") and of this
// binary ("obedient"), and checks at the end that none is left.
func realPool(t testing.TB, cfg pool.Config) (*pool.Pool, *pids) {
	t.Helper()
	echo, err := buildEcho()
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	installed := map[string]catalog.Runtime{
		"echo":     {Name: "echo", Command: echo, Protocol: 1},
		"obedient": {Name: "obedient", Command: self, Args: []string{"as-runtime"}, Protocol: 1},
	}
	dir, err := os.MkdirTemp("", "s")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, host.PrepareRunDir(dir))
	started := &pids{}
	p := pool.New(cfg, func(ctx context.Context, name string) (pool.Process, error) {
		rt, ok := installed[name]
		if !ok {
			return nil, fmt.Errorf("runtime %q is not installed", name)
		}
		proc, err := host.Launch(ctx, host.Options{Runtime: rt, RunDir: dir, Log: zerolog.Nop()})
		if err != nil {
			return nil, err // not a nil *host.Process in an interface
		}
		started.add(proc.PID())
		return proc, nil
	}, zerolog.Nop())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(bg, 10*time.Second)
		defer cancel()
		require.NoError(t, p.Close(ctx))
		require.Empty(t, started.alive(), "processes after Close")
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left, "files after Close")
	})
	return p, started
}

// pids remembers the process ids of what a test started.
type pids struct {
	mu  sync.Mutex
	all []int
}

func (p *pids) add(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, pid)
}

func (p *pids) alive() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	var left []int
	for _, pid := range p.all {
		if syscall.Kill(pid, 0) == nil {
			left = append(left, pid)
		}
	}
	return left
}

func on(runtimeName, key string) pool.Spec {
	s := spec(key)
	s.Runtime = runtimeName
	return s
}

func do(what string, d time.Duration) runtime.Call {
	payload, _ := json.Marshal(order{Do: what, D: d})
	return runtime.Call{Payload: payload}
}

func TestRealProcesses(t *testing.T) {
	t.Run("a cold call takes a blank process, another takes its place", func(t *testing.T) {
		p, started := realPool(t, pool.Config{Prestart: map[string]int{"echo": 1}})
		require.Eventually(t, func() bool { return p.Stats().Blank == 1 }, 10*time.Second, time.Millisecond)
		result, info, err := p.Handle(bg, on("echo", "a"), call(`{"n":1}`))
		require.NoError(t, err)
		require.JSONEq(t, `{"n":1}`, string(result.Payload))
		require.True(t, info.Cold)
		require.Eventually(t, func() bool { return p.Stats().Blank == 1 }, 10*time.Second, time.Millisecond)
		for range 200 {
			_, info, err = p.Handle(bg, on("echo", "a"), call(`{"n":2}`))
			require.NoError(t, err)
			require.False(t, info.Cold)
		}
		require.Len(t, started.alive(), 2)
	})
	t.Run("faults of user code found at load pass through", func(t *testing.T) {
		p, started := realPool(t, pool.Config{})
		var fault *host.LoadError
		require.ErrorAs(t, p.Warm(bg, on("obedient", "broken")), &fault)
		require.Equal(t, "x is not defined", fault.Message)
		require.ErrorAs(t, p.Warm(bg, on("obedient", "exits")), &fault)
		require.ErrorContains(t, fault, "the process ended while the code was loaded")
		require.Eventually(t, func() bool { return len(started.alive()) == 0 }, 10*time.Second, time.Millisecond)
		var start *pool.StartError
		require.ErrorAs(t, p.Warm(bg, on("none such", "a")), &start)
		require.ErrorContains(t, start, `runtime "none such" is not installed`)
	})
	t.Run("kill -9 under load fails the calls inside and no other", func(t *testing.T) {
		p, started := realPool(t, pool.Config{Prestart: map[string]int{"obedient": 1}})
		require.NoError(t, p.Warm(bg, on("obedient", "a")))
		require.NoError(t, p.Warm(bg, on("obedient", "b")))
		var wg sync.WaitGroup
		var cut atomic.Int64
		for range 20 {
			wg.Go(func() {
				_, info, err := p.Handle(bg, on("obedient", "a"), do("sleep", time.Minute))
				var exit *host.ExitError
				if errors.As(err, &exit) && !exit.Own && info.Ran {
					cut.Add(1)
				}
			})
		}
		stop := make(chan struct{})
		for range 4 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						if _, _, err := p.Handle(bg, on("obedient", "b"), do("", 0)); err != nil {
							t.Errorf("another lambda noticed: %v", err)
						}
					}
				}
			})
		}
		require.Eventually(t, func() bool { return p.Stats().OpenCalls >= 20 }, 10*time.Second, time.Millisecond)
		result, _, err := p.Handle(bg, on("obedient", "a"), do("", 0))
		require.NoError(t, err)
		var pid int
		require.NoError(t, json.Unmarshal(result.Payload, &pid))
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		result, _, err = p.Handle(bg, on("obedient", "a"), do("", 0))
		var exit *host.ExitError
		if errors.As(err, &exit) { // it came before the death was known
			result, _, err = p.Handle(bg, on("obedient", "a"), do("", 0))
		}
		require.NoError(t, err, "the next call is served")
		require.NotEqual(t, fmt.Sprint(pid), string(result.Payload))
		close(stop)
		wg.Wait()
		require.EqualValues(t, 20, cut.Load())
		require.NotEmpty(t, started.alive())
	})
	t.Run("a call that ends its process is told so, every time", func(t *testing.T) {
		p, _ := realPool(t, pool.Config{})
		for range 3 {
			_, info, err := p.Handle(bg, on("obedient", "a"), do("exit", 0))
			var exit *host.ExitError
			require.ErrorAs(t, err, &exit)
			require.True(t, exit.Own)
			require.True(t, info.Ran)
		}
		_, _, err := p.Handle(bg, on("obedient", "a"), do("", 0))
		require.NoError(t, err)
	})
	t.Run("a redeployment loses no call", func(t *testing.T) {
		p, started := realPool(t, pool.Config{Prestart: map[string]int{"obedient": 1}})
		var live atomic.Int64
		var wg sync.WaitGroup
		stop := make(chan struct{})
		var served atomic.Int64
		for range 8 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					for {
						_, _, err := p.Handle(bg, on("obedient", fmt.Sprint(live.Load())), do("sleep", time.Millisecond))
						if errors.Is(err, pool.ErrRetired) {
							continue // as the dispatcher does
						}
						if err != nil {
							t.Errorf("%v", err)
						}
						served.Add(1)
						break
					}
				}
			})
		}
		for n := range int64(5) {
			require.NoError(t, p.Warm(bg, on("obedient", fmt.Sprint(n+1))))
			live.Store(n + 1)
			p.Retire(fmt.Sprint(n))
			time.Sleep(20 * time.Millisecond)
		}
		close(stop)
		wg.Wait()
		require.Positive(t, served.Load())
		require.Eventually(t, func() bool { return len(started.alive()) == 2 }, 10*time.Second, time.Millisecond,
			"the live one's and a blank one")
	})
	t.Run("a builder answers and is replaced", func(t *testing.T) {
		p, started := realPool(t, pool.Config{})
		d, err := p.Describe(bg, "echo")
		require.NoError(t, err)
		require.Equal(t, "echo", d.Name)
		for range 20 { // at some time a build meets the very moment of the end
			result, err := p.Build(bg, "echo", "source", nil)
			require.NoError(t, err)
			require.Equal(t, "source", string(result.Artifact))
			// None, if the second try had to do it, in a process of its own; or that one
			// as well, and one that is ending.
			for _, pid := range started.alive() {
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
			}
		}
	})
}

// The way of a warm call through the pool and runtimes/echo.
func BenchmarkPoolEcho(b *testing.B) {
	p, _ := realPool(b, pool.Config{})
	s, c := on("echo", "a"), call(`{"name":"world"}`)
	require.NoError(b, p.Warm(bg, s))
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, _, err := p.Handle(bg, s, c); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

// The way of the first call of a key, with a blank process that is ready.
func BenchmarkPoolCold(b *testing.B) {
	p, _ := realPool(b, pool.Config{Prestart: map[string]int{"echo": 1}})
	n := 0
	for b.Loop() {
		b.StopTimer()
		p.Retire(fmt.Sprint(n))
		for p.Stats().Blank == 0 {
			time.Sleep(time.Millisecond)
		}
		n++
		b.StartTimer()
		if _, _, err := p.Handle(bg, on("echo", fmt.Sprint(n)), call(`{}`)); err != nil {
			b.Fatal(err)
		}
	}
}
