package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// The numbers in a file's head, by which it is known as one of ours.
const (
	applicationID = 0x536c7563 // "Sluc"
	schemaVersion = 1
)

// daySchema are the tables of a day's file.
//
// The id of a block says of which lambda it is and when it was written, so that
// the blocks of a lambda lie side by side in the order of time, and a stretch of
// time is a range of ids: see blockID. The total with the empty lambda_id is that
// of the whole account. Totals are in the order of time, as a batch has those of
// many lambdas and of one slot: they change few pages so.
var daySchema = `
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('written', 0), ('span', 0);
CREATE TABLE block (
	id INTEGER PRIMARY KEY,
	first INTEGER NOT NULL, last INTEGER NOT NULL,
	levels INTEGER NOT NULL, states INTEGER NOT NULL,
	calls BLOB NOT NULL, lines BLOB
);` + totalSchema

var totalSchema = `
CREATE TABLE lambda (id INTEGER PRIMARY KEY, account TEXT NOT NULL, lambda_id TEXT NOT NULL, UNIQUE (account, lambda_id));
CREATE TABLE total (
	slot INTEGER NOT NULL, lambda INTEGER NOT NULL, ` + countColumns(" INTEGER NOT NULL, ") + ` INTEGER NOT NULL,
	PRIMARY KEY (slot, lambda)
) WITHOUT ROWID;`

// countColumns are the columns of a count: one for each State, one for each class.
func countColumns(between string) string {
	names := make([]string, 0, len(States)+classes)
	for i := range States {
		names = append(names, fmt.Sprintf("s%d", i))
	}
	for i := range classes {
		names = append(names, fmt.Sprintf("c%d", i))
	}
	return strings.Join(names, between)
}

func countSet(form string) string {
	columns := strings.Split(countColumns(","), ",")
	for i, c := range columns {
		columns[i] = strings.ReplaceAll(form, "X", c)
	}
	return strings.Join(columns, ", ")
}

var (
	insertBlock = `INSERT INTO block (id, first, last, levels, states, calls, lines) VALUES (?, ?, ?, ?, ?, ?, ?)`
	insertTotal = `INSERT INTO total (slot, lambda, ` + countColumns(", ") + `) VALUES (?, ?` + strings.Repeat(", ?", len(States)+classes) + `)
		ON CONFLICT (slot, lambda) DO UPDATE SET ` + countSet("X = X + excluded.X")
	insertLambda = `INSERT INTO lambda (id, account, lambda_id) VALUES (?, ?, ?)`
	selectLambda = `SELECT id FROM lambda WHERE account = ? AND lambda_id = ?`
	updateMeta   = `UPDATE meta SET value = ? WHERE name = ?`
)

// A block's id, from the highest bit: lambda, milliseconds from the begin of the
// file's day to the batch, number within the batch.
const (
	partBits = 14
	timeBits = 27
	maxPart  = 1<<partBits - 1
	maxTime  = 1<<timeBits - 1

	// latestTime leaves room for batches that come when the day is long over.
	latestTime = 36 * 60 * 60 * 1000
	// maxNamed bounds the table lambda; an id has 22 bits.
	maxNamed = 1_000_000
)

func blockID(lambda, at, part int64) int64 {
	return lambda<<(timeBits+partBits) | min(max(at, 0), maxTime)<<partBits | part
}

func blockTime(id int64) int64 { return id >> partBits & maxTime }

// day is a day since 1970, UTC.
type day int64

func dayOf(t time.Time) day { return day(floorDiv(t.Unix(), 86400)) }

func (d day) start() time.Time { return time.Unix(int64(d)*86400, 0).UTC() }

func (d day) String() string { return d.start().Format(time.DateOnly) }

func (d day) file() string { return d.String() + ".db" }

// parseDay takes the name of a day's file.
func parseDay(file string) (day, bool) {
	t, err := time.Parse(time.DateOnly+".db", file)
	return dayOf(t), err == nil
}

// openDB opens a file with one connection. Settings are PRAGMAs.
func openDB(path string, settings ...string) (*sql.DB, error) {
	settings = append([]string{"busy_timeout(5000)", "trusted_schema(0)", "temp_store(memory)"}, settings...)
	name := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{"_pragma": settings, "mode": {"rw"}}.Encode()}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	db.SetConnMaxIdleTime(0)
	return db, nil
}

// makeFile makes a file if there is none, for this user alone, and takes the
// rights of all others on one that is there. No connection has it open.
func makeFile(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		return errors.Join(f.Close(), syncDir(filepath.Dir(path)))
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file: %w", path, errDamaged)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() != 0 && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d: %w", path, stat.Uid, errDamaged)
	}
	if info.Mode().Perm() != 0o600 {
		return os.Chmod(path, 0o600)
	}
	return nil
}

