package wire

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// worker is one writer. A connection belongs to one worker for life, so its
// frames keep their order. The queue holds each connection at most once.
type worker struct {
	pool *Pool
	vec  vector // what is being written; the worker's goroutine only

	mu      sync.Mutex // guards what follows; taken after no other lock
	cond    *sync.Cond
	queue   []*Conn
	since   time.Time // since when it has had something to do; zero: it has not
	idle    bool      // it waits
	stopped bool
}

func (w *worker) push(c *Conn) {
	held := w.pool.held.Load() > 0 // before the connection is in the queue: whoever holds looks into it after
	w.mu.Lock()
	w.queue = append(w.queue, c)
	first := len(w.queue) == 1
	if w.since.IsZero() {
		w.since = time.Now()
	}
	w.mu.Unlock()
	if first && !held {
		w.cond.Signal()
	}
}

func (w *worker) stop() {
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	w.cond.Broadcast()
}

func (w *worker) run(context.Context) error {
	var batch []*Conn
	for {
		w.mu.Lock()
		for len(w.queue) == 0 && !w.stopped {
			w.since, w.idle = time.Time{}, true
			w.cond.Wait()
		}
		w.idle = false
		if w.stopped {
			w.mu.Unlock()
			return nil
		}
		batch, w.queue = w.queue, batch[:0]
		w.mu.Unlock()
		for i, c := range batch {
			w.flush(c)
			batch[i] = nil
		}
	}
}

// flush writes what waits, as long as the socket takes it.
func (w *worker) flush(c *Conn) {
	for {
		w.vec.bufs = c.take(w.vec.bufs)
		if len(w.vec.bufs) == 0 || !w.writeOut(c) {
			return
		}
	}
}

// writeOut writes what was taken; false: the connection is no longer this
// worker's, or has ended.
func (w *worker) writeOut(c *Conn) bool {
	defer w.vec.forget()
	if c.raw == nil {
		c.block(slices.Clone(w.vec.bufs))
		return false
	}
	n, rest, err := w.vec.write(c.raw)
	switch {
	case err != nil:
		c.end(errors.Join(ErrGone, err))
		return false
	case len(rest) > 0:
		c.account(n)
		c.block(slices.Clone(rest))
		return false
	}
	c.sent(n)
	return true
}

// account notes bytes that are out while more of the same frames are not.
func (c *Conn) account(n int) {
	c.mu.Lock()
	c.pending -= n
	c.mu.Unlock()
}

// block leaves the connection to a goroutine of its own until its socket has
// taken everything; it stays queued meanwhile, so no worker touches it.
func (c *Conn) block(bufs [][]byte) {
	c.pool.blocked.Add(1)
	c.mu.Lock()
	if !c.closed {
		c.await()
	}
	c.mu.Unlock()
	c.pool.group.Go("full socket", func(context.Context) error {
		defer c.pool.blocked.Add(-1)
		c.mu.Lock()
		c.begun()
		c.mu.Unlock()
		for ; len(bufs) > 0; bufs = c.take(nil) {
			n := 0
			for _, b := range bufs {
				n += len(b)
			}
			for out := net.Buffers(bufs); len(out) > 0; {
				// Progress, however slow, earns more time; none for Stall does not.
				_ = c.net.SetWriteDeadline(time.Now().Add(c.pool.cfg.Stall))
				var wrote int64
				var err error
				if c.raw != nil {
					wrote, err = out.WriteTo(c.net)
				} else {
					err = writePiece(c.net, &out)
				}
				if errors.Is(err, os.ErrDeadlineExceeded) && wrote > 0 {
					continue
				}
				if errors.Is(err, os.ErrDeadlineExceeded) {
					c.pool.stalled.Add(1)
					c.end(ErrStalled)
					return nil
				}
				if err != nil {
					c.end(errors.Join(ErrGone, err))
					return nil
				}
			}
			// The workers' writes heed deadlines too, and theirs need none.
			_ = c.net.SetWriteDeadline(time.Time{})
			c.sent(n)
		}
		return nil
	})
}
