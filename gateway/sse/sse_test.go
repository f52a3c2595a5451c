package sse_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"crier/gateway/hub"
	"crier/gateway/wire"
	"crier/internal/criertest"
	"crier/internal/decimal"
	"crier/internal/event"
)

// A stream's bytes are those of the contract: retry with jitter, ready with the
// cursor it goes on from, what was missed, resumed, then what arrives; over
// HTTP/1.1 and HTTP/2.
func TestStreamBytes(t *testing.T) {
	t.Parallel()
	for proto := 1; proto <= 2; proto++ {
		t.Run(fmt.Sprint("HTTP/", proto), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, wire.Config{})
			w.commit(3)
			ready := func(from int) string {
				return fmt.Sprintf(`^retry: (5\d\d|[6-9]\d\d|1\d\d\d|2[0-4]\d\d)\nevent: ready\nid: %d\ndata: {"counts":{"unread":0,"unseen":0,"version":0},"last_id":3,"server_time":"[-0-9T:.]+Z","session":"s","user_id":"ann"}\n$`, from)
			}
			notification := func(id int) string {
				return fmt.Sprintf(`^event: notification\nid: %d\ndata: {"id":%d,"pad":""}\n$`, id, id)
			}
			for _, c := range []struct {
				cursor string
				want   []string
			}{
				{"", []string{ready(3), notification(4)}},
				{"1", []string{ready(1), notification(2), notification(3), `^event: resumed\ndata: {"from":"1","replayed":2}\n$`, notification(4)}},
				{"0", []string{ready(0), notification(1), notification(2), notification(3), `^event: resumed\ndata: {"from":"0","replayed":3}\n$`, notification(4)}},
				{"3", []string{ready(3), `^event: resumed\ndata: {"from":"3","replayed":0}\n$`, notification(4)}},
				{"9", []string{ready(3), `^event: gap\ndata: {"from":"9","reason":"ahead"}\n$`, notification(4)}},
				{"x", []string{ready(3), `^event: gap\ndata: {"from":"x","reason":"unreadable"}\n$`, notification(4)}},
			} {
				w := newWorld(t, wire.Config{})
				w.commit(3)
				s := w.open(proto, "", c.cursor)
				h := s.resp.Header
				if s.resp.StatusCode != 200 || h.Get("Content-Type") != "text/event-stream" || h.Get("Cache-Control") != "no-store" || h.Get("X-Accel-Buffering") != "no" || h.Get("Date") == "" {
					t.Errorf("status %d, headers %v", s.resp.StatusCode, h)
				}
				for i, want := range c.want {
					if i == len(c.want)-1 {
						w.commit(1)
					}
					if b := s.next(); !regexp.MustCompile(want).MatchString(b) {
						t.Errorf("cursor %q, block %d: %q, want %s", c.cursor, i, b, want)
					}
				}
			}
		})
	}
}

// What cannot begin is answered by who asked, with nothing written before.
func TestBeginFails(t *testing.T) {
	t.Parallel()
	for proto := 1; proto <= 2; proto++ {
		w := newWorld(t, wire.Config{})
		w.fail = errors.New("no inbox")
		s := w.open(proto, "", "")
		body, err := io.ReadAll(s.r)
		if s.resp.StatusCode != 418 || string(body) != "no inbox\n" || err != nil {
			t.Errorf("HTTP/%d: status %d, %q, %v", proto, s.resp.StatusCode, body, err)
		}
	}
}

// A stream that catches up while deliveries race with it, from many at once,
// brings each notification once and in order.
func TestCatchUpWhileDelivering(t *testing.T) {
	t.Parallel()
	for proto := 1; proto <= 2; proto++ {
		t.Run(fmt.Sprint("HTTP/", proto), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, wire.Config{Outbox: 8 << 10})
			w.size = 200
			w.commit(2000)
			delivered := make(chan struct{})
			go func() { defer close(delivered); w.commit(2000) }()
			s := w.open(proto, "", "0")
			others := s.ids(1, 4000)
			resumed := 0
			for _, o := range others {
				if strings.HasPrefix(o, "event: resumed\n") {
					resumed++
				}
			}
			<-delivered
			if resumed == 0 && strings.HasPrefix(s.next(), "event: resumed\n") {
				resumed++ // all of them arrived before it had caught up
			}
			if resumed != 1 {
				t.Errorf("resumed %d times; besides notifications came %q", resumed, others)
			}
		})
	}
}

