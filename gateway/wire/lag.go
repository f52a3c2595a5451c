package wire

import (
	"sync"
	"time"
)

// waiting is how many connections have waited without a pause for a goroutine to
// write to them, where no worker does: HTTP/2's and TLS's.
type waiting struct {
	mu    sync.Mutex // guards the rest; taken after a Conn's
	n     int
	since time.Time // when the first of them began to
}

func (w *waiting) add() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n++; w.n == 1 {
		w.since = time.Now()
	}
}

func (w *waiting) done() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n--
}

// await notes that the connection waits for its goroutine; begun, that it has it.
// Called with the connection's lock held. A socket that is full waits for its
// peer, not for us, and is not counted.
func (c *Conn) await() {
	if !c.awaits {
		c.awaits = true
		c.pool.waiting.add()
	}
}

func (c *Conn) begun() {
	if c.awaits {
		c.awaits = false
		c.pool.waiting.done()
	}
}

// Lag is for how long the writers have had something to do without a pause. What
// was written longer ago than that may still be here; what was written later is
// out, or its socket is full.
func (p *Pool) Lag() time.Duration {
	now := time.Now()
	oldest := now
	note := func(mu *sync.Mutex, busy func() bool, since *time.Time) {
		mu.Lock()
		defer mu.Unlock()
		if busy() && since.Before(oldest) {
			oldest = *since
		}
	}
	for _, w := range p.workers {
		note(&w.mu, func() bool { return !w.since.IsZero() }, &w.since)
	}
	note(&p.waiting.mu, func() bool { return p.waiting.n > 0 }, &p.waiting.since)
	return now.Sub(oldest)
}
