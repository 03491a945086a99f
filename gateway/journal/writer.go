package journal

import (
	"context"
	"os"
	"slices"
	"sync"
	"time"

	sqlite3 "modernc.org/sqlite/lib"
)

const (
	// gather is how long entries wait for others to be written with.
	gather = 200 * time.Millisecond
	// syncAfter bounds what the loss of power costs: the entries of that time.
	// Nothing that was written is lost with the process.
	syncAfter = 5 * time.Second
	closeIdle = time.Minute

	minBackoff = 500 * time.Millisecond
	maxBackoff = 15 * time.Second

	openFiles = 2 // that stay open for writing: those of today and, after midnight, of yesterday
)

// writer puts what is in the queue into the files.
type writer struct {
	queue   *queue
	folder  *folder
	reserve uint64 // bytes of the disk that are for others
	// logPages is what a file's log grows to, if it is not brought to disk before.
	logPages int64
	now      func() time.Time
	kick     func() // has the keeper look at the size of the files

	mu       sync.Mutex // held by who writes days' files, or takes one away
	files    []*dayFile
	pack     *packer
	batch    batch    // empty between batches
	attempts attempts // that wait, beside the queue
	number   uint64   // of the last batch
	backoff  time.Duration
	full     bool  // the newest file takes no entries: the keeper says so
	since    int64 // bytes written since the keeper was told

	stats   sync.Mutex
	written uint64
	err     error // of the last write that failed; nil when the last one did not
	errAt   time.Time
	at      time.Time // of the last write that did not fail
}

// run writes until stop is closed, and then what is left. Between batches it
// sleeps.
func (w *writer) run(stop <-chan struct{}, flushes <-chan chan struct{}) {
	ticker := time.NewTicker(closeIdle)
	defer ticker.Stop()
	for {
		var flushed chan struct{}
		select {
		case <-stop:
			w.backoff = 0
			w.writeBatch()
			w.close()
			return
		case flushed = <-flushes:
		case <-ticker.C:
			w.closeYesterday()
			continue
		case <-w.queue.some:
			flushed = w.wait(stop, flushes, max(gather, w.backoff))
		}
		w.writeBatch()
		if flushed != nil {
			close(flushed)
		}
	}
}

// wait ends when the batch should be written.
func (w *writer) wait(stop <-chan struct{}, flushes <-chan chan struct{}, d time.Duration) chan struct{} {
	timer := time.NewTimer(d)
	defer timer.Stop()
	hurry := w.queue.hurry
	if w.backoff > 0 {
		hurry = nil // it would not help
	}
	select {
	case <-timer.C:
	case <-stop:
	case <-hurry:
	case flushed := <-flushes:
		return flushed
	}
	return nil
}

// writeBatch writes everything that is in the queue.
func (w *writer) writeBatch() {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := &w.batch
	w.queue.take(b)
	defer b.forget()
	attempts := w.attempts.take()
	if b.empty() && len(attempts) == 0 {
		return
	}
	w.number++
	var failed error
	for _, p := range split(b, w.now()) {
		if err := w.writePart(p); err != nil {
			failed = err
		}
	}
	if err := w.writeAttempts(attempts); err != nil {
		failed = err
	}
	w.settle(failed)
	w.closeOld()
	w.queue.forget(w.number - min(w.number, 20))
	if w.since += b.bytes; w.since > 1<<20 {
		w.since = 0
		w.kick()
	}
}

// split sorts what is in a batch by day.
func split(b *batch, now time.Time) (parts []*part) {
	of := func(d day) *part {
		for _, p := range parts {
			if p.day == d {
				return p
			}
		}
		parts = append(parts, &part{day: d})
		return parts[len(parts)-1]
	}
	for i := range b.items {
		it := &b.items[i]
		if it.At.After(now) {
			it.At = now // a clock was set back
		}
		p := of(dayOf(it.At))
		p.items = append(p.items, it)
	}
	for _, c := range b.counts {
		c.count.slot = min(c.count.slot, slotOf(now))
		p := of(day(floorDiv(c.count.slot*slotSeconds, 86400)))
		p.counts = append(p.counts, c)
	}
	return parts
}

// writePart writes what is of one day. What is damaged is set aside and written
// anew, once.
func (w *writer) writePart(p *part) error {
	var err error
	for range 2 {
		var n int
		if n, err = w.tryPart(p); err == nil {
			w.wrote(n)
			w.queue.drop(len(p.items)-n, w.whyNot(p.day))
			return nil
		}
		if !isDamage(err) {
			break
		}
		if aside := w.setAside(p.day, err); aside != nil {
			err = aside
			break
		}
	}
	w.queue.putBack(p.counts, len(p.items), DroppedDisk)
	return err
}

// whyNot is why entries of a batch that was written are not in it.
func (w *writer) whyNot(d day) Reason {
	if w.refuses(d) {
		return DroppedSize
	}
	return DroppedLambdas
}

