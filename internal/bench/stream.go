package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// stream is one connection of the load. It parses no more than it must, so that
// it is not what is measured.
type stream struct {
	number int
	conn   net.Conn
	in     *bufio.Reader
	ws     bool
	last   int64  // the place that it has: of its inbox, or of the topic
	cursor string // of ready
}

// ask says how streams are opened.
type ask struct {
	addr  string
	ws    bool
	tls   *TLS   // nil: without
	topic string // "": the user's inbox alone
	since string // a cursor; "": from now on
	token string
	// payload is the size of the largest event but its frame.
	payload int
	buffer  int // bytes that are read at once; 0: as many as one event has
}

// openStream connects and reads up to the first event.
func openStream(ctx context.Context, number int, a ask) (*stream, error) {
	if a.tls != nil && a.tls.PerConnection > 0 {
		return a.tls.open(ctx, number, a)
	}
	from := &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+number/connectionsPerAddress))}
	conn, err := (&net.Dialer{LocalAddr: from, Timeout: 20 * time.Second, Control: chooseLate}).DialContext(ctx, "tcp", a.addr)
	if err != nil {
		return nil, fmt.Errorf("connecting stream %d: %w", number, err)
	}
	// Its port is free again at once: no run waits for what another left behind.
	_ = conn.(*net.TCPConn).SetLinger(0)
	if a.tls != nil {
		conn = tls.Client(conn, a.tls.forServer(a.addr))
	}
	s := &stream{number: number, conn: conn, in: bufio.NewReaderSize(conn, max(2048+a.payload, a.buffer)), ws: a.ws}
	_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	if err := s.begin(a); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("opening stream %d: %w", number, err)
	}
	return s, conn.SetReadDeadline(time.Time{})
}

func (s *stream) begin(a ask) error {
	path, extra, want := "/api/v1/stream", "", " 200 "
	if a.ws {
		// The key is RFC 6455's own example; the answer to it is not looked at.
		path, extra, want = "/api/v1/ws", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: crier.v1\r\n", " 101 "
	}
	if _, err := fmt.Fprintf(s.conn, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n%s\r\n", a.path(path), a.addr, a.token, extra); err != nil {
		return err
	}
	line, err := s.in.ReadString('\n')
	if err != nil || !strings.Contains(line, want) {
		return fmt.Errorf("it begins with %q: %w", line, errors.Join(err))
	}
	for strings.TrimSpace(line) != "" {
		if line, err = s.in.ReadString('\n'); err != nil {
			return err
		}
	}
	return s.await()
}

// path is the address of what is asked for.
func (a *ask) path(base string) string {
	query := "?"
	if a.topic != "" {
		query += "topics=" + a.topic + "&"
	}
	if a.since != "" {
		query += "since=" + url.QueryEscape(a.since)
	}
	return base + strings.TrimRight(query, "?&")
}

// await reads up to ready.
func (s *stream) await() error {
	id, data, err := s.next()
	for ; err == nil && !bytes.Contains(data, []byte(`"server_time"`)) && !bytes.Equal(data, []byte("{}")); id, data, err = s.next() {
	}
	s.cursor = string(id)
	return err
}

// next is the id and the data of the next event or message, good until the one
// after it.
func (s *stream) next() (id, data []byte, err error) {
	if s.ws {
		return s.nextFrame()
	}
	for {
		line, err := s.in.ReadSlice('\n')
		if err != nil {
			return nil, nil, err
		}
		switch {
		case bytes.HasPrefix(line, []byte("id: ")):
			id = append(id[:0], bytes.TrimSpace(line[4:])...)
		case bytes.HasPrefix(line, []byte("data: ")):
			// The empty line behind it is passed over with the next event.
			return id, bytes.TrimSpace(line[6:]), nil
		}
	}
}

// nextFrame reads unfragmented text frames, as the gateway sends them (RFC 6455
// section 5.2), and passes over others.
func (s *stream) nextFrame() (id, data []byte, err error) {
	for {
		var head [2]byte
		if _, err := io.ReadFull(s.in, head[:]); err != nil {
			return nil, nil, err
		}
		n := int(head[1] & 0x7f)
		switch n {
		case 126:
			var b [2]byte
			if _, err := io.ReadFull(s.in, b[:]); err != nil {
				return nil, nil, err
			}
			n = int(binary.BigEndian.Uint16(b[:]))
		case 127:
			return nil, nil, errors.New("a frame above 64 KiB")
		}
		payload := make([]byte, n)
		if _, err := io.ReadFull(s.in, payload); err != nil {
			return nil, nil, err
		}
		if head[0]&0x0f != 1 { // not text
			continue
		}
		if _, rest, ok := bytes.Cut(payload, []byte(`"id":"`)); ok {
			id, _, _ = bytes.Cut(rest, []byte(`"`))
		}
		return id, payload, nil
	}
}

// place is the inbox's place in a cursor, or that of the topic.
func place(cursor []byte, topic string) (int64, error) {
	if topic != "" {
		_, rest, ok := bytes.Cut(cursor, []byte(topic+"="))
		if !ok {
			return 0, fmt.Errorf("the cursor %s does not know the topic", cursor)
		}
		cursor = rest
	}
	if i := bytes.IndexByte(cursor, ';'); i >= 0 {
		cursor = cursor[:i]
	}
	return strconv.ParseInt(string(cursor), 10, 64)
}

// stamped is the time that a delivery was produced at; false: it is none of the
// load's.
func stamped(data []byte) (time.Time, bool) {
	i := bytes.Index(data, []byte(stampKey))
	if i < 0 {
		return time.Time{}, false
	}
	rest := data[i+len(stampKey):]
	end := bytes.IndexByte(rest, '"')
	if end < 0 {
		return time.Time{}, false
	}
	nano, err := strconv.ParseInt(string(rest[:end]), 10, 64)
	return time.Unix(0, nano), err == nil
}
