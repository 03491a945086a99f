package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// What tests look at or do behind the journal's back.
const (
	MaxQueued    = maxQueued
	PageBytes    = maxPageBytes
	MaxOfAccount = maxOfAccount
)

// Query runs do as a query of an account.
func (j *Journal) Query(ctx context.Context, account string, do func(context.Context) error) error {
	return j.query(ctx, account, do)
}

// Queries is how many queries of an account there are, and how many of them run.
func (j *Journal) Queries(account string) (all, running int) {
	j.queries.mu.Lock()
	defer j.queries.mu.Unlock()
	if own := j.queries.of[account]; own != nil {
		return own.users, len(own.places)
	}
	return 0, 0
}

// Keep does at once what the keeper does now and then.
func (j *Journal) Keep(ctx context.Context) {
	j.keeper.look(ctx)
	j.Tidy(ctx)
}

// Tidy does at once what the keeper does with activities now and then.
func (j *Journal) Tidy(ctx context.Context) { j.keeper.tidy(ctx, j.now()) }

// InsertTotals writes totals of one invocation for n slots of the lambda 1.
func InsertTotals(db *sql.DB, n int, from time.Time) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	one := sum{states: Counts{1}}
	for i := range n {
		if _, err := tx.Exec(replaceTotal, append([]any{slotOf(from) + int64(i), 1}, one.values()...)...); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}

// LimitPages makes SQLite refuse a page more than n with SQLITE_FULL, in the
// files that are open for writing; n of 0 is what they have now.
func (j *Journal) LimitPages(n int64) error {
	j.writer.mu.Lock()
	defer j.writer.mu.Unlock()
	var errs []error
	for _, f := range j.writer.files {
		errs = append(errs, f.run(fmt.Sprintf("PRAGMA max_page_count = %d", max(1, n))))
	}
	return errors.Join(errs...)
}

// Sync brings to disk at once what otherwise is some seconds later.
func (j *Journal) Sync(ctx context.Context) { j.writer.syncFiles(ctx) }

// HoldWriter stops the writer until release is called.
func (j *Journal) HoldWriter() (release func()) {
	j.writer.mu.Lock()
	return j.writer.mu.Unlock
}

// HoldTails stops what is handed to tails until release is called.
func (j *Journal) HoldTails() (release func()) {
	j.hub.mu.Lock()
	return j.hub.mu.Unlock
}

// Garble changes the packed lines of all blocks of a day that is open for writing.
func (j *Journal) Garble() error {
	j.writer.mu.Lock()
	defer j.writer.mu.Unlock()
	for _, f := range j.writer.files {
		if err := f.run("UPDATE block SET lines = zeroblob(length(lines))"); err != nil {
			return err
		}
	}
	return nil
}

// Matches tells whether text is in b, as a query for it finds it.
func Matches(text string, b []byte) bool { return newMatcher(text).in(b) }

// Compared is Matches for a text that is not empty, and how many letters it compared.
func Compared(text string, b []byte) (found bool, n int) { return newMatcher(text).find(b) }

// MatchesSmall is Matches the way that is taken when there is much to compare.
func MatchesSmall(text string, b []byte) bool { return newMatcher(text).inSmall(b) }

// Decode reads the stored forms of calls and lines, and gives the number of each.
func Decode(calls, lines []byte) (n, m int, err error) {
	text, err := unsqueeze(nil, calls)
	if err != nil {
		return 0, 0, err
	}
	if len(lines) > 0 {
		if lines, err = unsqueeze(nil, lines); err != nil {
			return 0, 0, err
		}
	}
	return decodeTexts(text, lines)
}

// DecodeTexts reads calls and lines that are unpacked.
func DecodeTexts(calls, lines []byte) (n, m int, err error) { return decodeTexts(calls, lines) }

func decodeTexts(text, lines []byte) (n, m int, err error) {
	r, w := readCalls(text), wire{rest: lines}
	var c call
	for r.next(&c) {
		n++
		_ = c.entry("account", "lambda")
		for range c.lines {
			var l line
			if !w.line(&l) {
				return n, m, w.err
			}
			_ = l.record()
			m++
		}
	}
	return n, m, r.err
}

// Squeeze gives the stored form of a text.
func Squeeze(text []byte) []byte { return squeeze(nil, text) }

// Texts gives the unpacked calls and lines of a block of the entries.
func Texts(entries ...Entry) (calls, lines []byte) {
	pointers := make([]*Entry, len(entries))
	for i := range entries {
		pointers[i] = &entries[i]
	}
	p := newPacker()
	p.pack(pointers, entries[0].At)
	return p.whole, p.lines
}

// ParseCursor tells whether text is a cursor of lines, and gives it written anew.
func ParseCursor(text string, newest bool) (again string, err error) {
	p, err := parseCursor(text, kindLines, newest)
	if err != nil || p == nil {
		return "", err
	}
	return p.cursor(kindLines, newest), nil
}