func (w *writer) tryPart(p *part) (int, error) {
	if err := checkRoom(w.folder.dir, w.reserve); err != nil {
		return 0, err
	}
	f, err := w.file(p.day)
	if err != nil {
		return 0, err
	}
	return f.write(p, w.pack, w.number, w.now(), !w.refuses(p.day))
}

// refuses tells whether no entries are written to the file of d.
func (w *writer) refuses(d day) bool { return w.full && d >= dayOf(w.now()) }

// file gives the open file of a day.
func (w *writer) file(d day) (*dayFile, error) {
	for i, f := range w.files {
		if f.day != d {
			continue
		}
		if f.isThere() {
			f.used = w.number
			return f, nil
		}
		// Somebody deleted it: what is written to it would be nowhere.
		w.files = slices.Delete(w.files, i, i+1)
		_ = f.close()
		break
	}
	f, err := openDay(w.folder.dir, d, w.logPages)
	if err != nil {
		return nil, err
	}
	f.used = w.number
	w.files = append(w.files, f)
	w.folder.has(d.file())
	w.kick() // another day makes old what was not
	return f, nil
}

// setAside takes a day's file out of use.
func (w *writer) setAside(d day, why error) error {
	w.closeFile(d)
	return w.folder.setAside(d.file(), why)
}

func (w *writer) closeFile(d day) {
	w.files = slices.DeleteFunc(w.files, func(f *dayFile) bool {
		if f.day == d {
			_ = f.close() // what it cannot write now, it has in its log
		}
		return f.day == d
	})
}

// closeOld closes the files that have not been written to for longest.
func (w *writer) closeOld() {
	for len(w.files) > openFiles {
		oldest := slices.MinFunc(w.files, func(a, b *dayFile) int { return int(a.day - b.day) })
		w.closeFile(oldest.day)
	}
}

// remove deletes the file of a day.
func (w *writer) remove(d day) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closeFile(d)
	return w.folder.remove(d.file())
}

// condemn sets the file of a day aside that a reader found damaged.
func (w *writer) condemn(d day, why error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.setAside(d, why)
}

// fill says whether the newest day's file is too large to be written to.
func (w *writer) fill(full bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.full = full
}

// closeYesterday closes the file of a day that is over, when it gets nothing more.
func (w *writer) closeYesterday() {
	w.mu.Lock()
	defer w.mu.Unlock()
	today := dayOf(w.now())
	for _, f := range slices.Clone(w.files) {
		if f.day < today && f.used+1 < w.number {
			w.closeFile(f.day)
		}
	}
}

// sync has the kernel bring to disk what was written, until ctx ends. It does so
// beside the writer, who waits for no disk: entries that come meanwhile would be
// lost with the process.
func (w *writer) sync(ctx context.Context) {
	ticker := time.NewTicker(syncAfter)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			w.syncFiles(ctx)
		}
	}
}

func (w *writer) syncFiles(ctx context.Context) {
	for _, d := range w.takeDirty() {
		if err := w.folder.checkpoint(ctx, d.file()); err != nil && ctx.Err() == nil {
			w.folder.log.Warn().Err(err).Str("file", w.folder.path(d.file())).Msg("a file of the journal was not brought to disk")
		}
	}
}

// takeDirty gives the days whose files were written to since it was last asked.
func (w *writer) takeDirty() (days []day) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.files {
		if f.dirty {
			days = append(days, f.day)
		}
		f.dirty = false
	}
	return days
}

func (w *writer) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closeAll()
}

func (w *writer) wrote(n int) {
	w.stats.Lock()
	defer w.stats.Unlock()
	w.written += uint64(n)
}

// settle notes how a batch went. After a failure the next one waits for longer
// and longer.
func (w *writer) settle(err error) {
	w.stats.Lock()
	before := w.err
	w.err = err
	if err == nil {
		w.at = w.now()
	} else {
		w.errAt = w.now()
	}
	w.stats.Unlock()
	w.queue.fails(err != nil)
	switch {
	case err != nil:
		w.backoff = min(max(minBackoff, 2*w.backoff), maxBackoff)
		signal(w.queue.some) // the counts wait in it
		if before == nil {
			w.folder.log.Error().Err(err).Str("folder", w.folder.dir).Msg("the journal cannot be written: invocations are counted, and what they log is lost")
		}
		if !isFull(err) {
			w.closeAll() // what is wrong may be with the connection
		}
	case before != nil:
		w.backoff = 0
		w.folder.log.Info().Str("folder", w.folder.dir).Msg("the journal is written again")
	}
}

func (w *writer) closeAll() {
	for len(w.files) > 0 {
		w.closeFile(w.files[0].day)
	}
}

func isFull(err error) bool { return codeOf(err) == sqlite3.SQLITE_FULL }

// isThere tells whether the file still has its name.
func (f *dayFile) isThere() bool {
	info, err := os.Lstat(f.path)
	return err == nil && os.SameFile(info, f.info)
}
