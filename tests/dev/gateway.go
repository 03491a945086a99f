// Package dev runs a built `sluice dev` as a child process, for tests and
// benchmarks that drive the real program: it starts it, waits until it answers,
// knows the processes under it, and ends it in every way a process can end.
package dev

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sluice-faas/sluice/sdk/client"
)

// Options say how to start a gateway.
type Options struct {
	Binary  string   // default: Binary()
	DataDir string   // required
	Args    []string // further flags of `sluice dev`
	Env     []string // default: the caller's environment without SLUICE_ and VAULT_ variables
	// LogFile takes the JSON log, instead of Output: under load, reading it from a
	// pipe would cost the machine more than writing it.
	LogFile string
	// Sys are the namespaces and the user that the gateway starts in; default: the
	// caller's. Its process group and its death with its parent are seen to here.
	Sys syscall.SysProcAttr
	// StartTimeout is how long dev.json may take; default 60 s.
	StartTimeout time.Duration
}

// NoLimits is the value of --limit for a gateway that is to take all that a test
// or benchmark asks of it. Rates are counted all the same, as in earnest.
const NoLimits = "lambdas=0,deployed-lambdas=0,lambda-calls=1000000,account-calls=1000000,account-requests=1000000"

// Info is dev.json, which `sluice dev` writes when everything answers.
type Info struct {
	AccountID string            `json:"accountId"`
	URLs      map[string]string `json:"urls"`
	CA        string            `json:"ca"`
	Users     []User            `json:"users"`
	Apps      []App             `json:"apps"`
	Lambda    *struct {
		UUID string `json:"uuid"`
		Name string `json:"name"`
	} `json:"lambda"`
}

// User is a person of the demo account.
type User struct {
	Role     string `json:"role"`
	Username string `json:"username"`
	Password string `json:"password"`
	UserID   string `json:"userId"`
}

// App is an OAuth client of the demo account.
type App struct {
	Name         string   `json:"name"`
	ClientID     string   `json:"clientId"`
	ClientSecret string   `json:"clientSecret"`
	GrantTypes   []string `json:"grantTypes"`
}

// User gives the first user with a role.
func (i *Info) User(role string) (User, error) {
	for _, u := range i.Users {
		if u.Role == role {
			return u, nil
		}
	}
	return User{}, fmt.Errorf("dev.json names no user with role %s", role)
}

// App gives the first app with a grant type.
func (i *Info) App(grant string) (App, error) {
	for _, a := range i.Apps {
		for _, g := range a.GrantTypes {
			if g == grant {
				return a, nil
			}
		}
	}
	return App{}, fmt.Errorf("dev.json names no app with grant %s", grant)
}

// Gateway is a running `sluice dev`.
type Gateway struct {
	Info Info

	options Options
	cmd     *exec.Cmd
	output  *tail
	done    chan struct{}
	exit    error // after done
}

// Binary is the program to run: $SLUICE_BIN, or bin/sluice of this checkout.
func Binary() (string, error) {
	path := os.Getenv("SLUICE_BIN")
	if path == "" {
		root, err := ModuleRoot()
		if err != nil {
			return "", err
		}
		path = filepath.Join(root, "bin", "sluice")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if info, err := os.Stat(path); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
		return "", fmt.Errorf("there is no program at %s: run `make build`, or set SLUICE_BIN", path)
	}
	return path, nil
}

// ModuleRoot is the folder of this checkout's go.mod.
func ModuleRoot() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		return "", errors.New("the program was built without file names")
	}
	for dir := filepath.Dir(file); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no go.mod above %s", file)
}

// Start starts a gateway on ports of its own and returns when dev.json is there.
// Whoever starts it ends it with Stop or Kill.
func Start(ctx context.Context, o Options) (*Gateway, error) {
	if o.Binary == "" {
		binary, err := Binary()
		if err != nil {
			return nil, err
		}
		o.Binary = binary
	}
	if o.StartTimeout <= 0 {
		o.StartTimeout = time.Minute
	}
	ready := filepath.Join(o.DataDir, "dev.json")
	if err := os.Remove(ready); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err // a stale one would tell us of the run before
	}
	g := &Gateway{options: o, output: newTail(256 << 10), done: make(chan struct{})}
	if err := g.launch(); err != nil {
		return nil, err
	}
	if err := g.await(ctx, ready); err != nil {
		g.Kill()
		return nil, fmt.Errorf("%w; it printed:\n%s", err, g.output)
	}
	return g, nil
}

// arguments are those of the command that Start runs.
func (o Options) arguments() []string {
	args := []string{
		"dev", "--data-dir", o.DataDir, "--https-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0",
	}
	return append(args, o.Args...)
}

// environment keeps settings of the caller's shell out of the gateway.
func (o Options) environment() []string {
	if o.Env != nil {
		return o.Env
	}
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "SLUICE_") || strings.HasPrefix(v, "VAULT_") })
}

