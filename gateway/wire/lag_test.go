package wire

import (
	"context"
	"net"
	"testing"
	"time"
)

// comes fails when something does not become so.
func comes(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !so(); <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never came that %s", what)
		}
	}
}

func lags(t *testing.T, p *Pool, what string) {
	t.Helper()
	comes(t, what, func() bool { return p.Lag() > 20*time.Millisecond })
}

func isIdle(t *testing.T, p *Pool, what string) {
	t.Helper()
	comes(t, what, func() bool { return p.Lag() == 0 })
}

// The writers lag while one of them has work that it does not get done; not
// while a peer takes nothing.
func TestLag(t *testing.T) {
	t.Parallel()
	p := startPool(t, Config{Writers: 2, Outbox: 64 << 10, Stall: time.Minute})
	isIdle(t, p, "nothing is to be done")

	server, _ := pair(t) // whose client never reads
	c := p.Adopt(server, nil, untilEOF)
	comes(t, "the socket is full", func() bool { c.Write(make([]byte, 40<<10)); return p.Stats().Blocked == 1 })
	isIdle(t, p, "a full socket is its peer's business")

	// A writer that meets a peer who has gone says so to its owner, who must not
	// take as long as this one.
	server2, client2 := pair(t)
	release := make(chan struct{})
	slow := p.Adopt(server2, nil, nil)
	slow.SetOwner(owner{ended: func(error) { <-release }})
	_ = client2.(*net.TCPConn).SetLinger(0)
	_ = client2.Close()
	comes(t, "the peer's end is noticed", func() bool { slow.Write([]byte("x")); return slow.ended() })
	lags(t, p, "a writer is held up")
	close(release)
	isIdle(t, p, "the writer goes on")
}

// A pumped connection counts until its handler has taken what there is, or has
// ended; not while its peer's window is full.
func TestLagOfPumped(t *testing.T) {
	t.Parallel()
	p := startPool(t, Config{Stall: time.Minute})
	c, gone := p.NewPumped(nil), p.NewPumped(nil)
	c.Write([]byte("x"))
	lags(t, p, "no handler has taken it")
	gone.Write([]byte("x"))
	gone.End(ErrGone)
	gone.Write([]byte("x"))
	r := newResponse()
	r.blocked = true
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = c.Pump(ctx, r, r) }()
	isIdle(t, p, "the handler has it, and waits for the window")
	r.mu.Lock()
	r.blocked = false
	r.cond.Broadcast()
	r.mu.Unlock()
	r.text(1)
	c.Write([]byte("y"))
	r.text(2)
	isIdle(t, p, "all is written")
	cancel()
	<-done
	c.Write([]byte("z"))
	isIdle(t, p, "nobody is left")
}
