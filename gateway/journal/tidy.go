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
	return b.level(ctx)
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
			_, err = b.remove(ctx, ids)
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

// remove deletes activities, and tells how many there were.
func (b *book) remove(ctx context.Context, ids []int64) (gone int64, err error) {
	for piece := range slices.Chunk(ids, pieceRows) {
		var n int64
		err := b.piece(ctx, func(tx *sql.Tx) (err error) {
			n, err = removeIn(tx, piece)
			return err
		})
		if err != nil {
			return gone, err
		}
		gone += n
	}
	return gone, nil
}

func removeIn(tx *sql.Tx, ids []int64) (gone int64, err error) {
	remove, err := tx.Prepare(`DELETE FROM activity WHERE id = ?`)
	if err != nil {
		return 0, err
	}
	for _, id := range ids {
		result, err := remove.Exec(id)
		if err != nil {
			return 0, err
		}
		n, err := result.RowsAffected()
		if err != nil {
			return 0, err
		}
		gone += n
	}
	return gone, nil
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
