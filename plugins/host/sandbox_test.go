package host_test

import (
	"bufio"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/plugins/catalog"
	"github.com/sluice-faas/sluice/plugins/host"
	"github.com/sluice-faas/sluice/plugins/sandbox"
	"github.com/sluice-faas/sluice/sdk/runtime"
)

func sandboxed(t testing.TB, mode sandbox.Mode) *sandbox.Sandbox {
	t.Helper()
	box, err := sandbox.Open(context.Background(), sandbox.Settings{Mode: mode})
	require.NoError(t, err)
	return box
}

// javascript is the built runtime.
func javascript(t testing.TB) catalog.Runtime {
	t.Helper()
	dir, err := filepath.Abs("../../bin/runtimes")
	require.NoError(t, err)
	if _, err := os.Stat(filepath.Join(dir, "javascript", "main.cjs")); err != nil {
		require.Empty(t, os.Getenv("CI"), "the JavaScript runtime is not built, and CI leaves nothing out")
		t.Skip("the JavaScript runtime is not built: run make build")
	}
	c, err := catalog.Open(dir)
	require.NoError(t, err)
	r, ok := c.Runtime("javascript")
	require.True(t, ok)
	return r
}

// caller is the lambda of every test: the async function work.
const caller = `
function lambda(input, callback) { work().then((v) => callback(null, v), (e) => callback(e)); }`

// lambda loads JavaScript code, with a function work, in a sandbox.
func lambda(t testing.TB, box *sandbox.Sandbox, code string, egress host.Egress) *host.Process {
	t.Helper()
	p := launch(t, host.Options{Runtime: javascript(t), RunDir: runDir(t), Log: zerolog.Nop(), Sandbox: box})
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	built, err := p.Build(ctx, code+caller, nil)
	require.NoError(t, err)
	require.Empty(t, built.Diagnostics)
	require.NoError(t, p.Load(ctx, host.LoadRequest{Artifact: built.Artifact, Egress: egress}))
	return p
}

func invoke(t testing.TB, p *host.Process) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	r, err := p.Handle(ctx, runtime.Call{Payload: []byte(`{"payload":{}}`)})
	return string(r.Payload), err
}

// What lambdas and libraries use of Node has to work inside.
func TestNodeIsWellInTheSandbox(t *testing.T) {
	p := lambda(t, sandboxed(t, sandbox.Required), `
const os = require('os'), fs = require('fs'), path = require('path'), crypto = require('crypto'), dns = require('dns');
const { Worker } = require('worker_threads');
async function work() {
  const file = path.join(os.tmpdir(), 'a', 'b.txt');
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, 'text');
  fs.copyFileSync(file, file + '.copy');
  fs.chmodSync(file, 0o600);
  fs.renameSync(file + '.copy', file + '.moved');
  const worker = await new Promise((done, failed) => {
    const w = new Worker("require('worker_threads').parentPort.postMessage(6 * 7)", { eval: true });
    w.once('message', done); w.once('error', failed);
  });
  const hash = await new Promise((done) => crypto.pbkdf2('a', 'b', 10, 16, 'sha256', (e, key) => done(key.length)));
  const name = await new Promise((done) => dns.lookup('example.org', (e) => done(e && e.code)));
  const before = Date.now();
  await new Promise((done) => setTimeout(done, 20));
  return {
    memory: process.memoryUsage().rss > 1e6 && process.memoryUsage.rss() > 1e6 && os.totalmem() > 0,
    cpus: Array.isArray(os.cpus()) && os.availableParallelism() > 0,
    files: fs.readdirSync(path.dirname(file)).sort().join(), worker, hash,
    keys: crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.type,
    slept: Date.now() - before >= 15, user: os.userInfo().username, home: os.homedir(), host: os.hostname(),
    zone: new Date(0).toLocaleString('de-DE', { timeZone: 'Europe/Berlin' }), name, pid: process.pid,
    uptime: process.uptime() > 0 && process.hrtime.bigint() > 0n, usage: process.resourceUsage().maxRSS > 0,
    modules: Object.keys(require('tls').rootCertificates).length > 50,
  };
}`, nil)
	got, err := invoke(t, p)
	require.NoError(t, err)
	require.JSONEq(t, `{"memory":true,"cpus":true,"files":"b.txt,b.txt.moved","worker":42,"hash":16,"keys":"public","slept":true,
		"user":"lambda","home":"/tmp","host":"sluice","zone":"1.1.1970, 01:00:00","name":"ENOTFOUND","pid":1,"uptime":true,"usage":true,"modules":true}`, got)
	rss, err := p.RSSBytes()
	require.NoError(t, err)
	require.Greater(t, rss, int64(10<<20))
	private, err := p.PrivateBytes()
	require.NoError(t, err)
	require.Greater(t, private, int64(1<<20))
}

