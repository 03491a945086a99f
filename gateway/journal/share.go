package journal

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
)

const (
	// keptBytes are what the activities of an account may take, and leastBytes what
	// each takes at least: so there are no more than keptActivities.
	keptBytes  = 64 << 20
	leastBytes = keptBytes / keptActivities
	// tidyAfter is how much may be noted until the keeper looks whether an account
	// has too much.
	tidyAfter = keptBytes / 4
)

// bytesColumn is what an activity takes; noted is the same before it is written.
var bytesColumn = fmt.Sprintf(`max(%d, octet_length(account) + octet_length(by) + octet_length(action) + octet_length(noun) +
	octet_length(thing) + octet_length(name) + octet_length(request) + octet_length(changes))`, leastBytes)

func (a *Activity) noted(changes []byte) int64 {
	n := len(a.Account) + len(a.By) + len(a.Action) + len(a.Noun) + len(a.ID) + len(a.Name) + len(a.RequestID) + len(changes)
	return int64(max(leastBytes, n))
}

// shares are the bytes of activities by who did them.
type shares map[string]int64

// level deletes what accounts have more than keptBytes of. The oldest of who has
// most go first: nobody drives out what others did, nor all traces of what they
// did themselves but by doing as much again.
func (b *book) level(ctx context.Context) error {
	accounts := map[string]shares{}
	err := b.look(ctx, func(ctx context.Context, db *sql.DB) error { return readShares(ctx, db, accounts) })
	if err != nil {
		return err
	}
	for account, own := range accounts {
		if excess := own.excess(keptBytes); len(excess) > 0 {
			if err := b.cutShares(ctx, account, excess); err != nil {
				return err
			}
		}
	}
	return nil
}

func readShares(ctx context.Context, db *sql.DB, accounts map[string]shares) (err error) {
	rows, err := db.QueryContext(ctx, `SELECT account, by, `+bytesColumn+` FROM activity`)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var account, by sql.RawBytes
		var n int64
		if err := rows.Scan(&account, &by, &n); err != nil {
			return err
		}
		own := accounts[string(account)]
		if own == nil {
			own = shares{}
			accounts[string(account)] = own
		}
		own[string(by)] += n
	}
	return rows.Err()
}

// excess is what each has more than the others leave of most: nobody has more
// than a level then, and all together have most.
func (s shares) excess(most int64) shares {
	sizes := slices.Sorted(maps.Values(s))
	level := most
	for i, size := range sizes {
		level = most / int64(len(sizes)-i)
		if size > level {
			break
		}
		most -= size
	}
	excess := shares{}
	for by, size := range s {
		if size > level {
			excess[by] = size - level
		}
	}
	return excess
}

// cutShares deletes the oldest activities of an account until nobody has any excess.
func (b *book) cutShares(ctx context.Context, account string, excess shares) error {
	worst := excess.most()
	bytes := excess[worst]
	var all int64
	for {
		var ids []int64
		err := b.look(ctx, func(ctx context.Context, db *sql.DB) (err error) {
			ids, err = readExcess(ctx, db, account, excess)
			return err
		})
		if err == nil {
			var gone int64
			gone, err = b.remove(ctx, ids)
			all += gone
			b.dropped.Add(uint64(gone)) //nolint:gosec // it is a number of rows
		}
		if err != nil {
			return err
		}
		if len(ids) < planned {
			break
		}
	}
	b.folder.log.Warn().Str("account", account).Int64("activities", all).Str("by", worst).Int64("bytes", bytes).
		Msg("an account has more activities than are kept: the oldest of who has most went before the limit activity-retention")
	return nil
}

// most is who has most.
func (s shares) most() string {
	return slices.MaxFunc(slices.Sorted(maps.Keys(s)), func(a, b string) int { return cmp.Compare(s[a], s[b]) })
}

// readExcess finds the oldest that are in excess, planned at most, and takes them from it.
func readExcess(ctx context.Context, db *sql.DB, account string, excess shares) (ids []int64, err error) {
	rows, err := db.QueryContext(ctx, `SELECT id, by, `+bytesColumn+` FROM activity WHERE account = ? ORDER BY at, id`, account)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for len(excess) > 0 && len(ids) < planned && rows.Next() {
		var id, n int64
		var by sql.RawBytes
		if err := rows.Scan(&id, &by, &n); err != nil {
			return nil, err
		}
		left, ok := excess[string(by)]
		if !ok {
			continue
		}
		ids = append(ids, id)
		if excess[string(by)] = left - n; left <= n {
			delete(excess, string(by))
		}
	}
	return ids, rows.Err()
}
