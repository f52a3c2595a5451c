package compat_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"crier/internal/criertest"
)

// Each system's clients get every refusal in the form that they read, from the handler
// and from the gateway before it. E's page and A's programs share an address,
// and are told apart by what a browser adds.
func TestFormsOfRefusals(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	p.SignUp("ann")
	base := p.Facts().HTTP
	page := map[string]string{"Origin": base}
	wrong := `{"username":"ann","password":"wrong"}`
	for _, c := range []struct {
		method, path, body string
		header             map[string]string
		status             int
		want               string
	}{
		{"POST", "/login", wrong, nil, 400, `{"error":"Invalid credentials"}`},
		{"POST", "/login", wrong, page, 400, `{"non_field_errors":["Unable to log in with provided credentials."]}`},
		{"POST", "/login/", wrong, map[string]string{"Sec-Fetch-Mode": "cors"}, 400, `{"non_field_errors":["Unable to log in with provided credentials."]}`},
		{"POST", "/login", wrong, map[string]string{"Referer": base + "/"}, 400, `{"non_field_errors":["Unable to log in with provided credentials."]}`},
		{"POST", "/login", wrong, map[string]string{"X-Requested-With": "XMLHttpRequest"}, 400, `{"non_field_errors":["Unable to log in with provided credentials."]}`},
		{"POST", "/login", `{}`, page, 400, `{"password":["is required"],"username":["is required, or email"]}`},
		{"POST", "/login", `{}`, nil, 400, `{"error":"Invalid credentials"}`},
		{"POST", "/login", wrong, map[string]string{"Origin": "https://evil.example"}, 403, `{"non_field_errors":["A page of another origin may not sign in here."]}`},
		{"POST", "/api/login", wrong, page, 401, `{"error":"Invalid credentials"}`},
		{"POST", "/api/users/token", wrong, page, 401, `{"detail":"The name or the password is wrong."}`},
		{"POST", "/register", `{"username":"ann","password":"short","email":"x"}`, page, 400, `{"email":["must be an email address such as ann@example.org"],"password":["must be at least 8 characters"]}`},
		{"POST", "/register", strings.Repeat(" ", 1<<20+1), page, 413, `{"non_field_errors":["The body must be at most 1 MiB."]}`},
		{"POST", "/create_alert", `{}`, nil, 401, `{"error":"This needs a user's token or session cookie."}`},
		{"GET", "/fetch_alerts", ``, map[string]string{"Authorization": "Bearer x"}, 401, `{"error":"The token is not valid."}`},
		{"GET", "/api/alerts", ``, nil, 401, `{"error":"This needs a user's token or session cookie."}`},
		{"GET", "/api/users/is-authenticated", ``, nil, 401, `{"detail":"This needs a user's token or session cookie."}`},
		{"GET", "/profile", ``, nil, 401, `{"detail":"This needs a user's token or session cookie."}`},
		{"POST", "/logout", ``, nil, 401, `{"detail":"This needs a user's token or session cookie."}`},
		{"PUT", "/login/refresh/", ``, nil, 405, `{"error":"This address does not take PUT."}`},
		{"DELETE", "/api/alerts/created", ``, nil, 405, `{"error":"This address does not take DELETE."}`},
		{"PUT", "/api/users/token", ``, nil, 405, `{"detail":"This address does not take PUT."}`},
		{"DELETE", "/api/notifications/send", ``, nil, 405, `{"detail":"This address does not take DELETE."}`},
		{"PUT", "/register", ``, nil, 405, `{"non_field_errors":["This address does not take PUT."]}`},
		{"PUT", "/server/incoming_data/", ``, nil, 405, `{"message":"This address does not take PUT.","status":false}`},
		{"GET", "/account?account_id=1", ``, map[string]string{"X-API-Key": "x"}, 401, `{"message":"This API key is not known.","status":false}`},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, base+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		for name, v := range c.header {
			req.Header.Set(name, v)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		var got any
		if err := json.Unmarshal(text, &got); err != nil {
			t.Errorf("%s %s: %s: %v", c.method, c.path, text, err)
			continue
		}
		same, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if kind := resp.Header.Get("Content-Type"); resp.StatusCode != c.status || string(same) != c.want || kind != "application/json" {
			t.Errorf("%s %s %v: %d %s %s, want %d %s", c.method, c.path, c.header, resp.StatusCode, kind, same, c.status, c.want)
		}
	}
}

// C: a page that is served on another port than the socket is refused until the
// setting that the refusal names allows its origin.
func TestPageOnAnotherPort(t *testing.T) {
	t.Parallel()
	const page = "http://localhost:8002"
	refused := criertest.Start(t)
	open := func(p *criertest.Program) (*websocket.Conn, *http.Response, error) {
		ann := p.SignUp("ann")
		address := fmt.Sprintf("ws%s/ws/notifications/%s/?token=%s", strings.TrimPrefix(ann.Base, "http"), ann.ID, ann.Token)
		return websocket.Dial(t.Context(), address, &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {page}}})
	}
	_, resp, err := open(refused)
	if err == nil || resp == nil || resp.StatusCode != 403 {
		t.Fatalf("a page of another origin: %v", err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(text), "CRIER_ALLOWED_ORIGINS="+page+" ") {
		t.Errorf("the refusal does not name the setting: %s %v", text, err)
	}
	criertest.Eventually(t, 30*time.Second, "the log names the origin", func() bool {
		log := refused.Log()
		return strings.Contains(log, `msg="stream refused: origin not allowed"`) && strings.Contains(log, "origin="+page)
	})
	allowed := criertest.Start(t, "CRIER_ALLOWED_ORIGINS="+page)
	conn, _, err := open(allowed)
	if err != nil {
		t.Fatalf("with the setting: %v", err)
	}
	_ = conn.CloseNow()
	// And its scripts may make the systems' requests, on every path.
	for _, path := range []string{"/login", "/fetch_alerts", "/api/users/token/", "/account", "/ws/chat"} {
		for p, want := range map[*criertest.Program]string{allowed: page, refused: ""} {
			req, err := http.NewRequestWithContext(t.Context(), "OPTIONS", p.Facts().HTTP+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Origin", page)
			req.Header.Set("Access-Control-Request-Method", "POST")
			req.Header.Set("Access-Control-Request-Headers", "authorization,content-type")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if got := resp.Header.Get("Access-Control-Allow-Origin"); got != want {
				t.Errorf("%s: allowed is %q, want %q", path, got, want)
			}
		}
	}
}
