package gateway

import (
	"bufio"
	"net"
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"crier/gateway/hub"
	"crier/gateway/wire"
)

type metrics struct {
	requests *prometheus.CounterVec
	panics   prometheus.Counter
	foreign  prometheus.Counter
	lost     prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, h *hub.Hub, p *wire.Pool) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "crier_gateway_requests_total", Help: "Requests, by route and status."}, []string{"route", "status"}),
		panics:   prometheus.NewCounter(prometheus.CounterOpts{Name: "crier_gateway_panics_total", Help: "Handlers that panicked."}),
		foreign:  prometheus.NewCounter(prometheus.CounterOpts{Name: "crier_gateway_unroutable_total", Help: "Records of deliveries or signals that could not be read."}),
		lost:     prometheus.NewCounter(prometheus.CounterOpts{Name: "crier_gateway_tail_lost_total", Help: "Times that the tail lost its place and inboxes were read again."}),
	}
	gauge := func(name, help string, fn func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, fn)
	}
	counter := func(name, help string, fn func() float64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, fn)
	}
	reg.MustRegister(m.requests, m.panics, m.foreign, m.lost,
		gauge("crier_gateway_streams", "Streams that are open.", func() float64 { return float64(h.Stats().Subscribers) }),
		gauge("crier_gateway_streams_catching_up", "Streams that wait to be read for from the inbox.", func() float64 { return float64(h.Stats().CatchingUp) }),
		gauge("crier_gateway_sockets_full", "Connections whose socket takes nothing now.", func() float64 { return float64(p.Stats().Blocked) }),
		counter("crier_gateway_delivered_total", "Notifications sent to streams.", func() float64 { return float64(h.Stats().Delivered) }),
		counter("crier_gateway_repeats_total", "Deliveries that were repeats.", func() float64 { return float64(h.Stats().Repeats) }),
		counter("crier_gateway_holes_total", "Holes that were filled from the inbox.", func() float64 { return float64(h.Stats().Holes) }),
		counter("crier_gateway_recalled_total", "Notifications that a stream had missed and was sent from memory.", func() float64 { return float64(h.Stats().Recalled) }),
		counter("crier_gateway_tick_rounds_total", "Rounds of ticks begun.", func() float64 { return float64(h.TickStats().Rounds) }),
		counter("crier_gateway_tick_late_total", "Times that a stream was passed over in a round because it was busy.", func() float64 { return float64(h.TickStats().Late) }),
		gauge("crier_gateway_tick_rate", "Rounds of ticks a second reached, of late.", func() float64 { return h.TickStats().Reached }),
		counter("crier_gateway_stalled_total", "Connections cut because they took nothing.", func() float64 { return float64(p.Stats().Stalled) }),
	)
	return m
}

// count counts the answers of a route.
func (m *metrics) count(name string, next http.Handler) http.Handler {
	for _, status := range []int{http.StatusOK, http.StatusInternalServerError} { // the series that alarms are made of
		m.requests.WithLabelValues(name, strconv.Itoa(status))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(rec, r)
		m.requests.WithLabelValues(name, strconv.Itoa(rec.status)).Inc()
	})
}

// statusWriter notes the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (s *statusWriter) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// Hijack is for libraries that ask for the interface itself.
func (s *statusWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	// An event stream answers 200 on the bare connection, a socket 101.
	if s.Header().Get("Content-Type") != "text/event-stream" {
		s.status = http.StatusSwitchingProtocols
	}
	return http.NewResponseController(s.ResponseWriter).Hijack()
}
