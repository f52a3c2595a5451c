package wire

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Reasons for which a connection ends, as causes of its context.
var (
	ErrStalled = errors.New("the reader took nothing for too long")
	ErrGone    = errors.New("the reader has gone")
	ErrClosed  = errors.New("closed")
)

// Conn is one connection being written to. Methods are safe for concurrent use.
type Conn struct {
	pool   *Pool
	net    net.Conn        // nil when pumped
	raw    syscall.RawConn // nil where only blocking writes are possible
	worker *worker
	kick   chan struct{} // wakes the pump
	beat   []byte        // heartbeat frame
	slot   int           // of the wheel

	watched int32 // its descriptor, while the watcher has it; guarded by the watcher's lock

	ends atomic.Int64 // unix second at which the owner's Expired is called, 0: never
	over atomic.Bool  // it has ended

	mu      sync.Mutex // guards what follows; taken after no other lock
	outbox  [][]byte
	first   [2][]byte // the outbox's memory while it is short, as it mostly is
	pending int       // bytes in outbox and in flight
	queued  bool      // with its worker, its pump or its blocked writer
	refused bool
	closing bool // no more writes; close when the outbox is out
	half    bool // our side is closed, and the peer's is waited for
	heard   bool // somebody reads, and hears the peer go
	reason  error
	closed  bool
	told    bool // the owner was told the end
	awaits  bool // counted as waiting for a goroutine to write
	owner   Owner
	done    chan struct{} // nil until somebody wants it

	due []int64 // wheel seconds under which the wheel knows it; guarded by the wheel's lock
}

// Owner is what a connection is written for. Its methods are called by writers
// and the wheel, and must not block.
type Owner interface {
	// Drained says that an outbox that had refused something is empty.
	Drained()
	// Ended is called once, when the connection has ended.
	Ended(reason error)
	// Expired says that the time set by EndAt has come.
	Expired()
}

// SetOwner says whom to tell what becomes of the connection; if it has ended
// already, that is told at once.
func (c *Conn) SetOwner(o Owner) {
	c.mu.Lock()
	c.owner = o
	closed, reason := c.closed && !c.told, c.reason
	c.told = c.told || c.closed
	c.mu.Unlock()
	if closed {
		o.Ended(reason)
	}
}

// Write puts a frame into the outbox; it must not be changed afterwards. false:
// the outbox is full, or the connection has ended, and nothing was taken.
func (c *Conn) Write(frame []byte) bool {
	if len(frame) == 0 {
		return true // nothing to wait for: net.Buffers would never be done with it
	}
	taken, wake := c.put(frame)
	if wake {
		c.schedule()
	}
	return taken
}

// put puts a frame into the outbox. wake: nobody is writing to the connection,
// and whoever called is to see to it.
func (c *Conn) put(frame []byte) (taken, wake bool) {
	c.mu.Lock()
	if c.closing || c.closed || c.pending+len(frame) > c.pool.cfg.Outbox && c.pending > 0 {
		c.refused = c.refused || !c.closing
		c.mu.Unlock()
		return false, false
	}
	if len(c.outbox) == 0 {
		c.outbox = c.first[:0]
	}
	c.outbox = append(c.outbox, frame)
	c.pending += len(frame)
	wake = !c.queued
	c.queued = true
	if wake && c.net == nil {
		c.await()
	}
	c.mu.Unlock()
	return true, wake
}

func (c *Conn) schedule() {
	if c.net == nil {
		select {
		case c.kick <- struct{}{}:
		default:
		}
		return
	}
	c.worker.push(c)
}

// Pending is how many bytes wait or are being written.
func (c *Conn) Pending() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pending
}

// EndAt has the owner's Expired called at a time, within a second. The zero time: never.
func (c *Conn) EndAt(t time.Time) {
	if t.IsZero() {
		c.ends.Store(0)
		return
	}
	if at := t.Unix(); c.ends.Swap(at) != at {
		c.pool.wheel.expire(c, at)
	}
}

// Close takes no more frames, and ends the connection when those in the outbox
// are out, or after a grace of two seconds.
func (c *Conn) Close(reason error) {
	c.mu.Lock()
	if c.closing || c.closed {
		c.mu.Unlock()
		return
	}
	c.closing, c.reason = true, reason
	idle := !c.queued
	c.mu.Unlock()
	c.pool.wheel.expire(c, time.Now().Add(closeGrace).Unix()+1)
	if idle {
		c.finish()
	}
}

const closeGrace = 2 * time.Second

