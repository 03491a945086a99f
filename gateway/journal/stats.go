package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Stats is how the journal is. Counts are of this run.
type Stats struct {
	Written uint64            // entries that are in the files
	Dropped map[Reason]uint64 // entries that are not, though counted in totals; every Reason is there
	Lost    uint64            // entries that are in no total either
	// DroppedActivities are gone before the limit activity-retention, as their account
	// had more than is kept.
	DroppedActivities uint64
	// Attempts to reach other hosts that are in the files; DroppedAttempts that are
	// not, as there was no room or no way to write them; and ForgottenAttempts that
	// went before their time, as their account had more on a day than is kept.
	Attempts, DroppedAttempts, ForgottenAttempts uint64
	// Queued entries wait to be written, with QueuedBytes.
	Queued      int
	QueuedBytes int64
	Bytes       int64 // of all files, those of activities too, as of the last minute
	// LastError is of the last write; empty when that went well. LastErrorAt is when
	// the last one failed.
	LastError   string
	LastErrorAt time.Time
	Damaged     []string // files that were set aside within a day
}

// Stats tells how the journal is.
func (j *Journal) Stats() Stats {
	s := Stats{Dropped: make(map[Reason]uint64, len(Reasons))}
	q := j.queue
	q.mu.Lock()
	for i, r := range Reasons {
		s.Dropped[r] = q.dropped[i]
	}
	s.Lost, s.Queued, s.QueuedBytes = q.lost, len(q.items), q.bytes
	q.mu.Unlock()

	s.DroppedActivities = j.book.dropped.Load()

	a := &j.writer.attempts
	a.mu.Lock()
	s.Attempts, s.DroppedAttempts, s.ForgottenAttempts = a.written, a.dropped, a.forgotten
	a.mu.Unlock()

	w := j.writer
	w.stats.Lock()
	s.Written, s.LastErrorAt = w.written, w.errAt
	if w.err != nil {
		s.LastError = w.err.Error()
	}
	w.stats.Unlock()

	j.keeper.mu.Lock()
	s.Bytes = j.keeper.bytes
	j.keeper.mu.Unlock()
	for _, d := range j.folder.damaged() {
		s.Damaged = append(s.Damaged, d.name)
	}
	return s
}

// lag is for how long entries may wait until Check speaks of it.
const lag = 5 * time.Second

// Check reports all that is wrong with the journal now: that it cannot be
// written or read, that it is full or behind, and for a day, what was damaged.
func (j *Journal) Check(ctx context.Context) error {
	var faults []error
	w := j.writer
	w.stats.Lock()
	if w.err != nil {
		faults = append(faults, fmt.Errorf("the journal cannot be written, since %s: %w", w.errAt.UTC().Format(time.RFC3339), w.err))
	}
	w.stats.Unlock()
	q := j.queue
	q.mu.Lock()
	if len(q.items) > 0 && !q.failing && j.now().Sub(q.oldest) > lag {
		faults = append(faults, fmt.Errorf("%d invocations wait to be written, the first for %s", len(q.items), j.now().Sub(q.oldest).Round(time.Second)))
	}
	if since := j.now().Sub(q.droppedAt); since >= 0 && since < time.Minute {
		faults = append(faults, fmt.Errorf("invocations were dropped %s ago, as more came than could be written", since.Round(time.Second)))
	}
	q.mu.Unlock()
	j.keeper.mu.Lock()
	if j.keeper.full {
		faults = append(faults, fmt.Errorf("the journal has reached the limit journal-size within a day: raise it, or what is logged until midnight (UTC) is lost"))
	}
	if j.keeper.err != nil {
		faults = append(faults, fmt.Errorf("old files could not be deleted: %w", j.keeper.err))
	}
	j.keeper.mu.Unlock()
	for _, d := range j.folder.damaged() {
		faults = append(faults, fmt.Errorf("a damaged file was set aside as %s: %w", d.name, d.why))
	}
	if err := j.folder.read(ctx, dayOf(j.now()).file(), readable); err != nil {
		faults = append(faults, fmt.Errorf("the journal cannot be read: %w", err))
	}
	return errors.Join(faults...)
}

func readable(ctx context.Context, db *sql.DB) error {
	var written int64
	return db.QueryRowContext(ctx, `SELECT value FROM meta WHERE name = 'written'`).Scan(&written)
}
