package gateway

import (
	"context"
	"fmt"
	"time"

	"crier/internal/event"
	"crier/internal/kafka"
)

// Bounds of what is read of `ticks` at a start.
const (
	recentTicks = 20_000 // of each partition, at most
	recentLimit = 5 * time.Second
)

// loadPrices shows the last price of every symbol until a newer one comes: those that the
// matcher has stored, and what has been written to `ticks` since. It is called when the
// tail of `ticks` is open, or has missed records; what the tail brings is newer.
func (g *Gateway) loadPrices(ctx context.Context) error {
	id, err := g.kafka.TopicID(ctx, kafka.Ticks)
	if err != nil {
		return err
	}
	stored, err := g.api.Alerts.MatchedTo(ctx, id) // before the prices, which may be newer
	if err != nil {
		return err
	}
	last, err := g.api.Prices.All(ctx)
	if err != nil {
		return err
	}
	for _, l := range last {
		g.hub.TickIfNone(l.Tick, l.Recorded)
	}
	if err := g.recentPrices(ctx, stored); err != nil && ctx.Err() == nil {
		// No reason not to serve: the next tick of each symbol is.
		g.log.Warn("prices are as the matcher stored them last", "error", err)
	}
	return nil
}

// recentPrices reads the ticks from these offsets on, by partition.
func (g *Gateway) recentPrices(ctx context.Context, from map[int32]int64) error {
	ctx, cancel := context.WithTimeoutCause(ctx, recentLimit, fmt.Errorf("reading recent ticks took more than %v", recentLimit))
	defer cancel()
	_, ends, err := g.kafka.Bounds(ctx, kafka.Ticks)
	if err != nil {
		return err
	}
	for n, end := range ends {
		err := g.kafka.Reread(ctx, kafka.Ticks, n, max(from[n], end-recentTicks), end, func(r kafka.Record) bool {
			if t, ok := g.tickOf(&r); ok {
				g.hub.TickIfNone(t, r.Time)
			}
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// tickOf reads a record of `ticks`. A record that cannot be read, or is in another symbol's
// partition, is left to the matcher and the mover.
func (g *Gateway) tickOf(r *kafka.Record) (event.Tick, bool) {
	t, err := event.ParseTick(r.Value, r.Time)
	if err != nil || kafka.Partition([]byte(t.Symbol), g.tickPartitions.Load()) != r.Partition {
		return event.Tick{}, false
	}
	return t, true
}
