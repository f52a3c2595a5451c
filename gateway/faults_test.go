package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"crier/internal/event"
	"crier/internal/kafka"
)

// Failed logins are limited by name and by address, others are not; who is told
// to wait is told for how long.
func TestLoginLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.signUp("ann")
	login := func(name, password string) (int, http.Header) {
		status, h, _ := w.ask("POST", "/api/v1/login", fmt.Sprintf(`{"username":%q,"password":%q}`, name, password))
		return status, h
	}
	for i := range 20 {
		if status, _ := login([]string{"ann", "ANN"}[i%2], "wrong"); status != 401 {
			t.Fatalf("failure %d: %d", i, status)
		}
	}
	status, h := login("Ann", "correct horse")
	if status != 429 || h.Get("Retry-After") == "" {
		t.Errorf("after twenty failures: %d, %v", status, h)
	}
	w.signUp("bob") // signs in
}

// A handler that panics is answered 500 as a problem, and says nothing of why; a
// part that is away is 503.
func TestFaultsOfOurs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	rec := httptest.NewRecorder()
	w.Guarded(func(http.ResponseWriter, *http.Request) error { panic("secret") }).ServeHTTP(rec, httptest.NewRequest("GET", "http://127.0.0.1/api/v1/x", nil))
	if rec.Code != 500 || strings.Contains(rec.Body.String(), "secret") || rec.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	rec = httptest.NewRecorder()
	w.Guarded(func(http.ResponseWriter, *http.Request) error { return errors.New("secret") }).ServeHTTP(rec, httptest.NewRequest("GET", "http://127.0.0.1/api/v1/x", nil))
	if rec.Code != 500 || strings.Contains(rec.Body.String(), "secret") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	w.API().Kafka = awayKafka{}
	_, cookie := w.signUp("ann")
	for _, c := range []struct{ path, body string }{
		{"/api/v1/notifications", `{"user_id":1,"title":"x"}`}, {"/api/v1/alerts", `{"condition":"above","target":"1"}`},
	} {
		status, _, text := w.ask("POST", c.path, c.body, func(r *http.Request) { r.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value}) })
		if status != 503 || !strings.Contains(text, `"unavailable"`) || strings.Contains(text, "secret") {
			t.Errorf("%s: %d %s", c.path, status, text)
		}
	}
}

type awayKafka struct{}

func (awayKafka) Produce(context.Context, ...kafka.Record) error { return errors.New("secret") }

func (awayKafka) Reread(context.Context, string, int32, int64, int64, func(kafka.Record) bool) error {
	return errors.New("secret")
}

func (awayKafka) EndOf(context.Context, string, string) (event.Place, error) {
	return event.Place{}, errors.New("secret")
}

// The same key and content is answered as the first time, other content is
// refused, another sender's key is another's.
func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	access, _ := w.signUp("ann")
	send := func(title string, who credential) (int, string) {
		status, _, text := w.ask("POST", "/api/v1/notifications", `{"user_id":1,"title":"`+title+`"}`, who, func(r *http.Request) { r.Header.Set("Idempotency-Key", "k") })
		return status, text
	}
	service := func(r *http.Request) { r.Header.Set("X-API-Key", apiKey) }
	status, first := send("a", service)
	if status != 202 {
		t.Fatalf("%d %s", status, first)
	}
	if status, again := send("a", service); status != 202 || again != first {
		t.Errorf("again: %d %s, want %s", status, again, first)
	}
	if status, text := send("b", service); status != 422 || !strings.Contains(text, "idempotency_key_reused") {
		t.Errorf("other content: %d %s", status, text)
	}
	if status, other := send("b", bearer(access)); status != 202 || other == first {
		t.Errorf("another sender: %d %s", status, other)
	}
}
