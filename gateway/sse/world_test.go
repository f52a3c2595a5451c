package sse_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"crier/gateway/hub"
	"crier/gateway/sse"
	"crier/gateway/wire"
	"crier/internal/criertest"
	"crier/internal/event"
)

const ann event.UserID = "ann"

// inbox is one user's, in memory.
type inbox struct {
	mu   sync.Mutex
	last int64
	size int
}

func (s *inbox) event(id int64) *hub.Event {
	return &hub.Event{Type: hub.Notification, ID: id, Data: fmt.Appendf(nil, `{"id":%d,"pad":"%s"}`, id, strings.Repeat("x", s.size))}
}

func (s *inbox) After(_ context.Context, _ event.UserID, after int64, limit int) ([]*hub.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*hub.Event
	for id := after + 1; id <= s.last && len(out) < limit; id++ {
		out = append(out, s.event(id))
	}
	return out, nil
}

func (s *inbox) Heads(context.Context, []event.UserID) (map[event.UserID]hub.Head, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return map[event.UserID]hub.Head{ann: {Last: s.last}}, nil
}

func (s *inbox) Ended(context.Context, []string) ([]string, error) { return nil, nil }

// commit stores n more and delivers them.
func (w *world) commit(n int64) {
	for range n {
		w.mu.Lock()
		w.last++
		id := w.last
		w.mu.Unlock()
		w.hub.Deliver([]byte(ann), hub.Stored{ID: id, Data: w.event(id).Data})
	}
}

// world is a real HTTP server that answers every request with ann's stream.
type world struct {
	inbox
	t    *testing.T
	hub  *hub.Hub
	pool *wire.Pool
	addr string
	ends time.Time
	fail error // of begin

	cutMu sync.Mutex
	cuts  []string
}

func newWorld(t *testing.T, cfg wire.Config) *world {
	t.Helper()
	return newWorldOn(t, cfg, listen(t))
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// counted are sockets whose writes are counted. They hide what they are, so each
// frame of an outbox is a write.
type counted struct {
	net.Listener
	writes atomic.Int64
}

type countedConn struct {
	net.Conn
	writes *atomic.Int64
}

func (l *counted) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return countedConn{c, &l.writes}, err
}

func (c countedConn) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

func newWorldOn(t *testing.T, cfg wire.Config, l net.Listener) *world {
	t.Helper()
	w := &world{t: t, pool: wire.NewPool(cfg)}
	w.hub = hub.New(w)
	ctx, cancel := context.WithCancel(context.Background())
	w.pool.Start(ctx)
	var wg sync.WaitGroup
	for range w.hub.Workers() {
		wg.Go(func() { _ = w.hub.CatchUp(ctx) })
	}
	wg.Go(func() { _ = w.hub.SendTicks(ctx) })
	w.addr = l.Addr().String()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: http.HandlerFunc(w.serve), Protocols: protocols}
	wg.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		cancel()
		if err := w.pool.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		_ = server.Close()
		wg.Wait()
		criertest.Eventually(t, time.Minute, "no subscriber is left", func() bool { return w.hub.Stats().Subscribers == 0 })
	})
	return w
}

func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	st := &hub.Stream{UserID: ann, Session: "s", Ends: w.ends, Rate: hub.MaxRate}
	if s := r.URL.Query().Get("follow"); s != "" {
		st.Follows = strings.Split(s, ",")
	}
	server := &sse.Server{Hub: w.hub, Pool: w.pool, CutFunc: func(_ event.UserID, _, reason string) {
		w.cutMu.Lock()
		defer w.cutMu.Unlock()
		w.cuts = append(w.cuts, reason)
	}}
	err := server.Serve(rw, r, st, func() (hub.Placing, error) {
		heads, _ := w.Heads(r.Context(), nil)
		p := hub.Place(r.Header.Get("Last-Event-ID"), heads[ann], 0)
		return p, w.fail
	})
	if err != nil {
		http.Error(rw, err.Error(), http.StatusTeapot)
	}
}

// stream is an open answer.
type stream struct {
	t    *testing.T
	resp *http.Response
	r    *bufio.Reader
}

// open asks with a cursor; proto is 1 or 2.
func (w *world) open(proto int, path, cursor string) *stream {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), "GET", "http://"+w.addr+"/"+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if cursor != "" {
		req.Header.Set("Last-Event-ID", cursor)
	}
	protocols := new(http.Protocols)
	if proto == 2 {
		protocols.SetUnencryptedHTTP2(true)
	} else {
		protocols.SetHTTP1(true)
	}
	tr := &http.Transport{Protocols: protocols}
	w.t.Cleanup(tr.CloseIdleConnections)
	resp, err := tr.RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = resp.Body.Close() })
	return &stream{t: w.t, resp: resp, r: bufio.NewReader(resp.Body)}
}

// block is the next block of lines up to an empty one; "" at the end.
func (s *stream) block() string {
	s.t.Helper()
	type read struct {
		text string
		err  error
	}
	done := make(chan read, 1)
	go func() {
		var b strings.Builder
		for {
			line, err := s.r.ReadString('\n')
			if err != nil || line == "\n" {
				done <- read{b.String(), err}
				return
			}
			b.WriteString(line)
		}
	}()
	select {
	case r := <-done:
		return r.text
	case <-time.After(time.Minute):
		s.t.Fatal("nothing came within 20 s")
		return ""
	}
}

// next is the next block that is no comment.
func (s *stream) next() string {
	s.t.Helper()
	for {
		if b := s.block(); b != ":\n" {
			return b
		}
	}
}

// ids reads notifications until the id last; it returns what came besides.
func (s *stream) ids(first, last int64) (others []string) {
	s.t.Helper()
	for want := first; want <= last; {
		b := s.next()
		if !strings.HasPrefix(b, "event: notification\nid: ") {
			if b == "" {
				s.t.Fatalf("the stream ended before %d", want)
			}
			others = append(others, b)
			continue
		}
		text, _, _ := strings.Cut(b[len("event: notification\nid: "):], "\n")
		if got, _ := strconv.ParseInt(text, 10, 64); got != want {
			s.t.Fatalf("notification %d came where %d was due", got, want)
		}
		want++
	}
	return others
}
