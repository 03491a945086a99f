package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"

	"github.com/sluice-faas/sluice/tests/dev"
)

const (
	fetches   = 300
	fetchAim  = 0.5 // ms
	fetchTurn = 5
)

// fetchCode fetches one URL after the other and gives the median in ms. A worker
// thread knows nothing of the proxy: without a sandbox, it fetches directly.
const fetchCode = `
const { Worker } = require('worker_threads')

async function measure(url, n) {
  const times = []
  for (let i = 0; i < n; i++) {
    const begin = performance.now()
    const answer = await fetch(url)
    if (answer.status !== 200 || await answer.text() !== 'hello') throw new Error('answered ' + answer.status)
    times.push(performance.now() - begin)
  }
  times.sort((a, b) => a - b)
  return times[n >> 1]
}

async function lambda({ payload }, callback) {
  if (!payload.direct) return callback(null, await measure(payload.url, payload.n))
  const worker = new Worker(measure + '; const { parentPort, workerData: { url, n } } = require("worker_threads"); measure(url, n).then((m) => parentPort.postMessage(m))',
    { eval: true, workerData: { url: payload.url, n: payload.n } })
  worker.on('message', (median) => callback(null, median)).on('error', callback)
}
`

// egress measures a fetch through the proxy, out of a sandbox, beside a direct one.
func (b *bench) egress(ctx context.Context) (err error) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello") // who has left does not read it
	}))
	defer server.Close()
	at, err := url.Parse(server.URL)
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(at.Host)
	if err != nil {
		return err
	}
	through, direct := []float64{}, []float64{}
	boxed, err := b.fetcher(ctx, "required", "http://localhost:"+port+"/", false)
	if err != nil {
		return err
	}
	defer end(boxed.g, &err)
	free, err := b.fetcher(ctx, "off", "http://localhost:"+port+"/", true)
	if err != nil {
		return err
	}
	defer end(free.g, &err)
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
		measure: "fetch of a loopback server through the proxy", ours: fmt.Sprintf("%.3f ms", with), peer: fmt.Sprintf("direct %.3f ms", without),
		ratio: fmt.Sprintf("%+.3f ms", with-without), aim: fmt.Sprintf("≤ +%.1f ms", fetchAim), met: with-without <= fetchAim,
	})
	return nil
}

// fetcher is a lambda that fetches.
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

func (b *bench) fetcher(ctx context.Context, mode, address string, direct bool) (f fetcher, err error) {
	f.g, err = b.gateway(ctx, "egress-"+mode, "--sandbox", mode, "--limit", "egress-requests=0")
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
	id, err := deploy(ctx, author, "fetches", fetchCode)
	if err != nil {
		return f, err
	}
	app, err := f.g.AppClient()
	if err != nil {
		return f, err
	}
	f.invoke = func(ctx context.Context) (json.RawMessage, error) {
		return app.Invoke(ctx, id, map[string]any{"url": address, "n": fetches, "direct": direct})
	}
	return f, nil
}
