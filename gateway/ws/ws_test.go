package ws_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	gws "github.com/gobwas/ws"

	"crier/gateway/hub"
	"crier/gateway/wire"
	"crier/internal/criertest"
	"crier/internal/decimal"
	"crier/internal/event"
)

// The subprotocol is chosen where it is offered, and a socket works without;
// what is no handshake is refused.
func TestHandshake(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wire.Config{})
	for _, c := range []struct {
		headers, protocol string
	}{
		{"", ""}, {"Sec-WebSocket-Protocol: crier.v1\r\n", "crier.v1"}, {"Sec-WebSocket-Protocol: other, crier.v1\r\n", "crier.v1"}, {"Sec-WebSocket-Protocol: other\r\n", ""},
	} {
		_, resp := w.handshake("", c.headers)
		if resp.StatusCode != 101 || resp.Header.Get("Sec-WebSocket-Protocol") != c.protocol || resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
			t.Errorf("%q: status %d, %v", c.headers, resp.StatusCode, resp.Header)
		}
	}
	resp, err := http.Get("http://" + w.addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode < 400 || resp.StatusCode > 499 {
		t.Errorf("no handshake: status %d", resp.StatusCode)
	}
	http.DefaultClient.CloseIdleConnections()
}

// Events are the contract's JSON, with what was missed first; frames that came
// with the handshake are heard.
func TestEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wire.Config{})
	w.last = 3
	for _, c := range []struct {
		query string
		want  []string
	}{
		{"", nil},
		{"since=1", []string{`{"type":"notification","id":"2","data":{"id":2}}`, `{"type":"notification","id":"3","data":{"id":3}}`, `{"type":"resumed","data":{"from":"1","replayed":2}}`}},
		{"since=9", []string{`{"type":"gap","data":{"from":"9","reason":"ahead"}}`}},
	} {
		s, _ := w.handshake(c.query, "", text(`{"type":"ping"}`), text(`{"type":"subscribe","topics":["ticks:A"]}`))
		got := []string{s.text()}
		if !strings.HasPrefix(got[0], `{"type":"ready","id":`) {
			t.Errorf("first came %s", got[0])
		}
		pongs := 0
		for got = nil; len(got) < len(c.want) || pongs == 0; {
			if x := s.text(); x == `{"type":"pong"}` {
				pongs++
			} else {
				got = append(got, x)
			}
		}
		if !slices.Equal(got, c.want) || pongs != 1 {
			t.Errorf("%s: %v, want %v", c.query, got, c.want)
		}
		w.hub.Tick(event.Tick{Symbol: "A", Price: decimal.FromUnits(1, 0), Time: time.Unix(0, 0), Source: "x"}, time.Now())
		if x := s.text(); x != `{"type":"tick","data":{"symbol":"A","price":"1","time":"1970-01-01T00:00:00Z","source":"x"}}` {
			t.Errorf("tick %s", x)
		}
		_ = s.conn.Close()
	}
}

