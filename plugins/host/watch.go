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

// procFile is a file of a process in /proc. It stays open: it is the process's own,
// even when its number has become another's. The zero value is closed.
type procFile struct {
	mu sync.Mutex
	f  *os.File
}

func (p *procFile) open(pid int, name string) (err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.f, err = os.Open(fmt.Sprintf("/proc/%d/%s", pid, name))
	return err
}

func (p *procFile) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.f != nil {
		_ = p.f.Close() // only read from
		p.f = nil
	}
}

// read gives the file as it is now, as far as buf can hold it.
func (p *procFile) read(buf []byte) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.f == nil {
		return nil, os.ErrProcessDone
	}
	n, err := p.f.ReadAt(buf, 0)
	if n == 0 {
		return nil, errors.Join(os.ErrProcessDone, err)
	}
	return buf[:n], nil
}

// memory reads how much of it a process uses.
type memory struct {
	statm procFile
	limit atomic.Int64 // bytes
}

func (m *memory) setLimit(mib int) { m.limit.Store(int64(mib) << 20) }

func (m *memory) over() (bool, int64) {
	n, err := m.resident()
	return err == nil && n > m.limit.Load()+memoryMargin, n // an error: it has ended
}

func (m *memory) resident() (int64, error) {
	var buf [128]byte
	text, err := m.statm.read(buf[:])
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(text)
	if len(fields) < 2 {
		return 0, os.ErrProcessDone
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
