package gateway_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"crier/gateway"
	"crier/gateway/api"
	"crier/internal/kafka"
	"crier/internal/user"
)

// Attacks on accounts and on what the gateway writes; each test is one.

// Who got hold of a reset link must not use it once the owner has changed the
// password, nor a session that was begun with the old one.
func TestAttackResetLinkAfterChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	if status, _, text := w.ask("POST", "/api/v1/signup", `{"username":"ann","email":"ann@example.org","password":"correct horse"}`); status != 201 {
		t.Fatalf("%d %s", status, text)
	}
	login := func() string {
		var answer struct{ Access string }
		status, _, text := w.ask("POST", "/api/v1/login", `{"username":"ann","password":"correct horse"}`)
		if err := json.Unmarshal([]byte(text), &answer); status != 200 || err != nil {
			t.Fatalf("%d %s", status, text)
		}
		return answer.Access
	}
	ann, err := w.users.ByLogin(t.Context(), "ann")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.users.ConfirmAddress(t.Context(), ann[0].UserID(), ann[0].Email, time.Now()); err != nil {
		t.Fatal(err)
	}
	owner, thief := login(), login()
	if status, _, text := w.ask("POST", "/api/v1/password/reset", `{"username":"ann"}`); status/100 != 2 {
		t.Fatalf("%d %s", status, text)
	}
	var id string
	if err := w.db.QueryRow(t.Context(), `select id::text from password_resets`).Scan(&id); err != nil {
		t.Fatal(err)
	}
	signer, err := w.users.Signer(t.Context(), user.Resetting)
	if err != nil {
		t.Fatal(err)
	}
	if status, _, text := w.ask("POST", "/api/v1/password", `{"password":"correct horse","new_password":"battery staple"}`, bearer(owner)); status != 204 {
		t.Fatalf("%d %s", status, text)
	}
	status, _, text := w.ask("POST", "/api/v1/password/reset/confirm", fmt.Sprintf(`{"token":%q,"new_password":"mallory's own"}`, signer.Token(id)))
	if status != http.StatusNotFound {
		t.Errorf("the link after the change: %d %s, want 404", status, text)
	}
	if status, _, text := w.ask("GET", "/api/v1/profile", "", bearer(thief)); status != http.StatusUnauthorized {
		t.Errorf("another session: %d %s, want 401", status, text)
	}
	if status, _, text := w.ask("GET", "/api/v1/profile", "", bearer(owner)); status != 200 {
		t.Errorf("the owner's session: %d %s", status, text)
	}
}

// A stream of names that are no files must not count as failures of the gateway.
func TestAttackSwaggerNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, name := range []string{"1:2", "%25zz", ":", "a:b/c", "index.html/..", "%2e%2e/go.mod", "..%2fgo.mod", "nothing.js", "a/b", "%00", "a%20b", "%", "1:2?x=/y"} {
		status, h, text := w.raw("GET", "/swagger/"+name)
		if status != 404 && status != 400 || status == 404 && h.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %.100s", name, status, text)
		}
	}
	for _, name := range []string{"index.html", "index.html?x=/1:2", "swagger-ui.css", "swagger-ui-bundle.js?x=/a:b", "favicon-32x32.png", "doc.json"} {
		for _, method := range []string{"GET", "HEAD"} {
			if status, _, text := w.raw(method, "/swagger/"+name); status != 200 {
				t.Errorf("%s %s: %d %.100s", method, name, status, text)
			}
		}
	}
}

// raw asks for a target as it is written, which a URL of net/url may not be.
func (w *world) raw(method, target string) (int, http.Header, string) {
	return w.ask(method, "/", "", func(r *http.Request) {
		r.URL.Opaque, r.URL.RawQuery, _ = strings.Cut("//"+r.URL.Host+target, "?")
	})
}