// Whatever a client asks for, its connection stays; what cannot be done is an
// error with a code.
func TestCommands(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wire.Config{})
	c := w.open("")
	var all []string
	for i := range hub.MaxFollowed + 1 {
		all = append(all, fmt.Sprintf(`"ticks:A%d"`, i))
	}
	many := strings.Join(all, ",")
	var others []string
	for i := range hub.MaxFollowed {
		others = append(others, fmt.Sprintf(`"ticks:B%d"`, i))
	}
	for _, x := range []struct{ send, code string }{
		{``, "invalid_json"}, {`x`, "invalid_json"}, {`{"type":`, "invalid_json"}, {`[]`, "invalid_json"}, {`null`, "invalid_json"}, {`{}`, "unknown_type"},
		{`{"type":"subscribe"}`, "invalid_input"}, {`{"type":"unsubscribe","topics":[]}`, "invalid_input"}, {`{"type":"shout"}`, "unknown_type"}, {`{"type":"` + strings.Repeat("x", 60_000) + `"}`, "unknown_type"}, {`{"type":7}`, "invalid_"},
		{`{"type":"subscribe","topics":["News"]}`, "invalid_input"}, {`{"type":"subscribe","topics":"ticks:A"}`, "invalid_"}, {`{"type":"subscribe","topics":[` + many + `]}`, "invalid_input"},
		{`{"type":"unsubscribe","topics":["ticks: "]}`, "invalid_input"},
		{`{"type":"read"}`, "invalid_input"}, {`{"type":"read","ids":[]}`, "invalid_input"}, {`{"type":"read","ids":["x"]}`, "invalid_"}, {`{"type":"read","ids":[1.5]}`, "invalid_"},
		{`{"type":"read","ids":[` + strings.Repeat("1,", 1000) + `1]}`, "invalid_input"},
		{`{"type":"auth"}`, "unauthorized"}, {`{"type":"auth","token":"bad"}`, "unauthorized"},
		{`{"type":"subscribe","topics":["ticks:A"]}`, ""}, {`{"type":"subscribe","topics":[` + strings.Join(others, ",") + `]}`, "limit_reached"},
		{`{"type":"read","ids":[1,2]}`, ""}, {strings.Repeat("[", 60_000), "invalid_json"},
	} {
		c.send(text(x.send))
		if x.code != "" {
			var e struct{ Type, Code, Message string }
			if s := c.text(); json.Unmarshal([]byte(s), &e) != nil || e.Type != "error" || !strings.HasPrefix(e.Code, x.code) || e.Message == "" || len(s) > 400 {
				t.Errorf("%.60s: answered %.300s, want %s", x.send, s, x.code)
			}
		}
		c.alive(x.send[:min(len(x.send), 60)])
	}
	c.send(text(`{"type":"auth","token":"good"}`))
	if s := c.text(); s != `{"type":"authenticated"}` {
		t.Errorf("auth: %s", s)
	}
	w.cmdMu.Lock()
	if !slices.Equal(w.read, []int64{1, 2}) {
		t.Errorf("read %v", w.read)
	}
	w.cmdMu.Unlock()
	// What was followed before a request too many is still followed.
	w.hub.Tick(event.Tick{Symbol: "A", Price: decimal.FromUnits(1, 0), Source: "x"}, time.Now())
	if s := c.text(); !strings.HasPrefix(s, `{"type":"tick"`) {
		t.Errorf("%s", s)
	}
	c.send(text(`{"type":"unsubscribe","topics":["ticks:A"]}`))
	c.alive("unsubscribe")
	w.hub.Tick(event.Tick{Symbol: "A", Price: decimal.FromUnits(2, 0), Source: "x"}, time.Now())
	<-time.After(300 * time.Millisecond) // three rounds, in which nothing may come
	c.alive("a tick that is not followed")
	w.cmdMu.Lock()
	w.away = true
	w.cmdMu.Unlock()
	c.send(text(`{"type":"read","ids":[1]}`))
	if s := c.text(); !strings.Contains(s, `"code":"unavailable"`) {
		t.Errorf("%s", s)
	}
}

