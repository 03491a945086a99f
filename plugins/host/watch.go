package host

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	watchInterval = 200 * time.Millisecond
	// memoryMargin is what a process may use above its limit before it is killed:
	// the runtime's own code and what it shares with others count as resident too.
	memoryMargin = 64 << 20
)

// watch looks at every process a few times a second, with one goroutine for all
// of them that lives while there are any.
var watch watcher

type watcher struct {
	mu        sync.Mutex
	processes map[*Process]struct{}
	running   bool
}

func (w *watcher) add(p *Process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.processes == nil {
		w.processes = make(map[*Process]struct{})
	}
	w.processes[p] = struct{}{}
	if !w.running {
		w.running = true
		go w.run()
	}
}

func (w *watcher) remove(p *Process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.processes, p)
}

func (w *watcher) run() {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	var all []*Process
	for now := range tick.C {
		if all = w.list(all[:0]); len(all) == 0 {
			return
		}
		for _, p := range all {
			p.check(now)
		}
		clear(all)
	}
}

// list appends the processes to all; with none left, the watch is over.
func (w *watcher) list(all []*Process) []*Process {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p := range w.processes {
		all = append(all, p)
	}
	w.running = len(all) > 0
	return all
}

// check ends the process if it holds too much memory, was given up as blocked, or
// works on without calls.
func (p *Process) check(now time.Time) {
	if over, bytes := p.memory.over(); over {
		p.log.Warn().Int64("residentBytes", bytes).Msg("runtime process is over its memory limit")
		p.end(verdict{reason: reasonMemory})
	}
	if s := p.session.Load(); s != nil {
		s.checkSuspicion(now)
		if p.labour.tooLong(now, s.open() > 0, p.options.IdleWork) {
			p.end(verdict{reason: fmt.Sprintf("kept a processor busy for %v after its last call", p.options.IdleWork), shared: true})
		}
	}
}

// memory reads how much of it a process uses. The file stays open: it is the
// process's own, even when its number has become another's.
type memory struct {
	mu    sync.Mutex
	statm *os.File
	limit atomic.Int64 // bytes
}

func (m *memory) open(pid int) (err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.statm, err = os.Open(fmt.Sprintf("/proc/%d/statm", pid))
	return err
}

func (m *memory) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.statm != nil {
		_ = m.statm.Close() // only read from
		m.statm = nil
	}
}

func (m *memory) setLimit(mib int) { m.limit.Store(int64(mib) << 20) }

func (m *memory) over() (bool, int64) {
	n, err := m.resident()
	return err == nil && n > m.limit.Load()+memoryMargin, n // an error: it has ended
}

func (m *memory) resident() (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.statm == nil {
		return 0, os.ErrProcessDone
	}
	var buf [128]byte
	n, err := m.statm.ReadAt(buf[:], 0)
	fields := bytes.Fields(buf[:n])
	if len(fields) < 2 {
		return 0, errors.Join(os.ErrProcessDone, err)
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("resident memory: %w", err)
	}
	return pages * int64(os.Getpagesize()), nil
}

// privateBytes adds up the private pages of a process.
func privateBytes(pid int) (int64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, fmt.Errorf("private memory: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read from
	var kib int64
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := bytes.Fields(lines.Bytes())
		if len(fields) < 2 || !bytes.HasPrefix(fields[0], []byte("Private_")) {
			continue
		}
		n, err := strconv.ParseInt(string(fields[1]), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("private memory: %w", err)
		}
		kib += n
	}
	if err := lines.Err(); err != nil {
		return 0, fmt.Errorf("private memory: %w", err)
	}
	return kib << 10, nil
}
