package monitor

import (
	"context"
	"fmt"
	"sync"
	"time"

	"crier/internal/event"
	"crier/internal/kafka"
	"crier/monitor/feed"
)

// maxUnacknowledged bounds the ticks of one feed that Kafka has not yet
// acknowledged; a feed that is faster waits.
const maxUnacknowledged = 10_000

// tickWriter writes one feed's ticks to Kafka, many at once, in order.
type tickWriter struct {
	m     *Monitor
	ctx   context.Context // of the feed's goroutine, which owns this writer
	kind  string          // of the feed; see feed.KindOf
	ahead bool            // that its times are in the future was logged
	live  bool            // its first tick is to be noted

	mu     sync.Mutex // guards the rest
	cond   *sync.Cond
	open   int
	failed error
}

// boundTime replaces an exchange's time that no tick may have, as when it changes the
// unit: the price is right all the same.
func (w *tickWriter) boundTime(t *event.Tick) {
	now := time.Now()
	if w.kind != feed.Live || !t.Time.After(now.Add(event.MaxAhead)) {
		return
	}
	if !w.ahead {
		w.ahead = true
		w.m.log.Warn("a feed's ticks have times in the future; the time of arrival is taken", "source", t.Source, "symbol", t.Symbol, "time", t.Time)
	}
	t.Time = now.UTC()
}

func (w *tickWriter) emit(t event.Tick) error {
	if w.live {
		if err := w.m.notes.Note(w.ctx, liveNote, t.Source); err != nil {
			return err
		}
		w.live = false // noted
	}
	w.mu.Lock()
	if w.cond == nil {
		w.cond = sync.NewCond(&w.mu)
	}
	for w.open >= maxUnacknowledged && w.failed == nil {
		w.cond.Wait()
	}
	if w.failed != nil {
		defer w.mu.Unlock()
		return w.failed
	}
	w.open++
	w.mu.Unlock()
	w.boundTime(&t)
	rec := kafka.Record{Topic: kafka.Ticks, Key: []byte(t.Symbol), Value: t.AppendJSON(make([]byte, 0, 160))}
	// A tick that was read must reach Kafka even while the part is being
	// stopped; the client's delivery timeout bounds it.
	w.m.kafka.ProduceAsync(context.WithoutCancel(w.ctx), rec, func(_ kafka.Record, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.open--
		if err != nil && w.failed == nil {
			w.failed = fmt.Errorf("producing ticks: %w", err)
		}
		w.cond.Broadcast()
		if err == nil {
			w.m.metrics.ticks.WithLabelValues(t.Source).Inc()
			w.m.ticked.Store(t.Source, time.Now())
			w.m.metrics.feedUp.WithLabelValues(t.Source).Set(float64(time.Now().Unix()))
		}
	})
	return nil
}

// flush waits until every tick is acknowledged or has failed.
func (w *tickWriter) flush(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.open > 0 {
		w.cond.Wait()
	}
	return w.failed
}

// lastProduced is the id of the last tick of a source and symbol in `ticks`.
func (m *Monitor) lastProduced(ctx context.Context, source, symbol string) (string, error) {
	end, err := m.kafka.EndOf(ctx, kafka.Ticks, symbol)
	if err != nil {
		return "", err
	}
	t, err := lastBefore(ctx, m.kafka, end.Partition, symbol, source, end.Offset)
	if err != nil || t == nil {
		return "", err
	}
	return t.ID, nil
}
