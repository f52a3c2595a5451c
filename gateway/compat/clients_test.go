package compat_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"crier/internal/criertest"
)

// stranger is an HTTP client that knows nothing of Crier: what its user had
// written against the older system.
type stranger struct {
	t       *testing.T
	base    string
	token   string
	kind    string // of the Authorization header
	key     string
	account string // secret token of an account
}

// do sends a request, with a slash at the end of its path every second time,
// and returns status and body.
func (s *stranger) do(method, path string, body any) (int, map[string]any) {
	s.t.Helper()
	status, text := s.raw(method, path, body)
	out := make(map[string]any)
	if len(text) > 0 {
		if err := json.Unmarshal(text, &out); err != nil {
			s.t.Fatalf("%s %s: %d %q", method, path, status, text)
		}
	}
	return status, out
}

func (s *stranger) raw(method, path string, body any) (int, []byte) {
	s.t.Helper()
	var in io.Reader
	kind := "application/json"
	switch b := body.(type) {
	case nil:
	case string:
		in = strings.NewReader(b)
	case url.Values:
		in, kind = strings.NewReader(b.Encode()), "application/x-www-form-urlencoded"
	default:
		j, err := json.Marshal(b)
		if err != nil {
			s.t.Fatal(err)
		}
		in = strings.NewReader(string(j))
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.base+path, in)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	if s.token != "" {
		req.Header.Set("Authorization", s.kind+" "+s.token)
	}
	if s.key != "" {
		req.Header.Set("X-API-Key", s.key)
	}
	if s.account != "" {
		req.Header.Set("X-Account-Token", s.account)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, text
}

type members map[string]any

// want checks a status and that the answer has exactly these members; a nil
// value stands for any.
func (s *stranger) want(method, path string, body any, status int, exactly members) map[string]any {
	s.t.Helper()
	for _, p := range []string{path, slashed(path)} {
		got, out := s.do(method, p, body)
		ok := got == status && len(out) == len(exactly)
		for name, v := range exactly {
			have, there := out[name]
			ok = ok && there && (v == nil || fmt.Sprint(have) == fmt.Sprint(v))
		}
		if !ok {
			s.t.Errorf("%s %s %v: %d %v, want %d %v", method, p, body, got, out, status, exactly)
		}
		if method != "GET" && status < 300 || p == path && slashed(path) == path {
			return out // what changes something is asked once
		}
		if p == slashed(path) {
			return out
		}
	}
	return nil
}

// slashed is a path with a slash at its end, before the query.
func slashed(path string) string {
	p, query, found := strings.Cut(path, "?")
	if found {
		query = "?" + query
	}
	return strings.TrimSuffix(p, "/") + "/" + query
}

// A: sign-up by username, alerts with states.
func TestAlertsByUsername(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	s := &stranger{t: t, base: p.Facts().HTTP, kind: "Bearer"}
	s.want("POST", "/signup", members{"username": "ann", "password": "correct horse"}, 201, members{"success": nil})
	s.want("POST", "/signup", members{"username": "ann", "password": "correct horse"}, 400, members{"error": "Username already exists"})
	s.want("POST", "/api/signup/", url.Values{"username": {"bob"}, "password": {"correct horse"}}, 201, members{"success": nil})
	s.want("POST", "/login", members{"username": "ann", "password": "wrong"}, 400, members{"error": "Invalid credentials"})
	s.want("POST", "/api/login", members{"username": "ann", "password": "wrong"}, 401, members{"error": "Invalid credentials"})
	in := s.want("POST", "/login", members{"username": "ann", "password": "correct horse"}, 200, members{"access": nil, "refresh": nil, "token": nil})
	s.want("POST", "/api/login", members{"username": "ann", "password": "correct horse"}, 200, members{"access": nil, "refresh": nil, "JWT token": nil})
	s.want("POST", "/login/refresh", members{"refresh": in["refresh"]}, 200, members{"access": nil, "refresh": nil})
	s.want("POST", "/login/refresh", members{"refresh": "nonsense"}, 401, members{"error": nil})
	for _, path := range []string{"/create_alert", "/delete_alert", "/api/alerts/create", "/api/alerts/delete"} {
		if status, _ := s.raw("POST", path, members{}); status != 401 {
			t.Errorf("%s without a token: %d", path, status)
		}
	}
	fresh := s.want("POST", "/login", members{"username": "ann", "password": "correct horse"}, 200, members{"access": nil, "refresh": nil, "token": nil})
	s.token = fresh["access"].(string)
	s.want("POST", "/create_alert", members{"target_price": "1"}, 400, members{"error": "Missing required fields"})
	s.want("POST", "/create_alert", members{"target_price": "cheap", "trigger_condition": "above", "email": "a@example.org"}, 400, members{"error": "Invalid target price"})
	made := s.want("POST", "/create_alert", members{"target_price": 70000, "trigger_condition": "above", "email": "a@example.org"}, 201, members{"success": nil, "alert_id": nil})
	s.want("POST", "/api/alerts/create", members{"target_price": "1.5", "trigger_condition": "below", "email": "a@example.org"}, 201, members{"success": nil, "alert_id": nil})
	_, list := s.do("GET", "/fetch_alerts", nil)
	if fmt.Sprint(list) != "map[alerts:[map[email:a@example.org id:2 state:created target_price:1.50 trigger_condition:below] map[email:a@example.org id:1 state:created target_price:70000.00 trigger_condition:above]]]" {
		t.Errorf("alerts %v", list)
	}
	s.want("GET", "/fetch_alerts?state=odd", nil, 400, members{"error": "Invalid state"})
	bob := &stranger{t: t, base: s.base, kind: "Bearer"}
	_, other := bob.do("POST", "/login", members{"username": "bob", "password": "correct horse"})
	bob.token = other["access"].(string)
	bob.want("POST", "/delete_alert", members{"alert_id": made["alert_id"]}, 400, members{"error": nil})
	s.want("POST", "/delete_alert", members{"alert_id": made["alert_id"]}, 200, members{"success": nil})
	s.want("POST", "/delete_alert", members{"alert_id": made["alert_id"]}, 400, members{"error": nil})
	s.want("POST", "/delete_alert", members{}, 400, members{"error": nil})
	if _, deleted := s.do("GET", "/fetch_alerts?state=deleted", nil); len(deleted["alerts"].([]any)) != 1 {
		t.Errorf("deleted alerts %v", deleted)
	}
}

// B: alerts by email address, with pages and validators.
func TestAlertsByEmail(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	s := &stranger{t: t, base: p.Facts().HTTP, kind: "Bearer"}
	s.want("POST", "/api/register", members{"email": "ann@example.org", "password": "correct horse"}, 201, members{"email": "ann@example.org"})
	s.want("POST", "/api/register", members{"email": "ann@example.org", "password": "correct horse"}, 400, members{"error": "Email already registered"})
	s.want("POST", "/api/register", members{"email": "x@example.org"}, 400, members{"error": "Invalid data"})
	s.want("POST", "/api/register", members{"email": "o'neil@example.org", "password": "correct horse"}, 201, members{"email": "o'neil@example.org"})
	s.want("POST", "/api/login", members{"email": "o'neil@example.org", "password": "correct horse"}, 200, members{"JWT token": nil, "access": nil, "refresh": nil})
	s.want("POST", "/api/login", members{"email": "ann@example.org", "password": "nope"}, 401, members{"error": "Invalid credentials"})
	in := s.want("POST", "/api/login", members{"email": "ann@example.org", "password": "correct horse"}, 200, members{"JWT token": nil, "access": nil, "refresh": nil})
	s.token = in["JWT token"].(string)
	for i := range 12 {
		s.want("POST", "/api/alerts/create", members{"price": 1000 + i}, 201, members{"message": nil, "alert_id": nil})
	}
	s.want("POST", "/api/alerts/create", members{"price": "dear"}, 400, members{"error": "Invalid target price"})
	first := s.want("GET", "/api/alerts", nil, 200, members{"alerts": nil, "count": 12, "next": s.base + "/api/alerts/?page=2", "previous": nil, "results": nil}.orSlash(s.base))
	if n := len(first["results"].([]any)); n != 10 || first["previous"] != nil {
		t.Errorf("%d results on the first page, previous %v", n, first["previous"])
	}
	if one := first["results"].([]any)[0].(map[string]any); fmt.Sprint(one) != "map[email:ann@example.org id:12 price:1011.00 status:created]" {
		t.Errorf("an alert is %v", one)
	}
	_, second := s.do("GET", "/api/alerts/created?page=2", nil)
	if n := len(second["results"].([]any)); n != 2 || second["next"] != nil || second["previous"] != s.base+"/api/alerts/created?page=1" {
		t.Errorf("second page %v", second)
	}
	s.want("POST", "/api/alerts/delete/12", nil, 200, members{"message": nil})
	s.want("POST", "/api/delete/11", nil, 200, members{"message": nil})
	s.want("POST", "/api/delete/11", nil, 404, members{"error": nil})
	s.want("POST", "/api/delete/999", nil, 404, members{"error": nil})
	s.want("POST", "/api/delete/x", nil, 404, members{"error": nil})
	requireNeverStale(t, s)
}

// orSlash leaves open whether the address of the next page has a slash: it is
// that of the page that was asked for.
func (m members) orSlash(string) members {
	m["next"] = nil
	return m
}

// requireNeverStale asks with a validator before and after a write.
func requireNeverStale(t *testing.T, s *stranger) {
	t.Helper()
	get := func(tag string) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), "GET", s.base+"/api/alerts", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+s.token)
		if tag != "" {
			req.Header.Set("If-None-Match", tag)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp
	}
	tag := get("").Header.Get("ETag")
	if again := get(tag); again.StatusCode != http.StatusNotModified {
		t.Errorf("unchanged: %d", again.StatusCode)
	}
	s.want("POST", "/api/alerts/create", members{"price": 5}, 201, members{"message": nil, "alert_id": nil})
	if after := get(tag); after.StatusCode != http.StatusOK || after.Header.Get("ETag") == tag {
		t.Errorf("after a write: %d", after.StatusCode)
	}
}

