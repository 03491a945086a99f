package app

import (
	"context"
	"fmt"
	"path/filepath"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"

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
	a.metrics.MustRegister(newJournalCollector(a.journal.Stats))
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

// journalCollector shows the journal's counts: one snapshot for each scrape.
type journalCollector struct {
	stats   func() journal.Stats
	shown   []shownJournal
	dropped *prometheus.Desc
}

type shownJournal struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(*journal.Stats) float64
}

func newJournalCollector(stats func() journal.Stats) *journalCollector {
	c := &journalCollector{stats: stats}
	show := func(name, help string, kind prometheus.ValueType, of func(*journal.Stats) float64) {
		c.shown = append(c.shown, shownJournal{prometheus.NewDesc(name, help, nil, nil), kind, of})
	}
	show("sluice_journal_written_total", "Invocations written to the journal.", prometheus.CounterValue, func(s *journal.Stats) float64 { return float64(s.Written) })
	show("sluice_journal_lost_total", "Invocations that are in no report either.", prometheus.CounterValue, func(s *journal.Stats) float64 { return float64(s.Lost) })
	show("sluice_journal_queued", "Invocations that wait to be written.", prometheus.GaugeValue, func(s *journal.Stats) float64 { return float64(s.Queued) })
	show("sluice_journal_queued_bytes", "Memory of the invocations that wait to be written.", prometheus.GaugeValue, func(s *journal.Stats) float64 { return float64(s.QueuedBytes) })
	show("sluice_journal_bytes", "Size of the journal's files.", prometheus.GaugeValue, func(s *journal.Stats) float64 { return float64(s.Bytes) })
	show("sluice_journal_damaged_files", "Files of the journal that were damaged and set aside.", prometheus.GaugeValue, func(s *journal.Stats) float64 { return float64(len(s.Damaged)) })
	c.dropped = prometheus.NewDesc("sluice_journal_dropped_total", "Invocations that are not in the journal, by reason.", []string{"reason"}, nil)
	return c
}

// Describe names all that Collect will send.
func (c *journalCollector) Describe(to chan<- *prometheus.Desc) {
	for _, s := range c.shown {
		to <- s.desc
	}
	to <- c.dropped
}

// Collect sends the counts of this moment.
func (c *journalCollector) Collect(to chan<- prometheus.Metric) {
	now := c.stats()
	for _, s := range c.shown {
		to <- prometheus.MustNewConstMetric(s.desc, s.kind, s.of(&now))
	}
	for _, reason := range journal.Reasons {
		to <- prometheus.MustNewConstMetric(c.dropped, prometheus.CounterValue, float64(now.Dropped[reason]), string(reason))
	}
}
