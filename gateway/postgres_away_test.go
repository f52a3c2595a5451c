package gateway_test

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"crier/gateway/api"
	"crier/internal/criertest"
)

// way is a path to a server that can be cut: what goes through it ends, and nothing
// more is let through.
type way struct {
	net.Listener
	mu    sync.Mutex // guards the rest
	conns []net.Conn
	cut   bool
}

func newWay(t *testing.T, to string) *way {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &way{Listener: l}
	criertest.Go(t, func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			w.mu.Lock()
			if w.conns = append(w.conns, in, out); w.cut {
				_ = in.Close()
				_ = out.Close()
			}
			w.mu.Unlock()
			for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
				criertest.Go(t, func() {
					_, _ = io.Copy(pair[0], pair[1]) // until one of them ends
					_ = pair[0].Close()
				})
			}
		}
	})
	t.Cleanup(func() { w.end(); _ = l.Close() })
	return w
}

func (w *way) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = true
	for _, c := range w.conns {
		_ = c.Close()
	}
}

// While Postgres is away every route says so: 503 unavailable, with the time after
// which to try again, never 500; and nothing of why.
func TestPostgresAway(t *testing.T) {
	t.Parallel()
	address, err := url.Parse(criertest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	through := newWay(t, address.Host)
	address.Host = through.Addr().String()
	w := newWorldOn(t, address.String(), nil)
	access, _ := w.signUp("ann")
	through.end()
	for _, rt := range w.Routes() {
		if rt.Scope == api.Streams || rt.Scope == api.Greeted || rt.Path == "/api/v1/status" || rt.Path == "/api/v1/token/verify" {
			continue // streams have a test of their own; these two ask for nothing
		}
		path := strings.NewReplacer("{id}", "1", "{did}", "1", "{n}", "1", "{symbol}", "X", "{name}", "friends", "{event_id}", "00000000-0000-4000-8000-000000000000").Replace(rt.Path)
		status, h, text := w.ask(rt.Method, path, `{"username":"ann","password":"correct horse","refresh":"x","token":"x","name":"friends","user_id":"1","title":"x","account_id":1,"data":1,"account_name":"A","email":"a@example.org"}`, bearer(access))
		if status >= 500 && (status != http.StatusServiceUnavailable || h.Get("Retry-After") == "" || !strings.Contains(text, `"unavailable"`)) || strings.Contains(text, "dial") || strings.Contains(text, "SQLSTATE") {
			t.Errorf("%s %s: %d, Retry-After %q, %s", rt.Method, path, status, h.Get("Retry-After"), text)
		}
	}
}
