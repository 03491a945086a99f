package journal

import (
	"slices"
	"sync"
	"sync/atomic"
)

const (
	tailLines   = 256 // that wait for the reader of a tail
	tailEntries = 256 // that wait to be looked at, of all tails
)

// Tail is a live view of log lines: those of invocations that end while it is
// open.
type Tail struct {
	hub    *hub
	filter TailFilter
	match  *matcher
	lines  chan Line
	missed atomic.Uint64
	closed bool // under the hub's lock
}

// hub hands lines to tails. What it has no time for, it counts as missed.
type hub struct {
	open    atomic.Int64 // tails
	entries chan *Entry

	mu    sync.Mutex
	tails map[string][]*Tail // by account
	done  bool

	shown atomic.Pointer[map[string][]*Tail] // tails, for those who cannot wait; never changed
}

func newHub() *hub {
	h := &hub{entries: make(chan *Entry, tailEntries), tails: map[string][]*Tail{}}
	h.show()
	return h
}

// show tells those who cannot wait which tails there are. The hub is locked.
func (h *hub) show() {
	shown := make(map[string][]*Tail, len(h.tails))
	for account, tails := range h.tails {
		shown[account] = slices.Clone(tails)
	}
	h.shown.Store(&shown)
}

// Tail begins a live view of the lines that f lets through. Who begins it closes
// it. A reader that is too slow misses lines, and slows nothing.
func (j *Journal) Tail(f TailFilter) *Tail {
	t := &Tail{hub: j.hub, filter: f, match: newMatcher(f.Text), lines: make(chan Line, tailLines)}
	h := j.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.done {
		t.closed = true
		close(t.lines)
		return t
	}
	h.tails[f.Account] = append(h.tails[f.Account], t)
	h.show()
	h.open.Add(1)
	return t
}

// C gives the lines. It is closed by Close, and when the journal closes.
func (t *Tail) C() <-chan Line { return t.lines }

// Missed counts the lines that passed the filter and found no room, and those of
// invocations that nobody had time to look at.
func (t *Tail) Missed() uint64 { return t.missed.Load() }

// Close ends the view. It may be called again.
func (t *Tail) Close() {
	h := t.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if t.closed {
		return
	}
	t.end()
	account := t.filter.Account
	h.tails[account] = slices.DeleteFunc(h.tails[account], func(o *Tail) bool { return o == t })
	if len(h.tails[account]) == 0 {
		delete(h.tails, account)
	}
	h.show()
}

// end closes what is open. The hub is locked.
func (t *Tail) end() {
	t.closed = true
	close(t.lines)
	t.hub.open.Add(-1)
}

// offer shows an entry to the hub. It waits for nothing.
func (h *hub) offer(e *Entry) {
	select {
	case h.entries <- e:
	default:
		h.miss(e)
	}
}

// miss counts the lines of an entry that was not looked at.
func (h *hub) miss(e *Entry) {
	for _, t := range (*h.shown.Load())[e.Account] {
		if t.filter.wants(e) {
			t.missed.Add(uint64(len(e.Logs)))
		}
	}
}

// run hands on until stop is closed.
func (h *hub) run(stop <-chan struct{}) {
	for {
		select {
		case e := <-h.entries:
			h.hand(e)
		case <-stop:
			h.close()
			return
		}
	}
}

func (h *hub) hand(e *Entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.tails[e.Account] {
		if t.filter.wants(e) {
			t.hand(e)
		}
	}
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.done = true
	for _, tails := range h.tails {
		for _, t := range tails {
			t.end()
		}
	}
	clear(h.tails)
}

// wants tells whether lines of e can pass.
func (f *TailFilter) wants(e *Entry) bool {
	return (f.LambdaID == "" || f.LambdaID == e.LambdaID) && (f.RequestID == "" || f.RequestID == e.RequestID)
}

func (t *Tail) hand(e *Entry) {
	for i := range e.Logs {
		r := &e.Logs[i]
		if len(t.filter.Levels) > 0 && !slices.Contains(t.filter.Levels, r.Level) ||
			t.match != nil && !t.match.in([]byte(r.Message)) && !t.match.in(r.Extras) {
			continue
		}
		line := Line{LambdaID: e.LambdaID, RequestID: e.RequestID, Version: e.Version, LogRecord: *r}
		line.Message, line.Extras = mend(r.Message), array(r.Extras)
		select {
		case t.lines <- line:
		default:
			t.missed.Add(1)
		}
	}
}
