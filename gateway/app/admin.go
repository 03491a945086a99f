package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/pprof"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	checkTimeout = 2 * time.Second
	// minDisk is the room that etcd needs to go on taking writes for a while.
	minDisk = 64 << 20
)

// readiness says whether this gateway should get traffic.
type readiness struct {
	stage  atomic.Pointer[string] // why not, when the checks need not be asked; nil when they decide
	checks []check
}

// check is one thing that must work. probe returns soon after its context ends.
type check struct {
	name  string
	probe func(context.Context) error
	// degrades says that calls go on without it: its failure is shown, and the
	// gateway stays ready.
	degrades bool
}

// hold says not ready, for that reason, until open.
func (r *readiness) hold(reason string) { r.stage.Store(&reason) }

// open lets the checks decide.
func (r *readiness) open() { r.stage.Store(nil) }

// verdict is the answer of /readyz.
type verdict struct {
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`
	// Degraded names what does not work although the gateway is ready.
	Degraded []string          `json:"degraded,omitempty"`
	Checks   map[string]string `json:"checks,omitempty"` // "ok" or what is wrong
}

func (r *readiness) ask(ctx context.Context) verdict {
	if stage := r.stage.Load(); stage != nil {
		return verdict{Reason: *stage}
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	errs := make([]error, len(r.checks))
	var wg sync.WaitGroup
	for i, c := range r.checks {
		wg.Go(func() { errs[i] = c.probe(ctx) })
	}
	wg.Wait()
	v := verdict{Ready: true, Checks: map[string]string{}}
	for i, c := range r.checks {
		v.Checks[c.name] = "ok"
		switch {
		case errs[i] == nil:
			continue
		case c.degrades:
			v.Degraded = append(v.Degraded, c.name)
		default:
			v.Ready, v.Reason = false, c.name+" is not ready"
		}
		v.Checks[c.name] = errs[i].Error()
	}
	return v
}

// serve answers GET /readyz; with ?verbose it says what each check found.
func (r *readiness) serve(w http.ResponseWriter, req *http.Request) {
	v := r.ask(req.Context())
	if !req.URL.Query().Has("verbose") {
		v.Checks = nil
	}
	status := http.StatusOK
	if !v.Ready {
		status = http.StatusServiceUnavailable
	}
	answer(w, status, v)
}

func answer(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // of strings and booleans: cannot be
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // who left needs no answer
}

// diskCheck fails when the file system of dir is nearly full. An etcd in it would
// end the gateway when nothing is left, so that no more traffic shall come before
// that; without one, calls go on.
func diskCheck(dir string, etcd bool) check {
	return check{name: "disk", degrades: !etcd, probe: func(context.Context) error {
		var s syscall.Statfs_t
		if err := syscall.Statfs(dir, &s); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		if free := s.Bavail * uint64(s.Bsize); free < minDisk { //nolint:gosec // a block size is positive
			return fmt.Errorf("%s has %d MiB left: %d are needed", dir, free>>20, minDisk>>20)
		}
		return nil
	}}
}

// adminHandler serves what operators and their tools ask. Nobody is
// authenticated, so the listener belongs on loopback or in a closed network.
func adminHandler(ready *readiness, metrics prometheus.Gatherer, profiles bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]bool{"healthy": true})
	})
	mux.HandleFunc("GET /readyz", ready.serve)
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second}))
	if profiles {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	}
	return mux
}

var errNoRuntime = errors.New("no runtime process has answered so far")
