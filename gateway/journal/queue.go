package journal

import (
	"strings"
	"sync"
	"time"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// What waits in memory at most.
const (
	maxQueued      = 1 << 15
	maxQueuedBytes = 48 << 20
	maxSources     = 20_000
	maxCounts      = 100_000 // all sources' slots together
	entryCost      = 400     // of an entry beside its texts
	recordCost     = 64      // of a log record beside its texts
)

// Reason is why an entry was dropped.
type Reason string

// The reasons.
const (
	DroppedQueue   Reason = "queue"   // more came than could be written
	DroppedDisk    Reason = "disk"    // a write failed
	DroppedSize    Reason = "size"    // the day's file alone is as large as Limits.JournalSize
	DroppedLambdas Reason = "lambdas" // more lambdas were called than a day's file can name
)

// Reasons is every Reason.
var Reasons = []Reason{DroppedQueue, DroppedDisk, DroppedSize, DroppedLambdas}

func (r Reason) index() int {
	for i, known := range Reasons {
		if r == known {
			return i
		}
	}
	return 0
}

// queue is what came and is not written yet. Putting something in waits for
// nothing but a moment of taking everything out.
type queue struct {
	mu      sync.Mutex
	items   []item
	bytes   int64
	sources map[sourceKey]*source
	counted []*source // those with counts
	counts  int       // of all sources
	failing bool      // the last write failed: what is dropped is so by it
	closed  bool
	dropped [4]uint64 // by place in Reasons
	lost    uint64    // entries that are not even counted in totals
	oldest  time.Time // when the oldest item came

	droppedAt time.Time // when an item last found no room, though nothing failed

	some  chan struct{} // something is in the queue
	hurry chan struct{} // it should be written now
}

type item struct {
	Entry
	source *source
}

type sourceKey struct{ account, lambdaID string }

// source is a lambda that entries come from.
type source struct {
	sourceKey
	counts []count // not yet written; under the queue's lock

	// The writer's own.
	file  *dayFile // the file in which the source has id
	id    int64
	group []*Entry
	batch uint64 // the last with something of the source
}

func newQueue() *queue {
	return &queue{sources: map[sourceKey]*source{}, some: make(chan struct{}, 1), hurry: make(chan struct{}, 1)}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// add counts e, and takes it unless there is no room.
func (q *queue) add(e *Entry, now func() time.Time) {
	size := sizeOf(e)
	q.mu.Lock()
	s := q.source(e)
	if s == nil || q.closed {
		reason := DroppedLambdas
		if q.closed {
			reason = DroppedQueue
		}
		q.dropped[reason.index()]++
		q.lost++
		q.mu.Unlock()
		return
	}
	first := len(q.items) == 0 && len(q.counted) == 0
	q.count(s, e)
	if len(q.items) >= maxQueued || q.bytes+size > maxQueuedBytes {
		q.overflow(now)
	} else {
		if len(q.items) == 0 {
			q.oldest = now()
		}
		q.items = append(q.items, item{Entry: *e, source: s})
		q.bytes += size
	}
	half := len(q.items) == maxQueued/2 || q.bytes > maxQueuedBytes/2
	q.mu.Unlock()
	if first {
		signal(q.some)
	}
	if half {
		signal(q.hurry)
	}
}

// overflow counts an entry that found no room.
func (q *queue) overflow(now func() time.Time) {
	if q.failing {
		q.dropped[DroppedDisk.index()]++
		return
	}
	q.dropped[DroppedQueue.index()]++
	q.droppedAt = now()
}

func sizeOf(e *Entry) int64 {
	size := entryCost + len(e.Message)
	for i := range e.Logs {
		size += recordSize(&e.Logs[i])
	}
	return int64(size)
}

func recordSize(r *lambda.LogRecord) int { return recordCost + len(r.Message) + len(r.Extras) }

func (q *queue) source(e *Entry) *source {
	key := sourceKey{e.Account, e.LambdaID}
	s := q.sources[key]
	if s == nil && len(q.sources) < maxSources {
		// The texts may be parts of a request that is otherwise gone.
		key = sourceKey{strings.Clone(e.Account), strings.Clone(e.LambdaID)}
		s = &source{sourceKey: key}
		q.sources[key] = s
	}
	return s
}

func (q *queue) count(s *source, e *Entry) {
	c := q.countOf(s, slotOf(e.At))
	if c == nil {
		q.lost++
		return
	}
	c.states[stateIndex(e.State)]++
	c.latency[classOf(e.Queue+e.Start+e.Run)]++
}

// countOf is the count of a slot, or nil when there are too many.
func (q *queue) countOf(s *source, slot int64) *count {
	for i := range s.counts {
		if s.counts[i].slot == slot {
			return &s.counts[i]
		}
	}
	if q.counts >= maxCounts {
		return nil
	}
	if len(s.counts) == 0 {
		q.counted = append(q.counted, s)
	}
	q.counts++
	s.counts = append(s.counts, count{slot: slot})
	return &s.counts[len(s.counts)-1]
}

// batch is what was taken out of the queue at once.
type batch struct {
	items  []item
	bytes  int64
	counts []sourceCount
}

type sourceCount struct {
	source *source
	count  count
}

func (b *batch) empty() bool { return len(b.items) == 0 && len(b.counts) == 0 }

// forget frees what is in the batch, and keeps its space for the next one.
func (b *batch) forget() {
	clear(b.items)
	clear(b.counts)
	*b = batch{items: b.items[:0], counts: b.counts[:0]}
	if cap(b.items) > maxQueued/4 {
		b.items = nil // of a burst
	}
}

// take takes everything into a batch that is empty.
func (q *queue) take(b *batch) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b.items, q.items = q.items, b.items
	b.bytes, q.bytes = q.bytes, 0
	for _, s := range q.counted {
		for _, c := range s.counts {
			b.counts = append(b.counts, sourceCount{s, c})
		}
		s.counts = s.counts[:0]
	}
	clear(q.counted)
	q.counted, q.counts = q.counted[:0], 0
}

// putBack counts again what could not be written. Its entries are lost.
func (q *queue) putBack(counts []sourceCount, entries int, why Reason) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dropped[why.index()] += uint64(entries)
	for i := range counts {
		if c := q.countOf(counts[i].source, counts[i].count.slot); c != nil {
			c.add(&counts[i].count)
		} else {
			for _, n := range counts[i].count.states {
				q.lost += uint64(n)
			}
		}
	}
}

func (q *queue) drop(n int, why Reason) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dropped[why.index()] += uint64(n)
}

// close has everything that comes later dropped.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

// fails says whether writing fails now.
func (q *queue) fails(yes bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.failing = yes
}

// forget makes room for other sources: of a part of them, those are dropped that
// had nothing in the batches since before. Only the writer calls it, and only
// between batches.
func (q *queue) forget(before uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.sources) < maxSources/4 {
		return
	}
	looked := 0
	for key, s := range q.sources {
		if s.batch < before && len(s.counts) == 0 {
			delete(q.sources, key)
		}
		if looked++; looked == 1000 {
			return
		}
	}
}
