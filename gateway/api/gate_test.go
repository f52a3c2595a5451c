package api

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A subject has its share of the slots, however many requests it makes; another's find
// one at once. What is too much is refused at once, what waits too long after a while,
// and nothing is remembered afterwards.
func TestGateShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(8, 4, 32, 0)
		var running, most, done, refused atomic.Int64
		var all sync.WaitGroup
		enter := func(subject string, work time.Duration) {
			all.Go(func() {
				leave, err := g.enter(t.Context(), subject)
				if errors.Is(err, errCrowded) {
					refused.Add(1)
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				most.Store(max(most.Load(), running.Add(1)))
				time.Sleep(work)
				running.Add(-1)
				leave()
				leave() // twice is harmless
				done.Add(1)
			})
		}
		for range 40 {
			enter("mallory", time.Second)
		}
		synctest.Wait()
		if running.Load() != 4 || refused.Load() != 4 {
			t.Errorf("%d run and %d were refused, want 4 and 4", running.Load(), refused.Load())
		}
		before := time.Now()
		leave, err := g.enter(t.Context(), "ann")
		if err != nil || time.Since(before) != 0 {
			t.Errorf("another subject waited %v, %v", time.Since(before), err)
		}
		leave()
		all.Wait()
		if done.Load() != 36 || most.Load() != 4 || time.Since(before) != 9*time.Second {
			t.Errorf("%d done in %v, %d at once; want 36 in 9s, 4 at once", done.Load(), time.Since(before), most.Load())
		}

		// Many subjects share all slots, and wait no longer than maxWait.
		most.Store(0)
		refused.Store(0)
		for i := range 20 {
			enter(fmt.Sprint("user ", i), 6*time.Second)
		}
		all.Wait()
		if most.Load() != 8 || refused.Load() != 4 {
			t.Errorf("%d at once, %d refused; want 8, and 4 after %v", most.Load(), refused.Load(), maxWait)
		}

		// A client that goes away gives its place in the queue up.
		var held []func()
		for range 4 {
			leave, err := g.enter(t.Context(), "mallory")
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, leave)
		}
		gone, cancel := context.WithCancel(t.Context())
		all.Go(func() {
			if _, err := g.enter(gone, "mallory"); !errors.Is(err, context.Canceled) {
				t.Errorf("a client that went: %v", err)
			}
		})
		synctest.Wait()
		cancel()
		all.Wait()
		for _, leave := range held {
			leave()
		}
		if g.running != 0 || len(g.of) != 0 || len(g.waiting) != 0 {
			t.Errorf("left: %d running, %d subjects, %d waiting", g.running, len(g.of), len(g.waiting))
		}
	})
}
