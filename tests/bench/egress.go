package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strconv"

	"github.com/sluice-faas/sluice/tests/dev"
)

const (
	fetches   = 300
	fetchAim  = 0.5 // ms
	fetchTurn = 5
)

// fetchCode fetches one URL after the other and gives the median in ms; the first
// half warms.
const fetchCode = `
async function measure(url, n) {
  const times = []
  for (let i = 0; i < 2 * n; i++) {
    const begin = performance.now()
    const answer = await fetch(url)
    if (answer.status !== 200 || await answer.text() !== 'hello') throw new Error('answered ' + answer.status)
    if (i >= n) times.push(performance.now() - begin)
  }
  times.sort((a, b) => a - b)
  return times[n >> 1]
}
`

const (
	fetchLambda  = fetchCode + "async function lambda({ payload }, callback) { callback(null, await measure(payload.url, payload.n)) }"
	fetchProgram = fetchCode + "measure(process.argv[1], +process.argv[2]).then((median) => { console.log(median) })"
)

// egress measures a fetch through the proxy, out of a sandbox, beside a direct one
// by plain Node. They take turns.
func (b *bench) egress(ctx context.Context) (err error) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello") // who has left does not read it
	}))
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		return err
	}
	address := "http://localhost:" + port + "/"
	boxed, err := b.fetcher(ctx, address)
	if err != nil {
		return err
	}
	defer end(boxed.g, &err)
	free := fetcher{invoke: func(ctx context.Context) (json.RawMessage, error) {
		return exec.CommandContext(ctx, b.node, "-e", fetchProgram, address, strconv.Itoa(fetches)).Output()
	}}
	var through, direct []float64
	for round := range fetchTurn + 1 {
		for _, f := range []struct {
			fetcher
			into *[]float64
		}{{boxed, &through}, {free, &direct}} {
			m, err := f.median(ctx)
			if err != nil {
				return err
			}
			if round > 0 { // the first warms
				*f.into = append(*f.into, m)
			}
		}
	}
	with, without := median(through), median(direct)
	b.report.add(row{
		measure: "fetch of a loopback server through the proxy", ours: fmt.Sprintf("%.3f ms", with), peer: fmt.Sprintf("node, direct %.3f ms", without),
		ratio: fmt.Sprintf("%+.3f ms", with-without), aim: fmt.Sprintf("≤ +%.1f ms", fetchAim), met: with-without <= fetchAim,
	})
	return nil
}

// fetcher is a lambda that fetches, or a program that does.
type fetcher struct {
	g      *dev.Gateway
	invoke func(ctx context.Context) (json.RawMessage, error)
}

func (f fetcher) median(ctx context.Context) (ms float64, err error) {
	text, err := f.invoke(ctx)
	if err != nil {
		return 0, err
	}
	return ms, json.Unmarshal(text, &ms)
}

func (b *bench) fetcher(ctx context.Context, address string) (f fetcher, err error) {
	f.g, err = b.gateway(ctx, "egress", "--sandbox", "required", "--limit", "egress-requests=0")
	if err != nil {
		return f, err
	}
	admin, err := f.g.Login(ctx, "FaaS-Admin")
	if err != nil {
		return f, err
	}
	if _, err := admin.AddPrivateDomain(ctx, "localhost"); err != nil {
		return f, err
	}
	author, err := f.g.Login(ctx, "FaaS-Developer")
	if err != nil {
		return f, err
	}
	id, err := deploy(ctx, author, "fetches", fetchLambda)
	if err != nil {
		return f, err
	}
	app, err := f.g.AppClient()
	if err != nil {
		return f, err
	}
	f.invoke = func(ctx context.Context) (json.RawMessage, error) {
		return app.Invoke(ctx, id, map[string]any{"url": address, "n": fetches})
	}
	return f, nil
}
