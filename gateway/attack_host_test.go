package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"crier/gateway"
	"crier/internal/kafka"
)

func host(name string) credential { return func(r *http.Request) { r.Host = name } }

// A page of another site that lets its own name point to this machine (DNS
// rebinding) is of the same origin as this gateway: its requests are refused by
// their Host, whatever the path; names and addresses of this machine's own are not.
func TestAttackDNSRebinding(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, path := range []string{"/", "/api/v1/status", "/api/v1/notifications", "/swagger/index.html", "/swagger/doc.json", "/static/crier.js", "/api/v1/stream", "/login", "/nothing"} {
		for _, name := range []string{"evil.example:8080", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8080"} {
			status, _, text := w.ask("GET", path, "", host(name))
			if status != http.StatusMisdirectedRequest || strings.Contains(text, "crier_") {
				t.Errorf("%s of %s: %d %s", path, name, status, text)
			}
		}
	}
	for _, name := range []string{"localhost:8080", "127.0.0.1", "[::1]:8080", "crier.localhost"} {
		if status, _, text := w.ask("GET", "/api/v1/status", "", host(name)); status != 200 {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	named := newWorld(t, func(c *gateway.Config, _ *kafka.Config) {
		c.PublicURL, c.AllowedHosts = "https://push.example.org:8443/", []string{"Push.internal"}
	})
	for name, want := range map[string]int{"push.example.org": 200, "PUSH.example.org:443": 200, "push.internal:80": 200, "push.example.com": 421} {
		if status, _, text := named.ask("GET", "/api/v1/status", "", host(name)); status != want {
			t.Errorf("%s: %d %s, want %d", name, status, text, want)
		}
	}
	if status, _, _ := newWorld(t, func(c *gateway.Config, _ *kafka.Config) { c.AllowedHosts = []string{"*"} }).ask("GET", "/api/v1/status", "", host("any.example")); status != 200 {
		t.Errorf("with *: %d", status)
	}
}

// Default ports and case make no difference to an origin, and the refusal of one
// says which was expected.
func TestOriginsAreNormalised(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *gateway.Config, _ *kafka.Config) {
		c.AllowedOrigins, c.AllowedHosts = []string{"https://App.example.org:443", "http://plain.example.org"}, []string{"push.example.org"}
	})
	origin := func(o string) credential { return func(r *http.Request) { r.Header.Set("Origin", o) } }
	for _, c := range []struct {
		host, origin string
		allowed      bool
	}{
		{"push.example.org:443", "https://push.example.org", true}, {"push.example.org", "https://push.example.org:443", true}, {"PUSH.example.org", "https://push.EXAMPLE.org", true},
		{"push.example.org:80", "http://push.example.org", true}, {"push.example.org:80", "https://push.example.org", false}, {"push.example.org", "https://push.example.org:8443", false},
		{"push.example.org", "https://app.example.org", true}, {"push.example.org", "https://app.example.org:443", true}, {"push.example.org", "http://app.example.org", false},
		{"push.example.org", "http://plain.example.org:80", true}, {"push.example.org", "null", false}, {"push.example.org", "https://evil.example", false}, {"push.example.org", "https://evil.example/https://app.example.org", false},
	} {
		_, h, _ := w.ask("GET", "/api/v1/status", "", host(c.host), origin(c.origin))
		if got := h.Get("Access-Control-Allow-Origin") == c.origin; got != c.allowed {
			t.Errorf("%s at %s: allowed %t", c.origin, c.host, got)
		}
	}
	if status, _, text := w.ask("GET", "/api/v1/ws", "", host("push.example.org"), origin("https://evil.example")); status != 403 || !strings.Contains(text, "push.example.org") || !strings.Contains(text, "CRIER_ALLOWED_ORIGINS") {
		t.Errorf("%d %s", status, text)
	}
}

// The session's cookie is for encrypted connections only where the client's own
// connection is one: to here, or to a trusted proxy that says so.
func TestCookieBehindAProxy(t *testing.T) {
	t.Parallel()
	secure := func(w *world, proto string) bool {
		t.Helper()
		status, h, text := w.ask("POST", "/api/v1/guest", "", func(r *http.Request) {
			if proto != "" {
				r.Header.Set("X-Forwarded-Proto", proto)
			}
		})
		if status != 201 {
			t.Fatalf("%d %s", status, text)
		}
		return strings.Contains(h.Get("Set-Cookie"), "; Secure")
	}
	embedded := func(change func(*gateway.Config)) *world {
		return newWorld(t, func(c *gateway.Config, _ *kafka.Config) { c.Embedded = true; change(c) })
	}
	trusting := embedded(func(c *gateway.Config) { c.TrustedProxies = []string{"127.0.0.1", "::1"} })
	if !secure(trusting, "https") || secure(trusting, "http") || secure(trusting, "") {
		t.Error("behind a trusted proxy")
	}
	if secure(embedded(func(*gateway.Config) {}), "https") {
		t.Error("somebody else's header is believed")
	}
	if !secure(embedded(func(c *gateway.Config) { c.PublicURL = "https://push.example.org" }), "") {
		t.Error("with a public https address")
	}
}

// What is wrong with the configuration is said all at once, by variable and value.
func TestConfigurationFaults(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{"10.0.0.0/8": "", "127.0.0.1": "", " ::1 ": "", "10.0.0.0/33": "10.0.0.0/33", "proxy": `"proxy": must be an address or a range`} {
		err := gateway.CheckConfig(gateway.Config{Addr: "127.0.0.1:0", AccessTTL: 1e9, RefreshTTL: 1e9, TrustedProxies: []string{value}})
		if (err != nil) != (want != "") || err != nil && (!strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "CRIER_TRUSTED_PROXIES")) {
			t.Errorf("%q: %v", value, err)
		}
	}
	err := gateway.CheckConfig(gateway.Config{Addr: "x", TrustedProxies: []string{"y"}, PublicURL: "z", AllowedOrigins: []string{"q"}, CompatOpen: []string{"notifications", "chat"}, CompatNetworks: []string{"home"}})
	for _, name := range []string{`CRIER_COMPAT_OPEN "chat": must be of data-pusher, notifications`, `CRIER_COMPAT_NETWORKS "home"`, "CRIER_HTTP_ADDR", "CRIER_TRUSTED_PROXIES", "CRIER_PUBLIC_URL", "CRIER_ALLOWED_ORIGINS", "CRIER_ACCESS_TTL"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not among %v", name, err)
		}
	}
	err = gateway.CheckConfig(gateway.Config{Addr: "127.0.0.1:0", AccessTTL: 1e9, RefreshTTL: 1e9, CompatNetworks: []string{"10.0.0.0/8"}})
	if err == nil || !strings.Contains(err.Error(), `CRIER_COMPAT_NETWORKS ["10.0.0.0/8"]: needs CRIER_COMPAT_OPEN`) {
		t.Errorf("networks of nothing: %v", err)
	}
}
