package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// latencyBlock and latencyBlocks: the targets take turns in blocks, so that a
// slow moment of the machine meets all of them.
const (
	latencyBlock  = 500
	latencyBlocks = 12
	latencyAim    = 150 * time.Microsecond
)

// latency measures one warm call at a time over one kept connection.
func (b *bench) latency(ctx context.Context) (err error) {
	servers, err := b.rivals(ctx, "latency")
	defer servers.end(&err)
	if err != nil {
		return err
	}
	order := []target{servers.plain, servers.peers["node"], servers.peers["workerd"], servers.peers["functions-framework"]}
	lines := make([]*line, len(order))
	for i, t := range order {
		if lines[i], err = dial(t); err != nil {
			return err
		}
		defer func() { _ = lines[i].conn.Close() }()
		if _, err := lines[i].calls(4 * latencyBlock); err != nil { // warm
			return err
		}
	}
	times := make([][]time.Duration, len(order))
	for range latencyBlocks {
		for i := range order {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			some, err := lines[i].calls(latencyBlock)
			if err != nil {
				return err
			}
			times[i] = append(times[i], some...)
		}
	}
	ours := median(times[0])
	for i, t := range order[1:] {
		theirs := median(times[i+1])
		r := row{
			measure: "latency of one call at a time", ours: milliseconds(ours) + " " + tailOf(times[0]),
			peer: t.name + " " + milliseconds(theirs) + " " + tailOf(times[i+1]), ratio: fmt.Sprintf("%+.3f ms", float64(ours-theirs)/1e6),
		}
		if t.name == "node" {
			r.aim, r.met = "≤ +0.15 ms", ours-theirs <= latencyAim
		}
		b.report.add(r)
	}
	return nil
}

func tailOf(times []time.Duration) string {
	return fmt.Sprintf("(p99 %.2f)", float64(quantile(times, 0.99))/1e6)
}

// line is one kept connection and the request that goes over it. It does as
// little as it can, so that what is measured is the server.
type line struct {
	conn    net.Conn
	reader  *bufio.Reader
	request []byte
}

func dial(t target) (*line, error) {
	u, err := url.Parse(t.url)
	if err != nil {
		return nil, err
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
		u.RequestURI(), u.Host, t.token, len(callBody), callBody)
	return &line{conn, bufio.NewReader(conn), []byte(text)}, nil
}

// calls makes n calls and gives the time of each.
func (l *line) calls(n int) ([]time.Duration, error) {
	if err := l.conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return nil, err
	}
	times := make([]time.Duration, n)
	for i := range times {
		begin := time.Now()
		if _, err := l.conn.Write(l.request); err != nil {
			return nil, err
		}
		resp, err := http.ReadResponse(l.reader, nil)
		if err != nil {
			return nil, err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		times[i] = time.Since(begin)
		if err = errors.Join(err, resp.Body.Close()); err != nil {
			return nil, err
		}
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("a call was answered with %s", resp.Status)
		}
	}
	return times, nil
}
