package bench

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// sender POSTs notifications one after the other on a connection of its own. It writes
// HTTP/1.1 itself: net/http's client, with two goroutines a connection, takes as much CPU
// time as the gateway does for the same request, of the same processors.
type sender struct {
	target *url.URL
	apiKey string

	conn net.Conn // nil: to be opened
	in   *bufio.Reader
	buf  []byte
}

// post sends one; an error is a refusal, or the end of the connection.
func (s *sender) post(ctx context.Context, body []byte) error {
	if s.conn == nil {
		if err := s.open(ctx); err != nil {
			return err
		}
	}
	status, err := s.exchange(ctx, body)
	if err != nil {
		s.close()
		return fmt.Errorf("sending: %w", err)
	}
	if status != http.StatusAccepted {
		return fmt.Errorf("sending: status %d", status)
	}
	return nil
}

func (s *sender) open(ctx context.Context) error {
	port, dial := "80", (&net.Dialer{}).DialContext
	if s.target.Scheme == "https" {
		port, dial = "443", (&tls.Dialer{}).DialContext
	}
	if p := s.target.Port(); p != "" {
		port = p
	}
	conn, err := dial(ctx, "tcp", net.JoinHostPort(s.target.Hostname(), port))
	if err != nil {
		return fmt.Errorf("opening a connection: %w", err)
	}
	s.conn, s.in = conn, bufio.NewReader(conn)
	return nil
}

// answerLimit is how long an answer may take, the gateway's own limits included.
const answerLimit = time.Minute

func (s *sender) exchange(ctx context.Context, body []byte) (status int, err error) {
	conn := s.conn
	if err := conn.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		return 0, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	s.buf = fmt.Appendf(s.buf[:0], "POST %s/api/v1/notifications HTTP/1.1\r\nHost: %s\r\nX-API-Key: %s\r\nContent-Length: %d\r\n\r\n",
		s.target.EscapedPath(), s.target.Host, s.apiKey, len(body))
	s.buf = append(s.buf, body...)
	if _, err := conn.Write(s.buf); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(s.in, nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0, err
	}
	if resp.Close {
		s.close()
	}
	return resp.StatusCode, nil
}

func (s *sender) close() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}
