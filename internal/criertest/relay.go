package criertest

import (
	"net"
	"sync"
	"testing"
)

// Relay stands between clients and a server on TCP, and can fail as networks do.
type Relay struct {
	Addr string

	upstream string
	serving  *sync.WaitGroup

	mu    sync.Mutex // guards the rest
	away  bool
	conns map[net.Conn]bool
	open  chan struct{} // closed unless bytes are held back
}

// NewRelay relays to a server until the test's end.
func NewRelay(tb testing.TB, upstream string) *Relay {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("criertest: starting a relay: %v", err)
	}
	r := &Relay{Addr: l.Addr().String(), upstream: upstream, conns: make(map[net.Conn]bool), open: make(chan struct{})}
	close(r.open)
	r.serving = &sync.WaitGroup{}
	r.serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // it is closed
			}
			r.serving.Go(func() { r.serve(conn) })
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		r.Release()
		r.Cut()
		r.serving.Wait()
	})
	return r
}

// Cut ends all connections, and each new one at once, until Restore.
func (r *Relay) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = true
	for c := range r.conns {
		_ = c.Close()
	}
}

// Restore takes connections again.
func (r *Relay) Restore() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = false
}

// Hold keeps back all bytes, and ends nothing, until Release.
func (r *Relay) Hold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open = make(chan struct{})
}

// Release passes on what was held back.
func (r *Relay) Release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.open:
	default:
		close(r.open)
	}
}

// keep says whether a connection may live.
func (r *Relay) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.away {
		return false
	}
	r.conns[c] = true
	return true
}

func (r *Relay) end(conns ...net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
		delete(r.conns, c)
	}
}

func (r *Relay) passing() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.open
}

func (r *Relay) serve(client net.Conn) {
	if !r.keep(client) {
		_ = client.Close()
		return
	}
	server, err := net.Dial("tcp", r.upstream)
	if err != nil || !r.keep(server) {
		r.end(client)
		if err == nil {
			_ = server.Close()
		}
		return
	}
	defer r.end(client, server)
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		both.Go(func() {
			defer r.end(client, server)
			buf := make([]byte, 32<<10)
			for {
				n, err := way[0].Read(buf)
				<-r.passing()
				if n > 0 {
					if _, err := way[1].Write(buf[:n]); err != nil {
						return
					}
				}
				if err != nil {
					return // io.EOF, or the relay's end
				}
			}
		})
	}
	both.Wait()
}
