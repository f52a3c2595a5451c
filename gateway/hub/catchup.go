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

// advance sends one page to a stream, from what was delivered a moment ago, or
// else read for it.
func (h *Hub) advance(ctx context.Context, m *member) error {
	sh := h.shard(m.owner)
	sh.mu.Lock()
	a := sh.users[m.owner]
	if m.gone || a == nil || m.state != behind {
		sh.mu.Unlock()
		return nil
	}
	after, known := m.last, a.highest
	if events := sh.recent.after(a, after); events != nil {
		h.recalled.Add(int64(len(events)))
		m.advanceBy(a, events, 0)
		sh.mu.Unlock()
		return nil
	}
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
	if len(events) == page {
		known = 0
	}
	m.advanceBy(a, events, known)
	return nil
}

// advanceBy sends what was missed. Everything up to known was committed before it
// was read: what is not among it is deleted, and no longer waited for. Called with
// the shard's lock held.
func (m *member) advanceBy(a *audience, events []*Event, known int64) {
	for len(events) > 0 {
		part := events[:writable(events)]
		n := m.sendPage(part)
		if n > 0 {
			m.last = part[n-1].ID
			m.replayed += n
			m.stream.hub.delivered.Add(int64(n))
		}
		if n < len(part) {
			m.state = stalled
			return
		}
		events = events[n:]
	}
	m.last = max(m.last, known)
	if m.last >= a.highest {
		m.becomeLive(a)
		return
	}
	m.fallBehind()
}

// writeBytes bounds what is handed to a stream as one frame: a full socket must
// not keep more than it would of single events.
const writeBytes = 64 << 10

// writable is how many of the events go to a stream at once, at least one.
func writable(events []*Event) int {
	size := 0
	for i, ev := range events {
		size += len(ev.Data)
		if size > writeBytes && i > 0 {
			return i
		}
	}
	return len(events)
}

// Pages of topics, but for rooms', are kept for a moment: a topic's readers come back together,
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
	_, topic := owner.Topic()
	if _, room := owner.Room(); !topic || room { // what was said in a room may be taken back at any time
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
