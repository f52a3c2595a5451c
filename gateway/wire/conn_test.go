package wire

import (
	"bufio"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// What several goroutines write arrives whole, each one's frames in its order,
// whatever their sizes and however little the socket takes at a time.
func TestOrderAndContent(t *testing.T) {
	t.Parallel()
	sizes := map[string]func(w, n int) int{
		"small":  func(w, n int) int { return 12 + n%50 },
		"mixed":  func(w, n int) int { return 12 + (w*7919+n*104729)%9000 },
		"large":  func(w, n int) int { return 40_000 + n },
		"larger": func(w, n int) int { return 300_000 }, // than the outbox
	}
	for name, size := range sizes {
		for _, kind := range []string{"writev", "blocking"} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				p := startPool(t, Config{Outbox: 64 << 10, Writers: 2})
				server, client := pair(t)
				if kind == "blocking" {
					server = chunked{server, 1000}
				}
				c := p.Adopt(server, nil, untilEOF)
				h := listen(c)
				count := map[string]int{"small": 1000, "mixed": 200, "large": 30, "larger": 10}[name]
				read := make(chan error, 1)
				go func() { read <- readFrames(bufio.NewReader(client), 8, count) }()
				writeAll(t, c, h, 8, count, size)
				if err := await(t, "the reader", read); err != nil {
					t.Error(err)
				}
				for end := time.Now().Add(patience); c.Pending() != 0; runtime.Gosched() {
					if time.Now().After(end) { // sent comes after the last byte was read
						t.Fatalf("%d bytes are still pending", c.Pending())
					}
				}
			})
		}
	}
}

// A reader that never reads is cut after Stall, its outbox bounded until then,
// while the others get everything.
func TestStalledReader(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"writev", "blocking"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			const stall = 500 * time.Millisecond
			p := startPool(t, Config{Outbox: 64 << 10, Stall: stall, Writers: 1})
			server, _ := pair(t)
			if kind == "blocking" {
				server = chunked{server, 1 << 20}
			}
			deaf := p.Adopt(server, nil, nil)
			h := listen(deaf)
			good, client := pair(t)
			other := p.Adopt(good, nil, untilEOF)
			oh := listen(other)
			read := make(chan error, 1)
			go func() { read <- readFrames(bufio.NewReader(client), 1, 5000) }()
			began := time.Now()
			var flood sync.WaitGroup
			flood.Go(func() { // so that no room is left anywhere below the outbox
				for n := 0; !deaf.ended(); n++ {
					if !deaf.Write(frame(0, n, 8000)) {
						<-time.After(time.Millisecond)
					}
					if got := deaf.Pending(); got > 64<<10 {
						t.Errorf("%d bytes are pending, want at most the outbox", got)
						return
					}
				}
			})
			defer flood.Wait()
			writeAll(t, other, oh, 1, 5000, func(int, int) int { return 300 })
			if err := await(t, "the other reader", read); err != nil {
				t.Errorf("the other reader: %v", err)
			}
			if err := await(t, "the stalled reader's end", h.ended); !errors.Is(err, ErrStalled) {
				t.Errorf("it ended with %v, want %v", err, ErrStalled)
			}
			if d := time.Since(began); d < stall || d > stall+30*time.Second {
				t.Errorf("it was cut after %v, want %v", d, stall)
			}
			if deaf.Write([]byte("x")) {
				t.Error("a frame was taken after the end")
			}
			if st := p.Stats(); st.Stalled != 1 {
				t.Errorf("stalled %d, want 1", st.Stalled)
			}
		})
	}
}

