package journal

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// What an account's activities are bounded by.
const (
	maxChanges     = 100      // of an activity
	maxChangeText  = 16 << 10 // bytes of one text of a change
	maxChangeTexts = 64 << 10 // of all texts of an activity
	maxNameText    = 1 << 10
	keptActivities = 100_000 // of an account; see level for which go first
	maxNotes       = 1_000   // that wait to be written
)

// activitySchema are the tables of the file of activities. It also keeps the
// totals of days whose file had to go, as long as a month's total needs them.
var activitySchema = `
CREATE TABLE activity (
	id INTEGER PRIMARY KEY, account TEXT NOT NULL, at INTEGER NOT NULL, by TEXT NOT NULL, action TEXT NOT NULL,
	noun TEXT NOT NULL, thing TEXT NOT NULL, name TEXT NOT NULL, request TEXT NOT NULL, changes TEXT NOT NULL
);
CREATE INDEX activity_of_account ON activity (account, at);` + totalSchema

const insertActivity = `INSERT INTO activity (account, at, by, action, noun, thing, name, request, changes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`

// book is the file of activities. One goroutine writes to it: what waits is
// written together.
type book struct {
	folder *folder
	now    func() time.Time
	notes  chan *note
	ended  chan struct{} // closed when nothing is written any more
	kick   func()        // has the keeper look

	grown   atomic.Int64  // bytes since the keeper began to look whether accounts have too much
	dropped atomic.Uint64 // activities that went because of that

	mu sync.Mutex // held by who writes
	db *sql.DB
}

// note is an activity that waits to be written; done tells how it went.
type note struct {
	activity Activity
	done     chan error
}

func newBook(f *folder, now func() time.Time) *book {
	return &book{folder: f, now: now, notes: make(chan *note, maxNotes), ended: make(chan struct{})}
}

// Note writes an activity. When it returns without an error, the activity is on
// disk, and outlives the loss of power. When ctx ends first, it may be written or
// not. Texts that are too long are cut, and say so.
func (j *Journal) Note(ctx context.Context, a Activity) error {
	if j.closed() {
		return errClosed
	}
	if a.At.IsZero() {
		a.At = j.now()
	}
	n := &note{activity: a.bounded(), done: make(chan error, 1)}
	select {
	case j.book.notes <- n:
	case <-ctx.Done():
		return fmt.Errorf("note an activity: %w", ctx.Err())
	}
	select {
	case err := <-n.done:
		return err
	case <-j.book.ended:
		return n.late()
	case <-ctx.Done():
		return fmt.Errorf("note an activity: %w", ctx.Err())
	}
}

// late tells how it went when nothing is written any more.
func (n *note) late() error {
	select {
	case err := <-n.done:
		return err
	default:
		return errClosed
	}
}

// bounded is the activity with texts that are not too long.
func (a Activity) bounded() Activity {
	for _, s := range []*string{&a.Account, &a.By, &a.ID, &a.Name, &a.RequestID, (*string)(&a.Action), (*string)(&a.Noun)} {
		*s = cut(*s, maxNameText)
	}
	changes := a.Changes[:min(len(a.Changes), maxChanges-1)]
	left := maxChangeTexts
	more := len(a.Changes) - len(changes)
	a.Changes = make([]Change, len(changes), maxChanges)
	for i, c := range changes {
		c.Field = cut(c.Field, maxNameText)
		for _, s := range []*string{&c.Before, &c.After, &c.Diff} {
			*s = cut(*s, min(maxChangeText, left))
			left = max(0, left-len(*s))
		}
		a.Changes[i] = c
	}
	if more > 0 {
		a.Changes = append(a.Changes, Change{Field: "more", After: fmt.Sprintf("%d more fields changed", more)})
	}
	return a
}

// cut is s if it has no more than most bytes; else its begin, and how much is missing.
func cut(s string, most int) string {
	if len(s) <= most {
		return mend(s)
	}
	end := most
	for end > 0 && s[end]&0xc0 == 0x80 {
		end-- // not within a letter
	}
	return mend(s[:end]) + fmt.Sprintf("… (%d more bytes)", len(s)-end)
}

