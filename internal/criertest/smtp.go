package criertest

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"
)

// SMTPPeer is a mail server that takes everything.
type SMTPPeer struct {
	mu    sync.Mutex
	count int
}

// SMTP starts a mail server on an address of loopback.
func SMTP(tb testing.TB, address string) *SMTPPeer {
	tb.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		tb.Fatalf("criertest: starting a mail server: %v", err)
	}
	p := &SMTPPeer{}
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return smtpSession{p}, nil }))
	s.Domain = "localhost"
	g := Go(tb, func() { _ = s.Serve(l) })
	tb.Cleanup(func() { _ = s.Close(); g.Wait() })
	return p
}

// Count is how many mails it has taken.
func (p *SMTPPeer) Count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

type smtpSession struct{ p *SMTPPeer }

func (smtpSession) Mail(string, *smtp.MailOptions) error { return nil }
func (smtpSession) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (smtpSession) Reset()                               {}
func (smtpSession) Logout() error                        { return nil }

func (s smtpSession) Data(r io.Reader) error {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.p.count++
	return nil
}
