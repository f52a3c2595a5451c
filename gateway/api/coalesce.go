package api

import (
	"context"
	"sync"
	"time"
)

// coalescer joins lookups that are asked for at the same time into one query:
// ten thousand streams that come back together ask Postgres a few dozen times.
// An answer is never older than the question: only lookups whose query has not
// yet begun are joined. It is safe for concurrent use and has no goroutine of
// its own: whoever waits and finds a place free asks for all.
type coalescer[K comparable, V any] struct {
	fetch func(ctx context.Context, keys []K) (map[K]V, error)
	turns chan struct{} // a place for each query under way

	mu      sync.Mutex // guards waiting
	waiting map[K]*lookup[V]
}

// lookup is one key's question; done is closed when it is answered.
type lookup[V any] struct {
	done  chan struct{}
	value V
	found bool
	err   error
}

// Queries of one coalescer under way at once, keys in one of them, and how long
// one may take.
const (
	coalescedQueries = 2
	coalescedKeys    = 1000
	coalescedTime    = 5 * time.Second
)

func newCoalescer[K comparable, V any](fetch func(context.Context, []K) (map[K]V, error)) *coalescer[K, V] {
	return &coalescer[K, V]{fetch: fetch, turns: make(chan struct{}, coalescedQueries), waiting: make(map[K]*lookup[V])}
}

// get looks a key up; found is false where the query did not return it.
func (c *coalescer[K, V]) get(ctx context.Context, key K) (value V, found bool, err error) {
	c.mu.Lock()
	mine := c.waiting[key]
	if mine == nil {
		mine = &lookup[V]{done: make(chan struct{})}
		c.waiting[key] = mine
	}
	c.mu.Unlock()
	select {
	case <-mine.done:
	case <-ctx.Done():
		return value, false, context.Cause(ctx)
	case c.turns <- struct{}{}:
		for c.waits(key, mine) { // more may wait than one query takes
			c.ask(ctx)
		}
		<-c.turns
	}
	// Asked for by now, here or by whoever had a turn before.
	select {
	case <-mine.done:
		return mine.value, mine.found, mine.err
	case <-ctx.Done():
		return value, false, context.Cause(ctx)
	}
}

// waits says whether a lookup is not yet part of a query.
func (c *coalescer[K, V]) waits(key K, l *lookup[V]) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting[key] == l
}

// ask queries for everything that waits. The others' answers must not hang on
// this caller's request, so it is not ended by it.
func (c *coalescer[K, V]) ask(ctx context.Context) {
	c.mu.Lock()
	keys := make([]K, 0, min(len(c.waiting), coalescedKeys))
	asked := make(map[K]*lookup[V], cap(keys))
	for k, l := range c.waiting {
		if len(keys) == coalescedKeys {
			break
		}
		keys, asked[k] = append(keys, k), l
		delete(c.waiting, k)
	}
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), coalescedTime)
	defer cancel()
	values, err := c.fetch(ctx, keys)
	for k, l := range asked {
		l.value, l.found = values[k]
		l.err = err
		close(l.done)
	}
}
