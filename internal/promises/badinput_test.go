package promises

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"crier/internal/criertest"
)

// bad is one wrong request, and the fault that it must be answered with.
type bad struct {
	method, path, body string
	status             int
	field, rule        string
}

// Every wrong value of every field is answered with problem+json that names the
// field and the rule, and never with the server's own fault.
func TestBadInputNamesFieldAndRule(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	u := p.SignUp("ann")
	long := strings.Repeat("x", 70_000)
	table := []bad{
		{"POST", "/signup", ``, 400, "", "json"},
		{"POST", "/signup", `[]`, 400, "", "json"},
		{"POST", "/signup", `{`, 400, "", "json"},
		{"POST", "/signup", `{}`, 400, "username", "required"},
		{"POST", "/signup", `{"username":"bob"}`, 400, "password", "required"},
		{"POST", "/signup", `{"username":5,"password":"correct horse"}`, 400, "username", "type"},
		{"POST", "/signup", `{"username":"a b","password":"correct horse"}`, 400, "username", "characters"},
		{"POST", "/signup", `{"username":"` + long[:200] + `","password":"correct horse"}`, 400, "username", "length"},
		{"POST", "/signup", `{"username":"bob","password":"short"}`, 400, "password", "length"},
		{"POST", "/signup", `{"username":"bob","password":"1234567890"}`, 400, "password", "digits"},
		{"POST", "/signup", `{"username":"bob","password":"Password123"}`, 400, "password", "common"},
		{"POST", "/signup", `{"username":"bob","password":"` + long + `"}`, 400, "password", "length"},
		{"POST", "/signup", `{"username":"bob","password":["correct horse"]}`, 400, "password", "type"},
		{"POST", "/signup", `{"username":"bob","password":"correct horse","email":"nope"}`, 400, "email", "email"},
		{"POST", "/signup", `{"username":"bob","password":"correct horse","email":"a@b.c\r\nBcc: x@y.z"}`, 400, "email", "email"},
		{"POST", "/signup", `{"username":"ANN","password":"correct horse"}`, 409, "username", "unique"},
		{"POST", "/login", `{"password":"x"}`, 400, "username", "required"},
		{"POST", "/login", `{"username":"ann"}`, 400, "password", "required"},
		{"POST", "/login", `{"username":{},"password":"x"}`, 400, "username", "type"},
		{"POST", "/token/refresh", `{}`, 400, "refresh", "required"},
		{"POST", "/token/verify", `{"token":7}`, 400, "token", "type"},
		{"POST", "/password", `{"password":"x","new_password":"y"}`, 400, "new_password", "length"},

		{"POST", "/notifications", "{\"user_id\":\"1\",\"title\":\"\xff\"}", 400, "", "utf8"},
		{"POST", "/notifications", `{"title":"x"}`, 400, "user_id", "required"},
		{"POST", "/notifications", `{"user_id":1.5,"title":"x"}`, 400, "user_id", "type"},
		{"POST", "/notifications", `{"user_id":true,"title":"x"}`, 400, "user_id", "type"},
		{"POST", "/notifications", `{"user_ids":"all","title":"x"}`, 400, "user_ids", "type"},
		{"POST", "/notifications", `{"user_id":"1"}`, 400, "payload", "required"},
		{"POST", "/notifications", `{"user_id":"1","payload":"` + long + `"}`, 400, "payload", "length"},
		{"POST", "/notifications", `{"user_id":"1","title":{}}`, 400, "title", "type"},
		{"POST", "/notifications", `{"user_id":"1","title":"a\u0000b"}`, 400, "title", "characters"},
		{"POST", "/notifications", `{"user_id":"1","body":"` + long[:20_000] + `"}`, 400, "body", "length"},
		{"POST", "/notifications", `{"user_id":"1","title":"x","url":"javascript:alert(1)"}`, 400, "url", "url"},
		{"POST", "/notifications", `{"user_id":"1","title":"x","kind":"no spaces"}`, 400, "kind", "name"},
		{"POST", "/notifications", `{"user_id":"1","title":"x","priority":"shrill"}`, 400, "priority", "enum"},
		{"POST", "/notifications", `{"user_id":"1","title":"x","channels":["smoke"]}`, 400, "channels[0]", "enum"},
		{"POST", "/notifications", `{"user_id":"1","title":"x","idempotency_key":"` + long[:300] + `"}`, 400, "idempotency_key", "length"},
		{"POST", "/notifications", `{"user_id":"1","title":"x","source":["me"]}`, 400, "source", "type"},
		{"POST", "/notifications", `{"user_id":"1","title":"x","deliver_at":"later"}`, 400, "deliver_at", "time"},
		{"POST", "/notifications", `{"user_id":"1","title":"x","deliver_at":"2999-01-01T00:00:00Z"}`, 400, "deliver_at", "range"},
		{"POST", "/notifications", `{"user_id":"1","title":"x","expires_at":"2001-01-01T00:00:00Z"}`, 400, "expires_at", "range"},
		{"POST", "/notifications", `{"topic":"No News","title":"x"}`, 400, "topic", "name"},

		{"POST", "/alerts", `{}`, 400, "condition", "required"},
		{"POST", "/alerts", `{"condition":"above"}`, 400, "target", "required"},
		{"POST", "/alerts", `{"condition":"sideways","target":"1"}`, 400, "condition", "enum"},
		{"POST", "/alerts", `{"condition":5,"target":"1"}`, 400, "condition", "type"},
		{"POST", "/alerts", `{"condition":"above","target":"dear"}`, 400, "target", "decimal"},
		{"POST", "/alerts", `{"condition":"above","target":"NaN"}`, 400, "target", "decimal"},
		{"POST", "/alerts", `{"condition":"above","target":{}}`, 400, "target", "decimal"},
		{"POST", "/alerts", `{"condition":"above","target":"1e400"}`, 400, "target", "decimal"},
		{"POST", "/alerts", `{"condition":"above","target":"1","symbol":"A B"}`, 400, "symbol", "symbol"},
		{"POST", "/alerts", `{"condition":"above","target":"1","symbol":7}`, 400, "symbol", "type"},
		{"POST", "/alerts", `{"condition":"above","target":"1","email":"nobody"}`, 400, "email", "email"},
		{"POST", "/alerts", `{"condition":"above","target":"1","note":"` + long[:600] + `"}`, 400, "note", "length"},
		{"POST", "/alerts", `{"condition":"above","target":"1","repeat":"often"}`, 400, "repeat", "enum"},
		{"POST", "/alerts", `{"condition":"above","target":"1","repeat":"every"}`, 400, "cooldown", "required"},
		{"POST", "/alerts", `{"condition":"above","target":"1","repeat":"every","cooldown":"soon"}`, 400, "cooldown", "duration"},
		{"POST", "/alerts", `{"condition":"above","target":"1","repeat":"every","cooldown":0.1}`, 400, "cooldown", "duration"},
		{"POST", "/alerts", `{"condition":"above","target":"1","expires_at":"2001-01-01T00:00:00Z"}`, 400, "expires_at", "future"},
		{"POST", "/alerts", `{"condition":"above","target":"1","expires_at":"soon"}`, 400, "expires_at", "time"},
		{"POST", "/alerts", `{"condition":"above","target":"1","source":7}`, 400, "source", "type"},
		{"POST", "/alerts", `{"condition":"above","target":"1","state":"triggered"}`, 400, "state", "enum"},
		{"PATCH", "/alerts/1", `{"symbol":"X"}`, 400, "symbol", "immutable"},

		{"GET", "/notifications?limit=0", ``, 400, "limit", "range"},
		{"GET", "/notifications?cursor=x", ``, 400, "cursor", "cursor"},
		{"GET", "/notifications?unread=maybe", ``, 400, "unread", "boolean"},
		{"GET", "/notifications?q=%00", ``, 400, "q", "characters"},
		{"GET", "/alerts?state=odd", ``, 400, "state", "enum"},
		{"GET", "/stream?topics=room:1", ``, 400, "topics", "topic"},
		{"GET", "/stream?rate=0", ``, 400, "rate", "range"},
	}
	for _, b := range table {
		requireFault(t, u, b)
	}
	// What names no field all the same is no fault of the server's.
	for path, want := range map[string]int{"/notifications/0": 404, "/notifications/x": 404, "/notifications/99999999999999999999": 404, "/alerts/-1": 404,
		"/nothing": 404} {
		if got, text := ask(t, u, "GET", path, ""); got != want {
			t.Errorf("GET %s: %d %s", path, got, text)
		}
	}
	if n := p.Metric("crier_gateway_panics_total"); n != 0 {
		t.Errorf("%v handlers panicked", n)
	}
}

func ask(t *testing.T, u *criertest.User, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, u.Base+"/api/v1"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+u.Token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode >= 400 && resp.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s %s: %d is %s", method, path, resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	return resp.StatusCode, string(text)
}

func requireFault(t *testing.T, u *criertest.User, b bad) {
	t.Helper()
	got, text := ask(t, u, b.method, b.path, b.body)
	var problem struct {
		Code   string
		Status int
		Errors []struct{ Field, Rule, Message string }
	}
	if err := json.Unmarshal([]byte(text), &problem); err != nil || got != b.status || problem.Status != got || problem.Code == "" {
		t.Errorf("%s %s %.80s: %d %s", b.method, b.path, b.body, got, text)
		return
	}
	for _, f := range problem.Errors {
		if f.Field == b.field && f.Rule == b.rule && f.Message != "" {
			return
		}
	}
	t.Errorf("%s %s %.80s: %+v, want %s: %s", b.method, b.path, b.body, problem.Errors, b.field, b.rule)
}
