package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

const (
	maxMailBytes      = 16 << 20         // of one mail; the store takes four such
	maxMailRecipients = 100              // RFC 5321, 4.5.3.1.8: at least 100
	mailIdle          = 60 * time.Second // a test server need not wait RFC 5321's five minutes
	maxMailPeers      = 100              // SMTP connections; the next waits to be accepted
)

// MailConfig says where the mail catcher listens. An address with port 0 takes a
// free one.
type MailConfig struct {
	SMTPAddr string // host:port for mails
	HTTPAddr string // host:port for the page and the API
	Logger   *slog.Logger
}

// MailCatcher accepts every mail, for any recipient and with any credentials,
// delivers none, and shows them on a page. It owns two listeners and their
// connections; Stop ends them. Methods are safe for concurrent use.
type MailCatcher struct {
	store    *mailStore
	smtp     *smtp.Server
	smtpLn   *peerListener
	http     *http.Server
	httpAddr string
	wg       sync.WaitGroup // both Serve loops

	stop    sync.Once
	stopErr error
}

// StartMailCatcher listens on both addresses. Errors: *AddrInUseError with What
// "smtp" or "mail".
func StartMailCatcher(ctx context.Context, cfg MailConfig) (*MailCatcher, error) {
	log := orDiscard(cfg.Logger)
	smtpLn, err := listen(ctx, "smtp", cfg.SMTPAddr)
	if err != nil {
		return nil, err
	}
	httpLn, err := listen(ctx, "mail", cfg.HTTPAddr)
	if err != nil {
		return nil, errors.Join(err, smtpLn.Close())
	}
	m := &MailCatcher{
		store:    newMailStore(maxMails, maxMailStoreBytes),
		smtpLn:   newPeerListener(smtpLn, maxMailPeers),
		httpAddr: dialable(httpLn.Addr().String()),
	}
	m.smtp = newSMTPServer(m.store, log)
	m.http = &http.Server{
		Handler:           newMailHandler(m.store, cfg.HTTPAddr),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	m.wg.Go(func() {
		if err := m.smtp.Serve(m.smtpLn); err != nil && !errors.Is(err, net.ErrClosed) {
			log.Error("the mail catcher's SMTP server ended", "error", err)
		}
	})
	m.wg.Go(func() {
		if err := m.http.Serve(httpLn); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the mail catcher's page ended", "error", err)
		}
	})
	return m, nil
}

// SMTPAddr is host:port to send mails to.
func (m *MailCatcher) SMTPAddr() string { return dialable(m.smtpLn.Addr().String()) }

// URL is the base URL of the page and the API, without a slash at its end.
func (m *MailCatcher) URL() string { return "http://" + m.httpAddr }

// Stop closes the listeners, cuts SMTP connections (a mail that was not
// acknowledged is sent again by whoever has it), lets page requests end within
// ctx, and waits. Called again it returns the same.
func (m *MailCatcher) Stop(ctx context.Context) error {
	m.stop.Do(func() {
		err := m.smtp.Close()
		// Serve registers the listener when its goroutine gets to run; a Close
		// before that does not know of it and Serve would accept for ever.
		if lerr := m.smtpLn.Close(); !errors.Is(lerr, net.ErrClosed) {
			err = errors.Join(err, lerr)
		}
		m.smtpLn.closePeers()
		if herr := m.http.Shutdown(ctx); herr != nil {
			err = errors.Join(err, herr, m.http.Close())
		}
		m.wg.Wait()
		if err != nil {
			m.stopErr = fmt.Errorf("stopping the mail catcher: %w", err)
		}
	})
	return m.stopErr
}

func newSMTPServer(store *mailStore, log *slog.Logger) *smtp.Server {
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) {
		return &mailSession{store: store}, nil
	}))
	s.Domain = "localhost"
	s.MaxMessageBytes = maxMailBytes
	s.MaxRecipients = maxMailRecipients
	s.ReadTimeout, s.WriteTimeout = mailIdle, mailIdle
	s.AllowInsecureAuth = true // it protects nothing: any password will do
	s.EnableSMTPUTF8 = true
	s.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	return s
}