func (g *Gateway) launch() error {
	g.cmd = exec.Command(g.options.Binary, g.options.arguments()...)
	g.cmd.Dir = "/" // it must need no particular working directory
	g.cmd.Env = g.options.environment()
	g.cmd.Stdout, g.cmd.Stderr = g.output, g.output
	if g.options.LogFile != "" {
		file, err := os.OpenFile(g.options.LogFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }() // the child has its own
		g.cmd.Stdout = file
	}
	sys := g.options.Sys
	g.cmd.SysProcAttr = &sys
	g.cmd.WaitDelay = 5 * time.Second // a process it left behind may hold the pipes
	if err := start(g.cmd); err != nil {
		return fmt.Errorf("start %s: %w", g.options.Binary, err)
	}
	go func() {
		g.exit = g.cmd.Wait()
		close(g.done)
	}()
	return nil
}

// await waits for dev.json.
func (g *Gateway) await(ctx context.Context, ready string) error {
	ctx, cancel := context.WithTimeout(ctx, g.options.StartTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		text, err := os.ReadFile(ready)
		if err == nil && json.Unmarshal(text, &g.Info) == nil {
			return nil
		}
		select {
		case <-g.done:
			return fmt.Errorf("sluice dev ended before it was ready: %w", exitOf(g.exit))
		case <-ctx.Done():
			return fmt.Errorf("sluice dev was not ready in %s", g.options.StartTimeout)
		case <-tick.C:
		}
	}
}

// exitOf words an end without error, too.
func exitOf(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// PID is the process id of the gateway.
func (g *Gateway) PID() int { return g.cmd.Process.Pid }

// DataDir is the folder that the gateway keeps its state in.
func (g *Gateway) DataDir() string { return g.options.DataDir }

// Output is the last part of what the gateway printed, banner and log.
func (g *Gateway) Output() string { return g.output.String() }

// Done is closed when the gateway's process has ended.
func (g *Gateway) Done() <-chan struct{} { return g.done }

// Signal sends a signal to the gateway's process.
func (g *Gateway) Signal(s os.Signal) error { return g.cmd.Process.Signal(s) }

// Stop asks the gateway to end (SIGTERM) and waits until it has. The error says
// that it did not in time, and then it is killed, or that it exited with another
// code than 0.
func (g *Gateway) Stop(ctx context.Context) error {
	select {
	case <-g.done:
		return g.exit
	default:
	}
	if err := g.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-g.done:
		return g.exit
	case <-ctx.Done():
		g.Kill()
		return fmt.Errorf("sluice dev did not end after SIGTERM: %w", ctx.Err())
	}
}

// Kill ends the gateway's process at once (SIGKILL) and waits until it is gone.
func (g *Gateway) Kill() {
	_ = g.cmd.Process.Kill() // an error means that it has ended
	<-g.done
}

// Restart starts a gateway on the same folder with the same flags, after the
// first has ended.
func (g *Gateway) Restart(ctx context.Context) (*Gateway, error) { return Start(ctx, g.options) }

// Client calls the gateway's service over TLS for the demo account, without a
// token.
func (g *Gateway) Client() (*client.Client, error) { return g.ClientOf(g.Info.AccountID) }

// ClientOf does it for another account.
func (g *Gateway) ClientOf(account string) (*client.Client, error) {
	return client.New(account, client.WithCAFile(g.Info.CA), client.WithEndpoints(client.Endpoints{
		Invocation: g.Info.URLs["faasGW"], Management: g.Info.URLs["faasUI"],
		Sentinel: g.Info.URLs["sentinel"], Login: g.Info.URLs["agentVep"],
	}))
}

// Login gives a client with a session of the demo user with a role.
func (g *Gateway) Login(ctx context.Context, role string) (*client.Client, error) {
	c, err := g.Client()
	if err != nil {
		return nil, err
	}
	user, err := g.Info.User(role)
	if err != nil {
		return nil, err
	}
	session, err := c.Login(ctx, user.Username, user.Password)
	if err != nil {
		return nil, fmt.Errorf("as %s: %w", role, err)
	}
	return c.With(session), nil
}

// AppClient gives a client with the demo app's credentials.
func (g *Gateway) AppClient() (*client.Client, error) {
	c, err := g.Client()
	if err != nil {
		return nil, err
	}
	app, err := g.Info.App("client_credentials")
	if err != nil {
		return nil, err
	}
	return c.With(client.AppCredentials(c, app.ClientID, app.ClientSecret)), nil
}

// tail keeps the first and the last part of what is written to it.
type tail struct {
	mu    sync.Mutex
	limit int
	head  []byte
	rest  []byte
	cut   bool
}

func newTail(limit int) *tail { return &tail{limit: limit} }

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(p)
	if room := t.limit/4 - len(t.head); room > 0 {
		k := min(room, len(p))
		t.head, p = append(t.head, p[:k]...), p[k:]
	}
	t.rest = append(t.rest, p...)
	if over := len(t.rest) - t.limit; over > t.limit {
		t.rest, t.cut = append(t.rest[:0], t.rest[over:]...), true
	}
	return n, nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b bytes.Buffer
	b.Write(t.head)
	if t.cut {
		b.WriteString("\n… part of the output is left out …\n")
	}
	b.Write(t.rest)
	return b.String()
}

// Node is the pinned Node that `make build` puts beside the gateway.
func Node() (string, error) {
	binary, err := Binary()
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(binary), "runtimes", "javascript", "node")
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		return "", fmt.Errorf("there is no Node at %s: run `make build`", path)
	}
	return path, nil
}