// A reader that is slow but not dead is not cut: every bit of progress earns it
// more time.
func TestSlowReaderIsKept(t *testing.T) {
	t.Parallel()
	const stall = 400 * time.Millisecond
	p := startPool(t, Config{Outbox: 8 << 20, Stall: stall})
	server, client := pair(t)
	c := p.Adopt(server, nil, nil)
	h := listen(c)
	c.Write(frame(0, 0, 4<<20))
	read := make(chan error, 1)
	go func() {
		read <- readFrames(readerFunc(func(b []byte) (int, error) {
			timer := time.NewTimer(stall / 10)
			<-timer.C
			return client.Read(b[:min(len(b), 100_000)])
		}), 1, 1)
	}()
	if err := await(t, "the reader", read); err != nil {
		t.Error(err)
	}
	select {
	case err := <-h.ended:
		t.Errorf("it was cut: %v", err)
	default:
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// An outbox that is full refuses, takes nothing of the frame, and says when it
// has room again; a frame larger than the outbox is taken when it is empty.
func TestOutboxBound(t *testing.T) {
	t.Parallel()
	p := startPool(t, Config{Outbox: 10_000})
	server, client := pair(t)
	c := p.Adopt(server, nil, nil)
	h := listen(c)
	if !c.Write(frame(0, 0, 3<<20)) {
		t.Fatal("the first frame was refused")
	}
	if c.Write(frame(0, 1, 12)) {
		t.Fatal("a full outbox took a frame")
	}
	select {
	case <-h.drained:
		t.Fatal("drained before anything was read")
	default:
	}
	if err := readFrames(client, 1, 1); err != nil {
		t.Fatal(err)
	}
	await(t, "drained", h.drained)
	if !c.Write(frame(0, 0, 12)) {
		t.Error("a drained outbox refused")
	}
	if err := readFrames(client, 1, 1); err != nil {
		t.Error(err)
	}
}

// Close takes no more, lets out what was taken, and then ends at once; the hook
// hears the reason once.
func TestClose(t *testing.T) {
	t.Parallel()
	goodbye := errors.New("goodbye")
	for i := range 300 {
		p := closePool(t)
		server, client := pair(t)
		c := p.Adopt(server, nil, nil)
		h := listen(c)
		if i%3 > 0 {
			c.Write([]byte("last words"))
		}
		if i%3 > 1 {
			runtime.Gosched()
		}
		began := time.Now()
		c.Close(goodbye)
		c.Close(errors.New("again"))
		if c.Write([]byte("more")) {
			t.Fatal("a frame was taken after Close")
		}
		got, err := io.ReadAll(client)
		if want := strings.Repeat("last words", min(1, i%3)); string(got) != want || err != nil {
			t.Fatalf("run %d: the reader got %q, %v; want %q", i, got, err, want)
		}
		if err := await(t, "the end", h.ended); err != goodbye {
			t.Fatalf("run %d: ended with %v", i, err)
		}
		if d := time.Since(began); d > time.Second {
			t.Fatalf("run %d: it took %v to close", i, d)
		}
		_ = client.Close()
	}
}

var closePools sync.Map

// closePool is one pool for all runs of a test.
func closePool(t *testing.T) *Pool {
	if p, ok := closePools.Load(t.Name()); ok {
		return p.(*Pool)
	}
	p := startPool(t, Config{Writers: 2})
	closePools.Store(t.Name(), p)
	return p
}

// Closing a connection whose reader takes nothing ends it after the grace.
func TestCloseGrace(t *testing.T) {
	t.Parallel()
	p := startPool(t, Config{Outbox: 8 << 20})
	server, _ := pair(t)
	c := p.Adopt(server, nil, nil)
	h := listen(c)
	c.Write(frame(0, 0, 6<<20))
	began := time.Now()
	goodbye := errors.New("goodbye")
	c.Close(goodbye)
	if err := await(t, "the end", h.ended); err != goodbye {
		t.Errorf("ended with %v", err)
	}
	if d := time.Since(began); d < closeGrace || d > closeGrace+30*time.Second {
		t.Errorf("after %v, want the grace of %v", d, closeGrace)
	}
}

// Hooks are told of the end exactly once, whether it comes before, while or
// after they are set, and whoever brings it about.
func TestHooksAndEnd(t *testing.T) {
	t.Parallel()
	p := startPool(t, Config{Writers: 2})
	for i := range 500 {
		server, client := net.Pipe()
		c := p.Adopt(server, nil, untilEOF)
		ended := make(chan error, 10)
		var wg sync.WaitGroup
		wg.Go(func() { c.SetOwner(owner{ended: func(err error) { ended <- err }}) })
		wg.Go(func() { c.End(ErrGone) })
		wg.Go(func() { _ = client.Close() })
		wg.Go(func() { c.Close(ErrClosed) })
		wg.Go(func() { c.Write([]byte("x")) })
		wg.Go(func() { c.EndAt(time.Now().Add(time.Duration(rand.IntN(3)) * time.Second)) })
		wg.Wait()
		await(t, "the end", ended)
		<-c.Done()
		if len(ended) != 0 {
			t.Fatalf("run %d: told %d times more", i, len(ended))
		}
	}
	if st := p.Stats(); st.Conns != 0 {
		t.Errorf("%d connections are kept", st.Conns)
	}
	p.wheel.mu.Lock()
	defer p.wheel.mu.Unlock()
	if n := len(p.wheel.ends); n != 0 {
		t.Errorf("the wheel keeps %d seconds of ended connections", n)
	}
}

// The peer's going ends the connection.
func TestPeerGoes(t *testing.T) {
	t.Parallel()
	p := startPool(t, Config{})
	for _, c := range []struct {
		name string
		read func(t *testing.T, server net.Conn) *Conn
	}{
		{"heard by the reader", func(t *testing.T, s net.Conn) *Conn { return p.Adopt(s, nil, untilEOF) }},
		{"heard by the writer", func(t *testing.T, s net.Conn) *Conn { return p.Adopt(s, nil, nil) }},
		{"heard by a blocked writer", func(t *testing.T, s net.Conn) *Conn {
			conn := p.Adopt(s, nil, nil)
			conn.Write(frame(0, 0, 200_000))
			return conn
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server, client := pair(t)
			conn := c.read(t, server)
			h := listen(conn)
			_ = client.(*net.TCPConn).SetLinger(0) // a reset
			_ = client.Close()
			end := time.After(patience)
			for {
				conn.Write([]byte("is anybody there?"))
				select {
				case err := <-h.ended:
					if !errors.Is(err, ErrGone) {
						t.Errorf("ended with %v", err)
					}
					return
				case <-end:
					t.Fatal("it did not end")
				case <-time.After(time.Millisecond):
				}
			}
		})
	}
}

// A socket that was full once is written to as before when it has room again,
// however much later.
func TestFullOnceIsNoFault(t *testing.T) {
	t.Parallel()
	const stall = 200 * time.Millisecond
	p := startPool(t, Config{Outbox: 8 << 20, Stall: stall})
	server, client := pair(t)
	c := p.Adopt(server, nil, nil)
	h := listen(c)
	for range 3 {
		c.Write(frame(0, 0, 4<<20))
		if err := readFrames(client, 1, 1); err != nil {
			t.Fatal(err)
		}
		<-time.After(2 * stall) // real time: the socket's deadline is the kernel's
	}
	select {
	case err := <-h.ended:
		t.Errorf("it ended: %v", err)
	default:
	}
}

// An empty frame is nothing: it neither fills an outbox nor keeps a writer busy.
func TestEmptyFrame(t *testing.T) {
	t.Parallel()
	p := startPool(t, Config{Writers: 1})
	server, client := pair(t)
	c := p.Adopt(chunked{server, 100}, nil, nil)
	for n := range 100 {
		if !c.Write(nil) || !c.Write(frame(0, n, 12)) {
			t.Fatal("refused")
		}
	}
	if err := readFrames(client, 1, 100); err != nil {
		t.Error(err)
	}
	c.Close(ErrClosed)
	await(t, "the end", c.Done())
}

// A peer that has nothing to say is heard when it goes all the same, what it
// says meanwhile is thrown away, and what is watched is forgotten at the end.
func TestSilentPeers(t *testing.T) {
	t.Parallel()
	p := startPool(t, Config{})
	for name, leave := range map[string]func(c *net.TCPConn){
		"closed": func(c *net.TCPConn) { _ = c.Close() },
		"reset":  func(c *net.TCPConn) { _ = c.SetLinger(0); _ = c.Close() },
		"half":   func(c *net.TCPConn) { _ = c.CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range 200 {
				server, client := pair(t)
				c := p.AdoptSilent(server, nil, nil)
				h := listen(c)
				if _, err := client.Write(make([]byte, 3000)); err != nil {
					t.Fatal(err)
				}
				c.Write([]byte("for you"))
				if _, err := io.ReadFull(client, make([]byte, len("for you"))); err != nil {
					t.Fatal(err)
				}
				leave(client.(*net.TCPConn))
				if err := await(t, "the end", h.ended); !errors.Is(err, ErrGone) {
					t.Fatalf("ended with %v", err)
				}
			}
		})
	}
	t.Run("ended here", func(t *testing.T) {
		t.Parallel()
		for range 200 {
			server, _ := pair(t)
			c := p.AdoptSilent(server, nil, nil)
			c.End(ErrClosed)
			<-c.Done()
		}
	})
	t.Cleanup(func() {
		if n := watched(p); n != 0 {
			t.Errorf("%d connections are still watched", n)
		}
	})
}

// What was said last reaches a peer that is talking while the connection is
// closed: its own words, unread, must not reset the connection.
func TestLastWordsArrive(t *testing.T) {
	t.Parallel()
	p := startPool(t, Config{})
	for name, adopt := range map[string]func(net.Conn) *Conn{
		"read":   func(c net.Conn) *Conn { return p.Adopt(c, nil, untilEOF) },
		"silent": func(c net.Conn) *Conn { return p.AdoptSilent(c, nil, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range 100 {
				server, client := pair(t)
				var talking sync.WaitGroup
				talking.Go(func() {
					for {
						if _, err := client.Write(make([]byte, 8<<10)); err != nil {
							return
						}
					}
				})
				c := adopt(server)
				h := listen(c)
				c.Write([]byte("last words"))
				c.Close(ErrStalled)
				got, err := io.ReadAll(client)
				if string(got) != "last words" || err != nil {
					t.Fatalf("heard %q, %v", got, err)
				}
				_ = client.Close()
				talking.Wait()
				if err := await(t, "the end", h.ended); !errors.Is(err, ErrStalled) {
					t.Fatalf("ended with %v", err)
				}
			}
		})
	}
}