// mailSession is one SMTP connection's mail in the making. Owned by that
// connection's goroutine.
type mailSession struct {
	store    *mailStore
	username string
	from     string
	to       []string
}

// AuthMechanisms implements smtp.AuthSession.
func (s *mailSession) AuthMechanisms() []string { return []string{sasl.Plain, sasl.Login} }

// Auth accepts whatever is said and notes the name.
func (s *mailSession) Auth(mechanism string) (sasl.Server, error) {
	if mechanism == sasl.Login {
		return &loginServer{session: s}, nil
	}
	return sasl.NewPlainServer(func(_, username, _ string) error {
		s.username = username
		return nil
	}), nil
}

// Mail implements smtp.Session.
func (s *mailSession) Mail(from string, _ *smtp.MailOptions) error {
	s.from = from
	return nil
}

// Rcpt implements smtp.Session; go-smtp counts against MaxRecipients.
func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = append(s.to, to)
	return nil
}

// Data implements smtp.Session; go-smtp ends it at MaxMessageBytes.
func (s *mailSession) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.store.add(envelope{From: s.from, To: s.to, Username: s.username}, raw, time.Now())
	return nil
}

// Reset implements smtp.Session.
func (s *mailSession) Reset() { s.from, s.to = "", nil }

// Logout implements smtp.Session.
func (s *mailSession) Logout() error { return nil }

// loginServer speaks AUTH LOGIN, which has no RFC but many clients: two prompts,
// two answers (draft-murchison-sasl-login).
type loginServer struct {
	session *mailSession
	asked   int
}

// Next implements sasl.Server.
func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	if response != nil && l.asked == 0 { // the name came with the command
		l.asked = 1
	}
	l.asked++
	switch l.asked {
	case 1:
		return []byte("Username:"), false, nil
	case 2:
		l.session.username = string(response)
		return []byte("Password:"), false, nil
	default:
		return nil, true, nil
	}
}

// peerListener bounds how many connections are open and can end them all.
// go-smtp's own Close misses one that is accepted while it runs.
type peerListener struct {
	net.Listener
	places chan struct{} // a place for each open connection
	closed chan struct{}
	once   sync.Once
	wg     sync.WaitGroup // open connections

	mu    sync.Mutex // guards what follows; held for map operations only
	peers map[*peerConn]struct{}
	ended bool // no peer is added any more
}

func newPeerListener(l net.Listener, places int) *peerListener {
	return &peerListener{
		Listener: l,
		places:   make(chan struct{}, places),
		closed:   make(chan struct{}),
		peers:    map[*peerConn]struct{}{},
	}
}

// Accept waits for a place, then for a peer.
func (l *peerListener) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	p := &peerConn{Conn: c, l: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		<-l.places
		return nil, errors.Join(net.ErrClosed, c.Close())
	}
	l.wg.Add(1)
	l.peers[p] = struct{}{}
	return p, nil
}

// Close ends a waiting Accept too.
func (l *peerListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// closePeers cuts all connections and waits until their goroutines closed them.
// An Accept that is between its kernel's answer and our map finds ended set.
func (l *peerListener) closePeers() {
	l.mu.Lock()
	l.ended = true
	for p := range l.peers {
		_ = p.Conn.Close() // cut, not closed: the owner's Close gives the place back
	}
	l.mu.Unlock()
	l.wg.Wait()
}

type peerConn struct {
	net.Conn
	l    *peerListener
	once sync.Once
}

// Close gives the place back.
func (p *peerConn) Close() error {
	p.once.Do(func() {
		p.l.mu.Lock()
		delete(p.l.peers, p)
		p.l.mu.Unlock()
		<-p.l.places
		p.l.wg.Done()
	})
	return p.Conn.Close()
}
