package gateway_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"crier/gateway"
	"crier/internal/kafka"
	"crier/internal/token"
)

// Attacks on the gateway's HTTP surface; each test is one, and named after it.

// An attacker's form must not sign a visitor in as the attacker, by whichever
// address and content type (login CSRF).
func TestAttackLoginFromAnotherSite(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *gateway.Config, _ *kafka.Config) {
		c.Embedded = true
		c.AllowedOrigins = []string{"https://app.example"}
	})
	w.signUp("mallory")
	header := func(pairs ...string) credential {
		return func(r *http.Request) {
			for i := 0; i < len(pairs); i += 2 {
				r.Header.Set(pairs[i], pairs[i+1])
			}
		}
	}
	sources := []struct {
		name    string
		who     credential
		refused bool
	}{
		{"another site's form", header("Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site", "Content-Type", "text/plain"), true},
		{"a site beside this one", header("Origin", "https://evil.example", "Sec-Fetch-Site", "same-site"), true},
		{"a browser that sends the origin only", header("Origin", "https://evil.example", "Content-Type", "application/x-www-form-urlencoded"), true},
		{"a browser that hides the origin", header("Origin", "null", "Content-Type", "text/plain"), true},
		{"a browser that sends the site only", header("Sec-Fetch-Site", "cross-site"), true},
		{"this page", header("Origin", w.url, "Sec-Fetch-Site", "same-origin"), false},
		{"a page of this origin in an old browser", header("Origin", w.url), false},
		{"an allowed origin", header("Origin", "https://app.example", "Sec-Fetch-Site", "cross-site"), false},
		{"no browser", header(), false},
	}
	for _, path := range []string{"/login", "/api/login", "/api/users/token", "/api/v1/login", "/api/v1/guest"} {
		for _, s := range sources {
			status, h, text := w.ask("POST", path, `{"username":"mallory","password":"correct horse"}`, s.who)
			switch cookie := h.Get("Set-Cookie"); {
			case s.refused && (status != http.StatusForbidden || cookie != ""):
				t.Errorf("POST %s by %s: %d %s, cookie %q; want 403 and none", path, s.name, status, text, cookie)
			case !s.refused && (status/100 != 2 || cookie == ""):
				t.Errorf("POST %s by %s: %d %s, cookie %q; want to be signed in", path, s.name, status, text, cookie)
			}
		}
	}
}

// Whoever holds a session must not change the password with that of another
// account, whose email address reads as this username.
func TestAttackPasswordOfAnotherAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	access, _ := w.signUp("ann@example.org")
	if status, _, text := w.ask("POST", "/api/v1/signup", `{"username":"mallory","email":"ann@example.org","password":"mallory's own"}`); status != 201 {
		t.Fatalf("signing up: %d %s", status, text)
	}
	status, _, text := w.ask("POST", "/api/v1/password", `{"password":"mallory's own","new_password":"battery staple"}`, bearer(access))
	if status != http.StatusUnauthorized || !strings.Contains(text, "invalid_login") {
		t.Errorf("with another account's password: %d %s, want 401 invalid_login", status, text)
	}
	if status, _, text := w.ask("POST", "/api/v1/password", `{"password":"correct horse","new_password":"battery staple"}`, bearer(access)); status != http.StatusNoContent {
		t.Errorf("with one's own password: %d %s, want 204", status, text)
	}
}

// A token of an identity provider cannot be ended here, and neither can one that was
// minted without a session; the answer says until when it is valid.
func TestLogoutOfATokenWithoutSession(t *testing.T) {
	t.Parallel()
	for _, external := range []bool{true, false} {
		w := newWorld(t, func(c *gateway.Config, _ *kafka.Config) { c.ExternalUsers = external })
		ends := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
		text, err := w.tokens.Mint(token.Identity{UserID: "auth0|ann", Expires: ends}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		bodies := []string{"", `{"all":false}`}
		if external {
			bodies = append(bodies, `{"all":true}`)
		}
		for _, body := range bodies {
			status, _, answer := w.ask("POST", "/api/v1/logout", body, bearer(text))
			if status != 409 || !strings.Contains(answer, ends.Format(time.RFC3339)) {
				t.Errorf("external %v, %s: %d %s", external, body, status, answer)
			}
		}
		if status, _, answer := w.ask("GET", "/api/v1/notifications", "", bearer(text)); status != 200 {
			t.Errorf("then %d %s", status, answer)
		}
	}
}

// A reader that asks for much and takes nothing is cut off, and what waits for it with it.
func TestAttackReaderThatTakesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *gateway.Config, _ *kafka.Config) { c.AnswerTimeout = time.Second })
	address := strings.TrimPrefix(w.url, "http://")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	for range 40 { // of a megabyte each
		if _, err := fmt.Fprintf(conn, "GET /swagger/swagger-ui-bundle.js HTTP/1.1\r\nHost: %s\r\n\r\n", address); err != nil {
			t.Fatal(err)
		}
	}
	<-time.After(2 * time.Second) // it takes nothing
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, conn)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) || n > 20<<20 {
		t.Errorf("%d bytes, %v: it was not cut off", n, err)
	}
}
