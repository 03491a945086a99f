package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// What the attempts of lambdas to reach other hosts are bounded by.
const (
	maxAttempts    = 1 << 14 // that wait to be written; an account has a quarter at most
	keptAttempts   = 100_000 // of an account in a day's file; the oldest go first
	attemptPiece   = 1_000   // that go at once
	maxAttemptText = 300     // bytes of a text of an attempt
)

// attemptSchema is made in a day's file when the first attempt is written to it, so
// that files from before attempts were kept are as good as others. Account and
// lambda are ids of the table lambda: the account's is that of its totals.
const attemptSchema = `
CREATE TABLE IF NOT EXISTS attempt (
	id INTEGER PRIMARY KEY, account INTEGER NOT NULL, lambda INTEGER NOT NULL, at INTEGER NOT NULL,
	host TEXT NOT NULL, port INTEGER NOT NULL, method TEXT NOT NULL, rule TEXT NOT NULL, entry TEXT NOT NULL,
	address TEXT NOT NULL, duration INTEGER NOT NULL, count INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS attempt_of_account ON attempt (account, at);`

const (
	insertAttempt = `INSERT INTO attempt (account, lambda, at, host, port, method, rule, entry, address, duration, count)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	countAttempts = `SELECT count(*) FROM attempt WHERE account = ?`
	cutAttempts   = `DELETE FROM attempt WHERE id IN (SELECT id FROM attempt WHERE account = ? ORDER BY at, id LIMIT ?)`
)

// attempts are those that wait to be written.
type attempts struct {
	mu        sync.Mutex
	items     []lambda.Attempt
	accounts  map[string]int
	closed    bool
	dropped   uint64 // that are in no file: no room, or a write failed
	forgotten uint64 // that went, as their account had too many of the day
	written   uint64
}

// put takes a, and tells whether it is the first, and whether they should be written
// soon.
func (q *attempts) put(a lambda.Attempt) (first, hurry bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.items) >= maxAttempts || q.accounts[a.Account] >= maxAttempts/4 {
		q.dropped += number(a.Count)
		return false, false
	}
	if q.accounts == nil {
		q.accounts = map[string]int{}
	}
	q.accounts[a.Account]++
	q.items = append(q.items, a)
	return len(q.items) == 1, len(q.items) == maxAttempts/2
}

// number is a count as totals have it.
func number(n int) uint64 { return uint64(max(n, 1)) } //nolint:gosec // it is positive

func (q *attempts) take() []lambda.Attempt {
	q.mu.Lock()
	defer q.mu.Unlock()
	items := q.items
	q.items, q.accounts = nil, nil
	return items
}

// settle counts what became of those that were taken.
func (q *attempts) settle(written, dropped, forgotten uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.written += written
	q.dropped += dropped
	q.forgotten += forgotten
}

func (q *attempts) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

// Attempt takes an attempt of a lambda to reach another host. As Add it waits for
// nothing: what finds no room is counted in Stats.
func (j *Journal) Attempt(a lambda.Attempt) {
	if a.At.IsZero() {
		a.At = j.now()
	}
	for _, s := range []*string{&a.Host, &a.Method, &a.Entry} {
		*s = cut(*s, maxAttemptText)
	}
	a.Count = max(a.Count, 1)
	first, hurry := j.writer.attempts.put(a)
	if first {
		signal(j.queue.some)
	}
	if hurry {
		signal(j.queue.hurry)
	}
}

// writeAttempts writes attempts, each to the file of its day. What cannot be written
// is lost, and counted.
func (w *writer) writeAttempts(all []lambda.Attempt) error {
	now := w.now()
	days := map[day][]*lambda.Attempt{}
	for i := range all {
		a := &all[i]
		if a.At.After(now) {
			a.At = now // a clock was set back
		}
		days[dayOf(a.At)] = append(days[dayOf(a.At)], a)
	}
	var failed error
	for d, some := range days {
		var forgotten uint64
		var err error
		if w.refuses(d) {
			w.attempts.settle(0, countOf(some), 0)
			continue
		}
		for range 2 { // what is damaged is set aside and written anew, once
			if forgotten, err = w.tryAttempts(d, some); !isDamage(err) {
				break
			}
			if aside := w.setAside(d, err); aside != nil {
				err = aside
				break
			}
		}
		if err != nil {
			failed = err
			w.attempts.settle(0, countOf(some), 0)
			continue
		}
		w.attempts.settle(countOf(some), 0, forgotten)
		w.since += int64(len(some)) * entryCost
	}
	return failed
}

func countOf(all []*lambda.Attempt) (n uint64) {
	for _, a := range all {
		n += number(a.Count)
	}
	return n
}

func (w *writer) tryAttempts(d day, all []*lambda.Attempt) (forgotten uint64, err error) {
	if err := checkRoom(w.folder.dir, w.reserve); err != nil {
		return 0, err
	}
	f, err := w.file(d)
	if err != nil {
		return 0, err
	}
	return f.writeAttempts(all)
}

// writeAttempts puts attempts into the file in one transaction. It gives the number
// of those that had to go from the file.
func (f *dayFile) writeAttempts(all []*lambda.Attempt) (forgotten uint64, err error) {
	named := f.named
	if err := f.run("BEGIN IMMEDIATE"); err != nil {
		return 0, err
	}
	if !f.attempts {
		err = f.run(attemptSchema)
	}
	if err == nil {
		forgotten, err = f.insertAttempts(all)
	}
	if err == nil {
		err = f.run("COMMIT")
	}
	if err != nil {
		_ = f.run("ROLLBACK") // which many errors have done already
		f.named, f.kept = named, nil
		return 0, err
	}
	f.attempts, f.dirty = true, true
	return forgotten, nil
}

func (f *dayFile) insertAttempts(all []*lambda.Attempt) (forgotten uint64, err error) {
	ctx := context.Background()
	insert, err := f.conn.PrepareContext(ctx, insertAttempt)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, insert.Close()) }()
	ids := map[sourceKey]int64{}
	idOf := func(key sourceKey) (int64, error) {
		if id, ok := ids[key]; ok {
			return id, nil
		}
		id, err := f.nameID(key)
		ids[key] = id
		return id, err
	}
	if f.kept == nil {
		f.kept = map[int64]int{}
	}
	for _, a := range all {
		account, err := idOf(sourceKey{account: a.Account})
		if err != nil {
			return 0, err
		}
		source, err := idOf(sourceKey{a.Account, a.LambdaID})
		if err != nil {
			return 0, err
		}
		if account == 0 || source == 0 {
			forgotten += number(a.Count) // the file names too many
			continue
		}
		if _, known := f.kept[account]; !known {
			var n int
			if err := f.conn.QueryRowContext(ctx, countAttempts, account).Scan(&n); err != nil {
				return 0, err
			}
			f.kept[account] = n
		}
		if f.kept[account] >= keptAttempts {
			if _, err := f.conn.ExecContext(ctx, cutAttempts, account, attemptPiece); err != nil {
				return 0, err
			}
			f.kept[account] -= attemptPiece
			forgotten += attemptPiece
		}
		f.kept[account]++
		address := ""
		if a.Address.IsValid() {
			address = a.Address.String()
		}
		_, err = insert.Exec(account, source, a.At.UnixMilli(), a.Host, a.Port, a.Method, string(a.Rule), a.Entry, address, a.Duration.Microseconds(), a.Count)
		if err != nil {
			return 0, err
		}
	}
	return forgotten, nil
}

// AttemptQuery asks for attempts of one account's lambdas. The newest come first.
type AttemptQuery struct {
	Account  string
	LambdaID string // empty: of all its lambdas
	// From and To bound the time of an attempt: From is in, To is not.
	From, To time.Time
	Verdict  lambda.Verdict      // empty: any
	Rules    []lambda.EgressRule // none: any
	Host     string              // somewhere in the host; empty: any
	Limit    int                 // attempts of a page; 1 to MaxAttempts, 0: DefaultLimit
	Cursor   string              // Next of the page before; empty: the first page
}

// AttemptPage is a part of the answer to an AttemptQuery.
type AttemptPage struct {
	Attempts []lambda.Attempt
	Next     string
	Missing  []string
}

// Attempts gives a page of attempts, the newest first. It fails when ctx ends, when
// the query is wrong, or when it takes too long; what cannot be read is named in the
// page.
func (j *Journal) Attempts(ctx context.Context, q AttemptQuery) (AttemptPage, error) {
	limit, err := checkPage(q.From, q.To, maxSpan, q.Limit, MaxAttempts)
	if err != nil {
		return AttemptPage{}, err
	}
	if err := checkText(q.Host); err != nil {
		return AttemptPage{}, err
	}
	after, err := parseCursor(q.Cursor, kindAttempts, true)
	if err != nil {
		return AttemptPage{}, err
	}
	g := &attemptSearch{query: q, limit: limit, after: after, rules: rulesOf(q)}
	page := AttemptPage{}
	err = j.query(ctx, q.Account, func(ctx context.Context) error {
		first, last := dayOf(q.From), dayOf(q.To.Add(-time.Millisecond))
		if after != nil {
			last = min(last, after.day)
		}
		page.Missing, err = j.days(ctx, first, last, true, g.file)
		return err
	})
	page.Attempts, page.Next = g.found, g.next
	return page, err
}

// rulesOf are the rules that a query asks for, with commas around them; empty for
// all.
func rulesOf(q AttemptQuery) string {
	if q.Verdict == "" && len(q.Rules) == 0 {
		return ""
	}
	wanted := ","
	for _, r := range lambda.EgressRules {
		if (q.Verdict == "" || r.Verdict() == q.Verdict) && (len(q.Rules) == 0 || has(q.Rules, r)) {
			wanted += string(r) + ","
		}
	}
	return wanted
}

func has[T comparable](all []T, one T) bool {
	for _, a := range all {
		if a == one {
			return true
		}
	}
	return false
}

// attemptSearch gathers a page.
type attemptSearch struct {
	query  AttemptQuery
	rules  string
	limit  int
	after  *position
	found  []lambda.Attempt
	last   position // of what was found last
	next   string
	filled bool
}

// file gathers from the file of a day, in which no attempt of another day is.
func (g *attemptSearch) file(ctx context.Context, d day, db *sql.DB) (err error) {
	if g.filled {
		return nil
	}
	var there int
	if err := db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema WHERE name = 'attempt'`).Scan(&there); err != nil || there == 0 {
		return err
	}
	edge := position{at: g.query.To.UnixMilli() - 1, id: 1<<63 - 1}
	if g.after != nil && g.after.day == d && g.after.at <= edge.at {
		edge = *g.after
	}
	rows, err := db.QueryContext(ctx, `SELECT attempt.id, at, lambda.lambda_id, host, port, method, rule, entry, address, duration, count
		FROM attempt JOIN lambda ON lambda.id = attempt.lambda
		WHERE attempt.account = (SELECT id FROM lambda WHERE account = ?1 AND lambda_id = '')
		AND at >= ?2 AND at <= ?3 AND (at < ?3 OR attempt.id < ?4)
		AND ?5 IN ('', lambda.lambda_id) AND (?6 = '' OR instr(?6, ',' || rule || ',') > 0) AND (?7 = '' OR instr(host, ?7) > 0)
		ORDER BY at DESC, attempt.id DESC`,
		g.query.Account, g.query.From.UnixMilli(), edge.at, edge.id, g.query.LambdaID, g.rules, strings.ToLower(g.query.Host))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var garbled error
	for rows.Next() {
		a := lambda.Attempt{Account: g.query.Account}
		at := position{day: d}
		var address string
		var duration int64
		if err := rows.Scan(&at.id, &at.at, &a.LambdaID, &a.Host, &a.Port, &a.Method, &a.Rule, &a.Entry, &address, &duration, &a.Count); err != nil {
			return err
		}
		if address != "" {
			if a.Address, err = netip.ParseAddr(address); err != nil {
				garbled = fmt.Errorf("attempt %d: %w", at.id, errGarbled)
				continue
			}
		}
		if len(g.found) == g.limit {
			g.filled, g.next = true, g.last.cursor(kindAttempts, true)
			return garbled
		}
		a.At, a.Duration = time.UnixMilli(at.at).UTC(), time.Duration(duration)*time.Microsecond
		g.found, g.last = append(g.found, a), at
	}
	return errors.Join(garbled, rows.Err())
}
