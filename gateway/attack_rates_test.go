package gateway_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"crier/gateway"
	"crier/internal/kafka"
)

// Sign-ups and sends have limits of their own for each address, user and service; what
// is beyond is told when to come back, in each client's form.
func TestAttackRates(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *gateway.Config, _ *kafka.Config) {
		c.TrustedProxies = []string{"127.0.0.1"}
		c.SignupLimit, c.SendLimitUser, c.SendLimitKey = 5, 1, 1
	})
	from := func(address string) credential {
		return func(r *http.Request) { r.Header.Set("X-Forwarded-For", address) }
	}
	key := func(r *http.Request) { r.Header.Set("X-API-Key", apiKey) }
	until := func(n int, ask func(i int) (int, http.Header, string)) {
		t.Helper()
		for i := range n + 1 {
			status, h, text := ask(i)
			if i < n && status/100 != 2 {
				t.Fatalf("request %d: %d %s", i, status, text)
			}
			if i == n && (status != 429 || h.Get("Retry-After") == "" || h.Get("Retry-After") == "0") {
				t.Errorf("request %d: %d %s, Retry-After %q; want 429", i, status, text, h.Get("Retry-After"))
			}
		}
	}
	signUp := func(path, name string, who ...credential) (int, http.Header, string) {
		return w.ask("POST", path, fmt.Sprintf(`{"username":%q,"password":"correct horse","email":"%s@example.org"}`, name, name), who...)
	}
	// A network is one address; every way to sign up counts.
	paths := []string{"/api/v1/signup", "/signup", "/api/signup", "/register", "/api/register"}
	until(5, func(i int) (int, http.Header, string) {
		return signUp(paths[i%5], fmt.Sprint("a", i), from(fmt.Sprintf("2001:db8:1:2::%x", i)))
	})
	for _, path := range paths {
		if status, _, _ := signUp(path, "more", from("2001:db8:1:2::ffff")); status != 429 {
			t.Errorf("%s: %d, want 429", path, status)
		}
	}
	if status, _, text := w.ask("POST", "/account", `{"account_name":"A","email":"a@example.org"}`, from("2001:db8:1:2::1")); status != 429 {
		t.Errorf("an anonymous account of the data pusher: %d %s, want 429", status, text)
	}
	if status, _, text := signUp("/api/v1/signup", "elsewhere", from("2001:db8:1:3::1")); status != 201 {
		t.Errorf("another network: %d %s", status, text)
	}
	for i := range 7 {
		if status, _, text := signUp("/api/v1/signup", fmt.Sprint("made", i), from("2001:db8:1:2::1"), key); status != 201 {
			t.Errorf("by a service: %d %s", status, text)
		}
	}

	login := func(name string) credential {
		_, _, text := w.ask("POST", "/api/v1/login", fmt.Sprintf(`{"username":%q,"password":"correct horse"}`, name))
		_, access, _ := strings.Cut(text, `"access":"`)
		access, _, _ = strings.Cut(access, `"`)
		return bearer(access)
	}
	send := func(id string, who ...credential) (int, http.Header, string) {
		return w.ask("POST", "/api/v1/notifications", fmt.Sprintf(`{"user_id":%q,"title":"x"}`, id), who...)
	}
	ids := make(map[string]string)
	rows, err := w.db.Query(t.Context(), `select username, id::text from users`)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var name, id string
		if err := rows.Scan(&name, &id); err != nil {
			t.Fatal(err)
		}
		ids[name] = id
	}
	if rows.Err() != nil {
		t.Fatal(rows.Err())
	}
	// The rates refill while the machine is slow: what counts is that they end.
	ends := func(what string, most int, ask func() (int, http.Header, string)) {
		t.Helper()
		began := time.Now()
		for n := 0; ; n++ {
			status, _, text := ask()
			if status == 429 {
				if n < 10 {
					t.Errorf("%s: refused after %d", what, n)
				}
				return
			}
			if status != 202 || float64(n) > float64(most)+time.Since(began).Seconds()*10+1 {
				t.Fatalf("%s: %d after %d in %v: %s", what, status, n, time.Since(began), text)
			}
		}
	}
	one, two := login("a0"), login("elsewhere")
	ends("a user", 10, func() (int, http.Header, string) { return send(ids["a0"], one) })
	if status, _, text := send(ids["elsewhere"], two); status != 202 {
		t.Errorf("another user: %d %s", status, text)
	}
}

// The operator says who may sign up, by every client's way; a service may always make
// accounts.
func TestWhoMaySignUp(t *testing.T) {
	t.Parallel()
	key := func(r *http.Request) { r.Header.Set("X-API-Key", apiKey) }
	for _, mode := range []string{"open", "invite", "closed"} {
		w := newWorld(t, func(c *gateway.Config, _ *kafka.Config) { c.Embedded, c.Signup = true, mode })
		code, err := w.users.MakeInvite(t.Context(), 6, time.Now(), time.Now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		for i, path := range []string{"/api/v1/signup", "/signup", "/api/signup", "/register", "/api/register"} {
			ask := func(name, invite string, who ...credential) (int, string) {
				status, _, text := w.ask("POST", path, fmt.Sprintf(`{"username":"%s%d","password":"correct horse","email":"%s%d@example.org","invite":%q}`, name, i, name, i, invite), who...)
				return status, text
			}
			for _, c := range []struct {
				name, invite string
				who          []credential
				want         bool
			}{
				{"nobody", "", nil, mode == "open"},
				{"wrong", "x", nil, false},
				{"invited", code, nil, mode != "closed"},
				{"service", "", []credential{key}, true},
			} {
				if status, text := ask(c.name, c.invite, c.who...); (status == 201) != c.want || status >= 500 {
					t.Errorf("%s, %s at %s: %d %s; want it to be made: %v", mode, c.name, path, status, text, c.want)
				}
			}
		}
		if status, _, text := w.ask("POST", "/api/v1/guest", ""); (status == 201) != (mode == "open") {
			t.Errorf("%s: a guest: %d %s", mode, status, text)
		}
		_, _, text := w.ask("GET", "/api/v1/status", "")
		if strings.Contains(text, `"signup":true`) != (mode != "closed") || strings.Contains(text, `"invite":true`) != (mode == "invite") {
			t.Errorf("%s: the status says %s", mode, text)
		}
	}
	for _, c := range []gateway.Config{{Signup: "maybe"}, {SignupLimit: -1}, {SendLimitUser: -1}, {SendLimitKey: -1}} {
		c.Addr, c.AccessTTL, c.RefreshTTL = "127.0.0.1:0", time.Minute, time.Hour
		if err := gateway.CheckConfig(c); err == nil || !strings.Contains(err.Error(), "CRIER_S") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
