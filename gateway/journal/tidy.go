package journal

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"
)

const (
	// pieceRows are changed in the file of activities before who waits to write there
	// has a turn.
	pieceRows = 1_000
	// planned bounds the rows that are looked for before they are deleted.
	planned = 100 * pieceRows
)

// tidy deletes activities from before, totals of days before, and what accounts
// have too much of. What goes is read while others write, and deleted in pieces.
func (b *book) tidy(ctx context.Context, activities time.Time, totals day) error {
	if err := b.drop(ctx, `SELECT id FROM activity WHERE at < ? LIMIT ?`, activities.UnixMilli(), planned); err != nil {
		return err
	}
	if err := b.dropTotals(ctx, int64(totals)*86400/slotSeconds); err != nil {
		return err
	}
	return b.drop(ctx, `SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY account ORDER BY at DESC, id DESC) AS place FROM activity
		WHERE account IN (SELECT account FROM activity GROUP BY account HAVING count(*) > ?1)) WHERE place > ?1 LIMIT ?2`, keptActivities, planned)
}

// piece is do, unless ctx has ended.
func (b *book) piece(ctx context.Context, what func(*sql.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return b.do(what)
}

// drop deletes the activities that a query names, until it names less than planned.
func (b *book) drop(ctx context.Context, which string, args ...any) error {
	for {
		var ids []int64
		err := b.look(ctx, func(ctx context.Context, db *sql.DB) (err error) {
			ids, err = readIDs(ctx, db, which, args...)
			return err
		})
		if err == nil {
			err = b.remove(ctx, ids)
		}
		if err != nil || len(ids) < planned {
			return err
		}
	}
}

// look has do read the file. Nothing is written meanwhile by who calls it: a file
// that is damaged waits for its readers to be set aside.
func (b *book) look(ctx context.Context, do func(context.Context, *sql.DB) error) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	return b.folder.read(ctx, activityFile, do)
}

func readIDs(ctx context.Context, db *sql.DB, which string, args ...any) (ids []int64, err error) {
	rows, err := db.QueryContext(ctx, which, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// remove deletes activities.
func (b *book) remove(ctx context.Context, ids []int64) error {
	for piece := range slices.Chunk(ids, pieceRows) {
		err := b.piece(ctx, func(tx *sql.Tx) error {
			remove, err := tx.Prepare(`DELETE FROM activity WHERE id = ?`)
			for i := 0; err == nil && i < len(piece); i++ {
				_, err = remove.Exec(piece[i])
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// dropTotals deletes the totals of slots before one.
func (b *book) dropTotals(ctx context.Context, before int64) error {
	for gone := int64(pieceRows); gone == pieceRows; {
		err := b.piece(ctx, func(tx *sql.Tx) error {
			result, err := tx.Exec(`DELETE FROM total WHERE (slot, lambda) IN (SELECT slot, lambda FROM total WHERE slot < ? LIMIT ?)`, before, pieceRows)
			if err != nil {
				return err
			}
			gone, err = result.RowsAffected()
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
