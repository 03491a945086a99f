package app

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/sluice-faas/sluice/gateway/journal"
	"github.com/sluice-faas/sluice/plugins/pool"
)

func (a *App) registerMetrics(log *logWriter) {
	a.metrics.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "sluice_log_lines_dropped_total", Help: "Log lines that found no room because the reader of the log was too slow.",
		}, func() float64 { return float64(log.lost()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "sluice_build_info", Help: "1, with the version as label.", ConstLabels: prometheus.Labels{"version": a.version},
		}, func() float64 { return 1 }),
	)
}

// collector shows counts of S: one snapshot for each scrape.
type collector[S any] struct {
	snapshot func() S
	shown    []shown[S]
}

type shown[S any] struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(*S) float64
}

func (c *collector[S]) gauge(name, help string, of func(*S) float64) {
	c.shown = append(c.shown, shown[S]{prometheus.NewDesc(name, help, nil, nil), prometheus.GaugeValue, of})
}

// counter shows a count that only rises; labels may be nil.
func (c *collector[S]) counter(name, help string, labels prometheus.Labels, of func(*S) float64) {
	c.shown = append(c.shown, shown[S]{prometheus.NewDesc(name, help, nil, labels), prometheus.CounterValue, of})
}

// Describe names all that Collect will send.
func (c *collector[S]) Describe(to chan<- *prometheus.Desc) {
	for _, s := range c.shown {
		to <- s.desc
	}
}

// Collect sends the counts of this moment.
func (c *collector[S]) Collect(to chan<- prometheus.Metric) {
	now := c.snapshot()
	for _, s := range c.shown {
		to <- prometheus.MustNewConstMetric(s.desc, s.kind, s.of(&now))
	}
}

func poolCollector(stats func() pool.Stats) prometheus.Collector {
	type S = pool.Stats
	c := &collector[S]{snapshot: stats}
	c.gauge("sluice_processes", "Runtime processes that run.", func(s *S) float64 { return float64(s.Processes) })
	c.gauge("sluice_processes_blank", "Runtime processes started ahead.", func(s *S) float64 { return float64(s.Blank) })
	c.gauge("sluice_processes_loaded", "Runtime processes that have loaded a lambda.", func(s *S) float64 { return float64(s.Loaded) })
	c.gauge("sluice_calls_open", "Calls inside runtime processes.", func(s *S) float64 { return float64(s.OpenCalls) })
	c.gauge("sluice_calls_waiting", "Calls that wait for a runtime process.", func(s *S) float64 { return float64(s.Waiting) })
	c.gauge("sluice_lambdas_crash_looping", "Deployments whose processes fail to start, or end of themselves, again and again.", func(s *S) float64 { return float64(s.Looping) })
	c.counter("sluice_processes_launched_total", "Runtime processes launched.", nil, func(s *S) float64 { return float64(s.Launched) })
	c.counter("sluice_process_starts_failed_total", "Launches and loads that failed.", nil, func(s *S) float64 { return float64(s.Failed) })
	c.counter("sluice_processes_exited_total", "Runtime processes that ended without having been asked to.", nil, func(s *S) float64 { return float64(s.Exited) })
	c.counter("sluice_processes_evicted_total", "Runtime processes drained to make room.", nil, func(s *S) float64 { return float64(s.Evicted) })
	c.counter("sluice_processes_added_total", "Starts for a lambda whose processes were busy.", nil, func(s *S) float64 { return float64(s.Added) })
	c.counter("sluice_calls_cold_total", "Calls that waited for a process to be started or loaded.", nil, func(s *S) float64 { return float64(s.ColdCalls) })
	return c
}

func journalCollector(stats func() journal.Stats) prometheus.Collector {
	type S = journal.Stats
	c := &collector[S]{snapshot: stats}
	c.counter("sluice_journal_written_total", "Invocations written to the journal.", nil, func(s *S) float64 { return float64(s.Written) })
	for _, reason := range journal.Reasons {
		c.counter("sluice_journal_dropped_total", "Invocations that are not in the journal, by reason.",
			prometheus.Labels{"reason": string(reason)}, func(s *S) float64 { return float64(s.Dropped[reason]) })
	}
	c.counter("sluice_journal_lost_total", "Invocations that are in no report either.", nil, func(s *S) float64 { return float64(s.Lost) })
	c.counter("sluice_journal_activities_dropped_total", "Activities that went before their time, as their account had too many.", nil, func(s *S) float64 { return float64(s.DroppedActivities) })
	c.counter("sluice_journal_attempts_total", "Attempts to reach other hosts written to the journal.", nil, func(s *S) float64 { return float64(s.Attempts) })
	c.counter("sluice_journal_attempts_dropped_total", "Attempts to reach other hosts that are not in the journal, as there was no room or no way to write them.", nil, func(s *S) float64 { return float64(s.DroppedAttempts) })
	c.counter("sluice_journal_attempts_forgotten_total", "Attempts to reach other hosts that went before their time, as their account had too many on a day.", nil, func(s *S) float64 { return float64(s.ForgottenAttempts) })
	c.gauge("sluice_journal_queued", "Invocations that wait to be written.", func(s *S) float64 { return float64(s.Queued) })
	c.gauge("sluice_journal_queued_bytes", "Memory of the invocations that wait to be written.", func(s *S) float64 { return float64(s.QueuedBytes) })
	c.gauge("sluice_journal_bytes", "Size of the journal's files.", func(s *S) float64 { return float64(s.Bytes) })
	c.gauge("sluice_journal_damaged_files", "Files of the journal that were damaged and set aside.", func(s *S) float64 { return float64(len(s.Damaged)) })
	return c
}
