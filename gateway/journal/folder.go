package journal

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

const (
	activityFile = "activities.db"
	asideMark    = ".damaged-"
	asideTime    = "20060102T150405.000Z"
	maxAside     = 20 // files of damage that are kept
	showDamage   = 24 * time.Hour
)

// companions are what SQLite keeps beside a file.
var companions = []string{"-wal", "-shm"}

// folder is the files of the journal. It knows who reads which, so that a file is
// taken away from nobody: SQLite would mix it up with the next one of its name.
type folder struct {
	dir string
	log zerolog.Logger
	now func() time.Time

	mu      sync.Mutex
	files   map[string]*gate
	aside   map[string][]string // names of what was set aside, by the file they were
	damages []damage            // of this run
}

// damage is a file that was set aside.
type damage struct {
	name string // it has now
	why  error
	at   time.Time
}

// gate lets readers of a file in, until it is shut.
type gate struct {
	readers map[*reader]struct{}
	shut    bool
	empty   chan struct{} // closed when the gate is shut and the last has left
}

// reader is somebody who reads a file.
type reader struct{ cancel context.CancelFunc }

// openFolder makes the folder if need be, and finds what is in it.
func openFolder(c Config) (*folder, error) {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a folder needs x
		return nil, err
	}
	f := &folder{dir: dir, log: c.Log, now: c.Now, files: map[string]*gate{}, aside: map[string][]string{}}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name, _, aside := strings.Cut(e.Name(), asideMark)
		_, isDay := parseDay(name)
		switch {
		case !isDay && name != activityFile:
		case aside && !isCompanion(e.Name()):
			f.aside[name] = append(f.aside[name], e.Name())
		case !aside:
			f.files[name] = newGate()
		}
	}
	return f, nil
}

func isCompanion(name string) bool {
	return slices.ContainsFunc(companions, func(c string) bool { return strings.HasSuffix(name, c) })
}

func newGate() *gate { return &gate{readers: map[*reader]struct{}{}, empty: make(chan struct{})} }

func (f *folder) path(name string) string { return filepath.Join(f.dir, name) }

// has says that there is a file of that name.
func (f *folder) has(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.files[name] == nil {
		f.files[name] = newGate()
	}
}

// days are those that have a file, the oldest first.
func (f *folder) days() (days []day) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name := range f.files {
		if d, ok := parseDay(name); ok {
			days = append(days, d)
		}
	}
	slices.Sort(days)
	return days
}

// missing names what was set aside of the days from first to last.
func (f *folder) missing(first, last day) (names []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, aside := range f.aside {
		if d, ok := parseDay(name); ok && d >= first && d <= last {
			names = append(names, aside...)
		}
	}
	slices.Sort(names)
	return names
}

// missingActivities names what was set aside of the activities.
func (f *folder) missingActivities() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.aside[activityFile])
}

// missingTotals names what was set aside of the activities and may have had totals
// of the days from first to last: of those that have no file themselves.
func (f *folder) missingTotals(first, last day, here map[day]bool) (names []string) {
	for _, name := range f.missingActivities() {
		at, err := time.Parse(asideTime, strings.TrimPrefix(name, activityFile+asideMark))
		if err != nil {
			continue // nobody knows when it was set aside
		}
		for d := first; d <= min(last, dayOf(at)); d++ {
			if !here[d] {
				names = append(names, name)
				break
			}
		}
	}
	return names
}

// enter lets a reader in; the context ends when the file is taken away. There is
// no reader when there is no such file.
func (f *folder) enter(ctx context.Context, name string) (context.Context, func(), bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := f.files[name]
	if g == nil || g.shut {
		return nil, nil, false
	}
	inside, cancel := context.WithCancel(ctx)
	r := &reader{cancel}
	g.readers[r] = struct{}{}
	return inside, func() {
		cancel()
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(g.readers, r)
		if g.shut && len(g.readers) == 0 {
			close(g.empty)
		}
	}, true
}

// shut sends the readers of a file away and waits until they are gone. Then the
// caller takes the file away. It tells false when somebody else does.
func (f *folder) shut(name string) bool {
	f.mu.Lock()
	g := f.files[name]
	if g == nil || g.shut {
		f.mu.Unlock()
		return false
	}
	g.shut = true
	for r := range g.readers {
		r.cancel()
	}
	if len(g.readers) == 0 {
		close(g.empty)
	}
	f.mu.Unlock()
	<-g.empty
	return true
}

