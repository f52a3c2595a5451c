package mail

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"sync"
	"time"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"
	"golang.org/x/time/rate"
)

// ErrRefused is a server's final no (5xx): sending again will not help.
var ErrRefused = errors.New("the mail server refused it for good")

// Times of a connection to the mail server.
const (
	smtpTimeout = 15 * time.Second // for each step
	idleClose   = 20 * time.Second // an unused connection is given back
)

// Sender owns one SMTP connection, opened when there is something to send and
// kept for the next. It is safe for concurrent use: mails take turns. Close
// ends the connection.
type Sender struct {
	client *gomail.Client
	server *rate.Limiter

	mu   sync.Mutex // guards the rest; held while a mail is sent
	conn *smtp.Client
	idle *time.Timer
}

// NewSender reads an SMTP URL: smtp://user:password@host:587 demands STARTTLS,
// smtps://host:465 is TLS from the first byte, smtp+plain://host:25 is for a
// local relay. perSecond bounds the mails to this server; 0: not.
func NewSender(address string, perSecond float64) (*Sender, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("CRIER_SMTP_URL: cannot be read as a URL") // it may hold a password
	}
	opts := []gomail.Option{gomail.WithTimeout(smtpTimeout)}
	port := map[string]int{"smtp": 587, "smtps": 465, "smtp+plain": 25}[u.Scheme]
	switch u.Scheme {
	case "smtp":
		opts = append(opts, gomail.WithTLSPolicy(gomail.TLSMandatory))
	case "smtps":
		opts = append(opts, gomail.WithSSL())
	case "smtp+plain":
		if u.User != nil {
			return nil, errors.New("CRIER_SMTP_URL: smtp+plain:// sends no credentials, which anyone on the way could read; use smtp:// (STARTTLS) or smtps:// with a user")
		}
		opts = append(opts, gomail.WithTLSPolicy(gomail.NoTLS))
	default:
		return nil, fmt.Errorf("CRIER_SMTP_URL: must begin with smtp://, smtps:// or smtp+plain://, not %q", u.Scheme)
	}
	if u.Hostname() == "" {
		return nil, errors.New("CRIER_SMTP_URL: names no host")
	}
	if p := u.Port(); p != "" {
		if port, err = strconv.Atoi(p); err != nil {
			return nil, errors.New("CRIER_SMTP_URL: the port is no number")
		}
	}
	opts = append(opts, gomail.WithPort(port))
	if u.User != nil {
		password, _ := u.User.Password()
		opts = append(opts, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(u.User.Username()), gomail.WithPassword(password))
	}
	client, err := gomail.NewClient(u.Hostname(), opts...)
	if err != nil {
		return nil, fmt.Errorf("CRIER_SMTP_URL: %w", err)
	}
	limit := rate.Inf
	if perSecond > 0 {
		limit = rate.Limit(perSecond)
	}
	return &Sender{client: client, server: rate.NewLimiter(limit, 10)}, nil
}

// Send sends one message. ErrRefused: for good; any other error may pass.
func (s *Sender) Send(ctx context.Context, m *gomail.Msg) error {
	if err := s.server.Wait(ctx); err != nil {
		return fmt.Errorf("waiting for the mail server's rate: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle != nil {
		s.idle.Stop()
	}
	if s.conn == nil {
		conn, err := s.client.DialToSMTPClientWithContext(ctx)
		if err != nil {
			return fmt.Errorf("connecting to the mail server: %w", err)
		}
		s.conn = conn
	}
	// A job that is given up must not leave its mail half said on a connection
	// that the next one uses.
	stop := context.AfterFunc(ctx, func() { _ = s.conn.Close() })
	err := s.client.SendWithSMTPClient(s.conn, m)
	if !stop() || err != nil {
		_ = s.conn.Close() // what state it is in is not known
		s.conn = nil
	}
	if err == nil {
		s.idle = time.AfterFunc(idleClose, s.hangUp)
		return nil
	}
	return classify(err)
}

// classify tells a final refusal from what may pass.
func classify(err error) error {
	var refusal *gomail.SendError
	if errors.As(err, &refusal) && !refusal.IsTemp() && refusal.ErrorCode() >= 500 {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	var opErr *net.OpError
	if errors.As(err, &opErr) {
		return fmt.Errorf("the connection to the mail server was lost: %w", err)
	}
	return fmt.Errorf("sending a mail: %w", err)
}

func (s *Sender) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		_ = s.client.CloseWithSMTPClient(s.conn) // a polite QUIT; it may be gone
		s.conn = nil
	}
}

// Close ends the connection.
func (s *Sender) Close() {
	s.mu.Lock()
	if s.idle != nil {
		s.idle.Stop()
	}
	s.mu.Unlock()
	s.hangUp()
}
