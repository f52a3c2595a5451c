package criertest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// Hook is one request that a receiver got.
type Hook struct {
	Method string
	Path   string
	Query  map[string][]string
	Header http.Header
	Body   string
	At     time.Time
}

// Receiver is where deliveries go: it keeps what it gets, and answers 200 unless
// told otherwise.
type Receiver struct {
	URL string

	mu    sync.Mutex // guards hooks
	hooks []Hook
}

// NewReceiver listens on loopback until the test's end. answer may be nil.
func NewReceiver(tb testing.TB, answer func(w http.ResponseWriter, h Hook)) *Receiver {
	tb.Helper()
	r := &Receiver{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return // its sender has gone
		}
		h := Hook{Method: req.Method, Path: req.URL.Path, Query: req.URL.Query(), Header: req.Header, Body: string(body), At: time.Now()}
		r.mu.Lock()
		r.hooks = append(r.hooks, h)
		r.mu.Unlock()
		if answer != nil {
			answer(w, h)
		}
	}))
	tb.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	r.URL = s.URL
	return r
}

// Hooks are the requests so far.
func (r *Receiver) Hooks() []Hook {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Hook(nil), r.hooks...)
}

// Await waits for so many requests, and returns them.
func (r *Receiver) Await(tb testing.TB, n int) []Hook {
	tb.Helper()
	Eventually(tb, 30*time.Second, "requests at the receiver", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.hooks) >= n
	})
	return r.Hooks()
}
