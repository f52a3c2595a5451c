package bench

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// TLS is how streams go over TLS: over a connection of HTTP/1.1 each, or sharing
// connections of HTTP/2, as a browser's tabs do.
type TLS struct {
	Config        *tls.Config
	PerConnection int // streams of a connection of HTTP/2; 0: HTTP/1.1

	mu    sync.Mutex // guards conns
	conns map[int]*http.Transport
}

// forServer is the configuration for a connection of HTTP/1.1.
func (h *TLS) forServer(addr string) *tls.Config {
	c := h.Config.Clone()
	c.ServerName, _, _ = net.SplitHostPort(addr)
	return c
}

func (h *TLS) transport(number int) *http.Transport {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conns == nil {
		h.conns = make(map[int]*http.Transport)
	}
	i := number / h.PerConnection
	if h.conns[i] == nil {
		protocols := new(http.Protocols)
		protocols.SetHTTP2(true)
		from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}, Timeout: 20 * time.Second, Control: chooseLate}
		// One transport is one connection: net/http's client.
		h.conns[i] = &http.Transport{TLSClientConfig: h.Config, Protocols: protocols, DialContext: from.DialContext}
	}
	return h.conns[i]
}

// open is openStream over HTTP/2. The first request of a connection makes it;
// requests that come meanwhile wait for it.
func (h *TLS) open(ctx context.Context, number int, a ask) (*stream, error) {
	// Whoever asks may be gone before the stream is; it ends with its connection.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	body := &h2Body{cancel: cancel}
	_ = body.SetReadDeadline(time.Now().Add(30 * time.Second))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+a.addr+a.path("/api/v1/stream"), nil)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("opening stream %d: %w", number, err)
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	resp, err := h.transport(number).RoundTrip(req)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("opening stream %d: %w", number, err)
	}
	body.Response = resp
	s := &stream{number: number, conn: body, in: bufio.NewReaderSize(body, 2048+a.payload)}
	if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 {
		_ = body.Close()
		return nil, fmt.Errorf("opening stream %d: status %d over %s", number, resp.StatusCode, resp.Proto)
	}
	if err := s.await(); err != nil {
		_ = body.Close()
		return nil, fmt.Errorf("opening stream %d: %w", number, err)
	}
	return s, body.SetReadDeadline(time.Time{})
}

// h2Body is one stream as a net.Conn that is only read. A deadline that has come
// ends it: all that the loads ask of one.
type h2Body struct {
	*http.Response
	cancel context.CancelFunc
	mu     sync.Mutex // guards timer
	timer  *time.Timer
}

func (b *h2Body) Read(p []byte) (int, error)  { return b.Body.Read(p) }
func (b *h2Body) Write(p []byte) (int, error) { return 0, os.ErrInvalid }
func (b *h2Body) LocalAddr() net.Addr         { return nil }
func (b *h2Body) RemoteAddr() net.Addr        { return nil }

func (b *h2Body) Close() error {
	b.cancel()
	return b.Body.Close()
}

func (b *h2Body) SetDeadline(t time.Time) error      { return b.SetReadDeadline(t) }
func (b *h2Body) SetWriteDeadline(t time.Time) error { return nil }

func (b *h2Body) SetReadDeadline(t time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.timer != nil {
		b.timer.Stop()
		b.timer = nil
	}
	if !t.IsZero() {
		b.timer = time.AfterFunc(time.Until(t), b.cancel)
	}
	return nil
}
