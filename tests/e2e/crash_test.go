package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/sdk/client"
	"github.com/sluice-faas/sluice/tests/dev"
)

// acknowledged is what the gateway said yes to before it was killed.
type acknowledged struct {
	mu       sync.Mutex
	code     map[string]string // lambda id → code
	version  map[string]int    // of the last write that was answered
	deployed map[string]bool   // a deployment was answered with yes
	fresh    []string          // ids of this round
}

func (a *acknowledged) wrote(l *client.Lambda) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.code[l.ID]; !known {
		a.fresh = append(a.fresh, l.ID)
	}
	a.code[l.ID], a.version[l.ID] = l.Source.Code, l.Version
}

func (a *acknowledged) wantsDeployed(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.deployed[id] = true
}

func TestNothingThatWasAcknowledgedIsLostWhenTheGatewayIsKilled(t *testing.T) {
	const rounds = 4
	g := ownGateway(t, t.TempDir(), "--no-sample", "--limit", dev.NoLimits)
	session := as(t, g, "FaaS-Developer")
	acks := &acknowledged{code: map[string]string{}, version: map[string]int{}, deployed: map[string]bool{}}

	for round := range rounds {
		t.Logf("round %d", round)
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		acks.fresh = nil
		for worker := range 3 {
			wg.Go(func() { writeUntilItFails(ctx, session, acks, fmt.Sprintf("w%d_%d", round, worker)) })
		}
		time.Sleep(500*time.Millisecond + rand.N(time.Second))
		g.Kill()
		cancel()
		wg.Wait()

		var err error
		g, err = g.Restart(t.Context())
		require.NoError(t, err)
		owned(t, g)
		session = reconnect(t, g, session) // the login of the first round is still good
		requireAll(t, g, session, acks)
	}
	require.Greater(t, len(acks.code), 2*rounds, "too few writes to mean anything")
	require.NotEmpty(t, acks.deployed)
}

// reconnect gives a client for the gateway's new addresses with old's token.
func reconnect(t *testing.T, g *dev.Gateway, old *client.Client) *client.Client {
	t.Helper()
	c, err := g.Client()
	require.NoError(t, err)
	return c.With(old)
}

// writeUntilItFails creates, changes and deploys lambdas and notes each answer.
// It takes its time: every lambda is looked at again.
func writeUntilItFails(ctx context.Context, c *client.Client, acks *acknowledged, word string) {
	for i := 0; ctx.Err() == nil; i++ {
		l, err := c.CreateLambda(ctx, client.LambdaSpec{Name: fmt.Sprintf("%s_%d", word, i), Description: "written while the end is near", Code: versioned("first")})
		if err != nil {
			return
		}
		acks.wrote(l)
		if i%2 == 0 {
			l.Source.Code = versioned(fmt.Sprintf("second of %s_%d", word, i))
			if l, _, err = c.UpdateLambda(ctx, l); err != nil {
				return
			}
			acks.wrote(l)
		}
		if c.Deploy(ctx, l.ID) != nil {
			return
		}
		acks.wantsDeployed(l.ID)
		time.Sleep(50 * time.Millisecond)
	}
}

// requireAll finds every write again and every deployment at its end.
func requireAll(t *testing.T, g *dev.Gateway, c *client.Client, acks *acknowledged) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	for id, code := range acks.code {
		l, err := c.Lambda(ctx, id)
		require.NoError(t, err, "an acknowledged lambda")
		// A later write may have been stored although its answer never came.
		require.GreaterOrEqual(t, l.Version, acks.version[id])
		if l.Version == acks.version[id] {
			require.Equal(t, code, l.Source.Code)
		}
		if l.Deployment.State == "" {
			require.False(t, acks.deployed[id], "an acknowledged deployment is gone")
			continue
		}
		l, err = c.WaitDeployed(ctx, id)
		require.NoError(t, err, "a half-done deployment goes on to its end")
		require.Contains(t, []string{client.Productive, client.Modified}, l.State)
	}
	app := brand(t, g)
	const most = 10 // the last ones are those that the end cut off
	for _, id := range acks.fresh[max(0, len(acks.fresh)-most):] {
		if acks.deployed[id] {
			_, err := app.Invoke(ctx, id, nil)
			require.NoError(t, err)
		}
	}
}

