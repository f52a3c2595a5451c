package ws_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gws "github.com/gobwas/ws"

	"crier/gateway/hub"
	"crier/gateway/wire"
	"crier/gateway/ws"
	"crier/internal/criertest"
	"crier/internal/event"
)

const ann event.UserID = "ann"

// inbox is ann's: notifications 1 to last.
type inbox struct {
	mu   sync.Mutex
	last int64
}

func (s *inbox) After(_ context.Context, _ event.UserID, after int64, limit int) ([]*hub.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*hub.Event
	for id := after + 1; id <= s.last && len(out) < limit; id++ {
		out = append(out, &hub.Event{Type: hub.Notification, ID: id, Data: fmt.Appendf(nil, `{"id":%d}`, id)})
	}
	return out, nil
}

func (s *inbox) Heads(context.Context, []event.UserID) (map[event.UserID]hub.Head, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return map[event.UserID]hub.Head{ann: {Last: s.last}}, nil
}

func (s *inbox) Ended(context.Context, []string) ([]string, error) { return nil, nil }

// world is a real HTTP server whose every request is ann's socket.
type world struct {
	inbox
	t    testing.TB
	hub  *hub.Hub
	addr string

	cmdMu sync.Mutex
	read  []int64
	away  bool
	cuts  []string
	ends  time.Time
}

// Read and Renew are ws.Commands.
func (w *world) Read(_ context.Context, _ event.UserID, ids []int64) error {
	w.cmdMu.Lock()
	defer w.cmdMu.Unlock()
	if w.away {
		return errors.New("away")
	}
	w.read = append(w.read, ids...)
	return nil
}

func (w *world) Renew(_ context.Context, user event.UserID, token string) (time.Time, error) {
	if token != "good" || user != ann {
		return time.Time{}, errors.New("not good")
	}
	return time.Now().Add(time.Hour), nil
}

// PlaceTopics is ws.Commands: every topic stands at 0.
func (w *world) PlaceTopics(_ context.Context, cursor string, topics []string) (hub.Placing, error) {
	w.cmdMu.Lock()
	defer w.cmdMu.Unlock()
	var p hub.Placing
	if w.away {
		return p, errors.New("away")
	}
	for _, topic := range topics {
		p.PlaceTopic(topic, cursor, 0, 0)
	}
	return p, nil
}

func newWorld(t testing.TB, cfg wire.Config) *world {
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

func newWorldOn(t testing.TB, cfg wire.Config, l net.Listener) *world {
	t.Helper()
	w := &world{t: t}
	pool := wire.NewPool(cfg)
	w.hub = hub.New(w)
	ctx, cancel := context.WithCancel(context.Background())
	pool.Start(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { _ = w.hub.CatchUp(ctx) })
	wg.Go(func() { _ = w.hub.SendTicks(ctx) })
	w.addr = l.Addr().String()
	sockets := &ws.Server{Hub: w.hub, Pool: pool, Commands: w, CutFunc: func(_ event.UserID, _, reason string) {
		w.cmdMu.Lock()
		defer w.cmdMu.Unlock()
		w.cuts = append(w.cuts, reason)
	}}
	server := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		st := &hub.Stream{UserID: ann, Session: "s", Ends: w.ends, Rate: hub.MaxRate}
		err := sockets.Serve(rw, r, st, func() (hub.Placing, error) {
			heads, _ := w.Heads(r.Context(), nil)
			return hub.Place(r.URL.Query().Get("since"), heads[ann], 0), nil
		}, ws.CrierV1())
		if err != nil {
			t.Error(err)
		}
	})}
	wg.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		cancel()
		if err := pool.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		_ = server.Close()
		wg.Wait()
		criertest.Eventually(t, time.Minute, "no subscriber is left", func() bool { return w.hub.Stats().Subscribers == 0 })
	})
	return w
}

// client is a WebSocket whose frames are written and read one by one.
type client struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

// dial is a request for a socket, with frames behind it in the same packet.
func dial(t testing.TB, addr, query, headers string, early ...[]byte) (*client, *http.Response) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	request := "GET /?" + query + " HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + headers + "\r\n"
	if _, err := conn.Write(append([]byte(request), bytes.Join(early, nil)...)); err != nil {
		t.Fatal(err)
	}
	c := &client{t, conn, bufio.NewReader(conn)}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c, resp
}

func (w *world) handshake(query, headers string, early ...[]byte) (*client, *http.Response) {
	w.t.Helper()
	return dial(w.t, w.addr, query, headers, early...)
}

// open is a socket on which ready has come.
func (w *world) open(query string) *client {
	w.t.Helper()
	return open(w.t, w.addr, query)
}

func open(t testing.TB, addr, query string) *client {
	t.Helper()
	c, resp := dial(t, addr, query, "Sec-WebSocket-Protocol: crier.v1\r\n")
	if resp.StatusCode != 101 {
		t.Fatalf("status %d", resp.StatusCode)
	}
	if s := c.text(); !strings.HasPrefix(s, `{"type":"ready",`) {
		t.Fatalf("first came %s", s)
	}
	return c
}

func masked(f gws.Frame) []byte {
	var b bytes.Buffer
	_ = gws.WriteFrame(&b, gws.MaskFrame(f))
	return b.Bytes()
}

func text(s string) []byte { return masked(gws.NewTextFrame([]byte(s))) }

func (c *client) send(frames ...[]byte) {
	c.t.Helper()
	for _, f := range frames {
		if _, err := c.conn.Write(f); err != nil {
			c.t.Fatal(err)
		}
	}
}

// frame reads the next one that is no heartbeat.
func (c *client) frame() gws.Frame {
	c.t.Helper()
	for {
		if f := c.any(); f.Header.OpCode != gws.OpPing {
			return f
		}
	}
}

func (c *client) any() gws.Frame {
	c.t.Helper()
	//lint:ignore SA1019 the peer is the server under test, which bounds its frames itself
	f, err := gws.ReadFrame(c.r)
	if err != nil {
		c.t.Fatalf("reading a frame: %v", err)
	}
	return f
}

func (c *client) text() string {
	c.t.Helper()
	f := c.frame()
	if f.Header.OpCode != gws.OpText || !f.Header.Fin || f.Header.Masked || !json.Valid(f.Payload) {
		c.t.Fatalf("came a frame %+v %q", f.Header, f.Payload)
	}
	return string(f.Payload)
}

// closed is the close frame's code and reason, after which the socket ends.
func (c *client) closed() (code gws.StatusCode, reason string) {
	c.t.Helper()
	for {
		f := c.frame()
		if f.Header.OpCode == gws.OpClose {
			code, reason = gws.ParseCloseFrameData(f.Payload)
			break
		}
	}
	if rest, err := io.ReadAll(c.r); len(rest) > 0 || err != nil && !strings.Contains(err.Error(), "reset") {
		c.t.Errorf("after the close frame: %q, %v", rest, err)
	}
	return code, reason
}

// alive fails unless the socket answers a ping command.
func (c *client) alive(what string) {
	c.t.Helper()
	c.send(text(`{"type":"ping"}`))
	if s := c.text(); s != `{"type":"pong"}` {
		c.t.Errorf("after %s a ping was answered %s", what, s)
	}
}