// C: tokens, sending, and the socket on which notifications are acknowledged.
func TestAcknowledgedNotifications(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann, bob := p.SignUp("ann"), p.SignUp("bob")
	s := &stranger{t: t, base: p.Facts().HTTP, kind: "Bearer"}
	s.want("POST", "/api/users/token", members{"username": "ann", "password": "wrong"}, 401, members{"detail": nil})
	in := s.want("POST", "/api/users/token", members{"username": "ann", "password": criertest.Password}, 200, members{"identity": nil, "access": nil, "refresh": nil})
	s.want("POST", "/api/users/token/verify", members{"token": in["access"]}, 200, members{})
	s.want("POST", "/api/users/token/verify", members{"token": "x"}, 401, members{"detail": nil})
	in = s.want("POST", "/api/users/token/refresh", members{"refresh": in["refresh"]}, 200, members{"identity": nil, "access": nil, "refresh": nil})
	s.want("POST", "/api/users/token/refresh", members{"refresh": "x"}, 401, members{"detail": nil})
	if status, _ := s.raw("GET", "/api/users/is-authenticated", nil); status != 401 {
		t.Errorf("nobody is authenticated: %d", status)
	}
	s.token = in["access"].(string)
	s.want("GET", "/api/users/is-authenticated", nil, 200, members{})

	sender := &stranger{t: t, base: s.base, key: p.Facts().APIKey}
	id := json.Number(ann.ID)
	sender.want("POST", "/api/notifications/send", members{"user_id": id, "payload": members{"n": 1}}, 200, members{"user_id": ann.ID, "payload": "map[n:1]"})
	sender.want("POST", "/api/notifications/send", members{"user_id": 999999, "payload": 1}, 404, members{"detail": nil})
	sender.want("POST", "/api/notifications/send", members{"user_id": "seven"}, 400, members{"user_id": nil, "payload": nil})
	if status, _ := (&stranger{t: t, base: s.base}).raw("POST", "/api/notifications/send", members{"user_id": id, "payload": 1}); status != 401 {
		t.Errorf("anybody sends: %d", status)
	}
	for path, want := range map[string]string{"/api/notifications": "<!doctype html>", "/api/docs": "swagger", "/api/schema/": `"swagger"`} {
		if status, text := s.raw("GET", path, nil); status != 200 || !strings.Contains(strings.ToLower(string(text)), want) {
			t.Errorf("%s: %d %.60s", path, status, text)
		}
	}

	ws := "ws" + strings.TrimPrefix(s.base, "http")
	for name, address := range map[string]string{
		"no token": ws + "/ws/notifications/" + ann.ID + "/", "bad token": ws + "/ws/notifications/" + ann.ID + "/?token=x",
		"another user's": ws + "/ws/notifications/" + bob.ID + "/?token=" + s.token,
	} {
		_, resp, err := websocket.Dial(t.Context(), address, nil)
		if err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %v, %v", name, resp, err)
		}
	}
	mine := ws + "/ws/notifications/" + ann.ID + "/?token=" + s.token
	one, two := dial(t, mine), dial(t, strings.Replace(mine, "/?", "?", 1))
	for _, c := range []*websocket.Conn{one, two} {
		c := socket{t, c}
		c.want(`{"key":"1","type":"server_notification","value":{"n":1}}`)
	}
	sender.want("POST", "/api/notifications/send", members{"user_id": id, "payload": "second"}, 200, members{"user_id": ann.ID, "payload": "second"})
	first := socket{t, one}
	first.want(`{"key":"2","type":"server_notification","value":"second"}`)
	(socket{t, two}).want(`{"key":"2","type":"server_notification","value":"second"}`)
	first.say(`{"type":"command","key":"ping"}`)
	first.want(`{"key":"ping","type":"command_processing_result","value":"pong"}`)
	for _, odd := range []string{`{"type":"command","key":"dance"}`, `{"type":"shout"}`, `not JSON`, `[1]`, `{"type":"message_ack","key":"x"}`} {
		first.say(odd)
		if m := first.read(); m["type"] != "message_processing_error" || m["value"] == "" {
			t.Errorf("%s is answered with %v", odd, m)
		}
	}
	first.say(`{"type":"message_ack","key":"1"}`)
	criertest.Eventually(t, time.Minute, "the acknowledged one is read", func() bool {
		var n struct {
			ReadAt string `json:"read_at"`
		}
		return ann.Do(t.Context(), "GET", "/notifications/1", nil, &n) == nil && n.ReadAt != ""
	})
	(socket{t, dial(t, mine)}).want(`{"key":"2","type":"server_notification","value":"second"}`)
}

