package wire

import "time"

// fewWrites are so few that whoever caused them had better do them: they take
// less than a millisecond, and to wake a writer costs as much as some of them.
const fewWrites = 48

// Batch is for one goroutine that causes many writes at once, such as the reader
// of a topic.
type Batch struct {
	pool *Pool
	hand worker // writes what is few; it has no queue of its own
	mine []*Conn
}

// Batch makes one.
func (p *Pool) Batch() *Batch { return &Batch{pool: p, hand: worker{pool: p}} }

// Do calls fn and begins what it wrote to connections when it returns, so that the
// writers are woken once, or not at all where there is little to write. fn must
// not wait for anything.
func (b *Batch) Do(fn func()) {
	b.pool.held.Add(1)
	fn()
	b.pool.held.Add(-1)
	waiting := 0
	for _, w := range b.pool.workers {
		waiting += w.waiting()
	}
	if waiting > fewWrites {
		for _, w := range b.pool.workers {
			w.wake()
		}
		return
	}
	for _, w := range b.pool.workers {
		b.mine = w.give(b.mine[:0])
		for i, c := range b.mine {
			b.hand.flush(c)
			b.mine[i] = nil
		}
	}
}

// waiting is how many connections are in the queue.
func (w *worker) waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.queue)
}

// wake has the worker look into its queue.
func (w *worker) wake() {
	w.mu.Lock()
	some := len(w.queue) > 0
	w.mu.Unlock()
	if some {
		w.cond.Signal()
	}
}

// give moves the queue into another's hands. A connection in it is written to by
// nobody, and stays queued, so its frames keep their order.
func (w *worker) give(into []*Conn) []*Conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	into = append(into, w.queue...)
	clear(w.queue)
	w.queue = w.queue[:0]
	if w.idle {
		w.since = time.Time{}
	}
	return into
}
