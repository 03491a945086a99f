package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/tests/dev"
)

// lpf is liveperson-functions-cli as npm has it, led to one gateway.
type lpf struct {
	gateway *dev.Gateway
	command []string // before the arguments of lpf
	env     []string // the same for every run
	session map[string][]byte
}

// cliCSDS is compiled into liveperson-functions-cli.
const cliCSDS = "api.liveperson.net"

// lpfDomains are the flags of a gateway that lpf can find.
var lpfDomains = []string{
	"--domain", "csds=" + cliCSDS, "--domain", "faasGW=" + gatewayName, "--domain", "faasUI=" + uiName,
	"--domain", "sentinel=" + sentinelName, "--domain", "agentVep=" + loginName,
}

// newLPF installs lpf and leads it to g, which was started with lpfDomains.
// Connections to any other place are refused, to the npm registry too, where
// lpf would ask for newer versions of itself.
func newLPF(t *testing.T, g *dev.Gateway) *lpf {
	t.Helper()
	install(t, "lpf")
	node, err := dev.Node()
	require.NoError(t, err)
	here, err := os.Getwd()
	require.NoError(t, err)
	secure := hostOf(t, listener(g))
	places, err := json.Marshal(map[string]string{
		cliCSDS + ":443": secure, gatewayName + ":443": secure, uiName + ":443": secure, loginName + ":443": secure,
	})
	require.NoError(t, err)
	return &lpf{
		gateway: g,
		command: []string{
			node, "--require", filepath.Join(here, "clients", "connect-map.js"),
			filepath.Join(here, "lpf", "node_modules", "liveperson-functions-cli", "bin", "run"),
		},
		env: []string{
			"PATH=/usr/bin:/bin", "TZ=UTC", "CONNECT_MAP=" + string(places), "NODE_EXTRA_CA_CERTS=" + g.Info.CA,
			"NODE_COMPILE_CACHE=" + t.TempDir(), // reading its 400 packages is most of what a run costs
		},
		session: map[string][]byte{},
	}
}

// login logs the demo user with a role in, by lpf, for the desks to come.
func (c *lpf) login(t *testing.T, role string) {
	t.Helper()
	d := c.desk(t, "")
	user, err := c.gateway.Info.User(role)
	require.NoError(t, err)
	welcomed(t, d.run(t, "login", "-a", c.gateway.Info.AccountID, "-u", user.Username, "-p", user.Password))
	c.session[role], err = os.ReadFile(d.sessions())
	require.NoError(t, err)
}

// desk is where one user works with lpf: a home, a folder for temporary files,
// in which lpf keeps its sessions, and a project. Nothing of this machine's user
// gets in or out.
type desk struct {
	*lpf
	dir string
}

// desk makes one, with the session of a role that has logged in before; "" is no
// session.
func (c *lpf) desk(t *testing.T, role string) *desk {
	t.Helper()
	d := &desk{c, t.TempDir()}
	for _, dir := range []string{"home", "tmp", "project/bin", "project/functions"} {
		require.NoError(t, os.MkdirAll(filepath.Join(d.dir, dir), 0o700))
	}
	// It looked for a newer version just now.
	d.write(t, "home/.cache/liveperson-functions-cli/version", `{"current":"1.31.13"}`)
	if role != "" {
		require.NotEmpty(t, c.session[role], "log %s in first", role)
		require.NoError(t, os.WriteFile(d.sessions(), c.session[role], 0o600))
	}
	return d
}

func (d *desk) sessions() string { return filepath.Join(d.dir, "tmp", "faas-tmp.json") }

func (d *desk) write(t *testing.T, file, text string) {
	t.Helper()
	path := filepath.Join(d.dir, file)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

func (d *desk) read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(d.dir, file))
	require.NoError(t, err)
	return string(text)
}

// function is a lambda's folder in a project.
type function struct {
	Name        string            `json:"name"`
	Event       string            `json:"event"`
	Description string            `json:"description"`
	Input       any               `json:"input"`
	Environment []json.RawMessage `json:"environmentVariables"`
}

// emptyPair is what lpf keeps where a function has no environment variable.
const emptyPair = `{"key":"","value":""}`

// function writes a lambda's folder. Without variables it has the empty pair.
func (d *desk) function(t *testing.T, name, code string, variables ...string) {
	t.Helper()
	f := function{Name: name, Event: "No Event", Description: "written at a desk", Input: map[string]any{"headers": []any{}, "payload": map[string]any{}}}
	if len(variables) == 0 {
		variables = []string{emptyPair}
	}
	for _, v := range variables {
		f.Environment = append(f.Environment, json.RawMessage(v))
	}
	config, err := json.Marshal(f)
	require.NoError(t, err)
	d.write(t, "project/functions/"+name+"/config.json", string(config))
	d.write(t, "project/functions/"+name+"/index.js", code)
}