// C: the connection ends with 1000 when its token does.
func TestAcknowledgedSocketEndsWithItsToken(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t, "CRIER_ACCESS_TTL=10s")
	ann := p.SignUp("ann")
	c := dial(t, "ws"+strings.TrimPrefix(ann.Base, "http")+"/ws/notifications/"+ann.ID+"/?token="+ann.Token)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, _, err := c.Read(ctx); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("it ended with %v", err)
	}
}

// E: the accounts of the chat's clients.
func TestChatAccounts(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	s := &stranger{t: t, base: p.Facts().HTTP, kind: "Token"}
	s.want("POST", "/register", members{"username": "ann", "password": "correct horse", "email": "a@example.org"}, 201, members{"username": "ann", "email": "a@example.org"})
	s.want("POST", "/register", members{"username": "ann", "password": "correct horse", "email": "b@example.org"}, 400, members{"username": "[is taken]"})
	s.want("POST", "/register", members{"username": "eve", "password": "12345678", "email": "e@example.org"}, 400, members{"password": nil})
	in := s.want("POST", "/login", members{"username": "ann", "password": "correct horse"}, 200, members{"access": nil, "refresh": nil, "token": nil})
	s.token = in["token"].(string)
	s.want("GET", "/profile", nil, 200, members{"username": "ann", "email": "a@example.org"})
	if status, _ := s.raw("POST", "/logout", nil); status != 204 {
		t.Errorf("logout: %d", status)
	}
	if status, _ := s.raw("GET", "/profile", nil); status != 401 {
		t.Errorf("the token lives after logout: %d", status)
	}
}

func dial(t *testing.T, address string) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, _, err := websocket.Dial(ctx, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

// socket reads and writes whole messages.
type socket struct {
	t    *testing.T
	conn *websocket.Conn
}

func (s socket) read() map[string]any {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	_, text, err := s.conn.Read(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		s.t.Fatalf("%q: %v", text, err)
	}
	return m
}

func (s socket) want(text string) {
	s.t.Helper()
	b, err := json.Marshal(s.read())
	if err != nil || string(b) != text {
		s.t.Errorf("got %s, want %s", b, text)
	}
}

func (s socket) say(text string) {
	s.t.Helper()
	if err := s.conn.Write(s.t.Context(), websocket.MessageText, []byte(text)); err != nil {
		s.t.Fatal(err)
	}
}