func TestNodeCannotLeaveTheSandbox(t *testing.T) {
	p := lambda(t, sandboxed(t, sandbox.Required), `
const fs = require('fs'), net = require('net'), dgram = require('dgram'), child = require('child_process');
const tried = async (f) => { try { const v = await f(); return String(v).slice(0, 60); } catch (e) { return e.code || e.message; } };
const connect = (options) => new Promise((done, failed) => net.connect(options, () => done('connected')).once('error', failed));
async function work() {
  return {
    spawn: await tried(() => new Promise((done, failed) => child.spawn('/bin/sh').once('error', failed).once('spawn', () => done('spawned')))),
    spawnSync: await tried(() => { const r = child.spawnSync('/bin/true'); if (r.error) throw r.error; return 'ran'; }),
    fork: await tried(() => new Promise((done, failed) => child.fork('/tmp/x.js').once('error', failed).once('spawn', () => done('spawned')))),
    addon: await tried(() => process.dlopen({ exports: {} }, '/usr/lib/x86_64-linux-gnu/libm.so.6')),
    passwd: await tried(() => fs.readFileSync('/etc/passwd', 'utf8').includes('root') ? 'read' : 'hidden'),
    root: await tried(() => fs.readdirSync('/')),
    environ: await tried(() => fs.readFileSync('/proc/self/environ', 'utf8').includes('VAULT') ? 'read' : 'hidden'),
    tcp: await tried(() => connect({ host: '127.0.0.1', port: 1 })),
    unix: await tried(() => connect({ path: '/run/docker.sock' })),
    udp: await tried(() => new Promise((done, failed) => dgram.createSocket('udp4').once('error', failed).bind(0, () => done('bound')))),
    listen: await tried(() => new Promise((done, failed) => net.createServer().once('error', failed).listen(0, () => done('listens')))),
    write: await tried(() => fs.writeFileSync('/run/sluice/x', 'x')),
    kill: await tried(() => process.kill(2, 0)),
  };
}`, nil)
	got, err := invoke(t, p)
	require.NoError(t, err)
	var found map[string]string
	require.NoError(t, json.Unmarshal([]byte(got), &found))
	for name, want := range map[string]string{
		"spawn": "EPERM", "spawnSync": "EPERM", "fork": "EPERM", "addon": "ERR_DLOPEN_DISABLED", "passwd": "hidden", "root": "EACCES",
		"environ": "hidden", "tcp": "EACCES", "unix": "ENOENT", "udp": "EPERM", "listen": "EACCES", "write": "EACCES", "kill": "EPERM",
	} {
		require.Equal(t, want, found[name], name)
	}
}

// Node itself ends when it could not become another program.
func TestNodeCannotBecomeAnotherProgram(t *testing.T) {
	p := lambda(t, sandboxed(t, sandbox.Required), `async function work() { process.execve('/bin/sh', ['sh', '-c', 'sleep 100'], {}); }`, nil)
	_, err := invoke(t, p)
	var exit *host.ExitError
	require.ErrorAs(t, err, &exit)
	awaitEnd(t, p)
}

func TestARuntimeInGoRunsInTheSandbox(t *testing.T) {
	p := echoIn(t, sandboxed(t, sandbox.Required))
	r, err := p.Handle(context.Background(), runtime.Call{Payload: []byte(`{"a":1}`)})
	require.NoError(t, err)
	require.JSONEq(t, `{"a":1}`, string(r.Payload))
	require.NoError(t, p.Drain(context.Background()))
	require.Equal(t, "drained", p.ExitReason())
}