// The end of a token, of a session, or of the gateway is said before the stream
// ends, and noted for when its reader comes back.
func TestBye(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		ends time.Duration
		end  func(w *world)
		want string
	}{
		{"token", 1200 * time.Millisecond, func(*world) {}, `event: bye` + "\n" + `data: {"reason":"token_expired","retry_ms":0}` + "\n"},
		{"session", 0, func(w *world) { w.hub.EndSession(ann, "s", hub.LoggedOut) }, `event: bye` + "\n" + `data: {"reason":"logged_out","retry_ms":0}` + "\n"},
		{"draining", 0, func(w *world) { w.hub.ByeAll(hub.DrainingNow, 0) }, `event: bye` + "\n" + `data: {"reason":"draining","retry_ms":0}` + "\n"},
	} {
		for proto := 1; proto <= 2; proto++ {
			t.Run(fmt.Sprintf("%s HTTP/%d", c.name, proto), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, wire.Config{})
				if c.ends > 0 {
					w.ends = time.Now().Add(c.ends)
				}
				s := w.open(proto, "", "")
				s.block()
				s.block() // ready
				c.end(w)
				if b := s.next(); b != c.want {
					t.Errorf("%q, want %q", b, c.want)
				}
				began := time.Now()
				if b := s.next(); b != "" || time.Since(began) > 1500*time.Millisecond {
					t.Errorf("then %q after %v, want the end at once", b, time.Since(began))
				}
				w.cutMu.Lock()
				defer w.cutMu.Unlock()
				if len(w.cuts) == 0 || !strings.Contains(c.want, w.cuts[0]) {
					t.Errorf("noted %v", w.cuts)
				}
			})
		}
	}
}

// A reader that takes nothing is cut after the stall time, over HTTP/2 as well,
// and it is noted why; its notifications wait in the inbox, not here.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	for proto := 1; proto <= 2; proto++ {
		t.Run(fmt.Sprint("HTTP/", proto), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, wire.Config{Outbox: 64 << 10, Stall: 500 * time.Millisecond})
			w.size = 30_000
			s := w.open(proto, "", "")
			s.block()
			w.commit(1000)
			criertest.Eventually(t, time.Minute, "the reader is cut", func() bool {
				w.cutMu.Lock()
				defer w.cutMu.Unlock()
				return len(w.cuts) > 0
			})
			if w.cuts[0] != hub.TooSlow || w.pool.Stats().Stalled != 1 {
				t.Errorf("noted %v, stalled %d", w.cuts, w.pool.Stats().Stalled)
			}
			again := w.open(proto, "", "990")
			again.block()
			again.ids(991, 1000)
		})
	}
}

// Ticks come without an id; heartbeats are comments; a reader that goes is
// forgotten.
func TestTicksAndHeartbeats(t *testing.T) {
	t.Parallel()
	for proto := 1; proto <= 2; proto++ {
		t.Run(fmt.Sprint("HTTP/", proto), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, wire.Config{Heartbeat: time.Second})
			s := w.open(proto, "?follow=A", "")
			s.block()
			s.block()
			w.hub.Tick(event.Tick{Symbol: "A", Price: decimal.FromUnits(150, 2), Time: time.Unix(0, 0), Source: "x"}, time.Now())
			if b, want := s.next(), "event: tick\ndata: {\"symbol\":\"A\",\"price\":\"1.50\",\"time\":\"1970-01-01T00:00:00Z\",\"source\":\"x\"}\n"; b != want {
				t.Errorf("%q, want %q", b, want)
			}
			for range 2 {
				if b := s.block(); b != ":\n" {
					t.Errorf("%q, want a comment", b)
				}
			}
			_ = s.resp.Body.Close()
			criertest.Eventually(t, time.Minute, "the reader is forgotten", func() bool { return w.hub.Stats().Subscribers == 0 && w.pool.Stats().Conns == 0 })
		})
	}
}

// A connection on which a second request is pipelined is no event stream's, and
// one of HTTP/1.0 is served as well.
func TestRawSockets(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, request string
		ends          bool
	}{
		{"pipelined", "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", true},
		{"HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, wire.Config{})
			conn, err := net.Dial("tcp", w.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, c.request); err != nil {
				t.Fatal(err)
			}
			if c.ends {
				_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
				_, err := io.Copy(io.Discard, conn)
				var timeout net.Error
				if errors.As(err, &timeout) && timeout.Timeout() {
					t.Error("it was not ended")
				}
				return
			}
			buf := make([]byte, 4096)
			n, err := io.ReadAtLeast(conn, buf, 300)
			if err != nil || !strings.HasPrefix(string(buf[:n]), "HTTP/1.1 200 OK\r\nConnection: close\r\n") || !strings.Contains(string(buf[:n]), "\r\n\r\nretry: ") {
				t.Errorf("%q, %v", buf[:n], err)
			}
		})
	}
}

// A round of ticks is one write to its viewer, however many symbols it follows.
func TestTickRoundIsOneWrite(t *testing.T) {
	t.Parallel()
	l := &counted{Listener: listen(t)}
	w := newWorldOn(t, wire.Config{}, l)
	s := w.open(1, "?follow=A,B,C,D,E", "")
	s.block()
	s.block() // ready
	writes, rounds := l.writes.Load(), w.hub.TickStats().Rounds
	seen := 0
	for price := int64(1); price < 20; price++ {
		for _, symbol := range []string{"A", "B", "C", "D", "E"} {
			w.hub.Tick(event.Tick{Symbol: symbol, Price: decimal.FromUnits(price, 0), Source: "x"}, time.Now())
		}
		for last := fmt.Sprintf(`"E","price":"%d"`, price); ; {
			b := s.next()
			seen++
			if strings.Contains(b, last) {
				break
			}
		}
	}
	writes, rounds = l.writes.Load()-writes, w.hub.TickStats().Rounds-rounds
	if writes > rounds+1 || seen < 4*int(writes) { // one is a heartbeat
		t.Errorf("%d ticks in %d writes and %d rounds, want a write a round", seen, writes, rounds)
	}
}

