package wire

import (
	"context"
	"slices"
	"sync"
	"time"
)

// wheel turns once a second: it sends heartbeats to the connections of one slot,
// and ends those whose time has come. One timer serves all connections.
type wheel struct {
	pool    *Pool
	writer  worker // writes heartbeats; it has no queue
	size    int    // slots: seconds between heartbeats
	started time.Time

	mu    sync.Mutex // guards what follows and each Conn's due; taken after no other lock
	slots []map[*Conn]struct{}
	turns int64                        // of slots: seconds since started, whatever the wall clock does
	ends  map[int64]map[*Conn]struct{} // by unix second
	last  int64                        // unix second up to which ends were looked at
}

func newWheel(p *Pool, size int) *wheel {
	w := &wheel{pool: p, writer: worker{pool: p}, size: max(1, size), started: time.Now(), ends: make(map[int64]map[*Conn]struct{})}
	w.slots = make([]map[*Conn]struct{}, w.size)
	for i := range w.slots {
		w.slots[i] = make(map[*Conn]struct{})
	}
	w.last = w.started.Unix()
	return w
}

func (w *wheel) add(c *Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slots[c.slot][c] = struct{}{}
}

// remove forgets an ended connection, wherever it stands.
func (w *wheel) remove(c *Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.slots[c.slot], c)
	for _, at := range c.due {
		if delete(w.ends[at], c); len(w.ends[at]) == 0 {
			delete(w.ends, at)
		}
	}
	c.due = nil
}

// expire has a connection looked at in a second to come, unless it has ended.
func (w *wheel) expire(c *Conn, at int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.ended() {
		return
	}
	at = max(at, w.last+1)
	if w.ends[at] == nil {
		w.ends[at] = make(map[*Conn]struct{})
	}
	w.ends[at][c] = struct{}{}
	c.due = append(c.due, at)
}

func (w *wheel) run(ctx context.Context) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-t.C:
			w.turn(int64(now.Sub(w.started)/time.Second), now.Unix())
		}
	}
}

// turn looks at every slot up to turns, and at every end up to the unix second now.
func (w *wheel) turn(turns, now int64) {
	w.mu.Lock()
	var silent, due []*Conn
	// After a pause longer than a turn each slot is looked at once.
	for s := max(w.turns+1, turns-int64(w.size)+1); s <= turns; s++ {
		for c := range w.slots[s%int64(w.size)] {
			silent = append(silent, c)
		}
	}
	w.turns = turns
	// The wall clock may be set: forward by years, or back, and then what was due
	// and is again to come is waited for anew.
	for at, conns := range w.ends {
		if at > now {
			continue
		}
		for c := range conns {
			due = append(due, c)
			c.due = slices.DeleteFunc(c.due, func(d int64) bool { return d == at })
		}
		delete(w.ends, at)
	}
	w.last = now
	w.mu.Unlock()
	for _, c := range silent {
		w.beat(c)
	}
	for _, c := range due {
		c.fall(now)
	}
}

// beat writes a heartbeat by itself, one after the other: to have the writers woken
// for each would cost as much as writing it. Sockets that cannot be written to
// without waiting are theirs all the same.
func (w *wheel) beat(c *Conn) {
	if len(c.beat) == 0 {
		return
	}
	switch _, wake := c.put(c.beat); {
	case !wake:
	case c.raw != nil:
		w.writer.flush(c)
	default:
		c.schedule()
	}
}

// fall is called when a time set for the connection has come.
func (c *Conn) fall(now int64) {
	c.mu.Lock()
	closing, closed, reason, owner := c.closing, c.closed, c.reason, c.owner
	c.mu.Unlock()
	switch {
	case closed:
	case closing:
		c.end(reason)
	default:
		if at := c.ends.Load(); at > 0 && at <= now && c.ends.CompareAndSwap(at, 0) {
			if owner != nil {
				owner.Expired()
			}
		}
	}
}
