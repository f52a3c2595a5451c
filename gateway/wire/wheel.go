package wire

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// wheel turns once a second: it sends heartbeats to the connections of one slot
// that have been silent, and ends those whose time has come. One timer serves
// all connections.
type wheel struct {
	pool *Pool
	size int // slots: seconds between heartbeats
	now  atomic.Int64

	mu    sync.Mutex // guards slots and ends; taken after no other lock
	slots []map[*Conn]struct{}
	ends  map[int64][]*Conn // by unix second; entries of ended connections are passed over
	last  int64
}

func newWheel(p *Pool, size int) *wheel {
	w := &wheel{pool: p, size: max(1, size), ends: make(map[int64][]*Conn)}
	w.slots = make([]map[*Conn]struct{}, w.size)
	for i := range w.slots {
		w.slots[i] = make(map[*Conn]struct{})
	}
	w.last = time.Now().Unix()
	w.now.Store(w.last)
	return w
}

func (w *wheel) add(c *Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slots[c.slot][c] = struct{}{}
}

func (w *wheel) remove(c *Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.slots[c.slot], c)
}

// expire has a connection looked at in a second to come.
func (w *wheel) expire(c *Conn, at int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at = max(at, w.last+1)
	w.ends[at] = append(w.ends[at], c)
}

func (w *wheel) run(ctx context.Context) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-t.C:
			w.turn(now.Unix())
		}
	}
}

// turn looks at every second up to now.
func (w *wheel) turn(now int64) {
	w.now.Store(now)
	w.mu.Lock()
	var silent, due []*Conn
	// After a pause longer than a turn each slot is looked at once.
	for s := max(w.last+1, now-int64(w.size)+1); s <= now; s++ {
		for c := range w.slots[s%int64(w.size)] {
			silent = append(silent, c)
		}
	}
	for s := w.last + 1; s <= now; s++ {
		due = append(due, w.ends[s]...)
		delete(w.ends, s)
	}
	w.last = now
	w.mu.Unlock()
	for _, c := range silent {
		// Anything written within half a turn keeps proxies awake as well.
		if now-c.idleSince() >= int64(w.size)/2 {
			c.Write(c.beat)
		}
	}
	for _, c := range due {
		c.fall(now)
	}
}

// fall is called when a time set for the connection has come.
func (c *Conn) fall(now int64) {
	c.mu.Lock()
	closing, closed, reason := c.closing, c.closed, c.reason
	c.mu.Unlock()
	switch {
	case closed:
	case closing:
		c.end(reason)
	default:
		if at := c.ends.Load(); at > 0 && at <= now {
			c.ends.Store(0)
			if h := c.hooks.Load(); h != nil {
				h.expired()
			}
		}
	}
}
