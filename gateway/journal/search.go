package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

const (
	// maxQueries run at once, and maxOfAccount of them for one account, so that none
	// keeps the others out; more wait.
	maxQueries   = 4
	maxOfAccount = maxQueries - 1
	// queryTime is what a query may take, beside its context's deadline.
	queryTime = 30 * time.Second
	// maxText bounds what is looked for: letters have up to 4 bytes.
	maxText = maxLetters * utf8.UTFMax
	// maxLetters is what the API takes of a text.
	maxLetters = 500
	// maxSpan bounds the time of a query that reads days' files, and maxActivitySpan
	// of one for activities, which are kept for ten years at most.
	maxSpan         = 400 * 24 * time.Hour
	maxActivitySpan = 3660 * 24 * time.Hour
)

// search is a walk over the blocks of an account.
type search struct {
	account, lambdaID string
	from, to          int64 // ms since 1970
	newest            bool
	levels, states    int64 // sets; a block without any of either is not visited
	full              func(at int64) bool
	visit             func(*found) error
}

// found is a block that a search visits. Its texts are packed, and gone when the
// next one is visited.
type found struct {
	day          day
	id           int64
	lambdaID     string
	calls, lines sql.RawBytes
}

// query runs one of an account that reads days' files: not too many at once, and
// for not too long.
func (j *Journal) query(ctx context.Context, account string, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, queryTime)
	defer cancel()
	defer context.AfterFunc(j.ctx, cancel)()
	end, err := j.queries.begin(ctx, account)
	if err == nil {
		defer end()
	}
	if j.closed() {
		return errClosed
	}
	if err != nil {
		return tooSlow(ctx.Err())
	}
	err = do(ctx)
	switch {
	case err != nil && j.closed():
		return errClosed
	case err != nil && ctx.Err() != nil:
		return tooSlow(ctx.Err())
	}
	return err
}

func tooSlow(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return &lambda.Error{
		Kind: lambda.KindUnavailable, Code: lambda.CodeUnavailable, Phase: lambda.PhaseRequest, RetryAfter: 5 * time.Second, Err: err,
		Message: "The journal could not be searched in time. Ask for one lambda, or for a shorter time.",
	}
}

// days has do read the file of each day from first to last that has one. It
// gives the names of those that could not be read.
func (j *Journal) days(ctx context.Context, first, last day, newest bool, do func(context.Context, day, *sql.DB) error) (missing []string, err error) {
	var suspects []string
	days := j.folder.days()
	if newest {
		slices.Reverse(days)
	}
	for _, d := range days {
		if d < first || d > last {
			continue
		}
		err := j.folder.read(ctx, d.file(), func(ctx context.Context, db *sql.DB) error { return do(ctx, d, db) })
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			j.log.Warn().Err(err).Str("file", j.folder.path(d.file())).Msg("a file of the journal could not be read")
			missing = append(missing, d.file())
			if isDamage(err) && !errors.Is(err, errGarbled) {
				suspects = append(suspects, d.file())
			}
		}
	}
	// What is set aside meanwhile is missing, too.
	missing = append(missing, j.folder.missing(first, last)...)
	slices.Sort(missing)
	j.keeper.suspect(suspects...)
	return missing, nil
}

// run walks. What began before midnight may have lines of after it.
func (j *Journal) run(ctx context.Context, s *search) (missing []string, err error) {
	first, last := dayOf(time.UnixMilli(s.from))-1, dayOf(time.UnixMilli(s.to-1))
	return j.days(ctx, first, last, s.newest, func(ctx context.Context, d day, db *sql.DB) error {
		return s.file(ctx, d, db)
	})
}

// file visits the blocks of a day's file.
func (s *search) file(ctx context.Context, d day, db *sql.DB) error {
	var written, span int64
	row := db.QueryRowContext(ctx, `SELECT (SELECT value FROM meta WHERE name = 'written'), (SELECT value FROM meta WHERE name = 'span')`)
	if err := row.Scan(&written, &span); err != nil {
		return err
	}
	sources, err := s.sources(ctx, db)
	if err != nil {
		return err
	}
	order := "ASC"
	if s.newest {
		order = "DESC"
	}
	blocks, err := db.PrepareContext(ctx, `SELECT id, calls, lines FROM block
		WHERE id BETWEEN ? AND ? AND last >= ? AND first < ? AND levels & ? AND states & ? ORDER BY id `+order)
	if err != nil {
		return err
	}
	defer func() { _ = blocks.Close() }()
	var garbled error
	begin := d.start().UnixMilli()
	for _, source := range sources {
		// Nothing in a block is later than the block, nor earlier by more than span.
		least, most := blockID(source.id, s.from-begin, 0), blockID(source.id, s.to-begin+span, maxPart)
		rows, err := blocks.QueryContext(ctx, least, most, s.from, s.to, s.levels, s.states)
		if err != nil {
			return err
		}
		err = s.blocks(rows, &found{day: d, lambdaID: source.lambdaID}, begin, span)
		if err = errors.Join(err, rows.Close()); err != nil && !errors.Is(err, errGarbled) {
			return err
		}
		garbled = errors.Join(garbled, err)
	}
	return garbled
}

// blocks visits the blocks that rows gives. One that is garbled is left out; the
// error says so at the end.
func (s *search) blocks(rows *sql.Rows, b *found, begin, span int64) error {
	var garbled error
	for rows.Next() {
		if err := rows.Scan(&b.id, &b.calls, &b.lines); err != nil {
			return err
		}
		edge := begin + blockTime(b.id)
		if !s.newest {
			edge -= span
		}
		if s.full(edge) {
			return garbled
		}
		if err := s.visit(b); err != nil {
			garbled = fmt.Errorf("block %d: %w", b.id, err)
		}
	}
	return errors.Join(garbled, rows.Err())
}

// named is a lambda in a file.
type named struct {
	id       int64
	lambdaID string
}

// sources are the lambdas of a file that the search is about.
func (s *search) sources(ctx context.Context, db *sql.DB) (all []named, err error) {
	return lambdasOf(ctx, db, `account = ? AND lambda_id <> '' AND ? IN ('', lambda_id)`, s.account, s.lambdaID)
}

func lambdasOf(ctx context.Context, db *sql.DB, where string, args ...any) (all []named, err error) {
	rows, err := db.QueryContext(ctx, `SELECT id, lambda_id FROM lambda WHERE `+where, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var n named
		if err := rows.Scan(&n.id, &n.lambdaID); err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, rows.Err()
}

// checkPage checks what queries have in common, and gives the limit.
func checkPage(from, to time.Time, longest time.Duration, limit, most int) (int, error) {
	switch {
	case !from.Before(to):
		return 0, lambda.Invalid("endTimestamp", "the end of the time must be after its start: give a later endTimestamp, or an earlier startTimestamp")
	case to.Sub(from) > longest:
		return 0, lambda.Invalid("startTimestamp", "the time is longer than %d days: give a later startTimestamp, or an earlier endTimestamp", int(longest.Hours()/24))
	case limit < 0 || limit > most:
		return 0, lambda.Invalid("limit", "limit is %d: give 1 to %d, or 0 for %d", limit, most, DefaultLimit)
	case limit == 0:
		return DefaultLimit, nil
	}
	return limit, nil
}

func checkText(text string) error {
	if len(text) > maxText {
		return lambda.Invalid("text", "text has %d bytes, and %d is the most: give no more than %d letters", len(text), maxText, maxLetters)
	}
	return nil
}
