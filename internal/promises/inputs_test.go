package promises

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"crier/internal/client"
	"crier/internal/criertest"
)

// request makes one request as an outside client would, without following redirects.
func request(t *testing.T, method, address, body string, headers ...string) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

// Inputs as outside clients send them, each with what the standards say of it.
func TestInputsOfOutsideClients(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann := p.SignUp("ann")
	t.Run("times beyond what can be stored", func(t *testing.T) { timesBeyondWhatIsStored(t, p, ann) })
	t.Run("a symbol with a slash", func(t *testing.T) { symbolWithSlash(t, p, ann) })
	t.Run("paths that are not clean", func(t *testing.T) { uncleanPaths(t, p, ann) })
	t.Run("HEAD is GET without a body", func(t *testing.T) { headRequests(t, p, ann) })
	t.Run("compressed bodies", func(t *testing.T) { compressedBodies(t, p, ann) })
	t.Run("any header of an allowed page", func(t *testing.T) { preflightHeaders(t, p, ann) })
	t.Run("data that was pushed in arrives byte for byte", func(t *testing.T) { pushedDataByteForByte(t, p, ann) })
	t.Run("names are case-sensitive", func(t *testing.T) { caseSensitiveNames(t, p, ann) })
}

func timesBeyondWhatIsStored(t *testing.T, _ *criertest.Program, ann *criertest.User) {
	bearer := []string{"Authorization", "Bearer " + ann.Token, "Content-Type", "application/json"}
	const beyond = "9999-12-31T23:59:59-01:00"
	for path, body := range map[string]string{
		"/alerts":                 `{"condition":"above","target":"1","expires_at":%q}`,
		"/alerts?snoozed":         `{"condition":"above","target":"1","snoozed_until":%q}`,
		"/alerts/dry-run":         `{"condition":"above","target":"1","to":%q}`,
		"/notifications":          `{"user_id":"` + ann.ID + `","title":"x","expires_at":%q}`,
		"/notifications?deliver":  `{"user_id":"` + ann.ID + `","title":"x","deliver_at":%q}`,
		"/alerts/bulk":            `{"ids":[1],"action":"snooze","until":%q}`,
		"/notifications/1/snooze": `{"until":%q}`,
	} {
		if status, _, text := request(t, "POST", ann.Base+"/api/v1"+path, fmt.Sprintf(body, beyond), bearer...); status != 400 || !strings.Contains(text, `"rule":"time"`) {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	status, _, text := request(t, "POST", ann.Base+"/api/v1/alerts/import", "symbol,condition,target,expires_at\nA,above,1,"+beyond+"\n", "Authorization", "Bearer "+ann.Token, "Content-Type", "text/csv")
	if !strings.Contains(text, `"rule":"time"`) {
		t.Errorf("import: %d %s", status, text)
	}
	if status, _, text := request(t, "GET", ann.Base+"/api/v1/alerts", "", bearer...); status != 200 || !strings.Contains(text, `"count":0`) {
		t.Errorf("the list afterwards: %d %s", status, text)
	}
	if status, _, text := request(t, "POST", ann.Base+"/api/v1/alerts", `{"condition":"above","target":"1","expires_at":"9999-12-31T23:59:59.999999Z","snoozed_until":""}`, bearer...); status != 201 {
		t.Errorf("the last moment: %d %s", status, text)
	}
	if status, _, text := request(t, "GET", ann.Base+"/api/v1/alerts", "", bearer...); status != 200 || !strings.Contains(text, "9999-12-31T23:59:59") {
		t.Errorf("the list with it: %d %s", status, text)
	}
}

func symbolWithSlash(t *testing.T, p *criertest.Program, ann *criertest.User) {
	tick(t, p, "BTC/USD", "5")
	for _, path := range []string{"/prices/BTC%2FUSD/candles", "/prices/BTC%2fUSD/candles/", "/%70rices/BTC%2FUSD/candles"} {
		criertest.Eventually(t, 30*time.Second, "candles at "+path, func() bool {
			status, _, text := request(t, "GET", ann.Base+"/api/v1"+path, "")
			if status != 200 {
				t.Fatalf("%s: %d %s", path, status, text)
			}
			return strings.Contains(text, `"close"`)
		})
	}
}

func uncleanPaths(t *testing.T, _ *criertest.Program, ann *criertest.User) {
	bearer := []string{"Authorization", "Bearer " + ann.Token, "Content-Type", "application/json"}
	for _, path := range []string{"//api/v1/alerts", "/api//v1/alerts", "/x/../api/v1/alerts", "/api/v1/./alerts", "/api/v1//alerts", "/static//crier.js", "/swagger//index.html"} {
		for _, method := range []string{"POST", "GET", "DELETE"} {
			// The client would clean the path.
			status, h, _ := request(t, method, ann.Base+strings.ReplaceAll(path, "/../", "/%2E%2E/"), `{"condition":"above","target":"1"}`, bearer...)
			if h.Get("Location") != "" || status < 400 && method != "GET" {
				t.Errorf("%s %s: %d to %q", method, path, status, h.Get("Location"))
			}
		}
	}
}

func headRequests(t *testing.T, _ *criertest.Program, ann *criertest.User) {
	bearer := []string{"Authorization", "Bearer " + ann.Token, "Content-Type", "application/json"}
	for _, path := range []string{"/", "/api/v1/status", "/api/v1/prices", "/swagger/index.html", "/swagger/doc.json", "/swagger/", "/docs/errors", "/static/crier.js", "/api/v1/alerts"} {
		get, getHeader, _ := request(t, "GET", ann.Base+path, "", bearer...)
		head, headHeader, text := request(t, "HEAD", ann.Base+path, "", bearer...)
		if get != head || text != "" || getHeader.Get("Content-Type") != headHeader.Get("Content-Type") {
			t.Errorf("%s: GET %d %s, HEAD %d %s %q", path, get, getHeader.Get("Content-Type"), head, headHeader.Get("Content-Type"), text)
		}
	}
	if status, _, _ := request(t, "HEAD", ann.Base+"/api/v1/stream", "", bearer...); status != 405 {
		t.Errorf("a stream: %d", status)
	}
}

func compressedBodies(t *testing.T, _ *criertest.Program, ann *criertest.User) {
	bearer := []string{"Authorization", "Bearer " + ann.Token, "Content-Type", "application/json"}
	compressed := func(s string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write([]byte(s)) // to memory
		_ = w.Close()
		return b.String()
	}
	send := func(body, encoding string) (int, string) {
		status, h, text := request(t, "POST", ann.Base+"/api/v1/notifications", body, append(bearer, "Content-Encoding", encoding)...)
		if status == 415 && h.Get("Accept-Encoding") != "gzip" {
			t.Errorf("415 without Accept-Encoding: %v", h)
		}
		return status, text
	}
	body := `{"user_id":"` + ann.ID + `","title":"compressed"}`
	for _, c := range []struct {
		body, encoding string
		status         int
		code           string
	}{
		{compressed(body), "gzip", 202, "event_id"}, {compressed(body), "GZIP", 202, "event_id"}, {body, "identity", 202, "event_id"},
		{body, "gzip", 400, "invalid_json"}, {compressed(body)[:20], "gzip", 400, "invalid_json"}, {body, "br", 415, "unsupported_encoding"}, {compressed(body), "gzip, gzip", 415, "unsupported_encoding"},
		{compressed(`{"title":"` + strings.Repeat("x", 20<<20) + `"}`), "gzip", 413, "too_large"},
	} {
		if status, text := send(c.body, c.encoding); status != c.status || !strings.Contains(text, c.code) {
			t.Errorf("%s: %d %s, want %d %s", c.encoding, status, text, c.status, c.code)
		}
	}
}

func preflightHeaders(t *testing.T, _ *criertest.Program, ann *criertest.User) {
	status, h, _ := request(t, "OPTIONS", ann.Base+"/api/v1/notifications", "", "Origin", ann.Base, "Access-Control-Request-Method", "POST",
		"Access-Control-Request-Headers", "authorization,cache-control,pragma,traceparent,x-requested-with")
	allowed := h.Get("Access-Control-Allow-Headers")
	if status != 204 || allowed != "authorization,cache-control,pragma,traceparent,x-requested-with" {
		t.Errorf("%d, allowed %q", status, allowed)
	}
	_, h, _ = request(t, "OPTIONS", ann.Base+"/api/v1/notifications", "", "Origin", "https://evil.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization")
	if h.Get("Access-Control-Allow-Headers") != "" || h.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("another origin: %v", h)
	}
}

func pushedDataByteForByte(t *testing.T, _ *criertest.Program, ann *criertest.User) {
	bearer := []string{"Authorization", "Bearer " + ann.Token, "Content-Type", "application/json"}
	var account struct {
		ID     int64  `json:"id"`
		Secret string `json:"secret_token"`
	}
	mustDo(t, ann.Client, "POST", "/accounts", map[string]string{"account_name": "Shop", "email": "shop@example.org"}, &account)
	receiver := criertest.NewReceiver(t, nil)
	mustDo(t, ann.Client, "POST", fmt.Sprintf("/accounts/%d/destinations", account.ID), map[string]any{"url": receiver.URL, "ordered": true}, nil)
	bodies := []string{`{ "a" : "<b>&</b> \u00e9 \/",  "n": 1.50e1 , "a":2}`, `"  <>&  "`, `[ 1 ,2 ]`, ` null `, "{\"tab\":\t1}"}
	for i, data := range bodies {
		status, _, text := request(t, "POST", ann.Base+"/api/v1/incoming", fmt.Sprintf(`{"data":%s,"account_id":%d}`, data, account.ID), bearer...)
		if status != 202 {
			t.Fatalf("%s: %d %s", data, status, text)
		}
		if got, want := receiver.Await(t, i+1)[i].Body, strings.TrimSpace(data); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func caseSensitiveNames(t *testing.T, _ *criertest.Program, ann *criertest.User) {
	bearer := []string{"Authorization", "Bearer " + ann.Token, "Content-Type", "application/json"}
	var sent struct {
		EventID string `json:"event_id"`
	}
	status, _, text := request(t, "POST", ann.Base+"/api/v1/notifications", `{"user_id":"`+ann.ID+`","title":"x","Title":"y","Topic":"Orders","deliver_at":"","expires_at":""}`, bearer...)
	if err := json.Unmarshal([]byte(text), &sent); status != 202 || err != nil {
		t.Fatalf("%d %s", status, text)
	}
	for _, n := range ann.Follow(t, "0", 4) {
		if n.EventID == sent.EventID && n.Title != "x" {
			t.Errorf("stored as %q", n.Title)
		}
	}
	if err := ann.Do(t.Context(), "POST", "/alerts", map[string]string{"Condition": "above", "target": "1"}, nil); !isStatus(err, 400) {
		t.Errorf("Condition: %v", err)
	}
}

func isStatus(err error, status int) bool {
	var refusal *client.Error
	return errors.As(err, &refusal) && refusal.Status == status
}