// run writes until stop is closed, and then what waits. Who calls it closes the
// book.
func (b *book) run(stop <-chan struct{}) {
	defer close(b.ended)
	for {
		select {
		case n := <-b.notes:
			b.write(n)
		case <-stop:
			for {
				select {
				case n := <-b.notes:
					b.write(n)
				default:
					return
				}
			}
		}
	}
}

// write writes first and all that wait.
func (b *book) write(first *note) {
	notes := []*note{first}
	for range len(b.notes) {
		notes = append(notes, <-b.notes)
	}
	var bytes int64
	err := b.do(func(tx *sql.Tx) error {
		bytes = 0
		for _, n := range notes {
			size, err := n.activity.insert(tx)
			if err != nil {
				return err
			}
			bytes += size
		}
		return nil
	})
	if err != nil {
		err = fmt.Errorf("note an activity: %w", err)
	} else if b.grown.Add(bytes) > tidyAfter {
		b.kick()
	}
	for _, n := range notes {
		n.done <- err
	}
}

// insert writes the activity, and tells what it takes.
func (a *Activity) insert(tx *sql.Tx) (bytes int64, err error) {
	changes, err := json.Marshal(a.Changes)
	if err != nil {
		return 0, err
	}
	_, err = tx.Exec(insertActivity, a.Account, a.At.UnixMilli(), a.By, string(a.Action), string(a.Noun), a.ID, a.Name, a.RequestID, string(changes))
	return a.noted(changes), err
}

// do runs a transaction. A file that is damaged is set aside, and a new one begun.
func (b *book) do(what func(*sql.Tx) error) (err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range 2 {
		if err = b.try(what); !isDamage(err) {
			return err
		}
		if aside := b.setAside(err); aside != nil {
			return aside
		}
	}
	return err
}

func (b *book) try(what func(*sql.Tx) error) error {
	db, err := b.open()
	if err != nil {
		return err
	}
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	if err := what(tx); err != nil {
		return errors.Join(err, ignoreDone(tx.Rollback()))
	}
	return tx.Commit()
}

func ignoreDone(err error) error {
	if codeOf(err) != 0 || errors.Is(err, sql.ErrTxDone) {
		return nil // the error before has ended it
	}
	return err
}

// open gives the open file, and makes it if there is none.
func (b *book) open() (*sql.DB, error) {
	if b.db != nil {
		return b.db, nil
	}
	path := b.folder.path(activityFile)
	if err := makeFile(path); err != nil {
		return nil, err
	}
	db, err := openDB(path, "journal_mode(wal)", "synchronous(full)", "journal_size_limit(16777216)")
	if err != nil {
		return nil, err
	}
	if err := prepare(db, activitySchema); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), db.Close())
	}
	b.folder.has(activityFile)
	b.db = db
	return db, nil
}

func (b *book) setAside(why error) error {
	b.closeDB()
	return b.folder.setAside(activityFile, why)
}

func (b *book) closeDB() {
	if b.db != nil {
		_ = b.db.Close() // what it cannot write now, it has in its log
	}
	b.db = nil
}

func (b *book) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closeDB()
}

// condemn sets the file aside that a reader found damaged.
func (b *book) condemn(why error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.setAside(why)
}

// keep replaces the totals of a day, or adds them.
func (b *book) keep(ctx context.Context, rows []keptTotal) error {
	for piece := range slices.Chunk(rows, pieceRows) {
		if err := b.piece(ctx, func(tx *sql.Tx) error { return keepTotals(tx, piece) }); err != nil {
			return err
		}
	}
	return nil
}

func keepTotals(tx *sql.Tx, rows []keptTotal) error {
	insert, err := tx.Prepare(replaceTotal)
	if err != nil {
		return err
	}
	ids := map[sourceKey]int64{}
	for i := range rows {
		r := &rows[i]
		id, ok := ids[r.key]
		if !ok {
			if id, err = nameIn(tx, r.key); err != nil {
				return err
			}
			ids[r.key] = id
		}
		if _, err := insert.Exec(append([]any{r.slot, id}, r.sum.values()...)...); err != nil {
			return err
		}
	}
	return nil
}

