package monitor

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	ticks     *prometheus.CounterVec
	feedUp    *prometheus.GaugeVec
	matched   prometheus.Counter
	proposed  prometheus.Counter
	alerts    prometheus.Gauge
	rejected  prometheus.Counter
	misplaced prometheus.Counter
	moved     prometheus.Counter
	reread    prometheus.Counter

	superseded prometheus.Counter
	stale      *prometheus.GaugeVec

	missedTrades, healedTrades *prometheus.CounterVec
	missed                     prometheus.Counter
	loaded                     prometheus.Gauge
	symbols                    prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		ticks:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "crier_monitor_ticks_total", Help: "Ticks written to `ticks`, by source."}, []string{"source"}),
		feedUp:    prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "crier_monitor_feed_last_tick_seconds", Help: "Unix time of the last tick of a source."}, []string{"source"}),
		matched:   counter("crier_matcher_ticks_total", "Ticks matched with alerts."),
		proposed:  counter("crier_matcher_triggers_total", "Triggers proposed."),
		alerts:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "crier_matcher_alerts", Help: "Alerts in this matcher's index."}),
		rejected:  counter("crier_matcher_rejected_total", "Records of `ticks` that went to dead-letters."),
		misplaced: counter("crier_matcher_misplaced_total", "Ticks passed over because they stand in another symbol's partition."),
		moved:     counter("crier_mover_ticks_total", "Ticks moved to their symbol's partition."),
		reread:    counter("crier_matcher_reread_total", "Times that ticks were read again to decide an alert."),
	}
	m.superseded = counter("crier_matcher_superseded_total", "Matches of alerts that had been changed or deleted meanwhile.")
	m.missed = counter("crier_matcher_missed_ticks_total", "Ticks that were removed from Kafka before they were matched.")
	m.loaded = prometheus.NewGauge(prometheus.GaugeOpts{Name: "crier_matcher_load_seconds", Help: "How long the last filling of the index took."})
	m.symbols = prometheus.NewGauge(prometheus.GaugeOpts{Name: "crier_matcher_symbols", Help: "Symbols that the index keeps in mind."})
	m.stale = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "crier_monitor_feed_stale", Help: "1 where a source has been silent for a minute."}, []string{"source"})
	m.missedTrades = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "crier_monitor_feed_missed_total", Help: "Trades that a source's stream left out, by its numbers."}, []string{"source"})
	m.healedTrades = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "crier_monitor_feed_healed_total", Help: "Trades of those that were fetched afterwards."}, []string{"source"})
	reg.MustRegister(m.stale, m.missedTrades, m.healedTrades)
	reg.MustRegister(m.superseded, m.missed, m.loaded, m.symbols)
	reg.MustRegister(m.ticks, m.feedUp, m.matched, m.proposed, m.alerts, m.rejected, m.misplaced, m.moved, m.reread)
	return m
}
