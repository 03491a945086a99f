package schedule

import (
	"container/heap"
	"time"

	"github.com/sluice-faas/sluice/gateway/store"
)

// entry is a schedule as a Scheduler knows it.
type entry struct {
	ref   store.LambdaRef
	seen  store.Planned
	cron  string // what times was read from
	times Times
	busy  bool // a worker has it
	// least is the Revision that it must have before it is attended to again: what a
	// worker wrote, or found to be written by others, comes by the watch.
	least int64

	due time.Time // to be attended to
	at  int       // place in the queue; -1 outside
}

// queue has what is to be attended to, the next first.
type queue []*entry

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = i, j
}

// Push and Pop are for package heap.
func (q *queue) Push(x any) {
	e := x.(*entry)
	e.at = len(*q)
	*q = append(*q, e)
}

// Pop takes the last one.
func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	e.at = -1
	return e
}

// put sets when e is due.
func (q *queue) put(e *entry, due time.Time) {
	e.due = due
	if e.at < 0 {
		heap.Push(q, e)
		return
	}
	heap.Fix(q, e.at)
}

// drop takes e out, if it is there.
func (q *queue) drop(e *entry) {
	if e.at >= 0 {
		heap.Remove(q, e.at)
	}
}
