package api

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"crier/internal/candle"
)

// The same chart is read once for all who ask for it within a second, another one and a
// later one again; an error is nobody else's, and the charts that are kept are bounded.
func TestChartsAreReadOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCharts()
		var reads atomic.Int64
		var fail atomic.Bool
		ask := func(r candle.Range) error {
			of, err := c.get(t.Context(), r, func(_ context.Context, of *chart) {
				reads.Add(1)
				time.Sleep(100 * time.Millisecond)
				of.source = r.Symbol
				if fail.Load() {
					of.err = errors.New("away")
				}
			})
			if err == nil && of.source != r.Symbol {
				t.Errorf("%s got the chart of %s", r.Symbol, of.source)
			}
			return err
		}
		var all sync.WaitGroup
		many := func(r candle.Range) {
			for range 120 {
				all.Go(func() { _ = ask(r) })
			}
			all.Wait()
		}
		gold, long := candle.Range{Symbol: "GOLD", Limit: 500}, candle.Range{Symbol: "GOLD", Limit: cachedCandles + 1}
		for i, step := range []struct {
			r    candle.Range
			wait time.Duration
			want int64
		}{{gold, 0, 1}, {gold, 0, 0}, {candle.Range{Symbol: "SILVER", Limit: 500}, 0, 1}, {gold, candleAge, 1}, {long, 0, 120}} {
			time.Sleep(step.wait)
			before := reads.Load()
			if many(step.r); reads.Load()-before != step.want {
				t.Errorf("%d: %d reads for 120 questions, want %d", i, reads.Load()-before, step.want)
			}
		}
		time.Sleep(candleAge)
		fail.Store(true)
		if err := ask(gold); err == nil {
			t.Error("no error")
		}
		fail.Store(false)
		if err := ask(gold); err != nil {
			t.Errorf("an error is kept: %v", err)
		}
		for i := range 10 * cachedCharts {
			all.Go(func() { _ = ask(candle.Range{Symbol: "GOLD", Limit: 1 + i}) })
		}
		all.Wait()
		if n := len(c.kept); n > cachedCharts {
			t.Errorf("%d charts are kept, want at most %d", n, cachedCharts)
		}
	})
}
