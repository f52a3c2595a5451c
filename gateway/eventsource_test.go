package gateway_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"crier/internal/problem"
)

// A native EventSource never comes back after a status other than 200, so what is
// refused for the moment only is closed without an answer; other clients are told
// the status and when to come back, and what is refused for good has its status.
func TestTemporaryRefusalOfAStream(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, c := range []struct {
		name, accept string
		err          error
		status       int // 0: no answer
	}{
		{"EventSource, Postgres away", "text/event-stream", problem.Wrap(problem.Unavailable, "x", errors.New("away")), 0},
		{"EventSource, draining", "text/event-stream", problem.New(problem.Draining, "x"), 0},
		{"EventSource, too many", "text/event-stream", problem.New(problem.TooMany, "x"), 0},
		{"EventSource, not signed in", "text/event-stream", problem.New(problem.Unauthorized, "x"), 401},
		{"curl, Postgres away", "*/*", problem.New(problem.Unavailable, "x"), 503},
		{"a program, draining", "application/json, text/event-stream", problem.New(problem.Draining, "x"), 503},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := httptest.NewServer(w.GuardedStream(func(http.ResponseWriter, *http.Request) error { return c.err }))
			defer srv.Close()
			r, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/api/v1/stream", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Accept", c.accept)
			resp, err := srv.Client().Do(r)
			if err == nil {
				defer resp.Body.Close()
			}
			switch {
			case c.status == 0 && !errors.Is(err, io.EOF):
				t.Errorf("answered %v, %v", resp, err)
			case c.status != 0 && (err != nil || resp.StatusCode != c.status):
				t.Errorf("answered %v, %v, want %d", resp, err, c.status)
			}
		})
	}
}
