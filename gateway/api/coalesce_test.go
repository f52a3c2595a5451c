package api

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Lookups that are asked for while a query is under way share the next one, and
// no answer is older than its question.
func TestCoalescerJoinsQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var queries atomic.Int64
		var version atomic.Int64
		c := newCoalescer(func(_ context.Context, keys []int) (map[int]int64, error) {
			queries.Add(1)
			out := make(map[int]int64)
			for _, k := range keys {
				if k >= 0 {
					out[k] = version.Load()
				}
			}
			time.Sleep(10 * time.Millisecond)
			return out, nil
		})
		var all sync.WaitGroup
		for i := range 5000 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Microsecond)
				asked := version.Add(1)
				v, found, err := c.get(t.Context(), i)
				if err != nil || !found || v < asked {
					t.Errorf("key %d: %d (asked at %d), %t, %v", i, v, asked, found, err)
				}
			})
		}
		all.Wait()
		if n := queries.Load(); n > 20 {
			t.Errorf("%d queries for 5000 lookups", n)
		}
		if _, found, err := c.get(t.Context(), -1); found || err != nil {
			t.Errorf("a key that is not there: %t, %v", found, err)
		}
	})
}

// A failed query is everybody's failure, and a caller who goes away is nobody's.
func TestCoalescerFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boom := errors.New("boom")
		fail := true
		c := newCoalescer(func(context.Context, []string) (map[string]bool, error) {
			time.Sleep(time.Second)
			if fail {
				return nil, boom
			}
			return map[string]bool{"a": true, "b": true}, nil
		})
		if _, _, err := c.get(t.Context(), "a"); !errors.Is(err, boom) {
			t.Errorf("got %v", err)
		}
		fail = false
		gone, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() { _, _, _ = c.get(gone, "a") }) // it asks for both, and is not there for the answer
		all.Go(func() {
			if v, _, err := c.get(t.Context(), "b"); err != nil || !v {
				t.Errorf("the other: %t, %v", v, err)
			}
		})
		all.Wait()
	})
}
