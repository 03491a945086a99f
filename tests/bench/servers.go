package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluice-faas/sluice/sdk/client"
	"github.com/sluice-faas/sluice/tests/dev"
)

// callBody is what every server is sent, and greeting what it must answer.
const (
	callBody = `{"timestamp":0,"headers":[],"payload":{"name":"Ada"}}`
	greeting = `{"message":"Hello, Ada!"}`
)

// target is one server under load.
type target struct {
	name   string
	method string // empty for a call: a POST of callBody
	url    string
	token  string // bearer; the peers ignore it
	pid    int    // of the server
}

// callTarget is a lambda of the demo account, over the gateway's plain listener:
// the Domain API's, which in a development gateway serves everything.
func callTarget(g *dev.Gateway, name, id, token string) target {
	return target{
		name: name, token: token, pid: g.PID(),
		url: g.Info.URLs["csds"] + "/api/account/" + g.Info.AccountID + "/lambdas/" + id + "/invoke?v=1&externalSystem=bench",
	}
}

// gateway starts a gateway in a scratch folder of that name.
func (b *bench) gateway(ctx context.Context, folder string, args ...string) (*dev.Gateway, error) {
	args = append([]string{"--no-sample", "--limit", dev.NoLimits, "--log-level", "info"}, args...)
	b.report.command("bin/sluice dev --data-dir DIR --https-addr 127.0.0.1:0 --http-addr 127.0.0.1:0 --admin-addr 127.0.0.1:0 " + strings.Join(args, " ") + " > LOG")
	return dev.Start(ctx, dev.Options{DataDir: filepath.Join(b.dir, folder), Args: args, LogFile: filepath.Join(b.dir, folder+".log")})
}

// end stops a gateway and reports if it did not end well.
func end(g *dev.Gateway, err *error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if stop := g.Stop(ctx); stop != nil {
		*err = errors.Join(*err, fmt.Errorf("stop the gateway: %w", stop))
	}
}

// deploy creates a lambda of code and makes it live.
func deploy(ctx context.Context, c *client.Client, name, code string) (string, error) {
	l, err := c.CreateLambda(ctx, client.LambdaSpec{Name: name, Description: "measured", Code: code})
	if err != nil {
		return "", err
	}
	_, err = c.DeployAndWait(ctx, l.ID)
	return l.ID, err
}

// hello deploys the function that the peers run and gives it as targets, plain
// and over TLS.
func (b *bench) hello(ctx context.Context, g *dev.Gateway) (plain, secure target, err error) {
	code, err := os.ReadFile(filepath.Join(b.peers, "hello.js"))
	if err != nil {
		return target{}, target{}, err
	}
	author, err := g.Login(ctx, "FaaS-Developer")
	if err != nil {
		return target{}, target{}, err
	}
	id, err := deploy(ctx, author, "hello", string(code))
	if err != nil {
		return target{}, target{}, err
	}
	app, err := g.AppClient()
	if err != nil {
		return target{}, target{}, err
	}
	token, err := app.Token(ctx)
	if err != nil {
		return target{}, target{}, err
	}
	plain = callTarget(g, "sluice", id, token)
	secure = plain
	secure.name, secure.url = "sluice TLS", strings.Replace(plain.url, g.Info.URLs["csds"], g.Info.URLs["faasGW"], 1)
	return plain, secure, nil
}

// rivals are a gateway and its peers, all of which serve the same function.
type rivals struct {
	gateway       *dev.Gateway
	plain, secure target // the gateway's
	peers         map[string]target
	endPeers      func()
}

// rivals starts them, the gateway in a scratch folder of that name. Also after
// an error, end ends those that started.
func (b *bench) rivals(ctx context.Context, folder string, args ...string) (r rivals, err error) {
	if r.gateway, err = b.gateway(ctx, folder, args...); err != nil {
		return r, err
	}
	if r.plain, r.secure, err = b.hello(ctx, r.gateway); err != nil {
		return r, err
	}
	r.peers, r.endPeers, err = b.peerServers(ctx)
	return r, err
}

// end ends them and reports if the gateway did not end well.
func (r rivals) end(err *error) {
	if r.endPeers != nil {
		r.endPeers()
	}
	if r.gateway != nil {
		end(r.gateway, err)
	}
}

