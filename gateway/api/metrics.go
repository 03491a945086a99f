package api

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts requests by route, so that their number is bounded by the
// table and never by what callers send.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	panics   prometheus.Counter
	unnoted  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_requests_total", Help: "Requests answered, by route and status.",
		}, []string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "sluice_request_seconds", Help: "Time from the end of the request's headers to the end of the answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"method", "route"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sluice_panics_total", Help: "Requests that met a defect of the gateway and were answered 500.",
		}),
	}
	m.unnoted = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sluice_activities_lost_total", Help: "Changes that were made and could not be written among the activities.",
	})
	reg.MustRegister(m.requests, m.seconds, m.panics, m.unnoted)
	return m
}

// countTails shows how many live tails there are.
func (m *metrics) countTails(reg prometheus.Registerer, count func() int) {
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "sluice_log_tails", Help: "Live tails of logs that are open.",
	}, func() float64 { return float64(count()) }))
}

// route gives the function that counts one answer of row. The counter of the
// commonest status is looked up once.
func (m *metrics) route(row *route) func(status int, elapsed time.Duration) {
	ok := m.requests.WithLabelValues(row.method, row.path, "200")
	seconds := m.seconds.WithLabelValues(row.method, row.path)
	return func(status int, elapsed time.Duration) {
		if status == 200 {
			ok.Inc()
		} else {
			m.requests.WithLabelValues(row.method, row.path, strconv.Itoa(status)).Inc()
		}
		seconds.Observe(elapsed.Seconds())
	}
}