func TestAKilledNodeProcessFailsOnlyTheCallsInsideIt(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	author, app := developer(t, g), brand(t, g)
	neighbour(t, author, app)
	name := newName("victim")
	l := deployed(t, author, "victim", `
		process.title = '`+name+`'
		function lambda(input, callback) { setTimeout(() => callback(null, process.pid), 30) }`)
	_, err := app.Invoke(t.Context(), l.ID, nil)
	require.NoError(t, err)

	const callers = 16
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var calls, failed atomic.Int64
	for range callers {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				calls.Add(1)
				_, err := app.Invoke(context.Background(), l.ID, nil)
				if err == nil {
					continue
				}
				failed.Add(1)
				var e *client.Error
				if !errors.As(err, &e) || e.Status != http.StatusInternalServerError || e.Code != client.CodeRuntimeGeneral {
					t.Errorf("a call inside the killed process was answered with %v", err)
				}
			}
		})
	}
	end := sync.OnceFunc(func() {
		close(stop)
		wg.Wait()
	})
	defer end()
	const kills = 3
	for range kills {
		time.Sleep(400 * time.Millisecond)
		victim := named(t, g, name)
		require.NoError(t, victim.Kill())
		require.Empty(t, dev.WaitGone([]dev.Process{victim}, 5*time.Second))
		// Until the gateway knows, a call may still get inside; not the one after it.
		_, err := app.Invoke(t.Context(), l.ID, nil)
		if err != nil {
			require.True(t, client.IsCode(err, client.CodeRuntimeGeneral), "%v", err)
			_, err = app.Invoke(t.Context(), l.ID, nil)
		}
		require.NoError(t, err, "the next call is served")
	}
	time.Sleep(200 * time.Millisecond)
	end()
	t.Logf("%d calls, %d failed", calls.Load(), failed.Load())
	require.Positive(t, failed.Load(), "the kills met no call")
	require.LessOrEqual(t, failed.Load(), int64(kills*callers), "more calls failed than were inside")
}

func TestTheOnlyCallInAKilledNodeProcessIsNotToBlame(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	// In a sandbox a process is the first of its namespace, which those other signals
	// do not end.
	open := ownGateway(t, t.TempDir(), "--no-sample", "--sandbox", "off", "--limit", "run-time="+runLimit.String(), "--limit", dev.NoLimits)
	author, app := developer(t, g), brand(t, g)
	var e *client.Error
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		t.Run("from outside by "+signal.String(), func(t *testing.T) {
			g, author, app := g, author, app
			if signal != syscall.SIGKILL {
				g, author, app = open, developer(t, open), brand(t, open)
			}
			name := newName("single")
			l := deployed(t, author, "single", `
				process.title = '`+name+`'
				function lambda(input, callback) { if (!input.payload.stay) callback(null, 1) }`)
			require.Equal(t, "1", invoked(t, app, l.ID, nil))
			answer := make(chan error, 1)
			go func() {
				_, err := app.Invoke(context.Background(), l.ID, map[string]bool{"stay": true})
				answer <- err
			}()
			select {
			case err := <-answer:
				require.FailNow(t, "it was answered too soon", "%v", err)
			case <-time.After(300 * time.Millisecond): // it is inside by now
			}
			require.NoError(t, syscall.Kill(named(t, g, name).PID, signal))
			require.ErrorAs(t, <-answer, &e)
			require.Equal(t, http.StatusInternalServerError, e.Status, e.Message)
			require.Equal(t, client.CodeRuntimeGeneral, e.Code)
			require.Equal(t, "1", invoked(t, app, l.ID, nil), "the next call is served")
		})
	}
	t.Run("but is when it sends the signal itself", func(t *testing.T) {
		l := deployed(t, author, "selfkilled", `function lambda(input, callback) { process.kill(process.pid, 'SIGKILL') }`)
		_, err := app.Invoke(t.Context(), l.ID, nil)
		require.ErrorAs(t, err, &e)
		require.Equal(t, client.StatusLambdaFailed, e.Status, e.Message)
		require.Equal(t, client.CodeCustomFailure, e.Code)
		require.Contains(t, e.Message, "SIGKILL")
	})
}

// named waits for the process of that name: after a kill it is started anew.
func named(t *testing.T, g *dev.Gateway, name string) dev.Process {
	t.Helper()
	var p dev.Process
	require.Eventually(t, func() bool {
		var err error
		p, err = g.Named(name)
		return err == nil
	}, 5*time.Second, 10*time.Millisecond)
	return p
}