// Frames as RFC 6455 has them: fragments are put together, control frames may
// stand between them, pings are answered; what breaks a rule ends the connection
// with the code that says so.
func TestFrames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wire.Config{})
	part := func(op gws.OpCode, fin bool, s string) []byte { return masked(gws.NewFrame(op, fin, []byte(s))) }
	bare := func(f gws.Frame) []byte {
		var b bytes.Buffer
		_ = gws.WriteFrame(&b, f)
		return b.Bytes()
	}
	for _, c := range []struct {
		name   string
		frames [][]byte
		want   []string // answers: text, or pong:PAYLOAD
		code   gws.StatusCode
	}{
		{"fragments", [][]byte{part(gws.OpText, false, `{"type"`), part(gws.OpContinuation, false, ``), part(gws.OpContinuation, true, `:"ping"}`)}, []string{`{"type":"pong"}`}, 0},
		{"ping", [][]byte{part(gws.OpPing, true, "hello")}, []string{"pong:hello"}, 0},
		{"a ping between fragments", [][]byte{part(gws.OpText, false, `{"type"`), part(gws.OpPing, true, "mid"), part(gws.OpContinuation, true, `:"ping"}`)}, []string{"pong:mid", `{"type":"pong"}`}, 0},
		{"a pong unasked", [][]byte{part(gws.OpPong, true, "x"), text(`{"type":"ping"}`)}, []string{`{"type":"pong"}`}, 0},
		{"a character cut in two", [][]byte{part(gws.OpText, false, "{\"type\":\"ping\",\"x\":\"\xc3"), part(gws.OpContinuation, true, "\xa9\"}")}, []string{`{"type":"pong"}`}, 0},
		{"close", [][]byte{masked(gws.NewCloseFrame(gws.NewCloseFrameBody(1001, "bye")))}, nil, 1000},
		{"close without a body", [][]byte{part(gws.OpClose, true, "")}, nil, 1000},
		{"oversize", [][]byte{part(gws.OpText, true, strings.Repeat(" ", 64<<10+1))}, nil, 1009},
		{"oversize in fragments", [][]byte{part(gws.OpText, false, strings.Repeat(" ", 40_000)), part(gws.OpContinuation, true, strings.Repeat(" ", 40_000))}, nil, 1009},
		{"as large as may be", [][]byte{part(gws.OpText, true, `{"type":"ping"}`+strings.Repeat(" ", 64<<10-15))}, []string{`{"type":"pong"}`}, 0},
		{"invalid UTF-8", [][]byte{part(gws.OpText, true, "\xff\xfe")}, nil, 1007},
		{"cut UTF-8", [][]byte{part(gws.OpText, true, "\"\xc3")}, nil, 1007},
		{"not masked", [][]byte{bare(gws.NewTextFrame([]byte(`{}`)))}, nil, 1002},
		{"reserved bits", [][]byte{{0xf1, 0x80, 0, 0, 0, 0}}, nil, 1002},
		{"a reserved opcode", [][]byte{part(gws.OpCode(3), true, "")}, nil, 1002},
		{"a continuation of nothing", [][]byte{part(gws.OpContinuation, true, "x")}, nil, 1002},
		{"a text inside a text", [][]byte{part(gws.OpText, false, "x"), part(gws.OpText, true, "y")}, nil, 1002},
		{"a ping in fragments", [][]byte{part(gws.OpPing, false, "x")}, nil, 1002},
		{"a large ping", [][]byte{part(gws.OpPing, true, strings.Repeat("x", 126))}, nil, 1002},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := w.open("")
			s.send(c.frames...)
			for _, want := range c.want {
				f := s.frame()
				got := string(f.Payload)
				if f.Header.OpCode == gws.OpPong {
					got = "pong:" + got
				}
				if got != want {
					t.Errorf("%.200s, want %s", got, want)
				}
			}
			if c.code == 0 {
				s.alive(c.name)
				return
			}
			if code, reason := s.closed(); code != c.code {
				t.Errorf("closed with %d %s, want %d", code, reason, c.code)
			}
		})
	}
}

// Each end has its close code, after an event that says why.
func TestByes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		ends time.Duration
		end  func(w *world)
		code gws.StatusCode
	}{
		{hub.TokenExpired, 1200 * time.Millisecond, func(*world) {}, 4401},
		{hub.LoggedOut, 0, func(w *world) { w.hub.EndSession(ann, "", hub.LoggedOut) }, 1000},
		{hub.DrainingNow, 0, func(w *world) { w.hub.ByeAll(hub.DrainingNow, 0) }, 1012},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, wire.Config{})
			if c.ends > 0 {
				w.ends = time.Now().Add(c.ends)
			}
			s := w.open("")
			c.end(w)
			if x := s.text(); x != `{"type":"bye","data":{"reason":"`+c.name+`","retry_ms":0}}` {
				t.Errorf("%s", x)
			}
			if code, reason := s.closed(); code != c.code || reason != c.name {
				t.Errorf("closed with %d %s", code, reason)
			}
			w.cmdMu.Lock()
			defer w.cmdMu.Unlock()
			if !slices.Equal(w.cuts, []string{c.name}) {
				t.Errorf("noted %v", w.cuts)
			}
		})
	}
}