// overTLS is a listener whose sockets speak TLS, and what its clients need.
func overTLS(t *testing.T, l net.Listener) (net.Listener, *tls.Config) {
	t.Helper()
	// httptest has a certificate for 127.0.0.1.
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return tls.NewListener(l, &tls.Config{Certificates: s.TLS.Certificates, MinVersion: tls.VersionTLS12}), &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}
}

// tlsStream asks for a stream over HTTP/1.1 and TLS.
func (w *world) tlsStream(cfg *tls.Config, path string) *tls.Conn {
	w.t.Helper()
	conn, err := tls.Dial("tcp", w.addr, cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, "GET /"+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		w.t.Fatal(err)
	}
	return conn
}

// A reader over TLS that takes nothing is cut after the stall time like any
// other, at once and without a farewell that it would not take either, and holds
// no writer: there is but one, and another reader gets everything meanwhile.
func TestSlowReaderOverTLS(t *testing.T) {
	t.Parallel()
	const stall = 2 * time.Second
	l, client := overTLS(t, smallBuffers{listen(t)})
	w := newWorldOn(t, wire.Config{Writers: 1, Outbox: 64 << 10, Stall: stall}, l)
	w.size = 30_000
	_ = w.tlsStream(client, "").NetConn().(*net.TCPConn).SetReadBuffer(64 << 10)
	other := w.tlsStream(client, "")
	s := &stream{t: t, r: bufio.NewReader(other)}
	s.block() // the head
	s.block() // ready
	criertest.Eventually(t, time.Minute, "both follow", func() bool { return w.hub.Stats().Subscribers == 2 })
	began := time.Now()
	go w.commit(60)
	s.ids(1, 60)
	if w.pool.Stats().Stalled > 0 {
		t.Errorf("the other had its notifications after %v, when the first was cut", time.Since(began))
	}
	criertest.Eventually(t, time.Minute, "the reader is cut", func() bool {
		w.cutMu.Lock()
		defer w.cutMu.Unlock()
		return len(w.cuts) > 0
	})
	if d := time.Since(began); w.cuts[0] != hub.TooSlow || w.pool.Stats().Stalled != 1 || d > stall+30*time.Second {
		t.Errorf("noted %v, stalled %d after %v", w.cuts, w.pool.Stats().Stalled, d)
	}
	w.commit(1)
	s.ids(61, 61)
}

// A reader over TLS that is slow and goes on is not cut, however much waits for
// it: what it takes within the stall time is less than what waits.
func TestSlowProgressOverTLS(t *testing.T) {
	t.Parallel()
	const stall = time.Second
	l, client := overTLS(t, smallBuffers{listen(t)})
	w := newWorldOn(t, wire.Config{Outbox: 1 << 20, Stall: stall}, l)
	w.size = 30_000
	conn := w.tlsStream(client, "")
	_ = conn.NetConn().(*net.TCPConn).SetReadBuffer(64 << 10)
	s := &stream{t: t, r: bufio.NewReaderSize(conn, 512)}
	s.block()    // the head
	s.block()    // ready
	w.commit(30) // 900 KB
	began := time.Now()
	for id := int64(1); id <= 30; id++ {
		s.ids(id, id)
		<-time.After(stall / 8) // a reader that takes 240 KB a second: the point of the test is that time passes
	}
	if d := time.Since(began); d < 2*stall || w.pool.Stats().Stalled != 0 {
		t.Errorf("%d cut in %v", w.pool.Stats().Stalled, d)
	}
}

// smallBuffers are sockets that hold little of what is on its way.
type smallBuffers struct{ net.Listener }

func (l smallBuffers) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		_ = c.(*net.TCPConn).SetWriteBuffer(64 << 10)
	}
	return c, err
}

// Of two streams of one HTTP/2 connection, as two tabs of a browser have it, one
// that is not read takes nothing from the other, and is cut alone.
func TestSlowTabBesideAnother(t *testing.T) {
	t.Parallel()
	const stall = time.Second
	w := newWorld(t, wire.Config{Outbox: 64 << 10, Stall: stall})
	w.size = 30_000
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	tabs := &http.Transport{Protocols: protocols, MaxConnsPerHost: 1}
	t.Cleanup(tabs.CloseIdleConnections)
	tab := func() *stream {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+w.addr+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tabs.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		return &stream{t: t, resp: resp, r: bufio.NewReader(resp.Body)}
	}
	_ = tab() // its window is 4 MB
	s := tab()
	s.block()
	s.block()
	go w.commit(1000)
	s.ids(1, 1000)
	criertest.Eventually(t, time.Minute, "the tab that is not read is cut", func() bool { return w.pool.Stats().Stalled == 1 })
	w.commit(1)
	s.ids(1001, 1001)
	if w.hub.Stats().Subscribers != 1 {
		t.Errorf("%d streams are left, want one", w.hub.Stats().Subscribers)
	}
}