// syncDir has a new name outlive the loss of power.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// prepare makes the tables of a file that has none.
func prepare(db *sql.DB, schema string) error {
	empty, err := checkVersion(context.Background(), db)
	if err != nil || !empty {
		return err
	}
	_, err = db.Exec(fmt.Sprintf(`BEGIN IMMEDIATE; %s PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT`, schema, applicationID, schemaVersion))
	return err
}

// checkVersion reads the head of a file. A file without tables is empty.
func checkVersion(ctx context.Context, db *sql.DB) (empty bool, err error) {
	var application, version, tables int
	row := db.QueryRowContext(ctx, `SELECT (SELECT application_id FROM pragma_application_id), (SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_schema)`)
	if err := row.Scan(&application, &version, &tables); err != nil {
		return false, err
	}
	switch {
	case tables == 0:
		return true, nil
	case application != applicationID:
		return false, fmt.Errorf("it is a database of another program: %w", errDamaged)
	case version != schemaVersion:
		return false, fmt.Errorf("it has version %d, and this gateway reads version %d: %w", version, schemaVersion, errDamaged)
	}
	return false, nil
}

// errDamaged is in the chain of what cannot be read ever.
var errDamaged = errors.New("it cannot be read as a journal")

// isDamage tells whether err says that the file's content is broken.
func isDamage(err error) bool {
	if errors.Is(err, errDamaged) || errors.Is(err, errGarbled) {
		return true
	}
	switch codeOf(err) {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return true
	}
	return false
}

// codeOf is SQLite's primary code of err, or 0.
func codeOf(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

// dayFile is a day's file that is written to. One goroutine uses it.
type dayFile struct {
	day     day
	path    string
	db      *sql.DB
	info    fs.FileInfo
	conn    *sql.Conn
	stmts   map[string]*sql.Stmt
	named   int64 // the highest lambda id
	written int64 // time of the last batch, as in a block's id
	span    int64 // ms that a batch may be later than what is in it
	dirty   bool  // written to since it was last brought to disk
	used    uint64

	attempts bool          // the file has the table of attempts
	kept     map[int64]int // attempts in it, by account's id, as far as known
}

const pageSize = 4096

// openDay opens the file of a day for writing, and makes it if there is none. Its
// log is brought to disk by the writer itself when it has that many pages.
func openDay(dir string, d day, logPages int64) (*dayFile, error) {
	path := filepath.Join(dir, d.file())
	if err := makeFile(path); err != nil {
		return nil, err
	}
	db, err := openDB(path, fmt.Sprintf("page_size(%d)", pageSize), "journal_mode(wal)", "synchronous(normal)", "cache_size(-8192)",
		fmt.Sprintf("wal_autocheckpoint(%d)", logPages), fmt.Sprintf("journal_size_limit(%d)", logPages*pageSize))
	if err != nil {
		return nil, err
	}
	f := &dayFile{day: d, path: path, db: db, stmts: map[string]*sql.Stmt{}}
	err = f.begin()
	if err == nil {
		f.info, err = os.Lstat(path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), f.close())
	}
	return f, nil
}

func (f *dayFile) begin() (err error) {
	ctx := context.Background()
	if err := prepare(f.db, daySchema); err != nil {
		return err
	}
	if f.conn, err = f.db.Conn(ctx); err != nil {
		return err
	}
	for _, text := range []string{insertBlock, insertTotal, insertLambda, selectLambda, updateMeta} {
		s, err := f.conn.PrepareContext(ctx, text)
		if err != nil {
			return err
		}
		f.stmts[text] = s
	}
	row := f.conn.QueryRowContext(ctx, `SELECT (SELECT coalesce(max(id), 0) FROM lambda), (SELECT value FROM meta WHERE name = 'written'), (SELECT value FROM meta WHERE name = 'span')`)
	return row.Scan(&f.named, &f.written, &f.span)
}

func (f *dayFile) close() error {
	var errs []error
	for _, s := range f.stmts {
		errs = append(errs, s.Close())
	}
	if f.conn != nil {
		errs = append(errs, f.conn.Close())
	}
	return errors.Join(append(errs, f.db.Close())...)
}

func (f *dayFile) exec(text string, args ...any) error {
	_, err := f.stmts[text].Exec(args...)
	return err
}

func (f *dayFile) run(text string) error {
	_, err := f.conn.ExecContext(context.Background(), text)
	return err
}

// idOf gives the id of a source in this file; 0 when the file names too many.
func (f *dayFile) idOf(s *source) (int64, error) {
	if s.file == f {
		return s.id, nil
	}
	id, err := f.nameID(s.sourceKey)
	if err == nil && id != 0 {
		s.file, s.id = f, id
	}
	return id, err
}

