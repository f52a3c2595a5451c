// Package ws serves streams over WebSocket (RFC 6455) with the subprotocol
// crier.v1: JSON objects as text frames, the same events as over SSE. gobwas/ws
// does the handshake and the frames, because it works on a bare socket: the
// connection is then written by the gateway's own writers, like any other, with
// each event's frame made once for all who get it.
package ws

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"crier/gateway/hub"
	"crier/gateway/wire"
	"crier/internal/event"
	"crier/internal/problem"
)

// Protocol is the subprotocol.
const Protocol = "crier.v1"

// Close codes beyond RFC 6455's, with what the client should do.
const (
	CloseNormal       = ws.StatusNormalClosure           // 1000: logged out; sign in first
	CloseRestart      = ws.StatusCode(1012)              // the gateway goes away; come back
	CloseTooBig       = ws.StatusMessageTooBig           // 1009: do not send that again
	CloseTokenExpired = ws.StatusCode(4401)              // come back with a new token
	closeTextData     = ws.StatusInvalidFramePayloadData // 1007
)

// Dialect is a protocol spoken over a socket: crier.v1, or an older one.
type Dialect struct {
	Slot        int    // of hub.Event's encodings
	Subprotocol string // "": none is offered
	// EncodeFunc is an event's message; nil: the event does not exist in it.
	EncodeFunc func(*hub.Event) []byte
	// PersonalFunc, if not nil, is asked first: an event that looks otherwise to
	// its own author is not encoded once for all. false: it does not.
	PersonalFunc func(*hub.Event) ([]byte, bool)
	// OpenedFunc is called when the connection can be written to and nothing was
	// read, EndedFunc once when it has ended.
	OpenedFunc func(Session)
	EndedFunc  func()
	// CommandFunc does what one message of the client asks for. Whatever it is,
	// the connection stays.
	CommandFunc func(ctx context.Context, s Session, text []byte)
	// CloseCodes are by the reason of a bye; 1000 where there is none.
	CloseCodes map[string]ws.StatusCode
}

// Session is a connection as a dialect's commands see it.
type Session interface {
	// Reply sends one message, a JSON object.
	Reply(payload []byte)
	// Read marks notifications of the connection's user read.
	Read(ctx context.Context, ids []int64) error
	// Follow brings what is said in a durable topic behind a place; Unfollow ends
	// that.
	Follow(topic string, place int64)
	Unfollow(topic string)
	// Close ends the connection.
	Close(reason string)
}

// CrierV1 is the dialect of Protocol.
func CrierV1() *Dialect {
	return &Dialect{
		Slot: hub.WebSocket, Subprotocol: Protocol, EncodeFunc: encode,
		CommandFunc: func(ctx context.Context, s Session, text []byte) { s.(*conn).command(ctx, text) },
		CloseCodes:  map[string]ws.StatusCode{hub.DrainingNow: CloseRestart, hub.TokenExpired: CloseTokenExpired},
	}
}

// maxMessage bounds what a client may send in one message.
const maxMessage = 64 << 10

var pingFrame = ws.MustCompileFrame(ws.NewPingFrame(nil))

// encode is an event as a message of crier.v1.
func encode(e *hub.Event) []byte {
	if e.ID > 0 {
		return encodeAt(e, strconv.FormatInt(e.ID, 10))
	}
	return encodeAt(e, e.Cursor)
}

func encodeAt(e *hub.Event, cursor string) []byte {
	return appendAt(make([]byte, 0, len(e.Data)+len(cursor)+80), e, cursor)
}

func appendAt(b []byte, e *hub.Event, cursor string) []byte {
	b = append(b, `{"type":"`...)
	b = append(b, e.Type...)
	b = append(b, '"')
	if cursor != "" {
		b = append(b, `,"id":"`...)
		b = append(b, cursor...) // digits, names and ; = : only
		b = append(b, '"')
	}
	b = append(b, `,"data":`...)
	b = append(b, e.Data...)
	return append(b, '}')
}

func textFrame(payload []byte) []byte {
	var buf bytes.Buffer
	buf.Grow(len(payload) + 10)
	_ = ws.WriteFrame(&buf, ws.NewTextFrame(payload)) // into memory
	return buf.Bytes()
}

