package monitor

import (
	"context"
	"time"

	"crier/internal/lifecycle"
	"crier/monitor/feed"
)

// staleAfter is when a source without ticks is called stale, as the gateway does.
const staleAfter = time.Minute

// watchFeeds says when a source has gone silent, and when it is back.
func (m *Monitor) watchFeeds(ctx context.Context, feeds []feed.Feed) error {
	stale := make(map[string]bool)
	began := time.Now()
	for lifecycle.Sleep(ctx, 5*time.Second) == nil {
		for _, f := range feeds {
			if feed.KindOf(f.Name()) != feed.Live {
				continue
			}
			last := m.lastTick(f.Name())
			if last.IsZero() {
				last = began
			}
			silent := time.Since(last)
			if now := silent > staleAfter; now != stale[f.Name()] {
				stale[f.Name()] = now
				if now {
					m.log.Error("a source is stale: alerts on its prices wait", "source", f.Name(), "silent", silent.Round(time.Second))
				} else {
					m.log.Info("a source is back", "source", f.Name())
				}
			}
			value := 0.0
			if stale[f.Name()] {
				value = 1
			}
			m.metrics.stale.WithLabelValues(f.Name()).Set(value)
		}
	}
	return nil
}

// lastTick is when a source's last tick was written, zero: never.
func (m *Monitor) lastTick(source string) time.Time {
	if at, ok := m.ticked.Load(source); ok {
		return at.(time.Time)
	}
	return time.Time{}
}

// gap counts a hole in a source's numbers.
func (m *Monitor) gap(source string, missed, healed int64) {
	m.metrics.missedTrades.WithLabelValues(source).Add(float64(missed))
	m.metrics.healedTrades.WithLabelValues(source).Add(float64(healed))
}

// pruneEvery is how often candles that are past their time are removed.
const pruneEvery = 10 * time.Minute

func (m *Monitor) prune(ctx context.Context) error {
	for lifecycle.Sleep(ctx, pruneEvery) == nil {
		if n, err := m.matcher.candles.Prune(ctx); err != nil && ctx.Err() == nil {
			m.log.Warn("removing old candles", "error", err)
		} else if n > 0 {
			m.log.Debug("old candles were removed", "count", n)
		}
	}
	return nil
}
