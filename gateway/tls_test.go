package gateway_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"crier/gateway"
	"crier/internal/criertest"
	"crier/internal/kafka"
)

// files are a certificate and its key, which are written anew to change.
type files struct{ cert, key string }

func newFiles(t *testing.T) files {
	dir := t.TempDir()
	return files{filepath.Join(dir, "crt"), filepath.Join(dir, "key")}
}

// write makes a certificate of that name, and returns what trusts it.
func (f files) write(t *testing.T, name string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, form, form, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for path, b := range map[string][]byte{f.key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), f.cert: cert} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	return roots
}

// newTLSWorld is a gateway that serves TLS.
func newTLSWorld(t *testing.T) (*world, files, *x509.CertPool) {
	t.Helper()
	f := newFiles(t)
	roots := f.write(t, "first")
	w := newWorld(t, func(c *gateway.Config, _ *kafka.Config) { c.TLSCert, c.TLSKey, c.ExternalUsers = f.cert, f.key, true })
	return w, f, roots
}

// client speaks the protocols that set chooses.
func client(t *testing.T, roots *x509.CertPool, set func(*http.Protocols)) *http.Client {
	t.Helper()
	protocols := new(http.Protocols)
	set(protocols)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, Protocols: protocols}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// firstEvents opens the stream of ticks that needs no account, and returns what
// it is served with when ready has come.
func firstEvents(t *testing.T, c *http.Client, url string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", url+"/api/v1/stream?topics=ticks:BTCUSDT", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	r := bufio.NewReader(resp.Body)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("%s: %v before ready", resp.Proto, err)
		}
		if line == "event: ready\n" {
			return resp.Proto
		}
	}
}

// Streams are served over each protocol there is: with a certificate HTTP/2 and
// HTTP/1.1 as the client chooses, WebSocket too; without, HTTP/1.1, and HTTP/2
// by prior knowledge.
func TestProtocols(t *testing.T) {
	t.Parallel()
	t.Run("TLS", func(t *testing.T) {
		t.Parallel()
		w, _, roots := newTLSWorld(t)
		if !strings.HasPrefix(w.url, "https://") {
			t.Errorf("the address is %s", w.url)
		}
		for _, c := range []struct {
			set  func(*http.Protocols)
			want string
		}{
			{func(p *http.Protocols) { p.SetHTTP1(true) }, "HTTP/1.1"}, {func(p *http.Protocols) { p.SetHTTP2(true) }, "HTTP/2.0"},
			{func(p *http.Protocols) { p.SetHTTP1(true); p.SetHTTP2(true) }, "HTTP/2.0"},
		} {
			if got := firstEvents(t, client(t, roots, c.set), w.url); got != c.want {
				t.Errorf("served over %s, want %s", got, c.want)
			}
		}
		addr := strings.TrimPrefix(w.url, "https://")
		socket, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: roots})
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		_ = socket.SetDeadline(time.Now().Add(time.Minute))
		if _, err := io.WriteString(socket, "GET /api/v1/ws?topics=ticks:BTCUSDT HTTP/1.1\r\nHost: "+addr+"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(socket)
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != 101 {
			t.Fatalf("a socket over TLS: %v, %v", resp, err)
		}
		head := make([]byte, 2+len(`{"type":"ready"`))
		if _, err := io.ReadFull(r, head); err != nil || string(head[2:]) != `{"type":"ready"` {
			t.Errorf("a socket over TLS begins with %q, %v", head, err)
		}
		if c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: roots, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}); err == nil {
			_ = c.Close()
			t.Error("TLS 1.1 is spoken")
		}
	})
	t.Run("plain", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, nil)
		if got := firstEvents(t, client(t, nil, func(p *http.Protocols) { p.SetHTTP1(true) }), w.url); got != "HTTP/1.1" {
			t.Errorf("served over %s", got)
		}
		if got := firstEvents(t, client(t, nil, func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }), w.url); got != "HTTP/2.0" {
			t.Errorf("by prior knowledge served over %s", got)
		}
	})
}

