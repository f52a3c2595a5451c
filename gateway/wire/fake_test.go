package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// startPool runs a pool until the end of the test.
func startPool(t testing.TB, cfg Config) *Pool {
	t.Helper()
	p := NewPool(cfg)
	p.Start(context.Background())
	t.Cleanup(func() { mustStop(t, p) })
	return p
}

func mustStop(t testing.TB, p *Pool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := p.Stop(ctx); err != nil {
		t.Errorf("stopping: %v", err)
	}
}

// pair is a connection of loopback: the server's end, with a small send buffer,
// and the client's.
func pair(t testing.TB) (server, client net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	// Not smaller: below loopback's segment size TCP waits for its timers.
	_ = server.(*net.TCPConn).SetWriteBuffer(128 << 10)
	_ = client.(*net.TCPConn).SetReadBuffer(256 << 10)
	t.Cleanup(func() { _ = client.Close(); _ = server.Close() })
	return server, client
}

// untilEOF is a reader for Adopt.
func untilEOF(_ context.Context, c net.Conn) error {
	_, err := io.Copy(io.Discard, c)
	return err
}

// owner is an Owner of funcs; nil ones do nothing.
type owner struct {
	drained func()
	ended   func(error)
	expired func()
}

func (o owner) Drained() {
	if o.drained != nil {
		o.drained()
	}
}

func (o owner) Ended(reason error) {
	if o.ended != nil {
		o.ended(reason)
	}
}

func (o owner) Expired() {
	if o.expired != nil {
		o.expired()
	}
}

// heard is what a connection's owner was told.
type heard struct {
	drained chan struct{}
	ended   chan error
	expired chan struct{}
}

func listen(c *Conn) *heard {
	h := &heard{make(chan struct{}, 100_000), make(chan error, 10), make(chan struct{}, 10)}
	c.SetOwner(owner{func() { h.drained <- struct{}{} }, func(err error) { h.ended <- err }, func() { h.expired <- struct{}{} }})
	return h
}

const patience = time.Minute

// await receives or fails.
func await[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("%s: nothing within %v", what, patience)
		panic("unreachable")
	}
}

// frame is writer's nth frame, of any size from 12 bytes on: it says its length,
// who wrote it and which it is, and is filled with a byte of its own.
func frame(writer, n, size int) []byte {
	b := bytes.Repeat([]byte{byte(writer*31 + n)}, max(size, 12))
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	binary.BigEndian.PutUint32(b[4:], uint32(writer))
	binary.BigEndian.PutUint32(b[8:], uint32(n))
	return b
}

// readFrames reads whole frames and checks each writer's order and content,
// until want of each were read.
func readFrames(r io.Reader, writers, want int) error {
	next := make([]int, writers)
	left := writers * want
	for left > 0 {
		var head [12]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return fmt.Errorf("with %d frames to come: %w", left, err)
		}
		size, w, n := int(binary.BigEndian.Uint32(head[:])), int(binary.BigEndian.Uint32(head[4:])), int(binary.BigEndian.Uint32(head[8:]))
		if w >= writers || n != next[w] {
			return fmt.Errorf("frame %d of writer %d, want %v", n, w, next)
		}
		next[w]++
		left--
		body := make([]byte, size-12)
		if _, err := io.ReadFull(r, body); err != nil {
			return err
		}
		if got := bytes.Count(body, []byte{byte(w*31 + n)}); got != len(body) {
			return fmt.Errorf("frame %d of writer %d: %d of %d bytes are its own", n, w, got, len(body))
		}
	}
	return nil
}

// writeAll writes frames from several goroutines, each waiting for room when it
// is refused.
func writeAll(t testing.TB, c *Conn, h *heard, writers, count int, size func(w, n int) int) {
	t.Helper()
	var wg sync.WaitGroup
	room := make(chan struct{}, 1)
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-h.drained:
				select {
				case room <- struct{}{}:
				default:
				}
			case <-stop:
				return
			}
		}
	}()
	for w := range writers {
		wg.Go(func() {
			for n := range count {
				for f := frame(w, n, size(w, n)); !c.Write(f); {
					select {
					case <-c.Done():
						return
					case <-room:
					case <-time.After(time.Millisecond):
					}
				}
			}
		})
	}
	wg.Wait()
	close(stop)
}

// chunked is a connection that takes a few bytes at a time and hides its socket,
// as TLS does.
type chunked struct {
	net.Conn
	n int
}

func (c chunked) Write(b []byte) (int, error) {
	sent := 0
	for len(b) > 0 {
		k, err := c.Conn.Write(b[:min(c.n, len(b))])
		sent += k
		if err != nil {
			return sent, err
		}
		b = b[k:]
	}
	return sent, nil
}

// response is what Pump writes to: it can be made to block, until its deadline.
type response struct {
	mu       sync.Mutex
	cond     *sync.Cond
	buf      bytes.Buffer
	flushed  int
	blocked  bool
	deadline time.Time
	timer    *time.Timer
	failing  error
}

func newResponse() *response {
	r := &response{}
	r.cond = sync.NewCond(&r.mu)
	return r
}

var errDeadline = errors.New("the deadline has passed")

func (r *response) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.blocked && (r.deadline.IsZero() || time.Now().Before(r.deadline)) {
		r.cond.Wait()
	}
	if r.blocked {
		return 0, errDeadline
	}
	if r.failing != nil {
		return 0, r.failing
	}
	return r.buf.Write(b)
}

func (r *response) Flush() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flushed = r.buf.Len()
	r.cond.Broadcast()
	return r.failing
}

func (r *response) SetWriteDeadline(t time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deadline = t
	if r.timer != nil {
		r.timer.Stop()
	}
	if !t.IsZero() {
		r.timer = time.AfterFunc(time.Until(t), r.cond.Broadcast)
	}
	return nil
}

// text is what was flushed, once it is at least n bytes.
func (r *response) text(n int) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.flushed < n {
		r.cond.Wait()
	}
	return r.buf.String()[:r.flushed]
}
