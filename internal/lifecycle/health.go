package lifecycle

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Health is how one loop fares: it reports each attempt, and from it readiness and
// the log follow. A failure is logged when it begins and once a minute while it
// lasts, with the number of failed attempts, and its end once. The zero value is of
// no use; see NewHealth. It is safe for concurrent use.
type Health struct {
	log  *slog.Logger
	what string

	failing atomic.Bool // Report(nil) costs no more than this while all is well

	mu       sync.Mutex // guards the rest
	err      error
	since    time.Time
	logged   time.Time
	failures int
}

// remindEvery is how often a failure that lasts is logged.
const remindEvery = time.Minute

// NewHealth makes the health of a loop. what names its work in the log and in
// readiness, such as "reading notifications".
func NewHealth(log *slog.Logger, what string) *Health { return &Health{log: log, what: what} }

// Report notes how an attempt went: nil is a success. attrs are added to the line
// of a failure.
func (h *Health) Report(err error, attrs ...any) {
	if err == nil {
		if h.failing.Load() {
			h.recovered()
		}
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if h.err == nil {
		h.since, h.failures, h.logged = now, 0, time.Time{}
	}
	h.err = err
	h.failures++
	h.failing.Store(true)
	if now.Sub(h.logged) < remindEvery {
		return
	}
	attrs = append([]any{"error", err}, attrs...)
	if !h.logged.IsZero() {
		attrs = append(attrs, "failures", h.failures, "for", now.Sub(h.since).Round(time.Second))
	}
	h.logged = now
	h.log.Error(h.what+" failed, retrying", attrs...)
}

func (h *Health) recovered() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil {
		return
	}
	h.log.Info(h.what+" works again", "failures", h.failures, "after", time.Since(h.since).Round(time.Millisecond))
	h.err = nil
	h.failing.Store(false)
}

// Ready is the failure of the last attempt, nil where it succeeded.
func (h *Health) Ready(context.Context) error {
	if !h.failing.Load() {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil {
		return nil
	}
	return &notReady{h.what, h.since, h.err}
}

// notReady says which loop fails, since when, and why.
type notReady struct {
	what  string
	since time.Time
	err   error
}

func (e *notReady) Error() string {
	return e.what + " fails since " + e.since.UTC().Format(time.RFC3339) + ": " + e.err.Error()
}

func (e *notReady) Unwrap() error { return e.err }
