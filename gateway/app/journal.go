package app

import (
	"context"
	"fmt"
	"path/filepath"
	"syscall"

	"github.com/sluice-faas/sluice/gateway/journal"
)

// journalDir is where the journal is in the data folder.
const journalDir = "journal"

// openJournal opens what keeps calls and changes. It is opened before all that
// calls, and so closed after it: the last calls are written.
func (a *App) openJournal(context.Context) (err error) {
	dir := a.data.file(journalDir)
	a.journal, err = journal.Open(journal.Config{Dir: dir, Log: a.log, Limits: a.limits, Reserve: a.reserve(dir)})
	if err != nil {
		return fmt.Errorf("the journal: %w", err)
	}
	a.closers.push("the journal", a.journal.Close)
	a.metrics.MustRegister(journalCollector(a.journal.Stats))
	a.ready.checks = append(a.ready.checks, check{name: "journal", probe: a.journal.Check, degrades: true})
	return nil
}

// reserve is what the journal leaves free of the disk that it shares with an etcd,
// which would end the gateway when nothing is left: twice what the check of the
// disk wants, so that a journal never takes a gateway out of service.
func (a *App) reserve(dir string) uint64 {
	if a.sharesEtcd() || device(dir) != device(a.config.DataDir) {
		return 0
	}
	return 2 * minDisk
}

// device is the file system that path is on, or will be.
func device(path string) uint64 {
	var s syscall.Stat_t
	if err := syscall.Stat(path, &s); err != nil && syscall.Stat(filepath.Dir(path), &s) != nil {
		return 0
	}
	return s.Dev
}
