package journal

import (
	"container/heap"
	"slices"
)

// maxPageBytes bounds the memory of a page: it ends before its limit when what
// is in it is long.
const maxPageBytes = 16 << 20

// page gathers the first things of an order, whichever way they come.
type page[T any] struct {
	newest bool
	limit  int
	after  *position // what is not after this was on the page before
	best   ranking[T]
	bytes  int
	more   bool
	cut    position // the first that found no place, if there is more
}

type ranked[T any] struct {
	position
	value T
	bytes int
}

// ranking is a heap with the last on top.
type ranking[T any] struct {
	things []ranked[T]
	newest bool
}

func (r *ranking[T]) Len() int { return len(r.things) }
func (r *ranking[T]) Less(i, j int) bool {
	return before(r.newest, r.things[j].position, r.things[i].position)
}
func (r *ranking[T]) Swap(i, j int) { r.things[i], r.things[j] = r.things[j], r.things[i] }
func (r *ranking[T]) Push(x any)    { r.things = append(r.things, x.(ranked[T])) }
func (r *ranking[T]) Pop() any {
	last := r.things[len(r.things)-1]
	r.things[len(r.things)-1] = ranked[T]{}
	r.things = r.things[:len(r.things)-1]
	return last
}

// before tells whether a comes before b.
func before(newest bool, a, b position) bool {
	if newest {
		return a.compare(b) > 0
	}
	return a.compare(b) < 0
}

func newPage[T any](newest bool, limit int, after *position) *page[T] {
	return &page[T]{newest: newest, limit: limit, after: after, best: ranking[T]{newest: newest}}
}

// takes tells whether what is at p has a place; add is for what has.
func (g *page[T]) takes(p position) bool {
	switch {
	case g.after != nil && !before(g.newest, *g.after, p), g.more && !before(g.newest, p, g.cut):
		return false
	case len(g.best.things) >= g.limit && !before(g.newest, p, g.best.things[0].position):
		g.cut, g.more = p, true
		return false
	}
	return true
}

func (g *page[T]) add(p position, value T, bytes int) {
	heap.Push(&g.best, ranked[T]{p, value, bytes})
	g.bytes += bytes
	for len(g.best.things) > g.limit || g.bytes > maxPageBytes && len(g.best.things) > 1 {
		last := heap.Pop(&g.best).(ranked[T])
		g.bytes -= last.bytes
		g.cut, g.more = last.position, true
	}
}

// full tells whether nothing has a place that is at the time or after it; when
// the newest come first, at the time or before it.
func (g *page[T]) full(at int64) bool {
	if g.newest {
		return g.more && g.cut.at > at
	}
	return g.more && g.cut.at < at
}

// done gives what was gathered, in order, and the place to go on from, if there
// is more.
func (g *page[T]) done(k kind) (values []T, next string) {
	things := g.best.things
	slices.SortFunc(things, func(a, b ranked[T]) int {
		if before(g.newest, a.position, b.position) {
			return -1
		}
		return 1
	})
	values = make([]T, len(things))
	for i, t := range things {
		values[i] = t.value
	}
	if g.more && len(things) > 0 {
		next = things[len(things)-1].cursor(k, g.newest)
	}
	return values, next
}