func TestAStoppedGatewayFinishesItsCallsAndLeavesNoProcess(t *testing.T) {
	for name, signal := range map[string]os.Signal{"by SIGTERM": syscall.SIGTERM, "by Ctrl-C": os.Interrupt} {
		t.Run(name, func(t *testing.T) {
			g := ownGateway(t, t.TempDir())
			author, app := developer(t, g), brand(t, g)
			for range 3 {
				_, err := app.Invoke(t.Context(), deployed(t, author, "stays", versioned("1")).ID, nil)
				require.NoError(t, err)
			}
			slow := deployed(t, author, "slow", `function lambda(input, callback) { setTimeout(() => callback(null, 'finished'), 1500) }`)
			answers := make(chan error, 4)
			for range cap(answers) {
				go func() {
					got, err := app.Invoke(context.Background(), slow.ID, nil)
					if err == nil && string(got) != `"finished"` {
						err = fmt.Errorf("got %s", got)
					}
					answers <- err
				}()
			}
			time.Sleep(500 * time.Millisecond)
			below := g.Processes()
			require.NotEmpty(t, below)
			require.NoError(t, g.Signal(signal))
			for range cap(answers) {
				require.NoError(t, <-answers, "a call that was inside is finished")
			}
			select {
			case <-g.Done():
			case <-time.After(20 * time.Second):
				t.Fatal("it did not end")
			}
			require.NoError(t, g.Stop(t.Context()), "exit code 0")
			require.Empty(t, dev.WaitGone(below, time.Second), "processes are left behind")
		})
	}
}

func TestAKilledGatewayLeavesNoProcess(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, t.TempDir())
	_, err := brand(t, g).Invoke(t.Context(), g.Info.Lambda.UUID, nil)
	require.NoError(t, err)
	below := g.Processes()
	require.NotEmpty(t, below)
	g.Kill()
	require.Empty(t, dev.WaitGone(below, 3*time.Second))
	again, err := g.Restart(t.Context())
	require.NoError(t, err)
	owned(t, again)
	_, err = brand(t, again).Invoke(t.Context(), again.Info.Lambda.UUID, nil)
	require.NoError(t, err)
}

func TestASecondGatewayOnTheSameFolderIsRefused(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	before, err := os.ReadFile(filepath.Join(g.DataDir(), "dev.json"))
	require.NoError(t, err)
	// By hand: dev.Start would take dev.json of the running one away.
	out, err := refused(t, "dev", "--data-dir", g.DataDir(), "--https-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0")
	require.Error(t, err)
	require.Contains(t, out, g.DataDir())
	require.NotContains(t, out, "panic")
	require.NotContains(t, out, "goroutine ")
	after, err := os.ReadFile(filepath.Join(g.DataDir(), "dev.json"))
	require.NoError(t, err, "dev.json of the running one is still there")
	require.Equal(t, before, after)
	l := deployed(t, developer(t, g), "unharmed", versioned("1"))
	require.JSONEq(t, `{"version":"1","got":{}}`, invoked(t, brand(t, g), l.ID, nil))
}

// refused runs the program, which must end by itself, and gives what it printed.
func refused(t *testing.T, args ...string) (string, error) {
	t.Helper()
	binary, err := dev.Binary()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	out, err := cmd.CombinedOutput()
	require.NoError(t, ctx.Err(), "it did not end; it printed %s", out)
	return string(out), err
}

func TestAStartThatCannotSucceedSaysWhyAndDamagesNothing(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = busy.Close() }()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("not a folder"), 0o600))
	free := []string{"--http-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0"}

	for name, tt := range map[string]struct {
		args []string
		says string
	}{
		"a port in use":                        {[]string{"--data-dir", t.TempDir(), "--https-addr", busy.Addr().String()}, busy.Addr().String()},
		"a folder that is a file":              {[]string{"--data-dir", file, "--https-addr", "127.0.0.1:0"}, file},
		"an unknown flag":                      {[]string{"--no-such-flag"}, "no-such-flag"},
		"a plain listener open to the network": {[]string{"--data-dir", t.TempDir(), "--https-addr", "127.0.0.1:0", "--http-addr", "0.0.0.0:0"}, "loopback"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := refused(t, append(append([]string{"dev"}, free...), tt.args...)...)
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit)
			require.Positive(t, exit.ExitCode())
			require.Contains(t, out, tt.says)
			require.NotContains(t, out, "goroutine ", "no stack is shown to a user")
		})
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "not a folder", string(text))
}

func TestADamagedStateFileIsNamedAndLeftAsItIs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	g := ownGateway(t, dir, "--no-sample")
	require.NoError(t, g.Stop(t.Context()))
	path := filepath.Join(dir, "demo.json")
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	half := whole[:len(whole)/2]
	require.NoError(t, os.WriteFile(path, half, 0o600))

	out, err := refused(t, "dev", "--data-dir", dir, "--https-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0")
	require.Error(t, err)
	require.Contains(t, out, path)
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, half, after)

	require.NoError(t, os.WriteFile(path, whole, 0o600))
	again, err := g.Restart(t.Context())
	require.NoError(t, err, "mended, it starts as if nothing had been")
	owned(t, again)
	require.Equal(t, g.Info.Apps, again.Info.Apps)
}
