package wire

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Every connection gets a heartbeat every Config.Heartbeat, whether or not
// anything else was written: between two there are never more than the 25 s of
// the contract.
func TestHeartbeats(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		every time.Duration // between other frames; 0: none
	}{{"silent", 0}, {"busy", 7 * time.Second}, {"very busy", 300 * time.Millisecond}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := NewPool(Config{Writers: 1})
				p.Start(context.Background())
				server, client := net.Pipe()
				conn := p.Adopt(server, []byte("b"), nil)
				ctx, cancel := context.WithCancel(context.Background())
				var wg sync.WaitGroup
				if c.every > 0 {
					wg.Go(func() {
						for ctx.Err() == nil {
							conn.Write([]byte("x"))
							select {
							case <-ctx.Done():
							case <-time.After(c.every):
							}
						}
					})
				}
				last, beats := time.Now(), 0
				for b := make([]byte, 1); beats < 20; {
					if _, err := io.ReadFull(client, b); err != nil {
						t.Fatal(err)
					}
					if b[0] != 'b' {
						continue
					}
					if gap := time.Since(last); gap > 25*time.Second || beats > 0 && gap < 15*time.Second {
						t.Errorf("beat %d came %v after the last", beats, gap)
					}
					last = time.Now()
					beats++
				}
				cancel()
				wg.Wait()
				mustStop(t, p)
			})
		})
	}
}

// The expired hook is called once, within a second of the time that was set
// last; the zero time takes it back.
func TestEndAt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		set  []time.Duration // 0: never
		want time.Duration   // 0: never
	}{
		{"once", []time.Duration{5 * time.Second}, 5 * time.Second},
		{"in the past", []time.Duration{-time.Hour}, 1 * time.Second},
		{"later", []time.Duration{5 * time.Second, 9 * time.Second}, 9 * time.Second},
		{"earlier", []time.Duration{9 * time.Second, 5 * time.Second}, 5 * time.Second},
		{"never", []time.Duration{5 * time.Second, 0}, 0},
		{"the same often", []time.Duration{5 * time.Second, 5 * time.Second, 5 * time.Second}, 5 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := NewPool(Config{Writers: 1})
				p.Start(context.Background())
				server, client := net.Pipe()
				conn := p.Adopt(server, []byte("b"), nil)
				var wg sync.WaitGroup
				wg.Go(func() { _, _ = io.Copy(io.Discard, client) })
				h := listen(conn)
				began := time.Now()
				for _, d := range c.set {
					if d == 0 {
						conn.EndAt(time.Time{})
					} else {
						conn.EndAt(began.Add(d))
					}
				}
				p.wheel.mu.Lock()
				if n := len(p.wheel.ends); n > len(c.set) {
					t.Errorf("the wheel holds %d seconds for %d times", n, len(c.set))
				}
				p.wheel.mu.Unlock()
				select {
				case <-h.expired:
					if d := time.Since(began); c.want == 0 || d < c.want-time.Second || d > c.want+time.Second {
						t.Errorf("after %v, want %v", d, c.want)
					}
				case <-time.After(time.Minute):
					if c.want != 0 {
						t.Error("it was not called")
					}
				}
				<-time.After(time.Minute)
				if len(h.expired) != 0 {
					t.Error("it was called again")
				}
				mustStop(t, p)
				wg.Wait()
			})
		})
	}
}

// The wheel turns on whatever the wall clock does: forward by years costs
// nothing, and back leaves heartbeats going.
func TestWallClockJumps(t *testing.T) {
	t.Parallel()
	p := NewPool(Config{Heartbeat: 2 * time.Second, Writers: 1})
	conn := p.NewPumped([]byte("b"))
	var expired int
	conn.SetOwner(owner{expired: func() { expired++ }})
	now := time.Now().Unix()
	conn.EndAt(time.Unix(now+5, 0))
	began := time.Now()
	for i, wall := range []int64{now + 1, now - 1_000_000, now - 999_999, now + 2, now + 2_000_000_000, now + 3} {
		p.wheel.turn(int64(i+1), wall)
	}
	if d := time.Since(began); d > time.Second {
		t.Errorf("the jumps took %v", d)
	}
	if expired != 1 {
		t.Errorf("expired %d times, want once", expired)
	}
	if n := conn.Pending(); n != 3 {
		t.Errorf("%d heartbeats in six turns of two slots, want 3", n)
	}
	conn.End(ErrClosed)
}

