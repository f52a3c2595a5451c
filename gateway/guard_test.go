package gateway_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"crier/gateway"
	"crier/gateway/api"
	"crier/internal/criertest"
	"crier/internal/kafka"
	"crier/internal/postgres"
	"crier/internal/token"
	"crier/internal/user"
)

const apiKey = "the-bootstrap-key-of-this-test"

// world is a running gateway with a database and topics of its own.
type world struct {
	*gateway.Gateway
	t      *testing.T
	tokens *token.Authority
	users  *user.Store
	db     *postgres.DB
	url    string
}

func newWorld(t *testing.T, change func(*gateway.Config, *kafka.Config)) *world {
	t.Helper()
	return newWorldOn(t, criertest.Postgres(t), change)
}

// newWorldOn is newWorld on a database of the test's choice.
func newWorldOn(t *testing.T, database string, change func(*gateway.Config, *kafka.Config)) *world {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: database})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	kc := kafka.Config{Brokers: []string{criertest.Broker(t)}, TopicPrefix: criertest.TopicPrefix(t), Log: slog.New(slog.DiscardHandler)}
	cfg := gateway.Config{Addr: "127.0.0.1:0", APIKey: apiKey, AccessTTL: time.Minute, RefreshTTL: time.Hour, Symbols: []string{"BTCUSDT"}}
	if change != nil {
		change(&cfg, &kc)
	}
	k, err := kafka.Open(kc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	if _, err := k.EnsureTopics(t.Context(), kafka.Layout{Partitions: 1, Replicas: 1, TicksRetention: time.Hour, TicksBytes: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, users: user.New(db), db: db}
	if w.tokens, err = token.New(token.Config{Secret: strings.Repeat("s", 32)}); err != nil {
		t.Fatal(err)
	}
	if w.Gateway, err = gateway.New(cfg, db, k, w.tokens, slog.New(slog.DiscardHandler), prometheus.NewRegistry()); err != nil {
		t.Fatal(err)
	}
	if err := w.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := w.Stop(ctx); err != nil {
			t.Errorf("stopping: %v", err)
		}
	})
	w.url = w.URL()
	return w
}

// credential changes a request so that somebody makes it.
type credential func(r *http.Request)

func bearer(text string) credential {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+text) }
}