// Commands are what a client may ask for on its socket.
type Commands interface {
	// Read marks notifications read.
	Read(ctx context.Context, user event.UserID, ids []int64) error
	// Renew checks a newer token of the same user, and says when it ends.
	Renew(ctx context.Context, user event.UserID, token string) (ends time.Time, err error)
	// PlaceTopics decides where topics begin that the stream has begun to follow;
	// cursor is what its reader says it has.
	PlaceTopics(ctx context.Context, cursor string, topics []string) (hub.Placing, error)
}

// Server serves streams.
type Server struct {
	Hub      *hub.Hub
	Pool     *wire.Pool
	Commands Commands
	CutFunc  func(user event.UserID, session, reason string)
}

// conn is one stream: the hub's sink, writing to a wire.Conn.
type conn struct {
	wire   *wire.Conn
	server *Server
	sub    *hub.Subscriber
	stream *hub.Stream
	speaks *Dialect
	follow map[string]bool // the reader's goroutine only
	rate   int
}

// Send is part of hub.Sink.
func (c *conn) Send(e *hub.Event) bool {
	if c.speaks.PersonalFunc != nil {
		if message, own := c.speaks.PersonalFunc(e); own {
			return len(message) == 0 || c.wire.Write(textFrame(message))
		}
	}
	frame := e.Encoded(c.speaks.Slot, func(e *hub.Event) []byte {
		message := c.speaks.EncodeFunc(e)
		if message == nil {
			return nil
		}
		return textFrame(message)
	})
	return len(frame) == 0 || c.wire.Write(frame)
}

// SendAt is part of hub.Sink.
func (c *conn) SendAt(e *hub.Event, cursor string) bool {
	if c.speaks.Slot != hub.WebSocket {
		return c.Send(e) // an older protocol has no cursors
	}
	return c.wire.Write(textFrame(encodeAt(e, cursor)))
}

// SendPage is part of hub.Sink: one write for all, with a message for each.
func (c *conn) SendPage(events []*hub.Event, before, after string) int {
	if c.speaks.Slot != hub.WebSocket {
		for i, e := range events {
			if !c.Send(e) {
				return i
			}
		}
		return len(events)
	}
	var frames bytes.Buffer
	var message []byte
	for _, e := range events {
		message = appendAt(message[:0], e, before+strconv.FormatInt(e.ID, 10)+after)
		_ = ws.WriteFrame(&frames, ws.NewTextFrame(message)) // into memory
	}
	if !c.wire.Write(frames.Bytes()) {
		return 0
	}
	return len(events)
}

// Reply is part of Session.
func (c *conn) Reply(payload []byte) { c.wire.Write(textFrame(payload)) }

// Follow is part of Session.
func (c *conn) Follow(topic string, place int64) {
	if c.sub.FollowTopic(topic) {
		c.sub.StartTopic(hub.TopicPlace{Topic: topic, Has: place, Last: place})
	}
}

// Unfollow is part of Session.
func (c *conn) Unfollow(topic string) { c.sub.UnfollowTopic(topic) }

// Close is part of Session.
func (c *conn) Close(reason string) { c.Bye(reason, 0) }

// Read is part of Session.
func (c *conn) Read(ctx context.Context, ids []int64) error {
	return c.server.Commands.Read(ctx, c.stream.UserID, ids)
}

// busyBytes waiting mean that the socket lags by more than a round of ticks.
const busyBytes = 16 << 10

// Busy is part of hub.Sink.
func (c *conn) Busy() bool { return c.wire.Pending() > busyBytes }

// CaughtUp is part of hub.Sink.
func (c *conn) CaughtUp(replayed int) bool {
	e := c.stream.Place.Resumed(replayed)
	return e == nil || c.Send(e)
}

// Bye is part of hub.Sink.
func (c *conn) Bye(reason string, retry time.Duration) {
	c.Send(hub.ByeEvent(reason, retry))
	c.server.CutFunc(c.stream.UserID, c.stream.Session, reason)
	code, ok := c.speaks.CloseCodes[reason]
	if !ok {
		code = CloseNormal
	}
	c.close(code, reason)
}

func (c *conn) close(code ws.StatusCode, reason string) {
	var buf bytes.Buffer
	_ = ws.WriteFrame(&buf, ws.NewCloseFrame(ws.NewCloseFrameBody(code, reason))) // into memory
	c.wire.Write(buf.Bytes())
	c.wire.Close(errors.New(reason))
}

