package mail_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"mime"
	"net"
	stdmail "net/mail"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"crier/consumer/mail"
	"crier/internal/criertest"
	"crier/internal/event"
)

// peer is a real SMTP server that does what the test says.
type peer struct {
	mu       sync.Mutex
	conns    int
	mails    []string
	to       []string
	onRcpt   error
	onData   error // instead of taking the mail
	hangUp   bool  // cut the connection after the final dot
	listener net.Listener
	socks    []net.Conn
}

// Accept counts connections, and keeps them to be cut.
func (p *peer) Accept() (net.Conn, error) {
	c, err := p.listener.Accept()
	if err == nil {
		p.mu.Lock()
		p.conns++
		p.socks = append(p.socks, c)
		p.mu.Unlock()
	}
	return c, err
}

func (p *peer) Close() error   { return p.listener.Close() }
func (p *peer) Addr() net.Addr { return p.listener.Addr() }

type session struct{ p *peer }

func (p *peer) NewSession(*smtp.Conn) (smtp.Session, error) { return session{p}, nil }
func (s session) Mail(string, *smtp.MailOptions) error      { return nil }
func (s session) Reset()                                    {}
func (s session) Logout() error                             { return nil }

func (s session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.p.to = append(s.p.to, to)
	return s.p.onRcpt
}

func (s session) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if s.p.onData != nil {
		return s.p.onData
	}
	if s.p.hangUp {
		for _, c := range s.p.socks {
			_ = c.Close()
		}
		return errors.New("cut")
	}
	s.p.mails = append(s.p.mails, string(b))
	return nil
}

func (p *peer) set(fn func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fn()
}

func (p *peer) seen() (mails []string, conns int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.mails...), p.conns
}

// startPeer listens on loopback, with TLS if a certificate is given.
func startPeer(t *testing.T, conf *tls.Config, implicit bool) (*peer, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{listener: l}
	s := smtp.NewServer(p)
	s.Domain, s.TLSConfig, s.AllowInsecureAuth = "localhost", conf, true
	s.ReadTimeout, s.WriteTimeout = 20*time.Second, 20*time.Second
	var serving net.Listener = p
	if implicit {
		serving = tls.NewListener(p, conf)
	}
	g := criertest.Go(t, func() { _ = s.Serve(serving) })
	t.Cleanup(func() { _ = s.Close(); g.Wait() })
	return p, l.Addr().String()
}

// certificate is for localhost, and trusted by this process's roots.
func certificate(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

func compose(t *testing.T, n event.Stored, to string) *composed {
	t.Helper()
	c, err := mail.NewComposer("Crier <alerts@example.org>", "https://crier.example.org/", "", func(a string) string { return "T-" + a })
	if err != nil {
		t.Fatal(err)
	}
	return &composed{t, c, n, to}
}

type composed struct {
	t  *testing.T
	c  *mail.Composer
	n  event.Stored
	to string
}

func (c *composed) send(s *mail.Sender) error {
	c.t.Helper()
	m, err := c.c.Compose(c.n, c.to, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	return s.Send(ctx, m)
}

func sender(t *testing.T, address string) *mail.Sender {
	t.Helper()
	s, err := mail.NewSender(address, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// A mail holds both parts, the same Message-ID at every attempt, and the headers
// by which it can be stopped; a notification's text leaves no header, and its
// dots come through.
func TestMessage(t *testing.T) {
	p, addr := startPeer(t, nil, false)
	n := event.Stored{ID: 7, EventID: "e-1", Kind: "message", Title: "Grüße\r\nBcc: eve@example.org", Body: ".\r\n..dots & <b>markup</b>", Priority: "normal"}
	s := sender(t, "smtp+plain://"+addr)
	for range 3 {
		if err := compose(t, n, "ann@example.org").send(s); err != nil {
			t.Fatal(err)
		}
	}
	mails, conns := p.seen()
	if len(mails) != 3 || conns != 1 {
		t.Fatalf("%d mails over %d connections", len(mails), conns)
	}
	head, body, _ := strings.Cut(mails[0], "\r\n\r\n")
	for _, want := range []string{"Message-ID: <e-1.7@example.org>", "Date: Fri, 02 Jan 2026 03:04:05", "List-Unsubscribe: <https://crier.example.org/api/v1/unsubscribe?token=T-ann@example.org>",
		"List-Unsubscribe-Post: List-Unsubscribe=One-Click", "From: \"Crier\" <alerts@example.org>", "multipart/alternative"} {
		if !strings.Contains(strings.ReplaceAll(head, "\r\n ", " "), want) {
			t.Errorf("the head lacks %q:\n%s", want, head)
		}
	}
	if strings.Contains(head, "\nBcc:") || !strings.Contains(body, "text/plain") || !strings.Contains(body, "text/html") || !strings.Contains(body, "&lt;b&gt;") || !strings.Contains(body, "..dots") {
		t.Errorf("mail:\n%s", mails[0])
	}
	if mails[0][strings.Index(mails[0], "Message-ID"):][:40] != mails[2][strings.Index(mails[2], "Message-ID"):][:40] {
		t.Error("the Message-ID changes between attempts")
	}
}

// A subject is shown as it was written, whatever it looks like: a text with the
// form of an encoded word (RFC 2047) must not be decoded by mail programs.
func TestSubjectIsLiteral(t *testing.T) {
	p, addr := startPeer(t, nil, false)
	s := sender(t, "smtp+plain://"+addr)
	subjects := []string{"=?utf-8?q?not_encoded?=", "plain", "Grüße =?utf-8?b?eA==?= " + strings.Repeat("é=?", 60), "a =?= b", strings.Repeat("long word ", 30) + "=?x?q?y?=", "=?UTF-8?Q?" + strings.Repeat("😀", 40)}
	for i, title := range subjects {
		if err := compose(t, event.Stored{ID: int64(i + 1), EventID: "e", Kind: "message", Title: title, Priority: "normal"}, "ann@example.org").send(s); err != nil {
			t.Fatal(err)
		}
	}
	mails, _ := p.seen()
	for i, want := range subjects {
		m, err := stdmail.ReadMessage(strings.NewReader(mails[i]))
		if err != nil {
			t.Fatal(err)
		}
		got, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
		if want = strings.Join(strings.Fields(want), " "); err != nil || got != want {
			t.Errorf("%q is shown as %q, %v", want, got, err)
		}
		for line := range strings.Lines(mails[i][:strings.Index(mails[i], "\r\n\r\n")]) {
			if len(line) > 78+2 && strings.Contains(line, "=?") {
				t.Errorf("a line of %d bytes with an encoded word (RFC 2047, section 2): %q", len(line)-2, line)
			}
		}
	}
}

// What a server says for good is told from what may pass.
func TestRefusals(t *testing.T) {
	p, addr := startPeer(t, nil, false)
	s := sender(t, "smtp+plain://"+addr)
	n := event.Stored{ID: 1, EventID: "e", Title: "x"}
	for name, c := range map[string]struct {
		rcpt, data error
		final      bool
	}{
		"unknown address": {rcpt: &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}, final: true},
		"greylisted":      {rcpt: &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 7, 1}, Message: "later"}},
		"spam":            {data: &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "spam"}, final: true},
		"full":            {data: &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 2, 2}, Message: "full"}},
	} {
		p.set(func() { p.onRcpt, p.onData = c.rcpt, c.data })
		if err := compose(t, n, "ann@example.org").send(s); err == nil || errors.Is(err, mail.ErrRefused) != c.final {
			t.Errorf("%s: %v", name, err)
		}
	}
	p.set(func() { p.onRcpt, p.onData, p.hangUp = nil, nil, true })
	if err := compose(t, n, "ann@example.org").send(s); err == nil || errors.Is(err, mail.ErrRefused) {
		t.Errorf("cut after the final dot: %v", err)
	}
	p.set(func() { p.hangUp = false })
	if err := compose(t, n, "ann@example.org").send(s); err != nil {
		t.Errorf("after all that: %v", err)
	}
	if mails, _ := p.seen(); len(mails) != 1 {
		t.Errorf("%d mails were taken, want 1", len(mails))
	}
	if err := compose(t, n, "not an address").send(s); !errors.Is(err, mail.ErrRefused) {
		t.Errorf("no address: %v", err)
	}
}