// ending is how one run ended, and what it printed until then.
type ending struct {
	stdout, stderr string
	code           int
}

// run runs a command with nothing to read, and waits until it has ended.
func (d *desk) run(t *testing.T, arguments ...string) ending {
	t.Helper()
	r := d.start(t, arguments...)
	r.hangUp()
	return r.wait(t)
}

// running is a command that has not ended.
type running struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout transcript
	stderr bytes.Buffer
	ended  chan struct{}
}

// start starts a command, whose standard input stays open, as at a terminal.
func (d *desk) start(t *testing.T, arguments ...string) *running {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	r := &running{ended: make(chan struct{})}
	command := append(append([]string{}, d.command...), arguments...)
	r.cmd = exec.CommandContext(ctx, command[0], command[1:]...)
	r.cmd.Dir = filepath.Join(d.dir, "project")
	r.cmd.Env = append(append([]string{}, d.env...),
		"HOME="+filepath.Join(d.dir, "home"), "XDG_CACHE_HOME="+filepath.Join(d.dir, "home", ".cache"), "TMPDIR="+filepath.Join(d.dir, "tmp"))
	r.cmd.WaitDelay = 5 * time.Second
	r.cmd.Stdout, r.cmd.Stderr = &r.stdout, &r.stderr
	var err error
	r.stdin, err = r.cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, r.cmd.Start())
	go func() {
		defer cancel()
		_ = r.cmd.Wait() // the exit code tells
		close(r.ended)
	}()
	t.Cleanup(func() {
		cancel()
		<-r.ended
	})
	return r
}

// says waits until the command has printed text.
func (r *running) says(t *testing.T, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(r.stdout.String(), text) }, 60*time.Second, 20*time.Millisecond,
		"it was to print %q", text)
}

// hears types a line.
func (r *running) hears(t *testing.T, line string) {
	t.Helper()
	_, err := io.WriteString(r.stdin, line+"\n")
	require.NoError(t, err)
}

// hangUp ends its standard input.
func (r *running) hangUp() { _ = r.stdin.Close() } // an error means that it has ended

// interrupt is what ^C does.
func (r *running) interrupt(t *testing.T) {
	t.Helper()
	require.NoError(t, r.cmd.Process.Signal(os.Interrupt))
}

// code is the exit code as a shell tells it: 128 and more is a signal.
func (r *running) code() int {
	state := r.cmd.ProcessState
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

var clock = regexp.MustCompile(`(?m)^\[\d\d:\d\d:\d\d\] `)

// wait gives how it ended, without the times of day that lpf prints before the
// lines about its tasks.
func (r *running) wait(t *testing.T) ending {
	t.Helper()
	<-r.ended
	return ending{clock.ReplaceAllString(r.stdout.String(), ""), r.stderr.String(), r.code()}
}

// transcript takes what a process prints while others read it.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *transcript) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *transcript) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// requireEnding checks all that a run told its user.
func requireEnding(t *testing.T, got ending, code int, stdout string) {
	t.Helper()
	require.Equal(t, stdout, got.stdout, "exit code %d, stderr: %s", got.code, got.stderr)
	require.Empty(t, got.stderr)
	require.Equal(t, code, got.code)
}

// welcomed checks that a login succeeded.
func welcomed(t *testing.T, got ending) {
	t.Helper()
	require.Zero(t, got.code, "%+v", got)
	require.True(t, strings.HasPrefix(got.stdout, "Welcome to\n"), got.stdout)
	require.True(t, strings.HasSuffix(got.stdout, "\nUse lpf help or lpf <command> --help for further informations.\n"), got.stdout)
	require.Empty(t, got.stderr)
}

// task is what lpf prints about one task: how it ended, and what it says of it.
func task(verb, name, end string, says ...string) string {
	text := "\n" + verb + " following functions:\n\n" + verb + " " + name + " [started]\n" + verb + " " + name + " [" + end + "]\n"
	for _, line := range says {
		text += "→ " + line + "\n"
	}
	return text
}

var columns = regexp.MustCompile(`\s{2,}`)

// row finds a lambda's line in a table and gives its fields; nil is none.
func row(t *testing.T, got ending, name string) []string {
	t.Helper()
	require.Zero(t, got.code, "%+v", got)
	require.Empty(t, got.stderr)
	for _, line := range strings.Split(got.stdout, "\n") {
		if fields := columns.Split(strings.TrimSpace(line), -1); fields[0] == name {
			return fields
		}
	}
	return nil
}

// shown is a time as lpf's tables have it.
func shown(at time.Time) string { return at.UTC().Format("02.01.2006 - 15:04:05") + " GMT" }
