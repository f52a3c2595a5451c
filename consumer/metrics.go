package consumer

import (
	"github.com/prometheus/client_golang/prometheus"

	"crier/internal/alert"
	"crier/internal/event"
	"crier/internal/kafka"
	"crier/internal/telemetry"
)

// metrics are what an operator watches of this part.
type metrics struct {
	records  *prometheus.CounterVec
	triggers *prometheus.CounterVec
	batch    prometheus.Histogram
	store    prometheus.Histogram
	tell     prometheus.Histogram
	retries  prometheus.Counter
	pruned   prometheus.Counter

	mentionsDropped prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		records: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "crier_consumer_records_total",
			Help: "Records settled, by topic and outcome (stored, duplicate, rejected)."}, []string{"topic", "outcome"}),
		triggers: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "crier_consumer_triggers_total",
			Help: "Triggers decided, by verdict (fired, again, or why dropped)."}, []string{"verdict"}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "crier_consumer_batch_records",
			Help: "Records in a batch.", Buckets: prometheus.ExponentialBuckets(1, 2, 10)}),
		store: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "crier_consumer_store_seconds",
			Help: "Time of a batch's transaction.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14)}),
		tell: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "crier_consumer_tell_seconds",
			Help: "Time until Kafka has acknowledged what follows from a stored batch.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14)}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{Name: "crier_consumer_retries_total",
			Help: "Batches tried again because Postgres or Kafka was away."}),
		pruned: prometheus.NewCounter(prometheus.CounterOpts{Name: "crier_consumer_pruned_total",
			Help: "Notifications removed after CRIER_INBOX_RETENTION."}),
		mentionsDropped: prometheus.NewCounter(prometheus.CounterOpts{Name: "crier_consumer_mentions_dropped_total",
			Help: "Mentions beyond their sender's budget, which notify nobody."}),
	}
	for _, topic := range []string{kafka.Notifications, kafka.Triggers, kafka.Rooms, kafka.Incoming} {
		for _, outcome := range []string{event.StatusStored, event.StatusDuplicate, event.StatusRejected} {
			m.records.WithLabelValues(topic, outcome)
		}
	}
	m.records.WithLabelValues(kafka.Notifications, event.StatusScheduled)
	telemetry.Preset(m.triggers, append([]string{"fired", "again"}, alert.DropReasons...)...)
	reg.MustRegister(m.records, m.triggers, m.batch, m.store, m.tell, m.retries, m.pruned, m.mentionsDropped)
	return m
}
