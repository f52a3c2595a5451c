package gateway_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"crier/internal/token"
	"time"
)

// A request that cannot become a WebSocket is refused as any other: in the form of its
// address, before anybody is placed or seen anywhere, and by 426 with the version
// that is spoken where another was asked for (RFC 6455, section 4.4).
func TestHandshakesThatAreNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.signUp("ann")
	access, err := w.tokens.Mint(token.Identity{UserID: "1", Username: "ann", Expires: time.Now().Add(time.Hour)}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	good := map[string]string{"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
	for _, path := range []string{"/api/v1/ws", "/ws/chat", "/ws/notifications/1"} {
		for _, c := range []struct {
			name, value string
			status      int
		}{
			{"Upgrade", "", 400}, {"Upgrade", "h2c", 400}, {"Connection", "keep-alive", 400},
			{"Sec-WebSocket-Key", "", 400}, {"Sec-WebSocket-Key", "short", 400}, {"Sec-WebSocket-Key", strings.Repeat("=", 24), 400},
			{"Sec-WebSocket-Version", "12", 426}, {"Sec-WebSocket-Version", "", 426}, {"Sec-WebSocket-Version", "13, 8", 426},
		} {
			status, h, text := w.ask("GET", path, "", bearer(access), func(r *http.Request) {
				for name, value := range good {
					r.Header.Set(name, value)
				}
				r.Header.Set(c.name, c.value)
			})
			var p map[string]any
			if err := json.Unmarshal([]byte(text), &p); err != nil || status != c.status {
				t.Errorf("%s with %s %q: %d %s, want %d", path, c.name, c.value, status, text, c.status)
			}
			if kind := h.Get("Content-Type"); path == "/api/v1/ws" && (kind != "application/problem+json" || p["status"] != float64(c.status)) {
				t.Errorf("%s with %s %q: %s %s", path, c.name, c.value, kind, text)
			}
			if version := h.Get("Sec-WebSocket-Version"); (version == "13") != (status == 426) {
				t.Errorf("%s with %s %q: %d names version %q", path, c.name, c.value, status, version)
			}
		}
	}
}