// smtp:// demands STARTTLS; smtps:// is TLS from the first byte; a certificate
// that nobody vouches for is not accepted.
func TestTLS(t *testing.T) {
	conf := certificate(t)
	n := event.Stored{ID: 1, EventID: "e", Title: "x"}
	_, without := startPeer(t, nil, false)
	if err := compose(t, n, "ann@example.org").send(sender(t, "smtp://"+local(without))); err == nil {
		t.Error("a server without STARTTLS got a mail")
	}
	for scheme, implicit := range map[string]bool{"smtp://": false, "smtps://": true} {
		p, addr := startPeer(t, conf, implicit)
		err := compose(t, n, "ann@example.org").send(sender(t, scheme+local(addr)))
		if mails, _ := p.seen(); err == nil || len(mails) != 0 || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s with an unknown certificate: %v, %d mails", scheme, err, len(mails))
		}
	}
}

// The same with a certificate that the machine trusts: the roots are read once
// a process, so this test is one of its own.
func TestTrustedTLS(t *testing.T) {
	if file := os.Getenv("CRIER_TEST_SMTP_ROOT"); file == "" {
		conf := certificate(t)
		path := filepath.Join(t.TempDir(), "root.pem")
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: conf.Certificates[0].Certificate[0]}), 0o600); err != nil {
			t.Fatal(err)
		}
		for scheme, implicit := range map[string]bool{"smtp://": false, "smtps://": true} {
			p, addr := startPeer(t, conf, implicit)
			out, err := criertest.Again(t, "TestTrustedTLS", "SSL_CERT_FILE="+path, "SSL_CERT_DIR="+t.TempDir(), "CRIER_TEST_SMTP_ROOT="+scheme+local(addr))
			if mails, _ := p.seen(); err != nil || len(mails) != 1 {
				t.Errorf("%s: %v, %d mails\n%s", scheme, err, len(mails), out)
			}
		}
		return
	}
	if err := compose(t, event.Stored{ID: 1, EventID: "e", Title: "x"}, "ann@example.org").send(sender(t, os.Getenv("CRIER_TEST_SMTP_ROOT"))); err != nil {
		t.Fatal(err)
	}
}

// local is the address by the name in the certificate.
func local(addr string) string { return strings.Replace(addr, "127.0.0.1", "localhost", 1) }

func TestSenderNamesItsVariable(t *testing.T) {
	for _, address := range []string{"", "http://x", "smtp://", "smtp://h:port", "smtp://%zz", "smtp+plain://user:secret@h", "smtp+plain://user@127.0.0.1:25"} {
		if _, err := mail.NewSender(address, 0); err == nil || !strings.Contains(err.Error(), "CRIER_SMTP_URL") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", address, err)
		}
	}
	if _, err := mail.NewComposer("nobody", "", "", nil); err == nil || !strings.Contains(err.Error(), "CRIER_MAIL_FROM") {
		t.Errorf("a bad sender: %v", err)
	}
	if _, err := mail.NewComposer("a@b.c", "", t.TempDir(), nil); err == nil || !strings.Contains(err.Error(), "CRIER_MAIL_TEMPLATES") {
		t.Errorf("an empty folder: %v", err)
	}
}