// A token that is renewed in time keeps the connection; the server pings; a
// reader that goes is forgotten.
func TestRenewAndPing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wire.Config{Heartbeat: time.Second})
	w.ends = time.Now().Add(1500 * time.Millisecond)
	c := w.open("")
	c.send(text(`{"type":"auth","token":"good"}`))
	if s := c.text(); s != `{"type":"authenticated"}` {
		t.Errorf("%s", s)
	}
	for range 4 {
		if f := c.any(); f.Header.OpCode != gws.OpPing {
			t.Errorf("came %v %s, want a ping", f.Header, f.Payload)
		}
		c.send(masked(gws.NewPongFrame(nil)))
	}
	_ = c.conn.Close()
	criertest.Eventually(t, time.Minute, "the reader is forgotten", func() bool { return w.hub.Stats().Subscribers == 0 })
}

// No bytes of a client, whatever they are, do more than end its own connection.
func FuzzSocket(f *testing.F) {
	for _, s := range [][]byte{text(`{"type":"ping"}`), text(`{"type":"subscribe","topics":["ticks:A"]}`), {0x81}, {0x88, 0x80, 0, 0, 0, 0}, {0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4}, {0x01, 0x80, 0, 0, 0, 0}} {
		f.Add(s)
	}
	w := newWorld(f, wire.Config{})
	f.Fuzz(func(t *testing.T, frames []byte) {
		c := open(t, w.addr, "")
		_, _ = c.conn.Write(append(frames, masked(gws.NewCloseFrame(nil))...)) // it may be closed already
		_ = c.conn.Close()
		open(t, w.addr, "").alive("what was fuzzed")
	})
}

// Durable topics are followed and left on a running socket: what was followed is
// answered, each message brings the cursor of everything.
func TestSubscribeTopics(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wire.Config{})
	c := w.open("")
	ask := func(command, want string) {
		t.Helper()
		c.send(text(command))
		if got := c.text(); got != want {
			t.Errorf("%s: %s, want %s", command, got, want)
		}
	}
	ask(`{"type":"subscribe","topics":["news","ticks:A"]}`, `{"id":"0;news=0","topics":["news"],"type":"subscribed"}`)
	ask(`{"type":"subscribe","topics":["room:Friends"],"since":"0;room:Friends=4"}`, `{"type":"gap","data":{"from":"4","reason":"ahead","topic":"room:Friends"}}`)
	if got := c.text(); got != `{"id":"0;room:Friends=0;news=0","topics":["room:Friends","news"],"type":"subscribed"}` {
		t.Errorf("after the gap: %s", got)
	}
	w.hub.Deliver([]byte(event.TopicOwner("news")), hub.Stored{ID: 1, Data: []byte(`{"id":1}`)})
	if got := c.text(); got != `{"type":"message","id":"0;room:Friends=0;news=1","data":{"id":1}}` {
		t.Errorf("the message: %s", got)
	}
	ask(`{"type":"unsubscribe","topics":["news"]}`, `{"id":"0;room:Friends=0","topics":["room:Friends"],"type":"unsubscribed"}`)
	w.cmdMu.Lock()
	w.away = true
	w.cmdMu.Unlock()
	ask(`{"type":"subscribe","topics":["news"]}`, `{"code":"unavailable","message":"topics: they could not be read; try again","type":"error"}`)
	if got := c.text(); got != `{"id":"0;room:Friends=0","topics":["room:Friends"],"type":"subscribed"}` {
		t.Errorf("after the error: %s", got)
	}
}

// A round of ticks is one write to its viewer, with a message for each symbol.
func TestTickRoundIsOneWrite(t *testing.T) {
	t.Parallel()
	l := &counted{Listener: listen(t)}
	w := newWorldOn(t, wire.Config{}, l)
	c := w.open("")
	c.send(text(`{"type":"subscribe","topics":["ticks:A","ticks:B","ticks:C","ticks:D","ticks:E"]}`))
	c.alive("subscribe")
	writes, rounds := l.writes.Load(), w.hub.TickStats().Rounds
	seen := 0
	for price := int64(1); price < 20; price++ {
		for _, symbol := range []string{"A", "B", "C", "D", "E"} {
			w.hub.Tick(event.Tick{Symbol: symbol, Price: decimal.FromUnits(price, 0), Source: "x"}, time.Now())
		}
		for last := fmt.Sprintf(`"E","price":"%d"`, price); ; {
			s := c.text()
			seen++
			if strings.Contains(s, last) {
				break
			}
		}
	}
	writes, rounds = l.writes.Load()-writes, w.hub.TickStats().Rounds-rounds
	if writes > rounds+1 || seen < 4*int(writes) { // one is a heartbeat
		t.Errorf("%d ticks in %d writes and %d rounds, want a write a round", seen, writes, rounds)
	}
}