// ask makes a request and returns the status and the answer's text.
func (w *world) ask(method, path, body string, who ...credential) (int, http.Header, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range who {
		c(req)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.Header.Get("Content-Type") == "text/event-stream" {
		return resp.StatusCode, resp.Header, ""
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

// signUp makes an account and returns its access token and session cookie.
func (w *world) signUp(name string) (access string, cookie *http.Cookie) {
	w.t.Helper()
	if status, _, text := w.ask("POST", "/api/v1/signup", `{"username":"`+name+`","password":"correct horse"}`); status != 201 {
		w.t.Fatalf("signing up: %d %s", status, text)
	}
	status, h, text := w.ask("POST", "/api/v1/login", `{"username":"`+name+`","password":"correct horse"}`)
	var answer api.LoginAnswer
	if err := json.Unmarshal([]byte(text), &answer); status != 200 || err != nil {
		w.t.Fatalf("signing in: %d %s", status, text)
	}
	cookies := (&http.Response{Header: h}).Cookies()
	if len(cookies) != 1 || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteLaxMode {
		w.t.Fatalf("cookies %v", cookies)
	}
	return answer.Access, cookies[0]
}

// Every route lets in exactly whom its scope allows: nobody, a service, somebody
// signed in; a credential that is not good is refused everywhere, and a cookie
// does not change anything for a page of another origin.
func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	access, cookie := w.signUp("ann")
	revoked, _ := w.signUp("bob")
	if status, _, text := w.ask("POST", "/api/v1/logout", `{"all":true}`, bearer(revoked)); status != 204 {
		t.Fatalf("logging out: %d %s", status, text)
	}
	id, err := w.tokens.Check(t.Context(), access)
	if err != nil {
		t.Fatal(err)
	}
	id.Expires = time.Now().Add(-time.Minute)
	expired, err := w.tokens.Mint(id, time.Now().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	withCookie := func(c *http.Cookie, origin string) credential {
		return func(r *http.Request) {
			r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
			if origin != "" {
				r.Header.Set("Origin", origin)
			}
		}
	}
	key := func(k string) credential { return func(r *http.Request) { r.Header.Set("X-API-Key", k) } }
	callers := []struct {
		name  string
		who   credential
		allow func(rt api.Route) int // a status that must come, or one that must not, as -status; 0: anything below 500
	}{
		{"nobody", func(*http.Request) {}, func(rt api.Route) int {
			if rt.Scope == api.Public {
				return -401
			}
			return 401
		}},
		{"service", key(apiKey), func(rt api.Route) int {
			switch {
			case rt.Scope == api.Streams:
				return 403
			case rt.Scope == api.Person:
				return 401
			}
			return -401
		}},
		{"a wrong key", key("x"), func(api.Route) int { return 401 }},
		{"garbage", bearer("garbage"), func(api.Route) int { return 401 }},
		{"an expired token", bearer(expired), func(api.Route) int { return 401 }},
		{"an ended session", bearer(revoked), func(api.Route) int { return 401 }},
		{"a cookie of an ended session", withCookie(&http.Cookie{Name: cookie.Name, Value: revoked}, ""), func(rt api.Route) int {
			if rt.Scope == api.Public {
				return -401
			}
			return 401
		}},
		{"a cookie from another origin", withCookie(cookie, "https://evil.example"), func(rt api.Route) int {
			if rt.Scope == api.Streams || rt.Method != "GET" {
				return 403
			}
			return -401
		}},
		{"a cookie from a hidden origin", withCookie(cookie, "null"), func(rt api.Route) int {
			if rt.Scope == api.Streams || rt.Method != "GET" {
				return 403
			}
			return -401
		}},
	}
	for _, rt := range w.Routes() {
		path := strings.NewReplacer("{id}", "7", "{did}", "7", "{n}", "7", "{name}", "x").Replace(rt.Path)
		for _, c := range callers {
			status, _, text := w.ask(rt.Method, path, `{}`, c.who)
			want := c.allow(rt)
			if strings.HasSuffix(rt.Path, "/ws") && status == 400 {
				continue // it speaks WebSocket only
			}
			if status >= 500 || want > 0 && status != want || want < 0 && status == -want {
				if want == -401 && (strings.HasSuffix(rt.Path, "/login") || strings.HasSuffix(rt.Path, "/refresh") || strings.HasSuffix(rt.Path, "/verify")) {
					continue // they answer 401 themselves
				}
				t.Errorf("%s %s by %s: %d %.200s, want %d", rt.Method, path, c.name, status, text, want)
			}
		}
	}
}

// Whatever stands in an address, the answer is no fault of the server's.
func TestStrangeAddresses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	access, _ := w.signUp("ann")
	values := []string{"%00", "%ff", "%00%00", "-1", "0", "01", "1e3", "9223372036854775807", "99999999999999999999", "%2e%2e", "%252f", "'", "%F0%9F%98%80", strings.Repeat("a", 3000), "2147483648"}
	queries := []string{"limit=1&cursor=9223372036854775807", "cursor=2147483648", "q=%ff", "q=%00", "kind=%00", "symbol=%00", "symbol=%ff", "state=%00", "limit=%00", "unread=%ff", "since=%00", "%00=%00", "a=%zz", strings.Repeat("x=1&", 1000)}
	for _, rt := range w.Routes() {
		if rt.Scope == api.Streams {
			continue
		}
		var addresses []string
		if strings.Contains(rt.Path, "{") {
			for _, v := range values {
				addresses = append(addresses, strings.NewReplacer("{id}", v, "{name}", v).Replace(rt.Path))
			}
		}
		plain := strings.NewReplacer("{id}", "7", "{did}", "7", "{n}", "7", "{name}", "x").Replace(rt.Path)
		if rt.Method == "GET" {
			for _, q := range queries {
				addresses = append(addresses, plain+"?"+q)
			}
		}
		for _, a := range addresses {
			if strings.HasSuffix(rt.Path, "/logout") {
				continue
			}
			if status, _, text := w.ask(rt.Method, a, `{}`, bearer(access)); status >= 500 {
				t.Errorf("%s %.100s: %d %s", rt.Method, a, status, text)
			}
		}
	}
}

// An address that is not there is 404, a method that it does not take 405 with
// those that it takes; a body too large is 413; each is a problem of its form.
func TestWrongRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	access, _ := w.signUp("ann")
	for _, c := range []struct {
		method, path, body string
		status             int
		allow, code        string
	}{
		{"GET", "/api/v1/nothing", "", 404, "", "not_found"},
		{"GET", "/api/v2/notifications", "", 404, "", "not_found"},
		{"PUT", "/api/v1/notifications", "{}", 405, "GET, HEAD, POST", "method_not_allowed"},
		{"DELETE", "/api/v1/login", "{}", 405, "POST", "method_not_allowed"},
		{"DELETE", "/api/v1/notifications/counts", "", 405, "GET, HEAD", "method_not_allowed"},
		{"GET", "/api/v1/notifications/read-all/", "", 405, "POST", "method_not_allowed"},
		{"PATCH", "/api/v1/alerts/export", "{}", 405, "GET, HEAD", "method_not_allowed"},
		{"PATCH", "/api/v1/alerts/x", "{}", 404, "", "not_found"},
		{"GET", "/static/..%2fgo.mod", "", 404, "", "not_found"},
		{"GET", "/static/", "", 404, "", "not_found"},
		{"PATCH", "/api/v1/alerts/7/firings", "{}", 405, "GET, HEAD", "method_not_allowed"},
		{"BREW", "/api/v1/alerts/7", "{}", 405, "GET, HEAD, PATCH, DELETE", "method_not_allowed"},
		{"POST", "/api/v1/alerts", `{"note":"` + strings.Repeat("x", 2<<20) + `"}`, 413, "", "too_large"},
		{"POST", "/api/v1/alerts", strings.Repeat("[", 100_000), 400, "", "invalid_json"},
	} {
		status, h, text := w.ask(c.method, c.path, c.body, bearer(access))
		var p struct {
			Code   string
			Status int
		}
		if err := json.Unmarshal([]byte(text), &p); err != nil || status != c.status || p.Status != status || p.Code != c.code || h.Get("Allow") != c.allow || h.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: %d %s, Allow %q", c.method, c.path, status, text, h.Get("Allow"))
		}
	}
}

