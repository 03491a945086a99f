package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"

	"github.com/sluice-faas/sluice/gateway/control"
)

// maxAnswer is more than the largest list that a gateway answers.
const maxAnswer = 64 << 20

// gateway is the one that runs on a data folder.
type gateway struct {
	dir  string
	http *http.Client
	met  atomic.Bool // it has taken a connection
}

func newGateway(dir string) *gateway {
	g := &gateway{dir: dir}
	g.http = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := control.Dial(ctx, dir)
		if err == nil {
			g.met.Store(true)
		}
		return c, err
	}}}
	return g
}

func (g *gateway) close() { g.http.CloseIdleConnections() }

// get reads something into v, and gives it as it came, too.
func (g *gateway) get(ctx context.Context, path string, v any) (json.RawMessage, error) {
	return g.call(ctx, http.MethodGet, path, nil, v)
}

// call makes one request; body is JSON already, or anything that becomes it, or
// nil.
func (g *gateway) call(ctx context.Context, method, path string, body, v any) (json.RawMessage, error) {
	text, ok := body.([]byte)
	if body != nil && !ok {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://sluice"+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	if len(text) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := g.http.Do(req)
	if err != nil {
		return nil, g.unreachable(err)
	}
	defer func() { _ = resp.Body.Close() }() // it is read, or of no use
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, g.unreachable(err)
	}
	if resp.StatusCode/100 != 2 {
		return nil, refusal(resp.StatusCode, answer)
	}
	if err := json.Unmarshal(answer, v); err != nil {
		return nil, fmt.Errorf("the gateway's answer is not what this command knows: use the `sluice` of the gateway's own version: %w", err)
	}
	return answer, nil
}

// refusal words what the gateway answered.
func refusal(status int, answer []byte) error {
	var e struct {
		Message string `json:"errorMsg"`
	}
	if json.Unmarshal(answer, &e) != nil || e.Message == "" {
		return fmt.Errorf("the gateway answered %d: %.200q", status, answer)
	}
	return &refused{status, e.Message}
}

// refused is what the gateway said no to, and why.
type refused struct {
	status  int
	message string
}

func (e *refused) Error() string { return e.message }

// unreachable says why there was no answer, and what to do.
func (g *gateway) unreachable(err error) error {
	switch {
	case errors.Is(err, control.ErrNotRunning):
		return g.notRunning()
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s belongs to another user: run this as the user that runs the gateway", g.dir)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the gateway on %s did not answer in %s: nothing tells whether the command was carried out", g.dir, timeout)
	case g.met.Load(): // net/http has several errors for this one
		return fmt.Errorf("the gateway on %s closed the connection: it stops, or another user runs it (its log says so); nothing tells whether the command was carried out", g.dir)
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // the URL means nothing to anybody
	}
	return err
}

// usual is the data folder of `make run`.
const usual = "data"

func (g *gateway) notRunning() error {
	what := "no gateway runs on the data folder " + g.dir
	if info, err := os.Stat(g.dir); errors.Is(err, os.ErrNotExist) {
		what += ", which does not exist"
	} else if err == nil && !info.IsDir() {
		what += ", which is no folder"
	}
	hint := ""
	if dir, err := filepath.Abs(usual); err == nil && dir != g.dir {
		if c, err := control.Dial(context.Background(), dir); err == nil {
			_ = c.Close() // it was only to see
			hint = "\none runs on " + dir + ": add --data-dir " + usual
		}
	}
	return fmt.Errorf("%s: start one with `sluice dev --data-dir %s`, or name the folder of one that runs with --data-dir%s", what, g.dir, hint)
}
