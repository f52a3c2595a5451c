package hub

import (
	"context"
	"sync"
	"time"
)

// page is how many notifications are read at once for a stream that is behind.
const page = 256

// Workers that read for streams that are behind: few, so that ten thousand
// streams that come back together queue here and not in Postgres.
const catchUpWorkers = 4

// catcher is the queue of streams that are behind. Each stands in it at most
// once, so it is bounded by their number.
type catcher struct {
	mu      sync.Mutex
	cond    *sync.Cond
	queue   []*Subscriber
	stopped bool
}

func (c *catcher) push(s *Subscriber) {
	c.mu.Lock()
	c.queue = append(c.queue, s)
	c.mu.Unlock()
	c.cond.Signal()
}

func (c *catcher) pop() *Subscriber {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.queue) == 0 && !c.stopped {
		c.cond.Wait()
	}
	if c.stopped {
		return nil
	}
	s := c.queue[0]
	c.queue[0] = nil
	c.queue = c.queue[1:]
	return s
}

func (c *catcher) stop() {
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
	c.cond.Broadcast()
}

// CatchUp is the life of one worker: Runner calls it in Workers goroutines. It
// returns when ctx ends.
func (h *Hub) CatchUp(ctx context.Context) error {
	defer context.AfterFunc(ctx, h.catch.stop)()
	for {
		s := h.catch.pop()
		if s == nil {
			return nil
		}
		if err := h.advance(ctx, s); err != nil && ctx.Err() == nil {
			// The inbox cannot be read. The stream waits behind the others; a
			// notification is late then, and never lost.
			t := time.NewTimer(200 * time.Millisecond)
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
			}
			h.catch.push(s)
		}
	}
}

// Workers is how many goroutines run CatchUp.
func (h *Hub) Workers() int { return catchUpWorkers }

// advance reads one page for a stream and sends it.
func (h *Hub) advance(ctx context.Context, s *Subscriber) error {
	sh := h.shard(s.user)
	sh.mu.Lock()
	a := sh.users[s.user]
	if s.gone || a == nil || s.state != behind {
		sh.mu.Unlock()
		return nil
	}
	after, known := s.last, a.highest
	sh.mu.Unlock()

	events, err := h.source.After(ctx, s.user, after, page)
	if err != nil {
		return err
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if s.gone {
		return nil
	}
	for _, ev := range events {
		if !s.sink.Send(ev) {
			s.state = stalled
			return nil
		}
		s.last = ev.ID
		s.replayed++
		h.delivered.Add(1)
	}
	if len(events) < page {
		// Everything up to `known` was committed before the read: what was not
		// among it is deleted, and no longer waited for.
		s.last = max(s.last, known)
	}
	if s.last >= a.highest {
		s.becomeLive(a)
		return nil
	}
	s.fallBehind()
	return nil
}