var replaceTotal = `INSERT OR REPLACE INTO total (slot, lambda, ` + countColumns(", ") + `) VALUES (?, ?` + repeat(", ?", len(States)+classes) + `)`

func repeat(s string, n int) (all string) {
	for range n {
		all += s
	}
	return all
}

func nameIn(tx *sql.Tx, key sourceKey) (id int64, err error) {
	if _, err := tx.Exec(`INSERT OR IGNORE INTO lambda (account, lambda_id) VALUES (?, ?)`, key.account, key.lambdaID); err != nil {
		return 0, err
	}
	return id, tx.QueryRow(selectLambda, key.account, key.lambdaID).Scan(&id)
}

func (s *sum) values() []any {
	values := make([]any, 0, len(States)+classes)
	for _, n := range s.states {
		values = append(values, n)
	}
	for _, n := range s.latency {
		values = append(values, n)
	}
	return values
}

// Activities gives a page of activities, the newest first. It fails when ctx
// ends or when the query is wrong; what cannot be read is named in the page.
func (j *Journal) Activities(ctx context.Context, q ActivityQuery) (ActivityPage, error) {
	limit, err := checkPage(q.From, q.To, maxActivitySpan, q.Limit, MaxActivities)
	if err != nil {
		return ActivityPage{}, err
	}
	after, err := parseCursor(q.Cursor, kindActivities, true)
	if err != nil {
		return ActivityPage{}, err
	}
	page, damaged := ActivityPage{Activities: []Activity{}}, false
	err = j.query(ctx, q.Account, func(ctx context.Context) error {
		err := j.folder.read(ctx, activityFile, func(ctx context.Context, db *sql.DB) error {
			return page.read(ctx, db, q, limit, after)
		})
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		j.log.Warn().Err(err).Str("file", j.folder.path(activityFile)).Msg("the activities could not be read")
		page.Missing = append(page.Missing, activityFile)
		damaged = isDamage(err) && !errors.Is(err, errGarbled)
		return nil
	})
	page.Missing = append(page.Missing, j.folder.missingActivities()...)
	if damaged {
		j.keeper.suspect(activityFile)
	}
	return page, err
}

// read gives the page. An activity that is garbled is left out; the error says so
// at the end.
func (p *ActivityPage) read(ctx context.Context, db *sql.DB, q ActivityQuery, limit int, after *position) (err error) {
	last := position{at: q.To.UnixMilli() - 1, id: 1<<63 - 1}
	if after != nil && after.at <= last.at {
		last = *after
	}
	without := ","
	for _, noun := range q.Without {
		without += string(noun) + ","
	}
	rows, err := db.QueryContext(ctx, `SELECT id, at, by, action, noun, thing, name, request, changes FROM activity
		WHERE account = ?1 AND at >= ?2 AND at <= ?3 AND (at < ?3 OR id < ?4)
		AND ?5 IN ('', noun) AND ?6 IN ('', thing) AND ?7 IN ('', by) AND ?8 IN ('', action)
		AND instr(?9, ',' || noun || ',') = 0 ORDER BY at DESC, id DESC`,
		q.Account, q.From.UnixMilli(), last.at, last.id, string(q.Noun), q.ID, q.By, string(q.Action), without)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var before position
	var garbled error
	size := 0
	for rows.Next() {
		a := Activity{Account: q.Account}
		var at position
		var changes []byte
		if err := rows.Scan(&at.id, &at.at, &a.By, &a.Action, &a.Noun, &a.ID, &a.Name, &a.RequestID, &changes); err != nil {
			return err
		}
		if err := json.Unmarshal(changes, &a.Changes); err != nil {
			garbled = fmt.Errorf("activity %d: %w", at.id, errGarbled)
			continue
		}
		size += len(changes)
		if n := len(p.Activities); n == limit || n > 0 && size > maxPageBytes {
			p.Next = before.cursor(kindActivities, true)
			return garbled
		}
		a.At = time.UnixMilli(at.at).UTC()
		p.Activities = append(p.Activities, a)
		before = at
	}
	return errors.Join(garbled, rows.Err())
}
