package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"crier/internal/destination"
	"crier/internal/event"
)

// Bounds of one attempt.
const (
	maxAnswer     = 64 << 10 // read of an answer
	keptAnswer    = 1 << 10  // and kept
	dialTimeout   = 10 * time.Second
	idleTimeout   = 60 * time.Second // of a connection that is kept
	maxRetryAfter = 24 * time.Hour
)

// Message is what is delivered.
type Message struct {
	ID   string // stable over attempts: the receiver knows repeats by it
	Data []byte // JSON
}

// Answer is how an attempt went.
type Answer struct {
	Status     int    // 0: there was none
	Body       string // its beginning
	RetryAfter time.Duration
	Request    string // method and address
	Began      time.Time
	Took       time.Duration
}

// Sender makes attempts. It is safe for concurrent use; Close ends the
// connections that it keeps.
type Sender struct {
	transport *http.Transport
	timeout   time.Duration
}

// NewSender makes a sender whose attempts take no longer than timeout, and dial
// only what the guard lets pass. resolver nil is the system's.
func NewSender(g *destination.Guard, timeout time.Duration, perHost int, resolver *net.Resolver) *Sender {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second, Control: g.Control, Resolver: resolver}
	return &Sender{timeout: timeout, transport: &http.Transport{
		Proxy:                  nil, // a proxy would dial for us, past the guard
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // an answer is read as it comes, never blown up
		MaxIdleConns:           1000,
		MaxIdleConnsPerHost:    perHost,
		IdleConnTimeout:        idleTimeout,
		TLSHandshakeTimeout:    dialTimeout,
		MaxResponseHeaderBytes: maxAnswer,
	}}
}

// Close ends the connections that nobody uses.
func (s *Sender) Close() { s.transport.CloseIdleConnections() }

// Send makes one attempt. An error says why it did not go well; the answer
// stands beside it, if there was one.
func (s *Sender) Send(ctx context.Context, t destination.Target, m Message) (Answer, error) {
	a := Answer{Began: time.Now()}
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeout, fmt.Errorf("no whole answer within %v", s.timeout))
	defer cancel()
	req, err := request(ctx, t, m, a.Began)
	if err != nil {
		a.Request = t.Method + " " + t.URL
		return a, err
	}
	a.Request = t.Method + " " + clip(req.URL.String(), destination.MaxURL)
	// RoundTrip follows no redirect and keeps no cookie.
	resp, err := s.transport.RoundTrip(req)
	if err == nil {
		a.Status = resp.StatusCode
		a.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), time.Now())
		a.Body, err = readAnswer(resp.Body)
	}
	a.Took = time.Since(a.Began)
	switch {
	case err != nil && ctx.Err() != nil:
		return a, context.Cause(ctx)
	case err != nil:
		return a, plain(err)
	case a.Status < 200 || a.Status > 299:
		return a, fmt.Errorf("answered %d", a.Status)
	}
	return a, nil
}

// plain is an error without what the libraries put around it: the address stands
// beside it anyway.
func plain(err error) error {
	var blocked *net.OpError
	if errors.As(err, &blocked) && errors.Is(err, destination.ErrBlocked) {
		return blocked.Err
	}
	return err
}

func readAnswer(body io.ReadCloser) (string, error) {
	defer body.Close()
	kept := make([]byte, keptAnswer)
	n, err := io.ReadFull(body, kept)
	if err == nil {
		// A connection is used again only when its answer was read to the end; one
		// that says more than this is closed.
		_, err = io.Copy(io.Discard, io.LimitReader(body, maxAnswer-keptAnswer))
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && n < keptAnswer {
		// ReadFull says so of an answer that is shorter; one that was cut off by its
		// connection has its status all the same.
		err = nil
	}
	return text(kept[:n]), err
}

// text is bytes as Postgres can keep them.
func text(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r == 0 {
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(string(b), "\uFFFD"))
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}

func request(ctx context.Context, t destination.Target, m Message, now time.Time) (*http.Request, error) {
	address, body := t.URL, m.Data
	if t.Method == http.MethodGet {
		var err error
		if address, err = withQuery(t.URL, m.Data); err != nil {
			return nil, err
		}
		body = nil
	}
	req, err := http.NewRequestWithContext(ctx, t.Method, address, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	if t.Method != http.MethodGet {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("User-Agent", "Crier")
	for name, value := range t.Headers {
		req.Header.Set(name, value)
	}
	// Last: nothing of the owner's may stand in their place.
	req.Header.Set(headerID, m.ID)
	req.Header.Set(headerTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(headerSignature, signature(t.Secrets, m.ID, now, body))
	return req, nil
}

// withQuery puts an object's members behind an address, as GET destinations get
// them: texts and figures as they are, an array once for each entry, what is
// deeper as JSON, null not at all. What is no object is the parameter data.
func withQuery(address string, data []byte) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", fmt.Errorf("reading the address: %w", err)
	}
	q := u.Query()
	var members map[string]json.RawMessage
	if json.Unmarshal(data, &members) != nil || members == nil {
		q.Set("data", plainText(data))
	}
	for name, raw := range members {
		var list []json.RawMessage
		if raw[0] != '[' || json.Unmarshal(raw, &list) != nil {
			list = []json.RawMessage{raw}
		}
		for i, entry := range slices.DeleteFunc(list, func(e json.RawMessage) bool { return string(e) == "null" }) {
			if i == 0 {
				q.Set(name, plainText(entry))
			} else {
				q.Add(name, plainText(entry))
			}
		}
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// plainText is a JSON text without its quotes, and any other value as it is.
func plainText(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// retryAfter reads seconds or a date (RFC 9110 section 10.2.3); what is neither
// is nothing.
func retryAfter(s string, now time.Time) time.Duration {
	if s == "" {
		return 0
	}
	var d time.Duration
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		d = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(s); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), maxRetryAfter)
}

// webhookID is what a receiver knows an item by, at one destination.
func webhookID(eventID string, to int64) string {
	return event.CleanText(eventID) + "_" + strconv.FormatInt(to, 10)
}
