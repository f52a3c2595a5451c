package gateway_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// What an optional member without a value is sent as does not matter: left out, null,
// or an empty text, as forms send it. What is wrong or missing is named as it was sent.
func TestMembersWithoutValue(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	access, _ := w.signUp("ann")
	if status, _, text := w.ask("POST", "/api/v1/rooms", `{"name":"lobby"}`, withKey(apiKey)); status != 201 {
		t.Fatalf("%d %s", status, text)
	}
	var account struct{ ID json.Number }
	status, _, text := w.ask("POST", "/api/v1/accounts", `{"account_name":"Shop","email":"shop@example.org"}`, bearer(access))
	if err := json.Unmarshal([]byte(text), &account); status != 201 || err != nil {
		t.Fatalf("%d %s", status, text)
	}
	hooks := "/api/v1/accounts/" + account.ID.String() + "/destinations"
	for _, member := range []string{"percent", "window", "low", "high", "confirm", "hysteresis", "source", "email", "note", "message", "repeat", "cooldown", "expires_at", "snoozed_until", "state", "condition"} {
		body := `{"symbol":"BTCUSDT","target":"1","condition":"above"` + "," + `"` + member + `":""}`
		want := 201
		if member == "condition" {
			want = 400 // it is required
		}
		if status, _, text := w.ask("POST", "/api/v1/alerts", body, bearer(access)); status != want {
			t.Errorf("%s: %d %s, want %d", body, status, text, want)
		}
		if status, _, text := w.ask("PATCH", "/api/v1/alerts/1", `{"`+member+`":""}`, bearer(access)); status != 200 {
			t.Errorf("a change of %s to nothing: %d %s", member, status, text)
		}
	}
	for _, c := range []struct{ method, path, body, field, message string }{
		{"POST", "/api/v1/alerts", `{"symbol":"BTCUSDT","condition":"above","target":""}`, "target", "is required for above"},
		{"POST", "/api/v1/alerts", `{"symbol":"BTCUSDT","condition":"percent_up","target":"","percent":"5","window":""}`, "window", "is required for percent_up"},
		{"POST", "/api/v1/alerts", `{"symbol":"BTCUSDT","condition":"above","target":"1","repeat":"every","cooldown":null}`, "cooldown", "is required where repeat is every"},
		{"POST", "/api/v1/alerts", `{"symbol":"BTCUSDT","condition":"above","target":"1","repeat":"every","cooldown":""}`, "cooldown", "is required where repeat is every"},
		{"POST", hooks, `{"url":"https://198.51.100.1/","http_method":""}`, "url", "leads to a private or special address (198.51.100.1)"},
		{"POST", hooks, `{"url":"https://example.org:99999/"}`, "url", "must have a port from 1 to 65535, or none"},
		{"POST", hooks, `{"url":"https://example.org:0/"}`, "url", "must have a port from 1 to 65535, or none"},
		{"POST", hooks, `{"url":"https://example.org/","rate":"1"}`, "rate", "must be a number, not string"},
		{"POST", "/api/v1/alerts/bulk", `{"action":"pause","ids":[1,"2"]}`, "ids[1]", "must be a whole number, not string"},
		{"POST", "/api/v1/rooms/lobby/read", `{}`, "id", "is required"},
		{"POST", "/api/v1/rooms/lobby/read", `{"id":null}`, "id", "is required"},
		{"POST", "/api/v1/password/reset", `{"username":"\u0001"}`, "username", "must not hold control characters"},
		{"POST", "/api/v1/password/reset", `{"email":"\u0001"}`, "email", "must not hold control characters"},
		{"POST", "/api/v1/login", `{"email":"\u0001","password":"x"}`, "email", "must not hold control characters"},
		{"POST", "/api/v1/login", `{"password":"x"}`, "username", "is required, or email"},
	} {
		status, _, text := w.ask(c.method, c.path, c.body, bearer(access))
		var p struct {
			Errors []struct{ Field, Message string }
		}
		if err := json.Unmarshal([]byte(text), &p); err != nil || status != 400 || len(p.Errors) != 1 || p.Errors[0].Field != c.field || !strings.HasPrefix(p.Errors[0].Message, c.message) {
			t.Errorf("%s %s: %d %s, want %s: %s", c.path, c.body, status, text, c.field, c.message)
		}
	}
}
