package hub

import (
	"context"
	"sync"
	"time"

	"crier/internal/event"
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
	queue   []*member
	stopped bool
}

func (c *catcher) push(m *member) {
	c.mu.Lock()
	c.queue = append(c.queue, m)
	c.mu.Unlock()
	c.cond.Signal()
}

func (c *catcher) pop() *member {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.queue) == 0 && !c.stopped {
		c.cond.Wait()
	}
	if c.stopped {
		return nil
	}
	m := c.queue[0]
	c.queue[0] = nil
	c.queue = c.queue[1:]
	return m
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
		m := h.catch.pop()
		if m == nil {
			return nil
		}
		if err := h.advance(ctx, m); err != nil && ctx.Err() == nil {
			// The inbox cannot be read. The stream waits behind the others; a
			// notification is late then, and never lost.
			t := time.NewTimer(200 * time.Millisecond)
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
			}
			h.catch.push(m)
		}
	}
}

// Workers is how many goroutines run CatchUp.
func (h *Hub) Workers() int { return catchUpWorkers }

// advance reads one page for a stream and sends it.
func (h *Hub) advance(ctx context.Context, m *member) error {
	sh := h.shard(m.owner)
	sh.mu.Lock()
	a := sh.users[m.owner]
	if m.gone || a == nil || m.state != behind {
		sh.mu.Unlock()
		return nil
	}
	after, known := m.last, a.highest
	sh.mu.Unlock()

	events, err := h.read(ctx, m.owner, after, known)
	if err != nil {
		return err
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if m.gone {
		return nil
	}
	for _, ev := range events {
		if !m.send(ev) {
			m.state = stalled
			return nil
		}
		m.last = ev.ID
		m.replayed++
		h.delivered.Add(1)
	}
	if len(events) < page {
		// Everything up to `known` was committed before the read: what was not
		// among it is deleted, and no longer waited for.
		m.last = max(m.last, known)
	}
	if m.last >= a.highest {
		m.becomeLive(a)
		return nil
	}
	m.fallBehind()
	return nil
}

// Pages of topics are kept for a moment: a topic's readers come back together,
// and what one page holds is the same for all of them, and encoded once.
const (
	pagesKept = 64
	pageBytes = 1 << 20 // what is larger is read by each for themself
	pageLife  = 2 * time.Second
)

type pageKey struct {
	owner event.UserID
	after int64
}

// keptPage is what was read of a topic: all that there was up to a place.
type keptPage struct {
	events []*Event
	upTo   int64
	read   time.Time
}

// pages are those of topics that were read a moment ago.
type pages struct {
	mu   sync.Mutex // guards kept
	kept map[pageKey]keptPage
}

// read reads a page of what comes after a place, in which everything up to known
// is.
func (h *Hub) read(ctx context.Context, owner event.UserID, after, known int64) ([]*Event, error) {
	if _, topic := owner.Topic(); !topic {
		return h.source.After(ctx, owner, after, page)
	}
	key, now := pageKey{owner, after}, time.Now()
	p := &h.pages
	p.mu.Lock()
	kept, ok := p.kept[key]
	p.mu.Unlock()
	// A full page stays what it is; a last one may have got more behind it.
	if ok && now.Sub(kept.read) < pageLife && (len(kept.events) == page || kept.upTo >= known) {
		return kept.events, nil
	}
	events, err := h.source.After(ctx, owner, after, page)
	if err != nil {
		return nil, err
	}
	size := 0
	for _, ev := range events {
		size += len(ev.Data)
	}
	if size > pageBytes {
		return events, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.kept) >= pagesKept || p.kept == nil {
		p.kept = make(map[pageKey]keptPage)
	}
	p.kept[key] = keptPage{events, known, now}
	return events, nil
}