// Serve upgrades a request and returns; the connection lives on. begin is called
// once the hub notes what arrives; its error is returned, with nothing written.
// The request's origin was checked before.
func (s *Server) Serve(w http.ResponseWriter, r *http.Request, st *hub.Stream, begin func() (hub.Placing, error), d *Dialect) error {
	c := &conn{server: s, stream: st, speaks: d, follow: make(map[string]bool), rate: st.Rate}
	c.sub = s.Hub.Subscribe(st.UserID, st.Session, c, st.Topics...)
	var err error
	if st.Place, err = begin(); err != nil {
		c.sub.Unsubscribe()
		return err
	}
	up := ws.HTTPUpgrader{Protocol: func(p string) bool { return p == d.Subprotocol && p != "" }}
	socket, rw, _, err := up.Upgrade(r, w)
	if err != nil {
		// The upgrader has answered 4xx itself; the socket is no longer net/http's.
		closeRefused(socket)
		c.sub.Unsubscribe()
		return nil
	}
	_ = socket.SetDeadline(time.Time{})
	// Frames that came with the handshake are in net/http's buffer, which is not
	// kept for a reader that sent none.
	var early []byte
	if n := rw.Reader.Buffered(); n > 0 {
		early = make([]byte, n)
		_, _ = io.ReadFull(rw.Reader, early) // they are there
	}
	ready := make(chan struct{})
	c.wire = s.Pool.Adopt(socket, pingFrame, func(ctx context.Context, n net.Conn) error {
		<-ready
		return c.read(ctx, n, early)
	})
	c.wire.SetOwner(c)
	c.wire.EndAt(st.Ends)
	for _, e := range st.Opening(time.Now()) {
		c.Send(e)
	}
	c.sub.Start(st.Place.From, st.Place.Head, st.Place.Topics...)
	for _, symbol := range st.Follows {
		c.follow[symbol] = true
	}
	c.followAll()
	if d.OpenedFunc != nil {
		d.OpenedFunc(c)
	}
	if st.Presence != nil {
		st.Presence.Begin(r.Context(), func(reason string) { c.Bye(reason, comeBack) })
	}
	close(ready)
	return nil
}

// comeBack is when a stream that was ended for the server's own reasons may
// come back.
const comeBack = time.Second

// Refuse upgrades a request, says one thing and closes.
func (s *Server) Refuse(w http.ResponseWriter, r *http.Request, payload []byte) {
	socket, _, _, err := ws.HTTPUpgrader{}.Upgrade(r, w)
	if err != nil {
		closeRefused(socket)
		return // the upgrader has answered 4xx itself
	}
	_ = socket.SetDeadline(time.Time{})
	// The reader's close is waited for: closing first could take what was said
	// away from it (RFC 6455 section 7.1.1).
	c := &conn{server: s, stream: &hub.Stream{}}
	c.wire = s.Pool.Adopt(socket, pingFrame, func(_ context.Context, n net.Conn) error {
		_, err := io.Copy(io.Discard, n)
		return err
	})
	c.Reply(payload)
	var buf bytes.Buffer
	_ = ws.WriteFrame(&buf, ws.NewCloseFrame(ws.NewCloseFrameBody(CloseNormal, ""))) // into memory
	c.wire.Write(buf.Bytes())
	c.wire.Close(errors.New("refused"))
}

// closeRefused closes a socket that was taken over in vain; nil: it was not.
func closeRefused(socket net.Conn) {
	if socket != nil {
		_ = socket.Close()
	}
}

// Drained is part of wire.Owner.
func (c *conn) Drained() { c.sub.Drained() }

// Expired is part of wire.Owner.
func (c *conn) Expired() { c.Bye(hub.TokenExpired, 0) }

// Ended is part of wire.Owner.
func (c *conn) Ended(reason error) {
	c.sub.Unsubscribe()
	if c.speaks.EndedFunc != nil {
		c.speaks.EndedFunc()
	}
	if c.stream.Presence != nil {
		c.stream.Presence.End()
	}
	if errors.Is(reason, wire.ErrStalled) {
		c.server.CutFunc(c.stream.UserID, c.stream.Session, hub.TooSlow)
	}
}