// Parallel requests must not pass a limit together that each alone keeps.
func TestAttackLimitsInParallel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	access, _ := w.signUp("ann")
	status, _, text := w.ask("POST", "/api/v1/accounts", `{"account_name":"ann's","email":"ann@example.org"}`, bearer(access))
	var account struct{ ID int64 }
	if err := json.Unmarshal([]byte(text), &account); status != 201 || err != nil {
		t.Fatalf("%d %s", status, text)
	}
	for _, c := range []struct{ path, body, table string }{
		{fmt.Sprintf("/api/v1/accounts/%d/destinations", account.ID), `{"url":"https://1.1.1.1/hook"}`, "destinations"},
	} {
		var all sync.WaitGroup
		made := make([]int, 200)
		for i := range made {
			all.Go(func() {
				made[i], _, _ = w.ask("POST", c.path, c.body, bearer(access))
			})
		}
		all.Wait()
		answers := make(map[int]int)
		for _, status := range made {
			answers[status]++
		}
		var n int
		if err := w.db.QueryRow(t.Context(), `select count(*) from `+c.table).Scan(&n); err != nil || n != 100 || answers[201] != 100 || answers[409] != 100 {
			t.Errorf("%s: %d made, answers %v, %v; want 100 each of 201 and 409", c.table, n, answers, err)
		}
	}
}

// What somebody wrote into an alert must not be run by the spreadsheet that opens
// its export; an import finds the text again.
func TestAttackFormulasInExport(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	access, _ := w.signUp("ann")
	notes := []string{`=cmd()`, `+1`, `-1`, `@SUM(A1)`, "\t=1", `'=1`, `''=1`, `'quoted'`, `＝1`, `plain`, "a=b"}
	for _, note := range notes {
		body, err := json.Marshal(map[string]string{"condition": "above", "target": "1", "note": note})
		if err != nil {
			t.Fatal(err)
		}
		if status, _, text := w.ask("POST", "/api/v1/alerts", string(body), bearer(access)); status != 201 {
			t.Fatalf("%q: %d %s", note, status, text)
		}
	}
	export := func() (string, []string) {
		_, _, text := w.ask("GET", "/api/v1/alerts/export", "", bearer(access))
		rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
		if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		var cells []string
		for _, row := range rows[1:] {
			for _, c := range row {
				if c != "" && strings.ContainsAny(c[:1], "=+-@\t\r\n") || strings.HasPrefix(c, "＝") {
					t.Errorf("the cell %q is run", c)
				}
			}
			cells = append(cells, row[17])
		}
		return text, cells
	}
	text, before := export()
	if status, _, answer := w.ask("POST", "/api/v1/alerts/import", text, bearer(access), func(r *http.Request) { r.Header.Set("Content-Type", "text/csv") }); status != 200 || !strings.Contains(answer, fmt.Sprintf(`"created":%d`, len(notes))) {
		t.Fatalf("%d %s", status, answer)
	}
	_, after := export()
	count := make(map[string]int)
	for _, c := range after {
		count[c]++
	}
	for _, c := range before {
		if count[c] != 2 {
			t.Errorf("%q: %d times behind the import, want 2 of %q", c, count[c], after)
		}
	}
}