// finish closes our side when the last frame is out, and leaves the rest to the
// peer, or to the wheel after the grace: a socket that is closed while something
// of the peer's is unread is reset, and the reset takes the last frames away
// from the peer (RFC 9112 section 9.6 has it for HTTP).
func (c *Conn) finish() {
	c.mu.Lock()
	first, reason, heard := !c.half && !c.closed, c.reason, c.heard
	c.half = true
	c.mu.Unlock()
	if !first {
		return
	}
	side, ok := c.net.(interface{ CloseWrite() error })
	if !ok || !heard || side.CloseWrite() != nil {
		c.end(reason)
	}
}

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.closed {
			close(c.done)
		}
	}
	return c.done
}

// end closes the socket; what is in the outbox is lost.
func (c *Conn) end(reason error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	if c.closing && c.reason != nil {
		reason = c.reason // whoever closed it said why; that the peer has gone follows from it
	}
	c.closed, c.closing, c.reason = true, true, reason
	c.begun()
	c.outbox, c.pending = nil, 0
	clear(c.first[:])
	owner, done := c.owner, c.done
	c.told = owner != nil
	c.over.Store(true)
	c.mu.Unlock()
	if c.net != nil {
		// TLS would first say goodbye, and wait for a full socket as long as 5 s.
		if t, ok := c.net.(interface{ NetConn() net.Conn }); ok && errors.Is(reason, ErrStalled) {
			_ = t.NetConn().Close()
		}
		_ = c.net.Close()
	}
	if done != nil {
		close(done)
	}
	c.pool.forget(c)
	if owner != nil {
		owner.Ended(reason)
	}
}

// End ends the connection at once.
func (c *Conn) End(reason error) { c.end(reason) }

// take takes the outbox to be written, in the memory of into; nothing when there
// is nothing, and then the connection is no longer queued, and one that was
// closed since sent is ended.
func (c *Conn) take(into [][]byte) [][]byte {
	c.mu.Lock()
	c.begun()
	if len(c.outbox) > 0 && !c.closed {
		out := append(into[:0], c.outbox...)
		c.outbox = nil
		clear(c.first[:])
		c.mu.Unlock()
		return out
	}
	c.queued = false
	closing := c.closing && !c.closed
	c.mu.Unlock()
	if closing {
		c.finish()
	}
	return into[:0]
}

// sent accounts for what is out, and says whether the connection is to close.
func (c *Conn) sent(n int) {
	c.mu.Lock()
	c.pending -= n
	empty := len(c.outbox) == 0
	drained := empty && c.refused && !c.closing
	if drained {
		c.refused = false
	}
	closing := c.closing && empty && !c.closed
	owner := c.owner
	c.mu.Unlock()
	if drained && owner != nil {
		owner.Drained()
	}
	if closing {
		c.finish()
	}
}

// Flusher is what Pump needs of a response besides writing;
// http.ResponseController is one.
type Flusher interface {
	Flush() error
	SetWriteDeadline(t time.Time) error
}

// pumpPiece is how much of a frame must be taken within Config.Stall.
const pumpPiece = 16 << 10

// Pump writes what is sent to a connection made by NewPumped to w, until ctx or
// the connection ends. It is the whole life of an HTTP/2 stream's handler.
func (c *Conn) Pump(ctx context.Context, w io.Writer, f Flusher) error {
	done := c.Done()
	for {
		select {
		case <-ctx.Done():
			c.end(ErrGone)
			return context.Cause(ctx)
		case <-done:
			return nil
		case <-c.kick:
		}
		for bufs := c.take(nil); len(bufs) > 0; bufs = c.take(nil) {
			began := time.Now()
			n, err := c.pumpOut(bufs, w, f, &began)
			if err != nil && time.Since(began) >= c.pool.cfg.Stall {
				c.pool.stalled.Add(1)
				c.end(ErrStalled)
				return ErrStalled
			}
			if err != nil {
				c.end(ErrGone)
				return err
			}
			c.sent(n)
		}
	}
}

// pumpOut writes frames in pieces, each of which may take Config.Stall from
// began on. To HTTP/2 a deadline is a message to the goroutine of the
// connection, so small frames share one.
func (c *Conn) pumpOut(bufs [][]byte, w io.Writer, f Flusher, began *time.Time) (n int, err error) {
	allow := func() {
		*began = time.Now()
		_ = f.SetWriteDeadline(began.Add(c.pool.cfg.Stall)) // where there is none, the connection's own end must do
	}
	allow()
	allowed := pumpPiece
	for _, b := range bufs {
		n += len(b)
		for len(b) > 0 {
			piece := b[:min(len(b), pumpPiece)]
			b = b[len(piece):]
			if allowed -= len(piece); allowed < 0 {
				allow()
				allowed = pumpPiece - len(piece)
			}
			if _, err := w.Write(piece); err != nil {
				return n, err
			}
		}
	}
	if err := f.Flush(); err != nil {
		return n, err
	}
	// Silence is no fault.
	return n, f.SetWriteDeadline(time.Time{})
}
