package webhook

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	attempts     *prometheus.CounterVec
	took         prometheus.Histogram
	destinations prometheus.Gauge
	inFlight     prometheus.Gauge
	disabled     *prometheus.CounterVec
	lost         prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "crier_webhook_attempts_total",
			Help: "Attempts at deliveries, by outcome (delivered, again, given_up)."}, []string{"outcome"}),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "crier_webhook_attempt_seconds",
			Help: "Time of an attempt.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 15)}),
		destinations: prometheus.NewGauge(prometheus.GaugeOpts{Name: "crier_webhook_destinations",
			Help: "Destinations that this process is at."}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "crier_webhook_in_flight",
			Help: "Attempts that wait for their answer."}),
		disabled: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "crier_webhook_disabled_total",
			Help: "Destinations disabled, by reason (gone, failing)."}, []string{"reason"}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{Name: "crier_webhook_leases_lost_total",
			Help: "Destinations given up because their lease could not be renewed, or they were disabled or deleted."}),
	}
	for _, outcome := range []string{"delivered", "again", "given_up"} {
		m.attempts.WithLabelValues(outcome)
	}
	for _, reason := range []string{"gone", "failing"} {
		m.disabled.WithLabelValues(reason)
	}
	reg.MustRegister(m.attempts, m.took, m.destinations, m.inFlight, m.disabled, m.lost)
	return m
}
