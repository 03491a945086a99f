package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sluice-faas/sluice/tests/dev"
)

// sample is what the gateway has at one moment.
type sample struct {
	calls      int64
	megabytes  float64 // resident, of its own process
	heap       float64 // in use, MiB
	goroutines float64
	files      float64 // descriptors that are open
	processes  float64 // below it
	entries    float64 // in its run folder
}

// measure is one column of samples, with what it may grow by: that share, and so
// much.
type measure struct {
	name  string
	of    func(*sample) float64
	share float64
	slack float64
}

var measures = []measure{
	{"resident MiB", func(s *sample) float64 { return s.megabytes }, 0.15, 32},
	{"heap MiB", func(s *sample) float64 { return s.heap }, 0.20, 32},
	{"goroutines", func(s *sample) float64 { return s.goroutines }, 0.10, 60},
	{"files", func(s *sample) float64 { return s.files }, 0.10, 40},
	{"processes", func(s *sample) float64 { return s.processes }, 0.10, 15},
	{"run entries", func(s *sample) float64 { return s.entries }, 0.10, 15},
}

const (
	shown   = 16 // rows of the table
	minimum = 12 // samples that are judged
)

// watch takes samples of a gateway.
type watch struct {
	gateway *dev.Gateway
	dir     string
	metrics string
	samples []sample
	faults  []error
}

func newWatch(g *dev.Gateway, dir string) (*watch, error) {
	admin := g.Info.URLs["admin"]
	if admin == "" {
		return nil, errors.New("dev.json names no admin listener")
	}
	return &watch{gateway: g, dir: dir, metrics: admin + "/metrics"}, nil
}

// run takes some two hundred samples, evenly over the calls, until ctx ends.
func (w *watch) run(ctx context.Context, ended *atomic.Int64, calls int) {
	step := int64(max(1, calls/200))
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for next := step; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		n := ended.Load()
		if n < next {
			continue
		}
		for next <= n {
			next += step
		}
		s, err := w.sample()
		if err != nil {
			w.faults = append(w.faults, fmt.Errorf("sample after %d calls: %w", n, err))
			return
		}
		s.calls = n
		w.samples = append(w.samples, s)
	}
}

func (w *watch) sample() (s sample, err error) {
	bytes, err := w.gateway.ResidentBytes()
	if err != nil {
		return s, err
	}
	s.megabytes = float64(bytes) / (1 << 20)
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", w.gateway.PID()))
	if err != nil {
		return s, err
	}
	s.files = float64(len(files))
	s.processes = float64(len(w.gateway.Processes()))
	s.entries = float64(runEntries(w.dir))
	values, err := w.scrape("go_goroutines", "go_memstats_heap_inuse_bytes")
	if err != nil {
		return s, err
	}
	s.goroutines, s.heap = values[0], values[1]/(1<<20)
	return s, nil
}

// scrape reads metrics by name.
func (w *watch) scrape(names ...string) ([]float64, error) {
	client := http.Client{Timeout: 10 * time.Second}
	resp, err := client.Get(w.metrics)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	values, found := make([]float64, len(names)), 0
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		i := slices.Index(names, name)
		if i < 0 {
			continue
		}
		if values[i], err = strconv.ParseFloat(value, 64); err != nil {
			return nil, err
		}
		found++
	}
	if found != len(names) {
		return nil, fmt.Errorf("the metrics lack one of %v", names)
	}
	return values, lines.Err()
}

// runEntries counts what is in the gateway's run folder, at any depth.
func runEntries(dir string) int {
	n := 0
	_ = filepath.WalkDir(filepath.Join(dir, "r"), func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.Count(strings.TrimPrefix(path, dir), "/") > 2 {
			n++ // below r/sluice-…
		}
		return nil // what goes while it is looked at is not there
	})
	return n
}

// report prints the samples and says what has grown, and what is left when nothing
// is called any more.
func (w *watch) report(ctx context.Context) []error {
	fmt.Printf("%9s", "calls")
	for _, m := range measures {
		fmt.Printf(" %13s", m.name)
	}
	fmt.Println()
	for i := range w.samples {
		if s := &w.samples[i]; i%max(1, len(w.samples)/shown) == 0 || i == len(w.samples)-1 {
			fmt.Printf("%9d", s.calls)
			for _, m := range measures {
				fmt.Printf(" %13.0f", m.of(s))
			}
			fmt.Println()
		}
	}
	faults := slices.Clone(w.faults)
	if len(w.samples) < minimum {
		return append(faults, fmt.Errorf("%d samples are too few to judge: make more calls", len(w.samples)))
	}
	for _, m := range measures {
		first, last, most := m.judge(w.samples)
		verdict := "flat"
		if last > most {
			verdict = "GROWS"
			faults = append(faults, fmt.Errorf("%s grew from %.0f to %.0f: at most %.0f may be", m.name, first, last, most))
		}
		fmt.Printf("%-13s %8.0f in the first quarter, %8.0f in the last, at most %8.0f: %s\n", m.name, first, last, most, verdict)
	}
	fmt.Println()
	return append(faults, w.rest(ctx)...)
}

// judge compares the medians of the first quarter and of the last, without the
// first fifth, in which the gateway warms up.
func (m measure) judge(samples []sample) (first, last, most float64) {
	samples = samples[len(samples)/5:]
	quarter := len(samples) / 4
	first = m.median(samples[:quarter])
	last = m.median(samples[len(samples)-quarter:])
	return first, last, first*(1+m.share) + m.slack
}

func (m measure) median(samples []sample) float64 {
	var values []float64
	for i := range samples {
		values = append(values, m.of(&samples[i]))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// rest waits until the gateway is at rest: what belongs to calls and to processes
// that have ended must be gone then.
func (w *watch) rest(ctx context.Context) []error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var s sample
	for {
		var err error
		if s, err = w.sample(); err != nil {
			return []error{err}
		}
		// A process has a folder and a socket in it, and some goroutines; the gateway
		// itself has a few hundred.
		if s.entries <= 6*s.processes+6 && s.goroutines <= 300+16*s.processes {
			return nil
		}
		select {
		case <-ctx.Done():
			return []error{fmt.Errorf("at rest there are %.0f goroutines and %.0f files of %.0f processes", s.goroutines, s.entries, s.processes)}
		case <-time.After(200 * time.Millisecond):
		}
	}
}