// Stop ends every connection and goroutine, also of those that come while it
// stops or after it, and of readers and writers that are blocked.
func TestStop(t *testing.T) {
	t.Parallel()
	p := NewPool(Config{Writers: 2})
	p.Start(context.Background())
	var ends []<-chan error
	adopt := func(read bool) *Conn {
		server, _ := pair(t)
		var c *Conn
		if read {
			c = p.Adopt(server, nil, untilEOF)
		} else {
			c = p.Adopt(server, nil, nil)
		}
		ended := make(chan error, 1)
		ends = append(ends, ended)
		c.SetOwner(owner{ended: func(err error) { ended <- err }})
		return c
	}
	for i := range 20 {
		adopt(i%2 == 0).Write(frame(0, 0, 1<<20*(i%3)))
	}
	pumped := p.NewPumped(nil)
	done := make(chan error, 1)
	go func() { done <- pumped.Pump(context.Background(), newResponse(), newResponse()) }()
	var stopping sync.WaitGroup
	stopping.Go(func() { mustStop(t, p) })
	for range 20 {
		adopt(true)
		runtime.Gosched()
	}
	stopping.Wait()
	late := adopt(true)
	if late.Write([]byte("x")) {
		t.Error("a stopped pool's connection took a frame")
	}
	for i, e := range ends {
		if err := await(t, "an end", e); !errors.Is(err, ErrClosed) && !errors.Is(err, ErrGone) {
			t.Errorf("connection %d ended with %v", i, err)
		}
	}
	await(t, "the pump", done)
	if st := p.Stats(); st.Conns != 0 || st.Blocked != 0 {
		t.Errorf("left: %+v", st)
	}
}

// A pumped connection brings frames in order, flushes what is there at once,
// and ends with its request, its Close, or a response that fails.
func TestPump(t *testing.T) {
	t.Parallel()
	p := startPool(t, Config{Stall: 300 * time.Millisecond})
	failed := errors.New("broken pipe")
	goodbye := errors.New("goodbye")
	for _, c := range []struct {
		name string
		end  func(conn *Conn, r *response, cancel context.CancelFunc)
		want error // of the connection
	}{
		{"the request ends", func(_ *Conn, _ *response, cancel context.CancelFunc) { cancel() }, ErrGone},
		{"closed", func(conn *Conn, _ *response, _ context.CancelFunc) { conn.Close(goodbye) }, goodbye},
		{"ended", func(conn *Conn, _ *response, _ context.CancelFunc) { conn.End(goodbye) }, goodbye},
		{"the response fails", func(conn *Conn, r *response, _ context.CancelFunc) {
			r.mu.Lock()
			r.failing = failed
			r.mu.Unlock()
			conn.Write([]byte("x"))
		}, ErrGone},
		{"the reader takes nothing", func(conn *Conn, r *response, _ context.CancelFunc) {
			r.mu.Lock()
			r.blocked = true
			r.mu.Unlock()
			conn.Write([]byte("x"))
		}, ErrStalled},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			conn, r := p.NewPumped([]byte("b")), newResponse()
			h := listen(conn)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			conn.Write([]byte("before;"))
			go func() { done <- conn.Pump(ctx, r, r) }()
			var want strings.Builder
			want.WriteString("before;")
			for range 1000 {
				if conn.Write([]byte("frame;")) {
					want.WriteString("frame;")
				}
			}
			large := strings.Repeat("L", 3*pumpPiece+5)
			for !conn.Write([]byte(large)) {
				runtime.Gosched()
			}
			want.WriteString(large)
			if got := r.text(want.Len()); got != want.String() {
				t.Errorf("got %d bytes, want %d", len(got), want.Len())
			}
			c.end(conn, r, cancel)
			await(t, "the pump's end", done)
			if err := await(t, "the end", h.ended); !errors.Is(err, c.want) {
				t.Errorf("ended with %v, want %v", err, c.want)
			}
		})
	}
}

// A frame to a connection whose socket takes it, as streams get it; what is
// written is read, and the clock stops when all was.
func BenchmarkWrite(b *testing.B) {
	p := startPool(b, Config{})
	server, client := pair(b)
	c := p.Adopt(server, nil, nil)
	room := make(chan struct{}, 1)
	c.SetOwner(owner{drained: func() { room <- struct{}{} }})
	f := frame(0, 0, 300)
	read := make(chan struct{})
	total := int64(0)
	count := make(chan int64, 1)
	go func() {
		defer close(read)
		n, _ := io.Copy(io.Discard, client)
		count <- n
	}()
	b.ReportAllocs()
	b.SetBytes(int64(len(f)))
	for b.Loop() {
		for !c.Write(f) {
			<-room
		}
		total += int64(len(f))
	}
	c.Close(ErrClosed)
	<-read
	if n := <-count; n != total {
		b.Errorf("%d bytes were read, want %d", n, total)
	}
}

// A heartbeat that falls due while a connection is being taken over does not come
// before the head of the answer.
func TestHeadIsFirst(t *testing.T) {
	t.Parallel()
	p := startPool(t, Config{Heartbeat: time.Second})
	ctx, cancel := context.WithCancel(t.Context())
	var turning sync.WaitGroup
	turning.Go(func() {
		for n := int64(1); ctx.Err() == nil; n++ {
			p.wheel.turn(n, time.Now().Unix())
		}
	})
	defer turning.Wait()
	defer cancel()
	for range 300 {
		server, client := pair(t)
		c := p.AdoptSilent(server, []byte("head"), []byte("beat"))
		_ = client.SetReadDeadline(time.Now().Add(patience))
		got := make([]byte, 4)
		if _, err := io.ReadFull(client, got); err != nil || string(got) != "head" {
			t.Fatalf("first came %q: %v", got, err)
		}
		c.End(ErrClosed)
	}
}