// forget takes the name of a file that was shut.
func (f *folder) forget(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.files, name)
}

// setAside gives a file another name, so that a new one can be begun. Nobody
// writes to it.
func (f *folder) setAside(name string, why error) error {
	f.has(name)
	if !f.shut(name) {
		return nil
	}
	defer f.forget(name)
	now := f.now().UTC()
	aside := name + asideMark + now.Format(asideTime)
	if err := os.Rename(f.path(name), f.path(aside)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set the damaged file %s aside: %w", f.path(name), err)
	}
	for _, c := range companions {
		if err := os.Rename(f.path(name+c), f.path(aside+c)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("set what belongs to a damaged file aside: %w", err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.aside[name] = append(f.aside[name], aside)
	f.damages = append(f.damages, damage{aside, why, now})
	f.damages = f.damages[max(0, len(f.damages)-maxAside):]
	f.log.Error().Err(why).Str("file", f.path(name)).Str("now", f.path(aside)).Msg("a file of the journal is damaged: it was set aside, and what is in it is missing in answers")
	return nil
}

// damaged are the files that were set aside lately.
func (f *folder) damaged() (all []damage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	since := f.now().Add(-showDamage)
	for _, d := range f.damages {
		if d.at.After(since) {
			all = append(all, d)
		}
	}
	return all
}

// remove deletes a file, or what was set aside. Nobody writes to it.
func (f *folder) remove(name string) error {
	original, _, aside := strings.Cut(name, asideMark)
	if !aside && !f.shut(name) {
		return nil
	}
	err := os.RemoveAll(f.path(name)) // what was set aside may be a folder
	for _, c := range companions {
		if e := os.Remove(f.path(name + c)); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	if !aside {
		f.forget(name)
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.aside[original] = slices.DeleteFunc(f.aside[original], func(n string) bool { return n == name })
	return err
}

// stored is a file with what belongs to it.
type stored struct {
	name  string
	day   day
	aside bool
	bytes int64
}

// list gives the days' files and what was set aside of them, the oldest day
// first, and the bytes of all files.
func (f *folder) list() (days []stored, all int64, err error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, 0, err
	}
	sizes := map[string]int64{}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // it has just gone
		}
		name := e.Name()
		for _, c := range companions {
			name = strings.TrimSuffix(name, c)
		}
		sizes[name] += info.Size()
		all += info.Size()
	}
	for name, size := range sizes {
		original, _, aside := strings.Cut(name, asideMark)
		if d, ok := parseDay(original); ok {
			days = append(days, stored{name, d, aside, size})
		}
	}
	slices.SortFunc(days, func(a, b stored) int { return cmp.Or(cmp.Compare(a.day, b.day), cmp.Compare(a.name, b.name)) })
	return days, all, nil
}

// read has do read a file, through a connection of its own. Without such a file
// it does nothing.
func (f *folder) read(ctx context.Context, name string, do func(context.Context, *sql.DB) error) (err error) {
	ctx, leave, ok := f.enter(ctx, name)
	if !ok {
		return nil
	}
	defer leave()
	if _, err := os.Lstat(f.path(name)); errors.Is(err, fs.ErrNotExist) {
		f.forget(name) // somebody deleted it
		return nil
	}
	db, err := openDB(f.path(name), "query_only(1)", "cache_size(-4096)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	empty, err := checkVersion(ctx, db)
	if err != nil || empty {
		return err
	}
	return do(ctx, db)
}

// checkpoint moves what was written to a file from its log into it, and has the
// kernel write both to disk. The log begins anew then.
func (f *folder) checkpoint(ctx context.Context, name string) (err error) {
	ctx, leave, ok := f.enter(ctx, name)
	if !ok {
		return nil
	}
	defer leave()
	db, err := openDB(f.path(name), "synchronous(normal)")
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)")
	return errors.Join(err, db.Close())
}

// usable opens a file and reads its head.
func (f *folder) usable(name string) error {
	info, err := os.Lstat(f.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("it is no regular file: %w", errDamaged)
	}
	if err := makeFile(f.path(name)); err != nil {
		return err
	}
	return f.read(context.Background(), name, func(context.Context, *sql.DB) error { return nil })
}