func (b *bench) workerd() string {
	matches, _ := filepath.Glob(filepath.Join(b.peers, "node_modules", "@cloudflare", "workerd-*", "bin", "workerd"))
	if len(matches) == 0 {
		return "workerd"
	}
	return matches[0]
}

// peerServers starts the servers to compare with; end ends those that started.
func (b *bench) peerServers(ctx context.Context) (peers map[string]target, end func(), err error) {
	var ends []func()
	end = func() {
		for _, f := range ends {
			f()
		}
	}
	certificate, key, err := selfSigned(b.dir)
	if err != nil {
		return nil, end, err
	}
	peers = map[string]target{}
	for _, p := range []struct {
		name    string
		scheme  string
		command func(port string) *exec.Cmd
	}{
		{"node", "http", func(port string) *exec.Cmd { return exec.Command(b.node, "node-server.js", "127.0.0.1", port) }},
		{"node TLS", "https", func(port string) *exec.Cmd {
			return exec.Command(b.node, "node-server.js", "127.0.0.1", port, certificate, key)
		}},
		{"workerd", "http", func(port string) *exec.Cmd {
			return exec.Command(b.workerd(), "serve", "workerd.capnp", "--socket-addr", "http=127.0.0.1:"+port)
		}},
		{"functions-framework", "http", func(port string) *exec.Cmd {
			return exec.Command(b.node, "node_modules/@google-cloud/functions-framework/build/src/main.js",
				"--target=hello", "--source=framework.js", "--signature-type=http", "--port="+port)
		}},
	} {
		port, err := freePort()
		if err != nil {
			return nil, end, err
		}
		cmd := p.command(port)
		cmd.Dir = b.peers
		pid, stop, err := dev.StartProcess(cmd)
		if err != nil {
			return nil, end, fmt.Errorf("start %s: %w", p.name, err)
		}
		ends = append(ends, stop)
		b.report.command("cd tests/bench/peers && " + repeatable(cmd, port))
		t := target{name: p.name, url: p.scheme + "://127.0.0.1:" + port + "/invoke", token: "none", pid: pid}
		if err := t.await(ctx); err != nil {
			return nil, end, err
		}
		peers[p.name] = t
	}
	return peers, end, nil
}

// repeatable words a command without this run's port and this machine's folders.
func repeatable(cmd *exec.Cmd, port string) string {
	words := make([]string, len(cmd.Args))
	for i, word := range cmd.Args {
		if rel, err := filepath.Rel(cmd.Dir, word); err == nil && filepath.IsAbs(word) {
			word = filepath.Base(word)
			if !strings.HasPrefix(rel, "..") {
				word = rel
			}
		}
		words[i] = strings.ReplaceAll(word, port, "PORT")
	}
	return strings.Join(words, " ")
}

// freePort finds a port for a server that cannot tell which one it took.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// anyCertificate trusts everything: the servers are our own, on loopback, and
// what is measured is their speed.
var anyCertificate = &http.Client{
	Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true},
	Timeout:   30 * time.Second,
}

// await waits until the target answers as it should.
func (t target) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var last error
	for ctx.Err() == nil {
		if last = t.check(ctx); last == nil {
			return nil
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			break
		}
	}
	return fmt.Errorf("%s does not answer: %w", t.name, last)
}

// check makes one call and compares the answer.
func (t target) check(ctx context.Context) error {
	body, err := t.answer(ctx)
	if err != nil {
		return err
	}
	var got, want bytes.Buffer
	if json.Compact(&got, body) != nil || json.Compact(&want, []byte(greeting)) != nil || got.String() != want.String() {
		return fmt.Errorf("it answered %.200s", body)
	}
	return nil
}

// answer is what the target answers to one request.
func (t target) answer(ctx context.Context) ([]byte, error) {
	method, sent := http.MethodPost, callBody
	if t.method != "" {
		method, sent = t.method, ""
	}
	req, err := http.NewRequestWithContext(ctx, method, t.url, strings.NewReader(sent))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+t.token)
	resp, err := anyCertificate.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("it answered %d %.200s", resp.StatusCode, body)
	}
	return body, err
}