// Wrong passwords, many at once, must not all be tried, nor lock out the owner:
// neither at another address nor on a device that has signed in before.
func TestAttackPasswordsInParallel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *gateway.Config, _ *kafka.Config) { c.TrustedProxies = []string{"127.0.0.1"} })
	_, cookie := w.signUp("ann")
	_, stranger := w.signUp("bob")
	from := func(address string) credential {
		return func(r *http.Request) { r.Header.Set("X-Forwarded-For", address) }
	}
	login := func(password, refresh string, who ...credential) (int, http.Header, string) {
		return w.ask("POST", "/api/v1/login", fmt.Sprintf(`{"username":"ann","password":%q,"refresh":%q}`, password, refresh), who...)
	}
	_, _, text := login("correct horse", "", from("198.51.100.7"))
	var before struct{ Refresh string }
	if err := json.Unmarshal([]byte(text), &before); err != nil || before.Refresh == "" {
		t.Fatalf("%s: %v", text, err)
	}
	var all sync.WaitGroup
	answers := make([]int, 200)
	for i := range answers {
		all.Go(func() {
			var h http.Header
			answers[i], h, _ = login("wrong", "", from(fmt.Sprintf("2001:db8::%x", i)))
			if answers[i] == 429 && h.Get("Retry-After") == "" {
				t.Error("429 without Retry-After")
			}
		})
	}
	all.Wait()
	tried, refused := 0, 0
	for _, status := range answers {
		switch status {
		case 401:
			tried++
		case 429:
			refused++
		}
	}
	if tried > 20 || tried+refused != len(answers) {
		t.Errorf("%d tried, %d refused, want at most 20 tried", tried, refused)
	}
	for ; tried < 20; tried++ { // those that the queue had no place for
		login("wrong", "", from("2001:db8::1"))
	}
	attacker := from("2001:db8::ffff")
	with := func(c *http.Cookie) credential {
		return func(r *http.Request) { r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value}) }
	}
	for _, c := range []struct {
		name, refresh string
		who           []credential
		want          int
	}{
		{"the attacker's network", "", []credential{attacker}, 429},
		{"with another account's cookie", "", []credential{attacker, with(stranger)}, 429},
		{"with an invented refresh token", "x", []credential{attacker}, 429},
		{"another address", "", []credential{from("198.51.100.8")}, 200},
		{"a known device by its cookie", "", []credential{attacker, with(cookie)}, 200},
		{"a known device by its refresh token", before.Refresh, []credential{attacker}, 200},
	} {
		if status, _, text := login("correct horse", c.refresh, c.who...); status != c.want {
			t.Errorf("%s: %d %.200s, want %d", c.name, status, text, c.want)
		}
	}
	for range 20 {
		login("wrong", "", attacker, with(cookie))
	}
	if status, _, _ := login("correct horse", "", attacker, with(cookie)); status != 429 {
		t.Errorf("a known device that guesses: %d, want 429", status)
	}
}

// A link that a victim opens must not show them in a room: it brings the session
// cookie along, but not the header of an event stream's reader.
func TestAttackLinkJoinsRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	access, cookie := w.signUp("ann")
	who := func(accept string) credential {
		return func(r *http.Request) {
			r.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value})
			r.Header.Set("Accept", accept)
		}
	}
	for _, accept := range []string{"text/html,application/xhtml+xml,*/*;q=0.8", "*/*", ""} {
		status, _, text := w.ask("GET", "/api/v1/stream?join=friends", "", who(accept))
		if status != http.StatusForbidden || !strings.Contains(text, "bad_origin") {
			t.Errorf("a link with Accept %q: %d %s, want 403", accept, status, text)
		}
	}
	for name, c := range map[string]credential{"EventSource": who("text/event-stream"), "a token": bearer(access)} {
		if status, _, text := w.ask("GET", "/api/v1/stream?join=friends", "", c); status != 404 || !strings.Contains(text, `no room \"friends\"`) {
			t.Errorf("%s: %d %s, want to be let in to look for the room", name, status, text)
		}
	}
}