// Pages of allowed origins may ask, others not: preflights, answers, sockets.
func TestOrigins(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *gateway.Config, _ *kafka.Config) { c.AllowedOrigins = []string{"https://app.example"} })
	access, cookie := w.signUp("ann")
	set := func(pairs ...string) credential {
		return func(r *http.Request) {
			for i := 0; i < len(pairs); i += 2 {
				r.Header.Set(pairs[i], pairs[i+1])
			}
		}
	}
	for _, c := range []struct {
		origin string
		want   bool
	}{{"https://app.example", true}, {w.url, true}, {"https://evil.example", false}, {"https://app.example.evil.example", false}, {"http://app.example", false}, {"null", false}} {
		_, h, _ := w.ask("OPTIONS", "/api/v1/alerts", "", set("Origin", c.origin, "Access-Control-Request-Method", "POST"))
		if got := h.Get("Access-Control-Allow-Origin"); (got == c.origin) != c.want || !c.want && got != "" {
			t.Errorf("preflight of %s: allowed %q", c.origin, got)
		}
		_, h, _ = w.ask("GET", "/api/v1/alerts", "", bearer(access), set("Origin", c.origin))
		if got := h.Get("Access-Control-Allow-Origin"); (got == c.origin) != c.want || h.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("answer to %s: %v", c.origin, h)
		}
		for _, path := range []string{"/api/v1/stream", "/api/v1/ws"} {
			status, _, _ := w.ask("GET", path+"?access_token="+access, "", set("Origin", c.origin))
			if (status == 403) == c.want {
				t.Errorf("%s from %s: %d", path, c.origin, status)
			}
		}
		status, _, _ := w.ask("POST", "/api/v1/notifications/seen", "", set("Origin", c.origin), func(r *http.Request) { r.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value}) })
		if (status == 403) == c.want {
			t.Errorf("a cookie from %s: %d", c.origin, status)
		}
	}
	for site, want := range map[string]int{"same-origin": 200, "none": 200, "cross-site": 403, "same-site": 403, "": 200} {
		status, _, _ := w.ask("POST", "/api/v1/notifications/seen", "", set("Sec-Fetch-Site", site), func(r *http.Request) { r.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value}) })
		if status != want {
			t.Errorf("a browser that says %q: %d, want %d", site, status, want)
		}
	}
}

