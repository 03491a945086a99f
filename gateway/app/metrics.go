package app

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

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

// poolCollector shows the pool's counts: one snapshot for each scrape.
type poolCollector struct {
	stats func() pool.Stats
	shown []shownStat
}

type shownStat struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(pool.Stats) float64
}

func newPoolCollector(stats func() pool.Stats) *poolCollector {
	c := &poolCollector{stats: stats}
	gauge := func(name, help string, of func(pool.Stats) int) {
		c.shown = append(c.shown, shownStat{prometheus.NewDesc(name, help, nil, nil), prometheus.GaugeValue,
			func(s pool.Stats) float64 { return float64(of(s)) }})
	}
	counter := func(name, help string, of func(pool.Stats) uint64) {
		c.shown = append(c.shown, shownStat{prometheus.NewDesc(name, help, nil, nil), prometheus.CounterValue,
			func(s pool.Stats) float64 { return float64(of(s)) }})
	}
	gauge("sluice_processes", "Runtime processes that run.", func(s pool.Stats) int { return s.Processes })
	gauge("sluice_processes_blank", "Runtime processes started ahead.", func(s pool.Stats) int { return s.Blank })
	gauge("sluice_processes_loaded", "Runtime processes that have loaded a lambda.", func(s pool.Stats) int { return s.Loaded })
	gauge("sluice_calls_open", "Calls inside runtime processes.", func(s pool.Stats) int { return s.OpenCalls })
	gauge("sluice_calls_waiting", "Calls that wait for a runtime process.", func(s pool.Stats) int { return s.Waiting })
	counter("sluice_processes_launched_total", "Runtime processes launched.", func(s pool.Stats) uint64 { return s.Launched })
	counter("sluice_process_starts_failed_total", "Launches and loads that failed.", func(s pool.Stats) uint64 { return s.Failed })
	counter("sluice_processes_exited_total", "Runtime processes that ended without having been asked to.", func(s pool.Stats) uint64 { return s.Exited })
	counter("sluice_processes_evicted_total", "Runtime processes drained to make room.", func(s pool.Stats) uint64 { return s.Evicted })
	counter("sluice_calls_cold_total", "Calls that waited for a process to be started or loaded.", func(s pool.Stats) uint64 { return s.ColdCalls })
	return c
}

// Describe names all that Collect will send.
func (c *poolCollector) Describe(to chan<- *prometheus.Desc) {
	for _, s := range c.shown {
		to <- s.desc
	}
}

// Collect sends the counts of this moment.
func (c *poolCollector) Collect(to chan<- prometheus.Metric) {
	now := c.stats()
	for _, s := range c.shown {
		to <- prometheus.MustNewConstMetric(s.desc, s.kind, s.of(now))
	}
}