func (f *dayFile) nameID(key sourceKey) (id int64, err error) {
	err = f.stmts[selectLambda].QueryRow(key.account, key.lambdaID).Scan(&id)
	if !errors.Is(err, sql.ErrNoRows) || f.named >= maxNamed {
		if errors.Is(err, sql.ErrNoRows) {
			return 0, nil
		}
		return id, err
	}
	f.named++
	return f.named, f.exec(insertLambda, f.named, key.account, key.lambdaID)
}

// part is what a batch has for one day.
type part struct {
	day    day
	items  []*item
	counts []sourceCount
}

// write puts a part into the file in one transaction, without its entries if
// they are not wanted. It gives the number of entries written.
func (f *dayFile) write(p *part, pack *packer, number uint64, now time.Time, wanted bool) (entries int, err error) {
	before := *f
	if err := f.run("BEGIN IMMEDIATE"); err != nil {
		return 0, err
	}
	if wanted {
		entries, err = f.writeBlocks(p, pack, number, now)
	}
	if err == nil {
		err = f.writeTotals(p.counts)
	}
	if err == nil {
		err = f.run("COMMIT")
	}
	if err != nil {
		_ = f.run("ROLLBACK") // which many errors have done already
		f.named, f.written, f.span = before.named, before.written, before.span
		for i := range p.items {
			p.items[i].source.file = nil // it may have been named in vain
		}
		for i := range p.counts {
			p.counts[i].source.file = nil
		}
		return 0, err
	}
	f.dirty = true
	return entries, nil
}

// writeBlocks writes the entries, by lambda.
func (f *dayFile) writeBlocks(p *part, pack *packer, number uint64, now time.Time) (entries int, err error) {
	if len(p.items) == 0 {
		return 0, nil
	}
	begin := f.day.start().UnixMilli()
	at := min(max(now.UnixMilli()-begin, 0), latestTime)
	if at <= f.written {
		at = min(f.written+1, maxTime)
	}
	sources := groupBySource(p.items, number)
	defer func() {
		for _, s := range sources {
			clear(s.group)
			s.group = s.group[:0]
		}
	}()
	span := f.span
	for _, s := range sources {
		id, err := f.idOf(s)
		if err != nil {
			return 0, err
		}
		if id == 0 {
			continue
		}
		n, oldest, err := f.writeSource(s, id, at, begin, pack, now)
		if err != nil {
			return 0, err
		}
		entries += n
		span = max(span, at-(oldest-begin))
	}
	f.written = at
	if err := f.exec(updateMeta, at, "written"); err != nil {
		return 0, err
	}
	if span > f.span {
		f.span = span
		return entries, f.exec(updateMeta, span, "span")
	}
	return entries, nil
}

func (f *dayFile) writeSource(s *source, id, at, begin int64, pack *packer, now time.Time) (entries int, oldest int64, err error) {
	oldest = begin + at
	// A block's time is never before what is in it, or a search would miss it.
	written := time.UnixMilli(min(now.UnixMilli(), begin+at))
	rest := s.group
	for number := int64(0); len(rest) > 0 && number <= maxPart; number++ {
		b, n := pack.pack(rest, written)
		if err := f.exec(insertBlock, blockID(id, at, number), b.first, b.last, b.levels, b.states, b.calls, b.lines); err != nil {
			return 0, 0, err
		}
		rest = rest[n:]
		entries += n
		oldest = min(oldest, b.first)
	}
	return entries, oldest, nil
}

func groupBySource(items []*item, number uint64) (sources []*source) {
	for _, it := range items {
		s := it.source
		if len(s.group) == 0 {
			sources = append(sources, s)
			s.batch = number
		}
		s.group = append(s.group, &it.Entry)
	}
	return sources
}

// writeTotals adds the counts to those of the file, and to their accounts'.
func (f *dayFile) writeTotals(counts []sourceCount) error {
	accounts := map[accountSlot]*count{}
	for i := range counts {
		c := &counts[i]
		id, err := f.idOf(c.source)
		if err != nil {
			return err
		}
		if id != 0 {
			if err := f.writeCount(id, &c.count); err != nil {
				return err
			}
		}
		at := accountSlot{c.source.account, c.count.slot}
		if accounts[at] == nil {
			accounts[at] = &count{slot: c.count.slot}
		}
		accounts[at].add(&c.count)
	}
	for at, c := range accounts {
		id, err := f.nameID(sourceKey{account: at.account})
		if err != nil {
			return err
		}
		if id == 0 {
			continue
		}
		if err := f.writeCount(id, c); err != nil {
			return err
		}
	}
	return nil
}

type accountSlot struct {
	account string
	slot    int64
}

func (f *dayFile) writeCount(id int64, c *count) error {
	args := make([]any, 0, 2+len(States)+classes)
	args = append(args, c.slot, id)
	for _, n := range c.states {
		args = append(args, int64(n))
	}
	for _, n := range c.latency {
		args = append(args, int64(n))
	}
	return f.exec(insertTotal, args...)
}
