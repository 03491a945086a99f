package schedule

import "github.com/prometheus/client_golang/prometheus"

// metrics are those of one gateway. None has a label that callers can make up.
type metrics struct {
	schedules, running            prometheus.Gauge
	due, fired, failed            prometheus.Counter
	missed, abandoned, unrecorded prometheus.Counter
	lag                           prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) *metrics {
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		r.MustRegister(g)
		return g
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		r.MustRegister(c)
		return c
	}
	m := &metrics{
		schedules:  gauge("sluice_schedules", "Schedules of the region, active or not."),
		running:    gauge("sluice_schedule_runs_open", "Runs of schedules that this gateway works on."),
		due:        counter("sluice_schedule_runs_due_total", "Runs that were due and that this gateway tried to make; with several gateways, one of those that try succeeds."),
		fired:      counter("sluice_schedule_runs_fired_total", "Runs that this gateway made."),
		failed:     counter("sluice_schedule_runs_failed_total", "Runs that this gateway made and that failed."),
		missed:     counter("sluice_schedule_runs_missed_total", "Runs that were missed, as this gateway found."),
		abandoned:  counter("sluice_schedule_runs_abandoned_total", "Runs whose gateway died, as this gateway found."),
		unrecorded: counter("sluice_schedule_runs_unrecorded_total", "Runs of this gateway whose end could not be recorded."),
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "sluice_schedule_lag_seconds", Help: "From the time at which a run was due to its call.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}),
	}
	r.MustRegister(m.lag)
	return m
}