// echoProgram is runtimes/echo, built once and static.
var echoProgram = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "echo")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // a process is another user
		return dir, err
	}
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "echo"), "github.com/sluice-faas/sluice/runtimes/echo")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("%w: %s", err, out)
	}
	return dir, nil
})

func echoOptions(t testing.TB, box *sandbox.Sandbox) host.Options {
	t.Helper()
	dir, err := echoProgram()
	require.NoError(t, err)
	r := catalog.Runtime{Name: "echo", Command: filepath.Join(dir, "echo"), Dir: dir, Protocol: 1}
	return host.Options{Runtime: r, RunDir: runDir(t), Log: zerolog.Nop(), Sandbox: box}
}

func echoIn(t testing.TB, box *sandbox.Sandbox) *host.Process {
	t.Helper()
	return load(t, echoOptions(t, box))
}

// proxy answers every request with 200 and what it was asked.
type proxy struct {
	open, most, all atomic.Int32
	hold            chan struct{} // if not nil, connections are held until it is closed
}

func (p *proxy) ServeConn(ctx context.Context, conn net.Conn) {
	p.all.Add(1)
	n := p.open.Add(1)
	defer p.open.Add(-1)
	for most := p.most.Load(); n > most && !p.most.CompareAndSwap(most, n); most = p.most.Load() {
	}
	if p.hold != nil {
		select {
		case <-p.hold:
		case <-ctx.Done():
		}
	}
	in := bufio.NewReader(conn)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if r.Method == http.MethodConnect { // what comes through is for us, too
			_, _ = io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
			continue
		}
		_, _ = io.Copy(io.Discard, r.Body)
		text := r.Method + " " + r.Host + r.URL.Path
		if _, err := fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text); err != nil {
			return
		}
	}
}

func TestTheWayOutIsTheProxy(t *testing.T) {
	code := `async function work() { return (await fetch('http://example.org/path')).text(); }`
	t.Run("in a network namespace", func(t *testing.T) {
		out := &proxy{}
		p := lambda(t, sandboxed(t, sandbox.Required), code, out)
		got, err := invoke(t, p)
		require.NoError(t, err)
		require.Equal(t, `"GET example.org/path"`, got)
		p.Kill()
		awaitEnd(t, p)
		require.Zero(t, out.open.Load(), "connections end with the process")
	})
	t.Run("nowhere without one", func(t *testing.T) {
		p := lambda(t, sandboxed(t, sandbox.Required), code, nil)
		_, err := invoke(t, p)
		require.ErrorContains(t, err, "fetch failed")
	})
}

// A lambda trusts the certificates that the operator names, and reads them from
// a file that it does not know the place of.
func TestAnOperatorsCertificatesAreTrusted(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "secure") }))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	require.NoError(t, os.WriteFile(file, text, 0o644)) //nolint:gosec // a certificate is public
	out := forward(server.Listener.Addr().String())
	for _, trusted := range []bool{true, false} {
		settings := sandbox.Settings{Mode: sandbox.Required}
		if trusted {
			settings.CAFile = file
		}
		box, err := sandbox.Open(context.Background(), settings)
		require.NoError(t, err)
		p := lambda(t, box, `async function work() { return (await fetch('https://example.com/')).text(); }`, out)
		got, err := invoke(t, p)
		if trusted {
			require.NoError(t, err)
			require.Equal(t, `"secure"`, got)
		} else {
			require.ErrorContains(t, err, "fetch failed")
		}
	}
	_, err := sandbox.Open(context.Background(), sandbox.Settings{Mode: sandbox.Required, CAFile: "/nonexistent"})
	require.ErrorContains(t, err, "CA file: ")
}

// forward is a proxy that tunnels every CONNECT to one address.
type forward string

func (f forward) ServeConn(_ context.Context, conn net.Conn) {
	if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
		return
	}
	to, err := net.Dial("tcp", string(f))
	if err != nil {
		return
	}
	defer to.Close() //nolint:errcheck // it is over
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(to, conn) // ends with conn
		_ = to.Close()
	}()
	_, _ = io.Copy(conn, to)
	_ = conn.Close()
}

