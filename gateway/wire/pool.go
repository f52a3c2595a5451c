package wire

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"crier/internal/lifecycle"
)

// Config bounds what connections may take.
type Config struct {
	Outbox    int           // bytes that may wait for one connection; 0: 256 KiB
	Stall     time.Duration // a socket that takes nothing for so long is cut; 0: 20 s
	Heartbeat time.Duration // between two heartbeats, in whole seconds; 0: 24 s, the contract allows 25
	Writers   int           // 0: one for each processor
}

func (c *Config) normalise() {
	if c.Outbox <= 0 {
		c.Outbox = 256 << 10
	}
	if c.Stall <= 0 {
		c.Stall = 20 * time.Second
	}
	if c.Heartbeat <= 0 {
		c.Heartbeat = 24 * time.Second
	}
	if c.Writers <= 0 {
		c.Writers = runtime.GOMAXPROCS(0)
	}
}

// Pool owns the writers, the wheel and the goroutines of connections whose
// sockets are full. Stop ends all of them and every connection.
type Pool struct {
	cfg     Config
	workers []*worker
	wheel   *wheel
	group   *lifecycle.Group

	watching sync.Once
	watcher  atomic.Pointer[watcher] // nil until a silent connection wants it
	next     atomic.Uint32

	mu      sync.Mutex // guards conns and stopped
	conns   map[*Conn]struct{}
	stopped bool

	held    atomic.Int32 // batches that are being caused: writers are not woken meanwhile
	blocked atomic.Int64
	stalled atomic.Int64
	waiting waiting
}

// NewPool makes a pool; Start runs it.
func NewPool(cfg Config) *Pool {
	cfg.normalise()
	p := &Pool{cfg: cfg, conns: make(map[*Conn]struct{})}
	p.wheel = newWheel(p, int(cfg.Heartbeat/time.Second))
	for range cfg.Writers {
		w := &worker{pool: p}
		w.cond = sync.NewCond(&w.mu)
		p.workers = append(p.workers, w)
	}
	return p
}

// Start runs the writers and the wheel.
func (p *Pool) Start(ctx context.Context) {
	p.group = lifecycle.NewGroup(context.WithoutCancel(ctx))
	for _, w := range p.workers {
		p.group.Go("stream writer", w.run)
		p.group.Go("stream writer's end", func(ctx context.Context) error {
			<-ctx.Done()
			w.stop()
			return nil
		})
	}
	p.group.Go("heartbeat wheel", p.wheel.run)
}

// watch has the watcher look after a connection; false: it cannot, and the
// connection needs a reader, which costs a goroutine more.
func (p *Pool) watch(c *Conn) bool {
	p.watching.Do(func() {
		if w, err := newWatcher(); err == nil && w != nil {
			p.watcher.Store(w)
			p.group.Go("watching for readers' ends", w.run)
		}
	})
	return p.watcher.Load().watch(c)
}

// Stop ends all connections at once and waits for the goroutines.
func (p *Pool) Stop(ctx context.Context) error {
	p.mu.Lock()
	p.stopped = true // who comes now is ended as he comes
	conns := make([]*Conn, 0, len(p.conns))
	for c := range p.conns {
		conns = append(conns, c)
	}
	p.mu.Unlock()
	for _, c := range conns {
		c.end(ErrClosed)
	}
	return p.group.Stop(ctx)
}

// Stats are figures for metrics.
type Stats struct {
	Conns   int   // connections there are
	Blocked int64 // of them, with a full socket
	Stalled int64 // cut so far because they took nothing
}

// Stats counts.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{len(p.conns), p.blocked.Load(), p.stalled.Load()}
}

// Adopt takes over a socket. beat is written every Config.Heartbeat.
// read, if not nil, runs in a goroutine of the pool and must return when the
// socket ends; then the connection ends too.
func (p *Pool) Adopt(conn net.Conn, beat []byte, read func(context.Context, net.Conn) error) *Conn {
	c := p.adopt(conn, nil, beat)
	if read != nil && !c.ended() {
		c.readBy(read)
	}
	return c
}

// AdoptSilent is Adopt for a peer that has nothing to say: the connection ends
// when the peer closes, and what it sends is thrown away. head is written before
// anything else, heartbeats included.
func (p *Pool) AdoptSilent(conn net.Conn, head, beat []byte) *Conn {
	c := p.adopt(conn, head, beat)
	if !c.ended() && !p.watch(c) {
		c.readBy(awaitEnd)
		return c
	}
	c.hears()
	return c
}

func (p *Pool) adopt(conn net.Conn, head, beat []byte) *Conn {
	c := &Conn{net: conn, beat: beat}
	if sc, ok := conn.(syscall.Conn); ok && canWritev {
		if raw, err := sc.SyscallConn(); err == nil {
			c.raw = raw
		}
	}
	// The wheel knows it from here on, and may have a heartbeat for it at once.
	if len(head) > 0 {
		c.outbox, c.pending, c.queued = append(c.first[:0], head), len(head), true
	}
	p.add(c)
	if len(head) > 0 {
		c.schedule()
	}
	return c
}

// awaitEnd returns when the peer closes.
func awaitEnd(_ context.Context, n net.Conn) error {
	var scratch [512]byte
	for {
		if _, err := n.Read(scratch[:]); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

func (c *Conn) ended() bool { return c.over.Load() }

// hears notes that somebody hears the peer go.
func (c *Conn) hears() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard = true
}

func (c *Conn) readBy(read func(context.Context, net.Conn) error) {
	c.hears()
	c.pool.group.Go("stream reader", func(ctx context.Context) error {
		if err := read(ctx, c.net); err != nil {
			c.end(errors.Join(ErrGone, err))
		} else {
			c.end(ErrGone)
		}
		return nil
	})
}

// NewPumped makes a connection whose handler calls Pump.
func (p *Pool) NewPumped(beat []byte) *Conn {
	return p.add(&Conn{beat: beat, kick: make(chan struct{}, 1)})
}

func (p *Pool) add(c *Conn) *Conn {
	n := p.next.Add(1)
	c.pool = p
	c.worker = p.workers[int(n)%len(p.workers)]
	c.slot = int(n) % p.wheel.size
	p.wheel.add(c)
	p.mu.Lock()
	p.conns[c] = struct{}{}
	stopped := p.stopped
	p.mu.Unlock()
	if stopped {
		c.end(ErrClosed)
	}
	return c
}

func (p *Pool) forget(c *Conn) {
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
	p.wheel.remove(c)
	p.watcher.Load().forget(c)
}