// The client's address is what trusted proxies say, as far as they are trusted,
// and never what the client itself claims.
func TestTrustedProxies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		trusted []string
		peer    string
		header  []string
		want    string
	}{
		{nil, "9.9.9.9:1", []string{"1.1.1.1"}, "9.9.9.9"},
		{[]string{"10.0.0.0/8"}, "9.9.9.9:1", []string{"1.1.1.1"}, "9.9.9.9"},
		{[]string{"10.0.0.0/8"}, "10.0.0.1:1", []string{"1.1.1.1"}, "1.1.1.1"},
		{[]string{"10.0.0.0/8"}, "10.0.0.1:1", []string{"6.6.6.6, 1.1.1.1"}, "1.1.1.1"},
		{[]string{"10.0.0.0/8"}, "10.0.0.1:1", []string{"6.6.6.6, 1.1.1.1, 10.0.0.2"}, "1.1.1.1"},
		{[]string{"10.0.0.0/8"}, "10.0.0.1:1", []string{"6.6.6.6", "1.1.1.1"}, "1.1.1.1"},
		{[]string{"10.0.0.0/8"}, "10.0.0.1:1", []string{"1.1.1.1, nonsense"}, "10.0.0.1"},
		{[]string{"10.0.0.0/8"}, "10.0.0.1:1", nil, "10.0.0.1"},
		{[]string{"10.0.0.0/8"}, "[::ffff:10.0.0.1]:1", []string{"1.1.1.1"}, "1.1.1.1"},
		{[]string{"::1/128"}, "[::1]:1", []string{"2001:db8::1"}, "2001:db8::1"},
		// Some proxies write the port (Azure, IIS), or an IPv4 client as a mapped address.
		{[]string{"10.0.0.0/8"}, "10.0.0.1:1", []string{"6.6.6.6, 1.1.1.1:4711"}, "1.1.1.1"},
		{[]string{"10.0.0.0/8"}, "10.0.0.1:1", []string{"1.1.1.1:4711, 10.0.0.2:80"}, "1.1.1.1"},
		{[]string{"10.0.0.0/8"}, "10.0.0.1:1", []string{"[2001:db8::1]:4711"}, "2001:db8::1"},
		{[]string{"10.0.0.0/8"}, "10.0.0.1:1", []string{"[2001:db8::1]"}, "2001:db8::1"},
		{[]string{"10.0.0.0/8"}, "10.0.0.1:1", []string{"::ffff:1.1.1.1"}, "1.1.1.1"},
		{[]string{"10.0.0.0/8"}, "10.0.0.1:1", []string{"[::ffff:1.1.1.1]:4711"}, "1.1.1.1"},
		{[]string{"10.0.0.0/8"}, "10.0.0.1:1", []string{"fe80::1%eth0"}, "fe80::1"},
		{[]string{"10.0.0.0/8"}, "10.0.0.1:1", []string{"1.1.1.1:99999"}, "10.0.0.1"},
		{nil, "[::ffff:9.9.9.9]:1", nil, "9.9.9.9"},
		{nil, "[fe80::1%eth0]:1", nil, "fe80::1"},
		{[]string{"10.0.0.0/8"}, "@", nil, "@"},
	} {
		g, err := gateway.New(gateway.Config{Addr: ":0", AccessTTL: time.Minute, RefreshTTL: time.Hour, TrustedProxies: c.trusted}, nil, nil, nil, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.peer
		r.Header["X-Forwarded-For"] = c.header
		if got := g.Remote(r); got != c.want {
			t.Errorf("%s says %v, trusting %v: %s, want %s", c.peer, c.header, c.trusted, got, c.want)
		}
	}
}
