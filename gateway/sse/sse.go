// Package sse serves event streams as the WHATWG HTML standard, section 9.2
// "Server-sent events", defines them: the encoding of events, and a stream's
// life from its first byte to its last.
package sse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"crier/gateway/hub"
	"crier/gateway/wire"
	"crier/internal/event"
)

// heartbeat is a comment: section 9.2.7 advises one every 15 seconds or so
// against proxies that cut silent connections.
var heartbeat = []byte(":\n\n")

// encode is an event as section 9.2.5 has it. Data is one line, so one data
// field holds it.
func encode(e *hub.Event) []byte {
	return appendEvent(make([]byte, 0, len(e.Type)+len(e.Data)+48), e, "", "")
}

// appendEvent appends an event; its id is its place between before and after.
func appendEvent(b []byte, e *hub.Event, before, after string) []byte {
	b = append(b, "event: "...)
	b = append(b, e.Type...)
	switch {
	case e.ID > 0:
		b = append(b, "\nid: "...)
		b = append(b, before...)
		b = strconv.AppendInt(b, e.ID, 10)
		b = append(b, after...)
	case e.Cursor != "":
		b = append(b, "\nid: "...)
		b = append(b, e.Cursor...)
	}
	b = append(b, "\ndata: "...)
	b = append(b, e.Data...)
	return append(b, "\n\n"...)
}

// encodeBody is an event without its id.
func encodeBody(e *hub.Event) []byte {
	b := make([]byte, 0, len(e.Type)+len(e.Data)+24)
	b = append(b, "event: "...)
	b = append(b, e.Type...)
	b = append(b, "\ndata: "...)
	b = append(b, e.Data...)
	return append(b, "\n\n"...)
}

// Server serves streams.
type Server struct {
	Hub  *hub.Hub
	Pool *wire.Pool
	// CutFunc is told why a stream was ended that did not end by itself.
	CutFunc func(user event.UserID, session, reason string)
}

// How long a browser waits before it reconnects is spread, so that all who were
// cut together do not come back together.
const (
	retryMin = 500 * time.Millisecond
	retryMax = 2500 * time.Millisecond
)

// conn is one stream: the hub's sink, writing to a wire.Conn. It holds no more of
// what was asked for than it needs as long as it lives.
type conn struct {
	wire     *wire.Conn
	server   *Server
	sub      *hub.Subscriber
	user     event.UserID
	session  string
	presence hub.Presence
	place    *hub.Placing // of a reader that came back, until it has caught up
}

// Send is part of hub.Sink.
func (c *conn) Send(e *hub.Event) bool { return c.wire.Write(e.Encoded(hub.SSE, encode)) }

// SendAt is part of hub.Sink. The fields of an event may come in any order
// (section 9.2.6), so what all streams share follows the id that they do not.
func (c *conn) SendAt(e *hub.Event, cursor string) bool {
	body := e.Encoded(hub.SSEBody, encodeBody)
	b := make([]byte, 0, len("id: \n")+len(cursor)+len(body))
	b = append(b, "id: "...)
	b = append(b, cursor...)
	b = append(b, '\n')
	return c.wire.Write(append(b, body...))
}

// SendPage is part of hub.Sink: one frame for all.
func (c *conn) SendPage(events []*hub.Event, before, after string) int {
	size := 0
	for _, e := range events {
		size += len(e.Type) + len(before) + len(after) + len(e.Data) + 48
	}
	b := make([]byte, 0, size)
	for _, e := range events {
		b = appendEvent(b, e, before, after)
	}
	if !c.wire.Write(b) {
		return 0
	}
	return len(events)
}

// busyBytes waiting mean that the socket lags by more than a round of ticks.
const busyBytes = 16 << 10

// Busy is part of hub.Sink.
func (c *conn) Busy() bool { return c.wire.Pending() > busyBytes }

// CaughtUp is part of hub.Sink.
func (c *conn) CaughtUp(replayed int) bool {
	if c.place != nil {
		if e := c.place.Resumed(replayed); e != nil && !c.Send(e) {
			return false
		}
		c.place = nil
	}
	return true
}