// Compression is not offered (docs/adr-0010-no-permessage-deflate.md): whoever
// asks for it, in whatever form, gets a socket without, and a frame that is
// compressed all the same ends the connection.
func TestNoCompression(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wire.Config{})
	for _, offer := range []string{
		"permessage-deflate", "permessage-deflate; client_max_window_bits", "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
		"permessage-deflate; server_max_window_bits=8, permessage-deflate", "permessage-deflate; server_max_window_bits=99", "x-webkit-deflate-frame", "permessage-deflate; =;;", ",,", `"`,
	} {
		c, resp := w.handshake("", "Sec-WebSocket-Protocol: crier.v1\r\nSec-WebSocket-Extensions: "+offer+"\r\n")
		if got := resp.Header.Values("Sec-WebSocket-Extensions"); resp.StatusCode != 101 || len(got) > 0 {
			t.Errorf("%s: status %d, answered %q", offer, resp.StatusCode, got)
			continue
		}
		c.text() // ready
		c.alive(offer)
		// "{}" as RFC 7692 section 7.2.1 has it: RSV1 set, the tail cut off.
		f := gws.NewTextFrame([]byte{0xaa, 0xae, 0x05, 0x00})
		f.Header.Rsv = gws.Rsv(true, false, false)
		c.send(masked(f))
		if code, reason := c.closed(); code != gws.StatusProtocolError {
			t.Errorf("%s: a compressed message was answered %d %s", offer, code, reason)
		}
	}
}

// A handshake that is refused leaves no socket behind.
func TestRefusedHandshakeIsClosed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wire.Config{})
	for _, bad := range []string{"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n", "Sec-WebSocket-Version: 7\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""} {
		conn, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+bad+"\r\n"); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn)
		if !strings.HasPrefix(string(answer), "HTTP/1.1 4") && !strings.HasPrefix(string(answer), "HTTP/1.1 5") || err != nil {
			t.Errorf("%q: %.60q, %v; want an answer and the end", bad, answer, err)
		}
	}
}

// A close frame that breaks a rule is answered with the code of that rule, and
// one that keeps them with 1000 (RFC 6455, sections 5.5.1, 7.4 and 8.1).
func TestAttackCloseFrames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wire.Config{})
	body := func(code int, reason string) string { return string([]byte{byte(code >> 8), byte(code)}) + reason }
	want := map[string]gws.StatusCode{
		"": 1000, "\x03": 1002, "\xff": 1002, body(1000, "\xff"): 1007, body(1000, "a\xc3"): 1007, body(4000, "\xed\xa0\x80"): 1007,
		body(1000, strings.Repeat("x", 123)): 1000, body(1000, strings.Repeat("x", 124)): 1002, body(1000, "é"): 1000,
	}
	for _, code := range []int{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		want[body(code, "")], want[body(code, "reason")] = 1002, 1002
	}
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		want[body(code, "")] = 1000
	}
	for payload, code := range want {
		s := w.open("")
		s.send(masked(gws.NewFrame(gws.OpClose, true, []byte(payload))))
		if got, reason := s.closed(); got != code {
			t.Errorf("%q: closed with %d %s, want %d", payload, got, reason, code)
		}
	}
}

// A frame whose header breaks a rule is answered as any that does (RFC 6455, section
// 5.2: the highest bit of a length of 64 bits is 0).
func TestAttackFrameHeaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wire.Config{})
	for name, header := range map[string]string{
		"a length with its highest bit": "\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",
		"a length of the highest bit":   "\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00\x01\x02\x03\x04",
	} {
		c := w.open("")
		if _, err := io.WriteString(c.conn, header); err != nil {
			t.Fatal(err)
		}
		if code, _ := c.closed(); code != 1002 {
			t.Errorf("%s: closed with %d, want 1002", name, code)
		}
	}
}
