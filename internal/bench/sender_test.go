package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

// A sender goes on after a refusal and after a connection that the server has closed, and
// its request ends with its context.
func TestSender(t *testing.T) {
	var bodies []string
	hold := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies = append(bodies, string(body))
		if r.URL.Path != "/base/api/v1/notifications" || r.Header.Get("X-API-Key") != "key" {
			t.Errorf("%s %s, key %q", r.Method, r.URL.Path, r.Header.Get("X-API-Key"))
		}
		switch string(body) {
		case "refuse":
			w.WriteHeader(http.StatusTeapot)
			return
		case "close":
			w.Header().Set("Connection", "close")
		case "hold":
			close(hold)
			<-r.Context().Done()
		}
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprint(w, `{"event_id":"x"}`)
	}))
	t.Cleanup(server.Close)
	target, err := url.Parse(server.URL + "/base")
	if err != nil {
		t.Fatal(err)
	}
	s := sender{target: target, apiKey: "key"}
	t.Cleanup(s.close)
	for _, body := range []string{"one", "refuse", "two", "close", "three"} {
		if err := s.post(t.Context(), []byte(body)); (err != nil) != (body == "refuse") {
			t.Errorf("%s: %v", body, err)
		}
	}
	if want := "[one refuse two close three]"; fmt.Sprint(bodies) != want {
		t.Errorf("the server got %v, not %s", bodies, want)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() { <-hold; cancel(errors.New("enough")) }()
	if err := s.post(ctx, []byte("hold")); err == nil {
		t.Error("a request outlived its context")
	}
	if err := s.post(t.Context(), []byte("four")); err != nil {
		t.Errorf("after that: %v", err)
	}
}
