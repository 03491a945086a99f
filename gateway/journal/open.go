package journal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// Config is what a Journal is made of. Dir and Limits are required.
type Config struct {
	Dir    string // made if need be, for this user alone
	Log    zerolog.Logger
	Limits lambda.Limits
	// Reserve is how many bytes of its disk entries leave to others, who fare worse
	// on a full one. Activities, of which an account has 64 MiB at most, are written
	// all the same.
	Reserve uint64
	Now     func() time.Time // default time.Now
}

// Journal is the store of invocations and activities. Its methods are safe for
// concurrent use. One process at a time has a folder open.
type Journal struct {
	log     zerolog.Logger
	now     func() time.Time
	folder  *folder
	queue   *queue
	writer  *writer
	book    *book
	keeper  *keeper
	hub     *hub
	queries *turns
	flushes chan chan struct{}

	ctx  context.Context // ends when the journal closes
	end  context.CancelFunc
	stop <-chan struct{} // closed then
	once sync.Once
	work sync.WaitGroup
}

var errClosed = errors.New("the journal is closed")

// Open opens the journal in c.Dir. A file that cannot be read is set aside, and
// does not keep it from opening: only a folder that cannot be used does.
func Open(c Config) (*Journal, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	f, err := openFolder(c)
	if err != nil {
		return nil, fmt.Errorf("the journal's folder %s cannot be used: %w", c.Dir, err)
	}
	ctx, end := context.WithCancel(context.Background())
	j := &Journal{
		ctx: ctx, end: end, stop: ctx.Done(),
		log: c.Log, now: c.Now, folder: f, queue: newQueue(), book: newBook(f, c.Now), hub: newHub(),
		queries: newTurns(maxQueries, maxOfAccount), flushes: make(chan chan struct{}),
	}
	j.keeper = &keeper{
		folder: f, book: j.book, log: c.Log, now: c.Now, kicked: make(chan struct{}, 1), suspects: map[string]struct{}{},
		retention: int(c.Limits.LogRetention / (24 * time.Hour)), activity: c.Limits.ActivityRetention, most: int64(c.Limits.JournalSize) << 20,
	}
	j.book.kick = j.keeper.kick
	j.writer = &writer{queue: j.queue, folder: f, reserve: c.Reserve, logPages: logPages(j.keeper.most), now: c.Now, kick: j.keeper.kick, pack: newPacker()}
	j.keeper.writer = j.writer
	if err := j.inspect(); err != nil {
		end()
		return nil, err
	}
	j.work.Go(func() { j.writer.run(j.stop, j.flushes) })
	j.work.Go(func() { j.writer.sync(ctx) })
	j.work.Go(func() { j.book.run(j.stop) })
	j.work.Go(func() { j.keeper.run(ctx) })
	j.work.Go(func() { j.hub.run(j.stop) })
	return j, nil
}

// logPages is a sixteenth of what the days' files may take, but no more than 16 MiB.
func logPages(most int64) int64 { return max(min(most/16, 16<<20)/pageSize, 16) }

// inspect opens every file once, and sets those aside that are none of ours.
func (j *Journal) inspect() error {
	names := []string{activityFile}
	for _, d := range j.folder.days() {
		names = append(names, d.file())
	}
	for _, name := range names {
		if err := j.inspectFile(name); err != nil {
			return err
		}
	}
	return nil
}

func (j *Journal) inspectFile(name string) error {
	err := j.folder.usable(name)
	if isDamage(err) {
		return j.folder.setAside(name, err)
	}
	if err != nil {
		j.log.Warn().Err(err).Str("file", j.folder.path(name)).Msg("a file of the journal could not be read")
	}
	return nil
}

// Close ends queries, writes what waits and closes the files. When ctx ends first, it gives up
// waiting, and the rest is done without it. What is added later is dropped.
func (j *Journal) Close(ctx context.Context) error {
	j.once.Do(func() {
		j.queue.close()
		j.writer.attempts.close()
		j.end()
	})
	done := make(chan struct{})
	go func() {
		j.work.Wait()
		j.book.close() // the keeper may have opened it late
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close the journal: %w", ctx.Err())
	}
}

// closed tells whether Close was called.
func (j *Journal) closed() bool {
	select {
	case <-j.stop:
		return true
	default:
		return false
	}
}

// Add takes an entry; it and what it points to belong to the journal from then
// on. It waits for nothing: entries are written together, a fifth of a second
// later, and are in the files then, whatever becomes of the process. The loss of
// power costs those of the last seconds. When more come than can be written,
// or nothing can be, they are counted and dropped; see Stats.
func (j *Journal) Add(e Entry) {
	if e.LambdaID == "" {
		e.LambdaID = noLambda
	}
	if e.At.IsZero() {
		e.At = j.now()
	}
	j.queue.add(&e, j.now)
	if j.hub.open.Load() > 0 && len(e.Logs) > 0 {
		tailed := e
		j.hub.offer(&tailed)
	}
}

// noLambda is the id of what has none: the empty one means the whole account.
const noLambda = "-"

// Flush waits until what was added before is written, or dropped.
func (j *Journal) Flush(ctx context.Context) error {
	flushed := make(chan struct{})
	select {
	case j.flushes <- flushed:
	case <-j.stop:
		return errClosed
	case <-ctx.Done():
		return fmt.Errorf("flush the journal: %w", ctx.Err())
	}
	select {
	case <-flushed:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("flush the journal: %w", ctx.Err())
	}
}
