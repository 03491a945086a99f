package journal

import (
	"bytes"
	"context"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// Invocations gives a page of invocations. It fails when ctx ends, when the query
// is wrong, or when it takes too long; what cannot be read is named in the page.
func (j *Journal) Invocations(ctx context.Context, q InvocationQuery) (InvocationPage, error) {
	s, g, err := newCallSearch(q)
	if err != nil {
		return InvocationPage{}, err
	}
	var page InvocationPage
	err = j.query(ctx, q.Account, func(ctx context.Context) error {
		page.Missing, err = j.run(ctx, s)
		return err
	})
	if err != nil {
		return InvocationPage{}, err
	}
	page.Entries, page.Next = g.done(kindInvocations)
	return page, nil
}

func newCallSearch(q InvocationQuery) (*search, *page[Entry], error) {
	limit, err := checkPage(q.From, q.To, maxSpan, q.Limit, MaxInvocations)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range q.States {
		if s.index() < 0 {
			return nil, nil, lambda.Invalid("invocationStates", "%.50q is no state: give some of %v", string(s), States)
		}
	}
	after, err := parseCursor(q.Cursor, kindInvocations, q.Newest)
	if err != nil {
		return nil, nil, err
	}
	g := newPage[Entry](q.Newest, limit, after)
	s := &search{
		account: q.Account, lambdaID: q.LambdaID, from: q.From.UnixMilli(), to: q.To.UnixMilli(), newest: q.Newest,
		levels: 1 << anyBlock, states: stateSet(q.States),
		full: func(at int64) bool { return g.full(at * 1000) },
	}
	s.skipTo(after, 1000)
	f := &callFinder{search: s, page: g, query: q, wanted: wantID(q.RequestID)}
	s.visit = f.visit
	return s, g, nil
}

// callFinder finds invocations in blocks.
type callFinder struct {
	*search
	page   *page[Entry]
	query  InvocationQuery
	wanted wantedID

	callSpace, lineSpace []byte
}

func (f *callFinder) visit(b *found) error {
	text, err := unsqueeze(f.callSpace, b.calls)
	if err != nil {
		return err
	}
	f.callSpace = larger(f.callSpace, text)
	if f.wanted.text != "" && !bytes.Contains(text, f.wanted.bytes()) {
		return nil
	}
	var lines wire
	if f.query.Logs && len(b.lines) > 0 {
		if lines.rest, err = unsqueeze(f.lineSpace, b.lines); err != nil {
			return err
		}
		f.lineSpace = larger(f.lineSpace, lines.rest)
	}
	return f.block(b, readCalls(text), lines)
}

func (f *callFinder) block(b *found, calls calls, lines wire) error {
	var c call
	for p := (position{day: b.day, id: b.id}); calls.next(&c); p.order++ {
		p.at = c.at
		if !f.fits(&c) || !f.page.takes(p) {
			if f.query.Logs && !skipLines(&lines, c.lines) {
				return lines.err
			}
			continue
		}
		e := c.entry(f.account, b.lambdaID)
		size := entryCost + len(e.Message)
		if f.query.Logs {
			e.Logs = make([]lambda.LogRecord, 0, min(c.lines, len(lines.rest)))
			for range c.lines {
				var l line
				if !lines.line(&l) {
					return lines.err
				}
				r := l.record()
				size += recordSize(&r)
				e.Logs = append(e.Logs, r)
			}
		}
		f.page.add(p, e, size)
	}
	return calls.err
}

func skipLines(lines *wire, n int) bool {
	var l line
	for range n {
		if !lines.line(&l) {
			return false
		}
	}
	return true
}

func (f *callFinder) fits(c *call) bool {
	ms := floorDiv(c.at, 1000)
	return ms >= f.from && ms < f.to && f.states&(1<<stateIndex(stateAt(c.state))) != 0 &&
		(f.wanted.text == "" || c.is(f.wanted)) &&
		(f.query.Trigger == "" || string(c.words[wordTrigger]) == string(f.query.Trigger)) &&
		c.duration() >= f.query.MinDuration
}
