package lifecycle

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff computes waits between tries: doubling from Min to Max, each drawn
// evenly between half and the whole, so that many who failed together do not
// come back together. The zero value waits 100 ms to 2 s: what waits for a peer
// works again within that of its return.
type Backoff struct {
	Min, Max time.Duration
	tries    int
}

// Next is the next wait.
func (b *Backoff) Next() time.Duration {
	lo, hi := b.Min, b.Max
	if lo <= 0 {
		lo = 100 * time.Millisecond
	}
	if hi <= 0 {
		hi = 2 * time.Second
	}
	d := hi
	if b.tries < 30 && lo<<b.tries < hi {
		d = lo << b.tries
	}
	b.tries++
	return d/2 + rand.N(d/2+1)
}

// Reset begins anew after a success.
func (b *Backoff) Reset() { b.tries = 0 }

// Wait sleeps for Next, or returns the context's cause if that ends first.
func (b *Backoff) Wait(ctx context.Context) error { return Sleep(ctx, b.Next()) }

// Sleep waits for d unless ctx ends first, whose cause it returns.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