// Neither signing up nor signing in nor asking for a new password tells whether an
// address has an account.
func TestAttackWhoHasAnAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, name := range []string{"ann", "carl"} {
		if status, _, text := w.ask("POST", "/api/v1/signup", fmt.Sprintf(`{"username":%q,"email":"%s@example.org","password":"correct horse"}`, name, name)); status != 201 {
			t.Fatalf("%d %s", status, text)
		}
	}
	found, err := w.users.ByLogin(t.Context(), "ann")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.users.ConfirmAddress(t.Context(), found[0].UserID(), found[0].Email, time.Now()); err != nil {
		t.Fatal(err)
	}
	// What is asked of an address that is confirmed, of one that is not, and of one
	// that nobody has given.
	for i, c := range []struct{ method, path, body string }{
		{"POST", "/api/v1/signup", `{"username":"u0NAME","email":"NAME@example.org","password":"correct horse"}`},
		{"POST", "/register", `{"username":"u1NAME","email":"NAME@example.org","password":"correct horse"}`},
		{"POST", "/api/register", `{"email":"NAME@example.org","password":"correct horse"}`},
		{"POST", "/api/v1/login", `{"email":"NAME@example.org","password":"wrong password"}`},
		{"POST", "/api/login", `{"email":"NAME@example.org","password":"wrong password"}`},
		{"POST", "/api/v1/password/reset", `{"email":"NAME@example.org"}`},
	} {
		var answers []string
		for _, name := range []string{"ann", "carl", "nobody"} {
			status, _, text := w.ask(c.method, c.path, strings.ReplaceAll(c.body, "NAME", name))
			text = regexp.MustCompile(`"id":"[0-9]+",`).ReplaceAllString(strings.ReplaceAll(text, name, "NAME"), "")
			answers = append(answers, fmt.Sprint(status, text))
		}
		if answers[0] != answers[2] || answers[1] != answers[2] {
			t.Errorf("%d %s: %q", i, c.path, answers)
		}
	}
	// Whoever claims an address sees no difference either.
	for _, name := range []string{"ann", "carl", "nobody"} {
		status, _, text := w.ask("POST", "/api/v1/login", fmt.Sprintf(`{"username":"u0%s","password":"correct horse"}`, name))
		if status != 200 || !strings.Contains(text, fmt.Sprintf(`"email":"%s@example.org"}`, name)) {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
}

// Data is sent somewhere for users and services only: neither nobody nor a guest, by
// whichever way, makes an account that gets destinations.
func TestAttackAnonymousDestinations(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *gateway.Config, _ *kafka.Config) { c.Embedded = true })
	key := func(r *http.Request) { r.Header.Set("X-API-Key", apiKey) }
	status, _, text := w.ask("POST", "/api/v1/guest", "")
	var guest api.LoginAnswer
	if err := json.Unmarshal([]byte(text), &guest); status != 201 || err != nil {
		t.Fatalf("%d %s", status, text)
	}
	n := 0
	account := func() string {
		n++
		return fmt.Sprintf(`{"account_name":"A","email":"a%d@example.org"}`, n)
	}
	for _, c := range []struct {
		path string
		who  credential
		want string
	}{
		{"/api/v1/accounts", func(*http.Request) {}, "unauthorized"},
		{"/api/v1/accounts", bearer(guest.Access), "forbidden"},
		{"/account", bearer(guest.Access), "A guest has no destinations"},
	} {
		if _, _, text := w.ask("POST", c.path, account(), c.who); !strings.Contains(text, c.want) {
			t.Errorf("%s: %s, want %s", c.path, text, c.want)
		}
	}
	// The older clients' account of nobody can be made, and gets no destinations.
	_, _, text = w.ask("POST", "/account", account())
	var made struct {
		Data struct {
			ID     int64  `json:"account_id"`
			Secret string `json:"secret_token"`
		}
	}
	if err := json.Unmarshal([]byte(text), &made); err != nil || made.Data.Secret == "" {
		t.Fatalf("%s %v", text, err)
	}
	secret := func(r *http.Request) { r.Header.Set(api.AccountToken, made.Data.Secret) }
	canonical := fmt.Sprintf("/api/v1/accounts/%d/destinations", made.Data.ID)
	older := fmt.Sprintf(`{"account_id":%d,"url":"https://1.1.1.1/hook","http_method":"POST"}`, made.Data.ID)
	if status, _, text := w.ask("POST", canonical, `{"url":"https://1.1.1.1/hook"}`, secret); status != 403 || !strings.Contains(text, "X-API-Key") {
		t.Errorf("%d %s", status, text)
	}
	if _, _, text := w.ask("POST", "/destination", older, secret); !strings.Contains(text, `"status":false`) || !strings.Contains(text, "X-API-Key") {
		t.Errorf("%s", text)
	}
	if status, _, text := w.ask("POST", canonical, `{"url":"https://1.1.1.1/hook"}`, key); status != 201 {
		t.Errorf("by a service: %d %s", status, text)
	}
	// What a service has made is used with its secret token.
	_, _, text = w.ask("POST", "/account", account(), key)
	if err := json.Unmarshal([]byte(text), &made); err != nil {
		t.Fatalf("%s %v", text, err)
	}
	if status, _, text := w.ask("POST", fmt.Sprintf("/api/v1/accounts/%d/destinations", made.Data.ID), `{"url":"https://1.1.1.1/hook"}`, secret); status != 201 {
		t.Errorf("by its token: %d %s", status, text)
	}
}