// Bye is part of hub.Sink.
func (c *conn) Bye(reason string, retry time.Duration) {
	c.Send(hub.ByeEvent(reason, retry))
	c.server.CutFunc(c.user, c.session, reason)
	c.wire.Close(errors.New(reason))
}

// Serve answers a request with a stream. begin is called once the hub notes what
// arrives, and says where the stream starts; its error is returned, with
// nothing written. HTTP/1.1 connections are taken over and Serve returns at
// once; for HTTP/2 it returns when the stream has ended.
func (s *Server) Serve(w http.ResponseWriter, r *http.Request, st *hub.Stream, begin func() (hub.Placing, error)) error {
	c := &conn{server: s, user: st.UserID, session: st.Session, presence: st.Presence}
	c.sub = s.Hub.Subscribe(st.UserID, st.Session, c, st.Topics...)
	var err error
	if st.Place, err = begin(); err != nil {
		c.sub.Unsubscribe()
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	if r.ProtoMajor == 1 {
		if err := c.takeOver(w); err != nil {
			c.sub.Unsubscribe()
			return err
		}
		c.run(st)
		c.present(r.Context())
		return nil
	}
	c.wire = s.Pool.NewPumped(heartbeat)
	c.run(st)
	c.present(r.Context())
	w.WriteHeader(http.StatusOK)
	_ = c.wire.Pump(r.Context(), w, http.NewResponseController(w))
	return nil
}

// takeOver takes the socket from net/http: no buffer, no timer and no goroutine
// but one that waits for the reader to go.
func (c *conn) takeOver(w http.ResponseWriter) error {
	socket, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return fmt.Errorf("taking over a connection: %w", err)
	}
	_ = socket.SetDeadline(time.Time{})
	early := rw.Reader.Buffered() > 0 // a reader that pipelines is not listening
	var head bytes.Buffer
	// RFC 9112 section 6.3: without a length the body ends with the connection.
	head.WriteString("HTTP/1.1 200 OK\r\nConnection: close\r\n")
	head.WriteString("Date: " + time.Now().UTC().Format(http.TimeFormat) + "\r\n")
	h := w.Header()
	h.Del("Connection")
	_ = h.Write(&head) // into memory
	head.WriteString("\r\n")
	c.wire = c.server.Pool.AdoptSilent(socket, head.Bytes(), heartbeat)
	if early {
		c.wire.End(errors.New("the reader sent a second request on the stream"))
	}
	return nil
}

// run sends the first events and joins the hub.
func (c *conn) run(st *hub.Stream) {
	if st.Place.Reconnect {
		place := st.Place
		c.place = &place
	}
	c.wire.SetOwner(c)
	c.wire.EndAt(st.Ends)
	// The field belongs to the block of the first event (ready): a block of its own
	// is an event without data, which browsers drop and several libraries hand on.
	c.wire.Write([]byte("retry: " + strconv.FormatInt((retryMin+rand.N(retryMax-retryMin)).Milliseconds(), 10) + "\n"))
	for _, e := range st.Opening(time.Now()) {
		c.Send(e)
	}
	c.sub.Start(st.Place.From, st.Place.Head, st.Place.Topics...)
	if len(st.Follows) > 0 {
		c.sub.Follow(st.Follows, st.Rate)
	}
}

// comeBack is when a stream that was ended for the server's own reasons may
// come back.
const comeBack = time.Second

// present joins the rooms that the request named.
func (c *conn) present(ctx context.Context) {
	if p := c.presence; p != nil {
		p.Begin(ctx, func(reason string) { c.Bye(reason, comeBack) })
	}
}

// Drained is part of wire.Owner.
func (c *conn) Drained() { c.sub.Drained() }

// Expired is part of wire.Owner.
func (c *conn) Expired() { c.Bye(hub.TokenExpired, 0) }

// Ended is part of wire.Owner.
func (c *conn) Ended(reason error) {
	c.sub.Unsubscribe()
	if c.presence != nil {
		c.presence.End()
	}
	if errors.Is(reason, wire.ErrStalled) {
		c.server.CutFunc(c.user, c.session, hub.TooSlow)
	}
}