func (c *conn) followAll() {
	symbols := make([]string, 0, len(c.follow))
	for s := range c.follow {
		symbols = append(symbols, s)
	}
	c.sub.Follow(symbols, c.rate)
}

// read is the reader's goroutine: it ends when the socket does.
func (c *conn) read(ctx context.Context, n net.Conn, early []byte) error {
	var source io.Reader = n
	if len(early) > 0 {
		source = io.MultiReader(bytes.NewReader(early), n)
	}
	rd := wsutil.Reader{Source: source, State: ws.StateServerSide, CheckUTF8: true, MaxFrameSize: maxMessage, OnIntermediate: c.control}
	for {
		hdr, err := rd.NextFrame()
		if err != nil {
			return c.fault(n, err)
		}
		if hdr.OpCode.IsControl() {
			if err := c.control(hdr, &rd); err != nil {
				return c.fault(n, err)
			}
			continue
		}
		text, err := io.ReadAll(io.LimitReader(&rd, maxMessage+1))
		if err != nil {
			return c.fault(n, err)
		}
		if len(text) > maxMessage {
			return c.fault(n, wsutil.ErrFrameTooLarge)
		}
		c.speaks.CommandFunc(ctx, c, text)
	}
}

// errPeerClosed is a close frame from the client.
var errPeerClosed = errors.New("the client closed")

func (c *conn) control(h ws.Header, r io.Reader) error {
	payload, err := io.ReadAll(io.LimitReader(r, 126)) // RFC 6455 section 5.5: at most 125
	if err != nil {
		return err
	}
	switch h.OpCode {
	case ws.OpPing:
		var buf bytes.Buffer
		_ = ws.WriteFrame(&buf, ws.NewPongFrame(payload)) // into memory
		c.wire.Write(buf.Bytes())
	case ws.OpClose:
		return checkClose(payload)
	}
	return nil
}

// checkClose is errPeerClosed, or what is wrong with a close frame's payload: no
// body, or a code that an endpoint may send (RFC 6455, section 7.4, and IANA's
// registry for 1012 to 1014) and a reason in UTF-8.
func checkClose(payload []byte) error {
	if len(payload) == 0 {
		return errPeerClosed
	}
	if len(payload) == 1 {
		return ws.ErrProtocolStatusCodeNotInUse
	}
	switch code := binary.BigEndian.Uint16(payload); {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014, code >= 3000 && code <= 4999:
	default:
		return ws.ErrProtocolStatusCodeNotInUse
	}
	if !utf8.Valid(payload[2:]) {
		return wsutil.ErrInvalidUTF8
	}
	return errPeerClosed
}

// fault answers a broken connection as RFC 6455 section 7.4.1 has it.
func (c *conn) fault(n net.Conn, err error) error {
	switch {
	case errors.Is(err, errPeerClosed):
		c.close(ws.StatusNormalClosure, "")
	case errors.Is(err, wsutil.ErrFrameTooLarge):
		c.close(CloseTooBig, "message too big")
	case errors.Is(err, wsutil.ErrInvalidUTF8):
		c.close(closeTextData, "not UTF-8")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return nil
	default:
		var protocol ws.ProtocolError
		// The library's errors of a frame's header are of no type of their own.
		if !errors.As(err, &protocol) && !errors.Is(err, ws.ErrHeaderLengthMSB) && !errors.Is(err, ws.ErrHeaderLengthUnexpected) {
			return err
		}
		c.close(ws.StatusProtocolError, "protocol error")
	}
	// The writers send the close frame and close our side; what the client says
	// until it has closed its own is no longer for us.
	_, err = io.Copy(io.Discard, n)
	return err
}