// A certificate that was replaced is served to who connects from then on; files
// that are only half there change nothing.
func TestCertificateIsReadAgain(t *testing.T) {
	t.Parallel()
	w, f, _ := newTLSWorld(t)
	addr := strings.TrimPrefix(w.url, "https://")
	name := func() string {
		c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			return err.Error()
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	if got := name(); got != "first" {
		t.Fatalf("served %s", got)
	}
	f.write(t, "second")
	criertest.Eventually(t, time.Minute, "the new certificate is served", func() bool { return name() == "second" })
	if err := os.WriteFile(f.cert, []byte("-----BEGIN CERTIF"), 0o600); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(1200 * time.Millisecond); time.Now().Before(end); <-time.After(50 * time.Millisecond) { // the file is looked at once a second
		if got := name(); got != "second" {
			t.Fatalf("with half a certificate served %s", got)
		}
	}
	f.write(t, "third")
	criertest.Eventually(t, time.Minute, "the third certificate is served", func() bool { return name() == "third" })
}

// rawH2 is a client of HTTP/2 by prior knowledge, frame by frame.
type rawH2 struct {
	t      *testing.T
	conn   net.Conn
	framer *http2.Framer
	block  strings.Builder
	enc    *hpack.Encoder
	host   string
}

func newRawH2(t *testing.T, w *world, window uint32) *rawH2 {
	t.Helper()
	c := &rawH2{t: t, host: strings.TrimPrefix(w.url, "http://")}
	var err error
	if c.conn, err = net.Dial("tcp", c.host); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.conn.Close() })
	_ = c.conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	c.framer, c.enc = http2.NewFramer(c.conn, c.conn), hpack.NewEncoder(&c.block)
	if _, err := io.WriteString(c.conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	c.do(c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}))
	if window > 65535 {
		c.do(c.framer.WriteWindowUpdate(0, window-65535))
	}
	return c
}

func (c *rawH2) do(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// ask opens a stream of ticks.
func (c *rawH2) ask(id uint32) error {
	c.block.Reset()
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", c.host}, {":path", "/api/v1/stream?topics=ticks:BTCUSDT"}} {
		if err := c.enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			return err
		}
	}
	return c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte(c.block.String()), EndStream: true, EndHeaders: true})
}

// settings reads up to the server's, and returns how many streams it allows.
func (c *rawH2) settings() (streams uint32) {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(time.Minute))
	for {
		f, err := c.framer.ReadFrame()
		c.do(err)
		if s, ok := f.(*http2.SettingsFrame); ok && !s.IsAck() {
			streams, _ = s.Value(http2.SettingMaxConcurrentStreams)
			return streams
		}
	}
}

// A connection carries as many tabs as a browser opens, and says how many. A
// client that opens streams and takes them back at once (CVE-2023-44487) has at
// most so many handlers at work, and another is served meanwhile and after.
func TestRapidReset(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	c := newRawH2(t, w, 65535)
	if n := c.settings(); n != 1000 {
		t.Errorf("%d streams are allowed, want 1000", n)
	}
	c.do(c.framer.WriteSettingsAck())
	_ = c.conn.SetDeadline(time.Now().Add(time.Minute))
	gone := make(chan struct{})
	go func() { // what is answered is read, or the server would rather wait for us
		defer close(gone)
		_, _ = io.Copy(io.Discard, c.conn)
	}()
	other := client(t, nil, func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) })
	for i := range 10_000 {
		id := uint32(2*i + 1)
		if c.ask(id) != nil || c.framer.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
			break // sent away
		}
		if i == 5000 {
			firstEvents(t, other, w.url)
		}
		if n := w.Streams(); n > 1000+2 {
			t.Fatalf("%d streams are there at once", n)
		}
	}
	_ = c.conn.Close()
	<-gone
	firstEvents(t, other, w.url)
	criertest.Eventually(t, time.Minute, "its streams are gone", func() bool { return w.Streams() == 2 })
}

// A client that floods with settings and pings and reads no answer is sent away,
// or stopped by TCP, and holds up nobody.
func TestControlFrameFlood(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	c := newRawH2(t, w, 65535)
	_ = c.conn.SetWriteDeadline(time.Now().Add(3 * time.Second))
	for {
		if c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 65535}) != nil || c.framer.WritePing(false, [8]byte{1}) != nil {
			break
		}
	}
	if got := firstEvents(t, client(t, nil, func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }), w.url); got != "HTTP/2.0" {
		t.Errorf("another is served over %s", got)
	}
}

// A peer that has vanished, or reads nothing at all from its connection, is
// noticed by pings and by what it does not take, and its connection closed.
func TestDeadH2Connection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *gateway.Config, _ *kafka.Config) { c.PeerTimeout = time.Second })
	c := newRawH2(t, w, 1<<30)
	c.do(c.ask(1))
	criertest.Eventually(t, time.Minute, "the stream is there", func() bool { return w.Streams() == 1 })
	// It says nothing any more, not even to pings.
	criertest.Eventually(t, time.Minute, "the stream has ended", func() bool { return w.Streams() == 0 })
	_ = c.conn.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := io.Copy(io.Discard, c.conn); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the connection is still there: %v", err)
	}
}
