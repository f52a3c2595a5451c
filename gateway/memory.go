package gateway

import (
	"context"
	"runtime/debug"
	"time"

	"crier/internal/lifecycle"
)

// When memory is given back: connecting leaves garbage behind, a request's
// buffers for each stream, which the runtime would keep for as long as the
// streams are idle.
const (
	memoryEvery = 5 * time.Second
	memoryAfter = 1000 // streams more than the last time
)

// giveBack is the life of the goroutine that returns to the system what a wave
// of connects has used, once it is over.
func (g *Gateway) giveBack(ctx context.Context) error {
	last, given := 0, 0
	for lifecycle.Sleep(ctx, memoryEvery) == nil {
		now := g.pool.Stats().Conns
		given = min(given, now)
		if over := now-last < memoryAfter/10; over && now-given >= memoryAfter {
			debug.FreeOSMemory()
			given = now
		}
		last = now
	}
	return nil
}
