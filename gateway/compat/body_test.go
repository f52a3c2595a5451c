package compat_test

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"crier/internal/criertest"
)

// send is one request with a body and a Content-Type of the test's choice.
func (s *stranger) send(method, path, kind, body string) (int, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.base+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	if s.token != "" {
		req.Header.Set("Authorization", s.kind+" "+s.token)
	}
	if s.key != "" {
		req.Header.Set("X-API-Key", s.key)
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
	return resp.StatusCode, string(text)
}

// multipartOf is a form as browsers send one that has a file in it.
func multipartOf(t *testing.T, values url.Values) (kind, body string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for name := range values {
		if err := w.WriteField(name, values.Get(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), b.String()
}

// JSON is read whatever the Content-Type says, which is a form's in curl's default,
// and forms of both kinds are read as well, with every method.
func TestBodies(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann := p.SignUp("ann")
	anybody := &stranger{t: t, base: p.Facts().HTTP}
	person := &stranger{t: t, base: anybody.base, kind: "Bearer", token: ann.Token}
	service := &stranger{t: t, base: anybody.base, key: p.Facts().APIKey}
	const form = "application/x-www-form-urlencoded"
	pair := url.Values{"username": {"erin"}, "password": {"correct horse"}}
	multiKind, multi := multipartOf(t, pair)
	alertKind, alert := multipartOf(t, url.Values{"target_price": {"3"}, "trigger_condition": {"above"}, "email": {"a@example.org"}})
	for _, c := range []struct {
		who                      *stranger
		method, path, kind, body string
		want                     int
		text                     string
	}{
		{anybody, "POST", "/api/register", form, `{"email":"bob@example.org","password":"correct horse"}`, 201, `"bob@example.org"`},
		{anybody, "POST", "/api/register", "", `{"email":"cy@example.org","password":"correct horse"}`, 201, `"cy@example.org"`},
		{anybody, "POST", "/api/register", "text/plain", ` {"email":"dan@example.org","password":"correct horse"}`, 201, `"dan@example.org"`},
		{anybody, "POST", "/api/register", form, `email=eve%40example.org&password=correct+horse`, 201, `"eve@example.org"`},
		{anybody, "POST", "/api/register", form, `[]`, 400, `"Invalid data"`},
		{anybody, "POST", "/api/register", "application/json", `{"email":"fay@example.org",`, 400, `"Invalid data"`},
		{anybody, "POST", "/api/register", "multipart/form-data", `x`, 400, `could not be read`},
		{anybody, "POST", "/signup", multiKind, multi, 201, `success`},
		{anybody, "POST", "/login", form, `{"username":"erin","password":"correct horse"}`, 200, `"token"`},
		{anybody, "POST", "/login", form, pair.Encode(), 200, `"token"`},
		{anybody, "POST", "/api/users/token", form, `{"username":"erin","password":"correct horse"}`, 200, `"identity"`},
		{anybody, "POST", "/api/users/token", multiKind, multi, 200, `"identity"`},
		{anybody, "POST", "/register", form, `{"username":"gil","password":"correct horse","email":"g@example.org"}`, 201, `"gil"`},
		{person, "POST", "/create_alert", form, `{"target_price":1,"trigger_condition":"above","email":"a@example.org"}`, 201, `alert_id`},
		{person, "POST", "/api/alerts/create", form, `price=2`, 201, `alert_id`},
		{person, "POST", "/api/alerts/create", alertKind, alert, 201, `alert_id`},
		{person, "POST", "/delete_alert", form, `alert_id=1`, 200, `success`},
		{person, "POST", "/delete_alert", form, `{"alert_id":"2"}`, 200, `success`},
		{service, "POST", "/api/notifications/send", form, `{"user_id":` + ann.ID + `,"payload":{"n":1}}`, 200, `"payload":{"n":1}`},
		{service, "POST", "/api/notifications/send", "application/json", `{"user_id":"` + ann.ID + `","payload":"1"}`, 200, `"payload":"1","user_id":` + ann.ID},
		{service, "POST", "/api/notifications/send", "application/json", `{"user_id":` + ann.ID + `.0,"payload":[]}`, 200, `"payload":[],"user_id":` + ann.ID},
		{service, "POST", "/api/notifications/send", form, `user_id=+` + ann.ID + `+&payload={"n":1}`, 200, `"payload":{"n":1}`},
		{service, "POST", "/api/notifications/send", form, `user_id=` + ann.ID + `&payload=hello`, 200, `"payload":"hello"`},
		{service, "POST", "/api/notifications/send", form, `user_id=1.5&payload=hello`, 400, `"A valid integer is required."`},
		{service, "POST", "/api/notifications/send", form, `user_id=1e3`, 400, `"payload":["This field is required."],"user_id":["A valid integer is required."]`},
		{service, "POST", "/api/notifications/send", "application/json", `{"user_id":"99999999999999999999","payload":1}`, 400, `"A valid integer is required."`},
		{anybody, "POST", "/account", form, `{"account_name":"Shop","email":"s@example.org"}`, 200, `"Account Created Successfully"`},
		{anybody, "DELETE", "/account", form, `account_id=1&secret_token=wrong`, 200, `"Invalid Details"`},
		{service, "DELETE", "/account", form, `account_id=1`, 200, `"Deleted Successfully"`},
		{person, "POST", "/logout", form, `csrfmiddlewaretoken=x`, 204, ``},
	} {
		if status, text := c.who.send(c.method, c.path, c.kind, c.body); status != c.want || !strings.Contains(text, c.text) {
			t.Errorf("%s %s, %q: %.60s: %d %s, want %d and %s", c.method, c.path, c.kind, c.body, status, text, c.want, c.text)
		}
	}
	if status, _ := person.raw("GET", "/profile", nil); status != 401 {
		t.Errorf("the profile after logging out with a form: %d", status)
	}
	big := fmt.Sprintf(`{"username":"%s"}`, strings.Repeat("x", 1<<20))
	if status, text := anybody.send("POST", "/login", form, big); status != 413 {
		t.Errorf("a body of 1 MiB: %d %s", status, text)
	}
}