// A process has so many connections at once; more wait.
func TestConnectionsToTheProxyAreBounded(t *testing.T) {
	out := &proxy{hold: make(chan struct{})}
	p := launch(t, host.Options{Runtime: javascript(t), RunDir: runDir(t), Log: zerolog.Nop(), Sandbox: sandboxed(t, sandbox.Required)})
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	built, err := p.Build(ctx, `
const net = require('net');
async function work() {
  const all = [];
  for (let i = 0; i < 40; i++) all.push(new Promise((done) => net.connect(3128, '127.0.0.1', () => done(1)).once('error', () => done(0))));
  return (await Promise.all(all)).reduce((a, b) => a + b);
}`+caller, nil)
	require.NoError(t, err)
	require.NoError(t, p.Load(ctx, host.LoadRequest{Artifact: built.Artifact, Egress: out, Limits: host.Limits{Connections: 5}}))
	_, err = invoke(t, p)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return out.open.Load() == 5 }, 5*time.Second, time.Millisecond)
	time.Sleep(100 * time.Millisecond) // a sixth would come
	require.EqualValues(t, 5, out.most.Load())
	p.Kill()
	awaitEnd(t, p)
	require.Zero(t, out.open.Load())
}

// The folder of a process is closed before user code comes, and goes with it.
func TestTheRunFolderIsClosedToUserCode(t *testing.T) {
	o := echoOptions(t, sandboxed(t, sandbox.Required))
	p := load(t, o)
	left, err := os.ReadDir(o.RunDir)
	require.NoError(t, err)
	require.Len(t, left, 1)
	info, err := left[0].Info()
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o555), info.Mode().Perm())
	p.Kill()
	awaitEnd(t, p)
	left, err = os.ReadDir(o.RunDir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestTwoHundredProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes some seconds")
	}
	box := sandboxed(t, sandbox.Required)
	o := echoOptions(t, box)
	var mu sync.Mutex
	var all []*host.Process
	var starting sync.WaitGroup
	slots := make(chan struct{}, 8)
	for range 200 {
		starting.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			p, err := host.Launch(context.Background(), o)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			all = append(all, p)
			mu.Unlock()
			if err := p.Load(context.Background(), host.LoadRequest{}); err != nil {
				t.Error(err)
			}
		})
	}
	starting.Wait()
	for _, p := range all {
		r, err := p.Handle(context.Background(), runtime.Call{Payload: []byte(`1`)})
		require.NoError(t, err)
		require.Equal(t, "1", string(r.Payload))
	}
	for _, p := range all {
		p.Kill()
	}
	for _, p := range all {
		awaitEnd(t, p)
	}
	left, err := os.ReadDir(o.RunDir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// BenchmarkLaunch measures the way from the start to the answered Describe: the
// time, and on a machine that does other things, too, what tells more: the
// processor time of this process and of those that it started.
func BenchmarkLaunch(b *testing.B) {
	dir, err := echoProgram()
	require.NoError(b, err)
	launcher := filepath.Join(dir, "sluice-sandbox")
	build := exec.Command("go", "build", "-o", launcher, "github.com/sluice-faas/sluice/plugins/sandbox/launcher")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(b, err, "%s", out)
	for _, r := range []string{"echo", "javascript"} {
		for _, mode := range []sandbox.Mode{sandbox.Off, sandbox.Required} {
			b.Run(r+"/"+string(mode), func(b *testing.B) {
				o := echoOptions(b, nil)
				o.Sandbox, err = sandbox.Open(context.Background(), sandbox.Settings{Mode: mode, Launcher: launcher})
				require.NoError(b, err)
				if r == "javascript" {
					o.Runtime = javascript(b)
				}
				before := processorTime(b)
				var took []time.Duration
				for b.Loop() {
					begin := time.Now()
					p, err := host.Launch(context.Background(), o)
					took = append(took, time.Since(begin))
					require.NoError(b, err)
					p.Kill()
					awaitEnd(b, p)
				}
				b.ReportMetric(float64((processorTime(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "median-ms")
				b.ReportMetric(float64(took[0].Microseconds())/1000, "least-ms")
			})
		}
	}
}

func processorTime(t testing.TB) time.Duration {
	t.Helper()
	var sum time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		require.NoError(t, syscall.Getrusage(who, &u))
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}
