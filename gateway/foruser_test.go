package gateway_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// A request that names the user it is made for is refused to any other, before
// anything is read or changed.
func TestRequestForAnotherUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	_, one := w.signUp("one")
	token, two := w.signUp("two")
	var ids [2]string
	for i, c := range []*http.Cookie{one, two} {
		var user struct{ ID string }
		_, _, text := w.ask("GET", "/api/v1/profile", "", func(r *http.Request) { r.AddCookie(c) })
		if err := json.Unmarshal([]byte(text), &user); err != nil || user.ID == "" {
			t.Fatalf("profile %s: %v", text, err)
		}
		ids[i] = user.ID
	}
	as := func(c *http.Cookie, id string) credential {
		return func(r *http.Request) {
			r.AddCookie(c)
			r.Header.Set("X-Crier-User", id)
		}
	}
	for _, c := range []struct {
		name, method, path, body string
		who                      credential
		status                   int
		code                     string
	}{
		{"a change for oneself", "POST", "/api/v1/notifications/seen", "", as(two, ids[1]), 200, ""},
		{"a change for another", "POST", "/api/v1/notifications/seen", "", as(two, ids[0]), 409, "wrong_user"},
		{"reading for another", "GET", "/api/v1/notifications", "", as(two, ids[0]), 409, "wrong_user"},
		{"a token of another", "POST", "/api/v1/notifications/read-all", "", func(r *http.Request) { bearer(token)(r); r.Header.Set("X-Crier-User", ids[0]) }, 409, "wrong_user"},
		{"an account for another", "POST", "/api/v1/accounts", `{"name":"x"}`, as(two, ids[0]), 409, "wrong_user"},
		{"leaving for another", "POST", "/api/v1/logout", "", as(two, ids[0]), 409, "wrong_user"},
		{"a service", "GET", "/api/v1/accounts", "", func(r *http.Request) { r.Header.Set("X-API-Key", apiKey); r.Header.Set("X-Crier-User", ids[0]) }, 200, ""},
		{"nobody where anybody may", "POST", "/api/v1/accounts", `{"name":"x"}`, func(r *http.Request) { r.Header.Set("X-Crier-User", ids[0]) }, 401, "unauthorized"},
	} {
		status, _, text := w.ask(c.method, c.path, c.body, c.who)
		if status != c.status || !strings.Contains(text, c.code) {
			t.Errorf("%s: %d %s; want %d %s", c.name, status, text, c.status, c.code)
		}
	}
	if status, _, _ := w.ask("GET", "/api/v1/profile", "", func(r *http.Request) { r.AddCookie(two) }); status != 200 {
		t.Errorf("the refused logout ended the session: %d", status)
	}
}
