package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

const (
	// keepEvery is how often the keeper looks, when nobody asks it to.
	keepEvery = time.Minute
	// settled is how long a day is over before its file may go because of its size:
	// what began before midnight is written then.
	settled = 10 * time.Minute
	// keptTotals is the days for which an account's total can be told, whatever
	// happens to the days' files: a month, and what time zones may add.
	keptTotals = 33
	// checkTime bounds the check of a file that a reader found damaged.
	checkTime = 5 * time.Minute
)

// keeper deletes what is old, or too much, and sets aside what is damaged.
type keeper struct {
	folder    *folder
	writer    *writer
	book      *book
	log       zerolog.Logger
	now       func() time.Time
	kicked    chan struct{}
	retention int // days
	activity  time.Duration
	most      int64 // bytes of the days' files

	mu       sync.Mutex
	suspects map[string]struct{} // files that readers found damaged
	bytes    int64
	full     bool
	err      error // of the last time
}

// run keeps until ctx ends.
func (k *keeper) run(ctx context.Context) {
	ticker := time.NewTicker(keepEvery)
	defer ticker.Stop()
	tidied := time.Time{}
	for {
		k.look(ctx)
		if now := k.now(); now.Sub(tidied) > time.Hour || now.Before(tidied) || k.book.grown.Load() > tidyAfter {
			tidied = now
			k.tidy(ctx, now)
		}
		select {
		case <-ctx.Done():
			return
		case <-k.kicked:
		case <-ticker.C:
		}
	}
}

func (k *keeper) kick() { signal(k.kicked) }

// suspect has files checked that a reader found damaged.
func (k *keeper) suspect(names ...string) {
	if len(names) == 0 {
		return
	}
	k.mu.Lock()
	for _, name := range names {
		k.suspects[name] = struct{}{}
	}
	k.mu.Unlock()
	k.kick()
}

// look does what is to be done now.
func (k *keeper) look(ctx context.Context) {
	k.judge(ctx)
	err := k.prune(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil && k.err == nil {
		k.log.Error().Err(err).Str("folder", k.folder.dir).Msg("old files of the journal could not be deleted")
	}
	k.err = err
}

// judge checks the files that readers found damaged, and sets aside those that are.
func (k *keeper) judge(ctx context.Context) {
	k.mu.Lock()
	suspects := k.suspects
	k.suspects = map[string]struct{}{}
	k.mu.Unlock()
	for name := range suspects {
		why := k.folder.check(ctx, name)
		if !isDamage(why) {
			continue
		}
		var err error
		if d, ok := parseDay(name); ok {
			err = k.writer.condemn(d, why)
		} else {
			err = k.book.condemn(why)
		}
		if err != nil {
			k.log.Error().Err(err).Msg("a damaged file of the journal could not be set aside")
		}
	}
}

// check reads all of a file.
func (f *folder) check(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	return f.read(ctx, name, func(ctx context.Context, db *sql.DB) error {
		var verdict string
		if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
			return err
		}
		if verdict != "ok" {
			return fmt.Errorf("%.200s: %w", verdict, errDamaged)
		}
		return nil
	})
}

// prune deletes the files of days that are too old, and then the oldest until
// the others are not too large.
func (k *keeper) prune(ctx context.Context) error {
	files, _, err := k.folder.list()
	if err != nil {
		return err
	}
	now := k.now()
	var size, current int64
	for _, f := range files {
		size += f.bytes
		if f.day >= dayOf(now) && !f.aside {
			current += f.bytes
		}
	}
	oldest, kept := dayOf(now)-day(k.retention), dayOf(now.Add(-settled))
	aside := 0
	for _, f := range files {
		if f.aside {
			aside++
		}
	}
	for _, f := range files {
		old := f.day < oldest
		if !old && (size <= k.most || f.day >= kept && !f.aside) && (!f.aside || aside <= maxAside) {
			continue
		}
		if err := k.remove(ctx, f, old); err != nil {
			return err
		}
		size -= f.bytes
		if f.aside {
			aside--
		}
	}
	// Yesterday's file may be on its way out: that is no reason to drop today's entries.
	full := current > k.most
	k.writer.fill(full)
	_, all, err := k.folder.list()
	k.mu.Lock()
	defer k.mu.Unlock()
	if full && !k.full {
		k.log.Error().Int64("bytes", size).Int64("limit", k.most).Msg("the journal has reached the limit journal-size within a day: invocations are counted, and what they log is lost until the day is over")
	}
	k.bytes, k.full = all, full
	return err
}

// remove deletes a file, but not its totals.
func (k *keeper) remove(ctx context.Context, f stored, old bool) error {
	why := "it is older than the limit log-retention"
	if !old {
		why = "the limit journal-size is reached"
	}
	k.log.Info().Str("file", k.folder.path(f.name)).Int64("bytes", f.bytes).Str("why", why).Msg("a file of the journal is deleted")
	if f.aside {
		return k.folder.remove(f.name)
	}
	if f.day > dayOf(k.now())-keptTotals {
		rows, err := k.folder.totalsOf(ctx, f.name)
		if err == nil {
			err = k.book.keep(ctx, rows)
		}
		if err != nil {
			k.log.Warn().Err(err).Str("file", k.folder.path(f.name)).Msg("the totals of a day are lost with its file")
		}
	}
	return k.writer.remove(f.day)
}

// maxKeptRows bounds the totals that outlive a day's file, and the memory to
// move them.
const maxKeptRows = 200_000

type keptTotal struct {
	key  sourceKey
	slot int64
	sum  sum
}

// totalsOf reads the totals of a day: all, or those of accounts if these are too
// many.
func (f *folder) totalsOf(ctx context.Context, name string) (kept []keptTotal, err error) {
	err = f.read(ctx, name, func(ctx context.Context, db *sql.DB) error {
		var n int
		if err := db.QueryRowContext(ctx, "SELECT count(*) FROM total").Scan(&n); err != nil {
			return err
		}
		where := ""
		if n > maxKeptRows {
			where = " WHERE lambda_id = ''"
		}
		rows, err := db.QueryContext(ctx, `SELECT account, lambda_id, slot, `+countColumns(", ")+` FROM total JOIN lambda ON lambda.id = lambda`+where+` LIMIT ?`, maxKeptRows)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, rows.Close()) }()
		for rows.Next() {
			var t keptTotal
			if err := rows.Scan(t.sum.columns(&t.key.account, &t.key.lambdaID, &t.slot)...); err != nil {
				return err
			}
			kept = append(kept, t)
		}
		return rows.Err()
	})
	return kept, err
}

// tidy deletes what is old, or too much, in the file of activities.
func (k *keeper) tidy(ctx context.Context, now time.Time) {
	k.book.grown.Store(0)
	err := k.book.tidy(ctx, now.Add(-k.activity), dayOf(now)-keptTotals)
	if err == nil || ctx.Err() != nil {
		return
	}
	k.log.Error().Err(err).Msg("old activities could not be deleted")
	if isDamage(err) {
		k.suspect(activityFile)
	}
}
