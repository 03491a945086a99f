package journal

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// Buckets counts the invocations of one lambda in stretches of time, all of which
// are there, those without any too. Invocations are counted when they are not
// stored, too. What could not be read is named in missing: the counts are too
// small then.
func (j *Journal) Buckets(ctx context.Context, q BucketQuery) (buckets []Bucket, missing []string, err error) {
	first, n, err := q.check()
	if err != nil {
		return nil, nil, err
	}
	size := int64(q.Size / SlotSize)
	sums := make([]sum, n)
	missing, err = j.totals(ctx, sourceKey{q.Account, q.LambdaID}, first*size, (first+int64(n))*size, func(slot int64, s *sum) {
		sums[slot/size-first].add(s)
	})
	if err != nil {
		return nil, nil, err
	}
	buckets = make([]Bucket, n)
	for i := range buckets {
		from := time.Unix((first+int64(i))*size*slotSeconds, 0).UTC()
		buckets[i] = Bucket{
			From: from, To: from.Add(q.Size), Counts: sums[i].states,
			P50: percentile(&sums[i].latency, 0.5), P95: percentile(&sums[i].latency, 0.95), P99: percentile(&sums[i].latency, 0.99),
		}
	}
	return buckets, missing, nil
}

// check gives the number of the first bucket since 1970, and how many there are.
func (q *BucketQuery) check() (first int64, n int, err error) {
	if q.Size <= 0 || q.Size%SlotSize != 0 {
		return 0, 0, lambda.Invalid("bucketSize", "bucketSize is %s: give a multiple of %s", q.Size, SlotSize)
	}
	if _, err := checkPage(q.From, q.To, maxSpan, 0, 0); err != nil {
		return 0, 0, err
	}
	size := q.Size.Milliseconds()
	first = floorDiv(q.From.UnixMilli(), size)
	n = int(ceilDiv(q.To.UnixMilli(), size) - first)
	if n > MaxBuckets {
		return 0, 0, lambda.Invalid("bucketSize", "these would be %d buckets, and %d is the most: give a larger bucketSize, or a shorter time", n, MaxBuckets)
	}
	if first < 0 {
		return 0, 0, lambda.Invalid("startTimestamp", "startTimestamp is before 1970: give a later one")
	}
	return first, n, nil
}

// Totals counts the invocations of an account in a time that is widened to whole
// slots. What could not be read is named in missing, as in Buckets.
func (j *Journal) Totals(ctx context.Context, account string, from, to time.Time) (succeeded, failed int64, missing []string, err error) {
	if _, err := checkPage(from, to, maxSpan, 0, 0); err != nil {
		return 0, 0, nil, err
	}
	missing, err = j.totals(ctx, sourceKey{account: account}, slotOf(from), ceilDiv(to.UnixMilli(), slotSeconds*1000), func(_ int64, s *sum) {
		for i, n := range s.states {
			if States[i] == Succeeded {
				succeeded += n
			} else {
				failed += n
			}
		}
	})
	return succeeded, failed, missing, err
}

// sum is a count of a longer time.
type sum struct {
	states  Counts
	latency [classes]int64
}

func (s *sum) add(more *sum) {
	for i, n := range more.states {
		s.states[i] += n
	}
	for i, n := range more.latency {
		s.latency[i] += n
	}
}

// totals has do add up the slots from first to before end: those of days that
// have a file, from there; the others from where days that had to go left them.
// It names what could not be read.
func (j *Journal) totals(ctx context.Context, key sourceKey, first, end int64, do func(slot int64, s *sum)) (missing []string, err error) {
	err = j.query(ctx, key.account, func(ctx context.Context) (err error) {
		here := map[day]bool{}
		firstDay, lastDay := dayOfSlot(first), dayOfSlot(end-1)
		missing, err = j.days(ctx, firstDay, lastDay, false, func(ctx context.Context, d day, db *sql.DB) error {
			here[d] = true
			return readTotals(ctx, db, key, first, end, do)
		})
		if err != nil {
			return err
		}
		err = j.folder.read(ctx, activityFile, func(ctx context.Context, db *sql.DB) error {
			return readTotals(ctx, db, key, first, end, func(slot int64, s *sum) {
				if !here[dayOfSlot(slot)] {
					do(slot, s)
				}
			})
		})
		missing = append(missing, j.folder.missingTotals(firstDay, lastDay, here)...)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		j.log.Warn().Err(err).Msg("the totals of days that are gone could not be read")
		missing = append(missing, activityFile)
		if isDamage(err) {
			j.keeper.suspect(activityFile)
		}
		return nil
	})
	return missing, err
}

func dayOfSlot(slot int64) day { return day(floorDiv(slot*slotSeconds, 86400)) }

// selectTotals looks for each slot of a lambda on its own: all lambdas' totals of
// a slot are together.
var selectTotals = `WITH RECURSIVE wanted (slot) AS (
		SELECT min(slot) FROM total WHERE slot >= ?2 AND slot < ?3
		UNION ALL SELECT (SELECT min(total.slot) FROM total WHERE total.slot > wanted.slot AND total.slot < ?3) FROM wanted WHERE wanted.slot IS NOT NULL
	)
	SELECT slot, ` + countColumns(", ") + ` FROM wanted CROSS JOIN total USING (slot) WHERE lambda = ?1`

func readTotals(ctx context.Context, db *sql.DB, key sourceKey, first, end int64, do func(slot int64, s *sum)) (err error) {
	sources, err := lambdasOf(ctx, db, `account = ? AND lambda_id = ?`, key.account, key.lambdaID)
	if err != nil || len(sources) == 0 {
		return err
	}
	rows, err := db.QueryContext(ctx, selectTotals, sources[0].id, first, end)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var slot int64
	var s sum
	for rows.Next() {
		if err := rows.Scan(s.columns(&slot)...); err != nil {
			return err
		}
		do(slot, &s)
	}
	return rows.Err()
}

// columns are where the columns of a row of totals go, after those before.
func (s *sum) columns(before ...any) []any {
	for i := range s.states {
		before = append(before, &s.states[i])
	}
	for i := range s.latency {
		before = append(before, &s.latency[i])
	}
	return before
}