// command does what one message asks for. Whatever it is, the connection stays.
func (c *conn) command(ctx context.Context, text []byte) {
	var m struct {
		Type   string   `json:"type"`
		Topics []string `json:"topics"`
		Since  string   `json:"since"`
		Room   string   `json:"room"`
		IDs    []int64  `json:"ids"`
		Token  string   `json:"token"`
	}
	if err := event.DecodeObject(text, &m); err != nil {
		var wrong event.Invalid
		if errors.As(err, &wrong) && wrong[0].Field != "" {
			c.complain("invalid_input", wrong.Error())
			return
		}
		c.complain("invalid_json", "the message is not the JSON object of a command")
		return
	}
	switch m.Type {
	case "ping":
		c.Reply([]byte(`{"type":"pong"}`))
	case "subscribe", "unsubscribe":
		c.subscribe(ctx, m.Topics, m.Since, m.Type == "subscribe")
	case "join", "part":
		c.join(ctx, m.Room, m.Type == "join")
	case "read":
		if c.stream.UserID == "" || len(m.IDs) == 0 || len(m.IDs) > 1000 {
			c.complain("invalid_input", "ids: 1 to 1000 ids of one's own notifications are required")
		} else if err := c.server.Commands.Read(ctx, c.stream.UserID, m.IDs); err != nil {
			c.complain("unavailable", "the notifications could not be marked; try again")
		}
	case "auth":
		ends, err := c.server.Commands.Renew(ctx, c.stream.UserID, m.Token)
		if err != nil {
			c.complain("unauthorized", "token: is not a valid token of this user")
			return
		}
		c.wire.EndAt(ends)
		c.Reply([]byte(`{"type":"authenticated"}`))
	default:
		c.complain("unknown_type", fmt.Sprintf("type: %.50q is not subscribe, unsubscribe, join, part, read, ping or auth", m.Type))
	}
}

// subscribe changes what the stream follows: all that is asked for, or nothing.
func (c *conn) subscribe(ctx context.Context, names []string, since string, on bool) {
	if len(names) == 0 {
		c.complain("invalid_input", "topics: is required")
		return
	}
	symbols, topics, err := hub.ParseTopics(names)
	if err != nil {
		c.complain("invalid_input", "topics: "+err.Error())
		return
	}
	follow := maps.Clone(c.follow)
	for _, s := range symbols {
		if on {
			follow[s] = true
		} else {
			delete(follow, s)
		}
	}
	switch {
	case len(follow) > hub.MaxFollowed || on && len(topics)+len(c.sub.Topics()) > hub.MaxTopics:
		c.complain("limit_reached", hub.ErrTopicCount.Error())
		return
	case on && len(topics) > 0 && c.stream.UserID == "":
		c.complain("unauthorized", "topics: sign in to follow more than ticks")
		return
	}
	c.follow = follow
	c.followAll()
	if len(topics) == 0 {
		return
	}
	if on {
		c.followTopics(ctx, topics, since)
	} else {
		for _, t := range topics {
			c.sub.UnfollowTopic(t)
		}
	}
	answer := map[bool]string{true: "subscribed", false: "unsubscribed"}[on]
	b, _ := json.Marshal(map[string]any{"type": answer, "topics": c.sub.Topics(), "id": c.sub.Cursor()}) // strings encode
	c.Reply(b)
}

// join makes the stream's reader seen in a room, or seen to part.
func (c *conn) join(ctx context.Context, room string, on bool) {
	var v event.Invalid
	v.CheckRoom("room", room)
	p := c.stream.Presence
	switch {
	case v.Err() != nil:
		c.complain("invalid_input", v.Error())
		return
	case p == nil:
		c.complain("unauthorized", "room: sign in to join")
		return
	}
	ask := p.Join
	if !on {
		ask = p.Part
	}
	if err := ask(ctx, room); err != nil {
		c.complain(string(problem.Of(err).Code), "room: "+problem.Of(err).Detail)
	}
}

func (c *conn) followTopics(ctx context.Context, topics []string, since string) {
	fresh := slices.DeleteFunc(topics, func(t string) bool { return !c.sub.FollowTopic(t) })
	if len(fresh) == 0 {
		return
	}
	p, err := c.server.Commands.PlaceTopics(ctx, since, fresh)
	if err != nil {
		for _, t := range fresh {
			c.sub.UnfollowTopic(t)
		}
		if p := problem.Of(err); p.Code == problem.NotFound {
			c.complain(string(p.Code), p.Detail)
			return
		}
		c.complain("unavailable", "topics: they could not be read; try again")
		return
	}
	for _, g := range p.TopicGaps {
		c.Send(g.Event())
	}
	for _, t := range p.Topics {
		c.sub.StartTopic(t)
	}
}

func (c *conn) complain(code, message string) {
	b, _ := json.Marshal(map[string]string{"type": "error", "code": code, "message": message}) // strings encode
	c.Reply(b)
}
