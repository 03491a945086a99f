package secret

import "github.com/prometheus/client_golang/prometheus"

// metrics counts. No label holds anything that a caller chose.
type metrics struct {
	reads    readCounts
	failures prometheus.Counter
}

// readCounts are the reads of lambdas by where the answer came from.
type readCounts struct{ cached, store, stale, failed prometheus.Counter }

func newMetrics(to prometheus.Registerer, s *Service) *metrics {
	reads := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sluice_secret_reads_total",
		Help: "Secrets that lambdas read, by where the answer came from: cached, store, stale (from memory, because the store did not answer), failed.",
	}, []string{"from"})
	m := &metrics{
		reads: readCounts{
			cached: reads.WithLabelValues("cached"), store: reads.WithLabelValues("store"),
			stale: reads.WithLabelValues("stale"), failed: reads.WithLabelValues("failed"),
		},
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sluice_secret_store_failures_total", Help: "Requests that the store of secrets did not answer.",
		}),
	}
	if to == nil {
		return m
	}
	to.MustRegister(reads, m.failures,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sluice_secret_cache_entries", Help: "Secrets in memory."},
			func() float64 { n, _ := s.cache.size(); return float64(n) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sluice_secret_cache_bytes", Help: "What the secrets in memory take."},
			func() float64 { _, n := s.cache.size(); return float64(n) }))
	return m
}
