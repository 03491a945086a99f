package journal

import (
	"bytes"
	"context"
	"slices"
)

// Logs gives a page of log lines. It fails when ctx ends, when the query is
// wrong, or when it takes too long; what cannot be read is named in the page.
func (j *Journal) Logs(ctx context.Context, q LogQuery) (LogPage, error) {
	s, g, err := newLineSearch(q)
	if err != nil {
		return LogPage{}, err
	}
	var page LogPage
	err = j.query(ctx, q.Account, func(ctx context.Context) error {
		page.Missing, err = j.run(ctx, s)
		return err
	})
	if err != nil {
		return LogPage{}, err
	}
	page.Lines, page.Next = g.done(kindLines)
	return page, nil
}

func newLineSearch(q LogQuery) (*search, *page[Line], error) {
	limit, err := checkPage(q.From, q.To, maxSpan, q.Limit, MaxLines)
	if err != nil {
		return nil, nil, err
	}
	if err := checkText(q.Text); err != nil {
		return nil, nil, err
	}
	after, err := parseCursor(q.Cursor, kindLines, q.Newest)
	if err != nil {
		return nil, nil, err
	}
	g := newPage[Line](q.Newest, limit, after)
	s := &search{
		account: q.Account, lambdaID: q.LambdaID, from: q.From.UnixMilli(), to: q.To.UnixMilli(), newest: q.Newest,
		levels: levelSet(q.Levels), states: stateSet(nil), full: g.full,
	}
	s.skipTo(after, 1)
	f := &lineFinder{search: s, page: g, levels: q.Levels, match: newMatcher(q.Text), wanted: wantID(q.RequestID)}
	s.visit = f.visit
	return s, g, nil
}

// skipTo leaves out the time before a cursor's, which is in units of a ms.
func (s *search) skipTo(after *position, unit int64) {
	switch {
	case after == nil:
	case s.newest:
		s.to = min(s.to, floorDiv(after.at, unit)+1)
	default:
		s.from = max(s.from, floorDiv(after.at, unit))
	}
}

// lineFinder finds lines in blocks.
type lineFinder struct {
	*search
	page   *page[Line]
	levels []string
	match  *matcher
	wanted wantedID

	callSpace, lineSpace []byte
}

func (f *lineFinder) visit(b *found) error {
	lines, err := unsqueeze(f.lineSpace, b.lines)
	if err != nil {
		return err
	}
	f.lineSpace = larger(f.lineSpace, lines)
	if !f.match.in(lines) {
		return nil
	}
	text, err := unsqueeze(f.callSpace, b.calls)
	if err != nil {
		return err
	}
	f.callSpace = larger(f.callSpace, text)
	if f.wanted.text != "" && !bytes.Contains(text, f.wanted.bytes()) {
		return nil
	}
	return f.block(b, readCalls(text), wire{rest: lines})
}

// larger is the space to use again.
func larger(space, used []byte) []byte {
	if cap(used) > cap(space) {
		return used
	}
	return space
}

func (f *lineFinder) block(b *found, calls calls, lines wire) error {
	var c call
	p := position{day: b.day, id: b.id}
	for calls.next(&c) {
		wanted := f.wanted.text == "" || c.is(f.wanted)
		for range c.lines {
			var l line
			if !lines.line(&l) {
				return lines.err
			}
			p.at = l.at
			if wanted && f.fits(&l) && f.page.takes(p) {
				record := l.record()
				f.page.add(p, Line{LambdaID: b.lambdaID, RequestID: c.requestID(), Version: int(c.version), LogRecord: record}, lineCost+recordSize(&record))
			}
			p.order++
		}
	}
	return calls.err
}

// lineCost is what a Line takes beside its texts.
const lineCost = 150

func (f *lineFinder) fits(l *line) bool {
	return l.at >= f.from && l.at < f.to && f.fitsLevel(l) && (f.match == nil || f.match.in(l.message) || f.match.in(l.extras))
}

func (f *lineFinder) fitsLevel(l *line) bool {
	switch {
	case len(f.levels) == 0:
		return true
	case l.level == otherLevel:
		return slices.Contains(f.levels, string(l.name))
	}
	return f.search.levels&(1<<l.level) != 0
}
